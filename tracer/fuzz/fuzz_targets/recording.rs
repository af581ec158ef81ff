//! Any bytes as a recording: through the reader, the decoder and the pipeline, to reports and to rows.
//!
//! Checksums are not compared here (`cfg(fuzzing)`): what is behind them would never be reached.

#![no_main]

#[path = "../../tests/support/hostile.rs"]
#[expect(dead_code, reason = "every target compiles its own copy and uses a part of it")]
mod hostile;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| hostile::replay(bytes));
