//! Kernel-side counters, one set per CPU and probe.
//!
//! A probe never interrupts itself (the kernel skips it and counts a `recursion_miss`), so each
//! probe owns its counters and plain additions are exact.

/// The kernel programs, in the order of their counters.
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
    /// Writes no record and counts in [`CpuInterrupts`].
    Interrupt = 10,
    /// Writes no record.
    Resched = 11,
    /// Entry and return of all system calls.
    Syscall = 12,
    Fault = 13,
    Teardown = 14,
    /// Entry and end of the scheduler. Writes no record.
    Schedule = 15,
}

/// Number of [`Probe`]s.
pub const PROBES: u32 = 16;

/// What one probe counted on one CPU since it was attached.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Times the program ran; of the switch probe see [`CpuSwitches`].
    pub events: u64,
    /// Records written, or tried to: what was received is this less `lost`.
    pub records: u64,
    /// Wake-ups noted for the switch-in to take along; switches of others kept in a history.
    pub noted: u64,
    /// Records that found no room in the ring.
    pub lost: u64,
    /// The value of `lost` that the stream already told.
    pub announced: u64,
}

/// All switches of one CPU since the probe was attached, whomever they concern and whatever is lost.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSwitches {
    /// `prev` had called `schedule()` to block or to end.
    pub voluntary: u64,
    /// `prev` could have gone on.
    pub involuntary: u64,
    /// `prev` was the idle thread.
    pub from_idle: u64,
    /// `next.mm` is set and differs from `prev.active_mm`.
    pub address_space_changes: u64,
    /// What `next` was, by [`crate::record::next_kind`]; of switches from threads only.
    pub kinds: [u64; 4],
    /// Time in which the idle thread ran, up to the last switch away from it.
    pub idle_ns: u64,
    /// The idle thread runs since then; 0: another one does, or it is not known yet.
    pub idle_since_ns: u64,
}

/// What the switch probe keeps of one CPU for itself.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuState {
    pub switches: CpuSwitches,
    /// Who came last, and its process. If another one leaves, the kernel did not show that this one left.
    pub there: u32,
    pub there_tgid: u32,
    /// The process of the last one that left unseen; 0: none has.
    pub hidden_tgid: u32,
    /// So many switches more are kept, whoever waits: while a thread of that process ran, wake-ups were not seen.
    pub listen: u32,
}

/// Places of [`CpuSwitches::kinds`] are numbers of two bits.
const _: () = assert!(
    crate::record::switch_flags::NEXT_KIND_MASK >> crate::record::switch_flags::NEXT_KIND_SHIFT
        == 3
);

/// Slots of one CPU, a ring of whole records in memory that collector and kernel share. Only the switch probe
/// writes there, which nothing interrupts: no lock, no helper. Numbers count slots from the first one on; a
/// number has its place modulo their count. A cache line of its own.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SlotMarks {
    /// The collector may read what is before this one ...
    pub head: u64,
    /// ... and not before this one: written by the collector, who has read that.
    pub tail: u64,
    /// Nor before this one: not worth reading. Switches: 0.
    pub from: u64,
    /// The next one to be written. Switches: `head` says so.
    pub next: u64,
    /// The number, on this CPU, of the last switch that was told or is kept. Switches: 0.
    pub told: u64,
    pub reserved: [u64; 3],
}

/// How many watched threads are on the run queue of a CPU, or are about to be. A cache line of its own: other
/// CPUs change it, too.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waiting {
    pub threads: u64,
    pub reserved: [u64; 7],
}

/// A wake-up that waits to be told with the switch-in that it leads to.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeNote {
    /// Who was woken; 0: the place is free.
    pub tid: u32,
    /// As in [`crate::record::Waking`], all three.
    pub waker: u32,
    pub at_ns: u64,
    pub waker_cpu: u16,
    pub waker_syscall: u16,
    pub reserved: u32,
}

/// What interrupts do on one CPU: a cache line. The programs of hard interrupts, which nothing interrupts,
/// write some of it, those of softirqs the rest: no addition of one gets between another's load and store.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuInterrupts {
    /// Time in hard interrupts, up to the end of the last one.
    pub irq_ns: u64,
    /// The hard interrupt that goes on began then; 0: none does.
    pub irq_since_ns: u64,
    /// Times one of its programs ran.
    pub irq_runs: u64,
    /// Time in softirqs, without the hard interrupts in it.
    pub softirq_ns: u64,
    /// The softirq that goes on began then; 0: none does.
    pub softirq_since_ns: u64,
    /// What `irq_ns` was at that time.
    pub softirq_irq_ns: u64,
    pub softirq_runs: u64,
    /// The hard interrupt that goes on expires timers.
    pub irq_is_timer: u32,
    /// The softirq that goes on expires timers.
    pub softirq_is_timer: u32,
}

