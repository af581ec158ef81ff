//! Any bytes as a command line: durations, sizes, pids, patterns.

#![no_main]

#[path = "../../tests/support/hostile.rs"]
mod hostile;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hostile::arguments(bytes));
