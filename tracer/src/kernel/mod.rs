//! Everything that asks the kernel: Linux only. Moves bytes and facts, never sees an event.

pub mod alarm;
pub mod btf;
pub mod capabilities;
pub mod cgroup;
pub mod cost;
pub mod counts;
mod diagnostics;
pub mod fields;
pub mod host;
#[cfg(any(test, fuzzing))]
pub mod hostile;
mod interrupts;
pub mod keeper;
mod layout;
mod load;
pub mod memory;
pub mod preflight;
mod probes;
pub mod procfs;
pub mod raw;
pub mod ring;
pub mod ruler;
pub mod session;
mod slots;
pub mod snapshot;
