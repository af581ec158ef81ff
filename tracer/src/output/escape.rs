//! Makes hostile names harmless. Thread names, cgroups and command lines are any bytes, chosen by anybody.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_width::UnicodeWidthChar as _;

/// The text with everything that could move a cursor, hide or reorder shown as a visible escape.
///
/// A backslash is doubled, so that two different names never look the same.
pub fn terminal(bytes: &[u8]) -> String {
    pieces(bytes).collect()
}

/// As [`terminal`], cut to `width` columns. A cut name ends in `..`, and no escape is cut in half.
pub fn terminal_within(bytes: &[u8], width: usize) -> String {
    const MARK: &str = "..";
    let whole = terminal(bytes);
    if columns(&whole) <= width {
        return whole;
    }
    let room = width.saturating_sub(MARK.len());
    let mut cut = String::new();
    let mut used = 0;
    for piece in pieces(bytes) {
        used += columns(&piece);
        if used > room {
            break;
        }
        cut.push_str(&piece);
    }
    cut.push_str(&MARK[..MARK.len().min(width)]);
    cut
}

/// Columns of a text that holds no control characters.
pub fn columns(text: &str) -> usize {
    text.chars().map(|c| c.width().unwrap_or(0)).sum()
}

/// A JSON string's content: valid UTF-8 as it is, other bytes as `\xNN` text.
pub fn json(bytes: &[u8]) -> Cow<'_, str> {
    match std::str::from_utf8(bytes) {
        Ok(text) => Cow::Borrowed(text),
        Err(_) => Cow::Owned(bytes.utf8_chunks().fold(String::new(), |mut text, chunk| {
            text.push_str(chunk.valid());
            chunk
                .invalid()
                .iter()
                .for_each(|&byte| push_hex(&mut text, byte));
            text
        })),
    }
}

/// Invisible or harmful on a terminal: control characters, and what has no width of its own, such as
/// direction overrides, joiners and combining marks that pile up on a neighbour.
pub fn is_hidden(c: char) -> bool {
    // Line and paragraph separators and the soft hyphen are counted as one column, but shown as none.
    c.is_control() || c.width().unwrap_or(0) == 0 || matches!(c, '\u{2028}' | '\u{2029}' | '\u{ad}')
}

fn pieces(bytes: &[u8]) -> impl Iterator<Item = String> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let valid = chunk.valid().chars().map(visible);
        let invalid = chunk.invalid().iter().map(|&byte| {
            let mut text = String::new();
            push_hex(&mut text, byte);
            text
        });
        valid.chain(invalid)
    })
}

fn visible(c: char) -> String {
    match c {
        '\\' => "\\\\".into(),
        '\n' => "\\n".into(),
        '\r' => "\\r".into(),
        '\t' => "\\t".into(),
        c if c.is_ascii_control() => format!("\\x{:02x}", u32::from(c)),
        c if is_hidden(c) => format!("\\u{{{:x}}}", u32::from(c)),
        c => c.into(),
    }
}

fn push_hex(text: &mut String, byte: u8) {
    // Writing to a string does not fail.
    let _ = write!(text, "\\x{byte:02x}");
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_plain_name_stays() {
        assert_eq!(terminal(b"kworker/0:1-events"), "kworker/0:1-events");
        assert_eq!(terminal("日本語 µs".as_bytes()), "日本語 µs");
    }

    #[test]
    fn whatever_could_harm_a_terminal_becomes_visible() {
        assert_eq!(terminal(b"\x1b[31mred\x07"), "\\x1b[31mred\\x07");
        assert_eq!(terminal(b"two\nlines\r\t\x7f"), "two\\nlines\\r\\t\\x7f");
        assert_eq!(terminal("c1\u{9b}31m".as_bytes()), "c1\\u{9b}31m");
        assert_eq!(
            terminal("\u{202e}rtl\u{200b}\u{2066}".as_bytes()),
            "\\u{202e}rtl\\u{200b}\\u{2066}"
        );
        assert_eq!(terminal(b"bad\xff\xc3"), "bad\\xff\\xc3");
        assert_eq!(terminal(b"\\x1b"), "\\\\x1b");
        assert_eq!(
            terminal("a\u{2028}b\u{ad}c\u{feff}".as_bytes()),
            "a\\u{2028}b\\u{ad}c\\u{feff}"
        );
    }

    #[test]
    fn a_long_name_is_cut_between_its_characters() {
        assert_eq!(terminal_within(b"abcdefghij", 10), "abcdefghij");
        assert_eq!(terminal_within(b"abcdefghij", 9), "abcdefg..");
        assert_eq!(terminal_within(b"ab\x1b\x1b\x1b", 9), "ab\\x1b..");
        assert_eq!(terminal_within("日本語".as_bytes(), 5), "日..");
        assert_eq!(terminal_within(b"abc", 1), ".");
    }

    #[test]
    fn json_keeps_what_is_text_and_spells_out_what_is_not() {
        assert_eq!(json("\u{202e}\x1b日".as_bytes()), "\u{202e}\x1b日");
        assert_eq!(json(b"a\xffb\xc3"), "a\\xffb\\xc3");
    }

    proptest! {
        #[test]
        fn any_bytes_become_harmless(bytes: Vec<u8>, width in 0usize..40) {
            prop_assert!(!terminal(&bytes).chars().any(is_hidden));
            let cut = terminal_within(&bytes, width);
            prop_assert!(!cut.chars().any(is_hidden));
            prop_assert!(columns(&cut) <= width);
        }

        #[test]
        fn two_names_never_look_the_same(a in any::<Vec<u8>>(), b in any::<Vec<u8>>()) {
            prop_assert_eq!(a == b, terminal(&a) == terminal(&b));
        }
    }
}
