//! Any bytes as files in `/proc` and `/sys`, each as every one of them.

#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| tracer::kernel::hostile::text(bytes));
