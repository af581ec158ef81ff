//! Colour, where it is wanted. The only escape sequences that ever leave the tracer.

use std::borrow::Cow;

const RESET: &str = "\x1b[0m";
const BOLD: &str = "\x1b[1m";
const DIM: &str = "\x1b[2m";
const RED: &str = "\x1b[1;31m";
const GREEN: &str = "\x1b[32m";
const YELLOW: &str = "\x1b[33m";

#[cfg(test)]
pub const SEQUENCES: [&str; 6] = [RESET, BOLD, DIM, RED, GREEN, YELLOW];

#[derive(Clone, Copy)]
pub enum Ink {
    Plain,
    /// What one looks for first.
    Strong,
    /// What one skips.
    Faint,
    Good,
    Doubtful,
    Bad,
}

/// Paints a text that is already padded: a sequence has no width.
pub fn paint(text: &str, ink: Ink, colour: bool) -> Cow<'_, str> {
    let start = match ink {
        _ if !colour => return text.into(),
        Ink::Plain => return text.into(),
        Ink::Strong => BOLD,
        Ink::Faint => DIM,
        Ink::Good => GREEN,
        Ink::Doubtful => YELLOW,
        Ink::Bad => RED,
    };
    format!("{start}{text}{RESET}").into()
}
