//! Any bytes as a command line: durations, sizes, pids, patterns.

#![no_main]

#[path = "../../tests/support/hostile.rs"]
#[expect(dead_code, reason = "every target compiles its own copy and uses a part of it")]
mod hostile;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hostile::arguments(bytes));
