//! Rare messages of the kernel programs, shown with `-v`.

use std::io::Write as _;

use crate::output::terminal;

/// Writes to standard error.
pub struct Diagnostics;

impl log::Log for Diagnostics {
    fn enabled(&self, _metadata: &log::Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &log::Record<'_>) {
        let message = terminal(record.args().to_string().as_bytes());
        // Nobody is left to be told when stderr is gone.
        let _ = writeln!(std::io::stderr().lock(), "kernel: {message}");
    }

    fn flush(&self) {}
}
