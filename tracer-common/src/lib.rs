//! What crosses the ring between the kernel programs and the collector, and nothing else.
//!
//! No dependencies, no `std`: the same text is compiled for the BPF target and for the host.
#![no_std]

pub mod counters;
pub mod lengths;
pub mod record;
pub mod settings;
