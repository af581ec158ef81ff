//! Kernel-side counters, one set per CPU and probe.
//!
//! A probe never interrupts itself (the kernel skips it and counts a `recursion_miss`), so each
//! probe owns its counters and plain additions are exact.

/// The kernel programs that write records, in the order of their counters.
#[repr(u32)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Probe {
    Switch = 0,
    Waking = 1,
    WakeupNew = 2,
    Migrate = 3,
    Newtask = 4,
    Fork = 5,
    Exec = 6,
    Exit = 7,
    Rename = 8,
    Cgroup = 9,
}

/// Number of [`Probe`]s.
pub const PROBES: u32 = 10;

/// What one probe counted on one CPU since it was attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the program ran.
    pub events: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
    /// The value of `lost` that the stream already told.
    pub announced: u64,
}

const _: () = assert!(size_of::<Counters>() == 24);