/// The kernel decided that who runs on a CPU is to go. By CPU: it may be decided on another one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Resched {
    pub at_ns: u64,
    /// Who is to go; 0: nobody.
    pub tid: u32,
    /// The number of the thread flag that says so until it goes: there is more than one.
    pub flag: u32,
    /// A cache line of its own.
    pub reserved: [u64; 6],
}

/// A system call that creates or replaces a process, and goes on.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Call {
    pub entered_ns: u64,
    /// The key of what it has created, and its tid; 0: nothing yet.
    pub child: u64,
    pub child_tid: u32,
    pub reserved: u32,
}

/// System calls that go on at the same time and are told; what more of them take is not known.
pub const CALLS: u32 = 1 << 14;

/// Writes of a process to pages that it shares since a fork.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cow {
    /// 0: the place is free.
    pub pid: u32,
    /// The process that the fork has made: `pid` itself or its child.
    pub child: u32,
    /// When that was born.
    pub since_ns: u64,
    pub faults: u64,
}

/// Places for [`Cow`]s, a power of two. Where two processes share one the later fork has it.
pub const COWS: u32 = 1 << 12;

/// The place of a process.
#[inline(always)]
pub const fn cow(pid: u32) -> u32 {
    pid.wrapping_mul(0x9e37) & (COWS - 1)
}

/// So long after a fork writes are counted.
pub const COW_NS: u64 = 100_000_000;

/// Places for [`WakeNote`]s, a power of two: 1.5 MiB. Threads whose tids are equal modulo this share one;
/// when both are woken and wait, the second wake-up is a record of its own.
pub const WAKE_NOTES: u32 = 1 << 16;

/// The place of a thread's note. Neighbours by number are often woken at once, on several CPUs: an odd
/// factor, which keeps all places apart, keeps them out of each other's cache line.
#[inline(always)]
pub const fn wake_note(tid: u32) -> u32 {
    tid.wrapping_mul(0x9e37) & (WAKE_NOTES - 1)
}

/// A byte for each of so many tids says whether the thread is watched. A byte and not a bit, so that two
/// births on two CPUs can write their own.
pub type WatchBlock = [u8; 64];

/// Tids are below 2^22 (`PID_MAX_LIMIT`, include/linux/threads.h): 4 MiB.
pub const WATCH_BLOCKS: u32 = (1 << 22) / size_of::<WatchBlock>() as u32;

const _: () = assert!(size_of::<Counters>() == 40);
const _: () = assert!(size_of::<CpuSwitches>() == 80);
const _: () = assert!(size_of::<CpuState>() == 96);
const _: () = assert!(size_of::<WakeNote>() == 24);
const _: () = assert!(size_of::<SlotMarks>() == 64);
const _: () = assert!(size_of::<CpuInterrupts>() == 64);
const _: () = assert!(size_of::<Resched>() == 64);
const _: () = assert!(size_of::<Call>() == 24);
const _: () = assert!(size_of::<Cow>() == 24);

/// What a switch is, where its cost is measured: by what it comes from and goes to.
pub mod switch_cost {
    /// From a user thread to another one of the same address space.
    pub const SAME_SPACE: u32 = 0;
    /// From a user thread to one of another address space.
    pub const OTHER_SPACE: u32 = 1;
    /// To a thread of the kernel.
    pub const TO_KERNEL: u32 = 2;
    pub const TO_IDLE: u32 = 3;
    /// From the idle thread or the kernel's to a user thread whose address space is still in place.
    pub const BACK: u32 = 4;
    /// The same to one with another address space.
    pub const BACK_OTHER: u32 = 5;
    /// No switch: from one program to the next one of the same tracepoint.
    pub const EMPTY: u32 = 6;
    pub const KINDS: u32 = 7;
}

/// A call of the scheduler that has begun on this CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Entered {
    /// 0: none.
    pub at_ns: u64,
    /// The address space in place.
    pub active_mm: u64,
    pub tid: u32,
    /// Whose thread it was that called: 1, a user's.
    pub user: u32,
}

/// Switches of one kind.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SwitchCost {
    pub count: u64,
    pub sum_ns: u64,
}

/// Changes of the address space on one CPU, and what became of its TLB.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpaceChanges {
    /// `next.mm` is set and differs from `prev.active_mm`.
    pub changes: u64,
    /// The kernel flushed.
    pub flushed: u64,
    /// The kernel loaded the address space and did not flush.
    pub kept: u64,
    /// A change whose loading was not told yet; 0: none.
    pub pending: u64,
}
