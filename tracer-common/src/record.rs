//! The records of the stream, as bytes: integers only, fixed size, no hidden padding, append-only.
//!
//! A thread is named by its *key*: the address of its `task_struct`, scrambled with a number drawn
//! at start. Unlike the tid it survives `exec` by a thread that is not the leader, and unlike
//! (tid, start time) it costs one register. A key is free for another thread once its owner's last
//! switch-out has passed; the births that reuse it are records of the same stream.

mod bytes;
mod lives;

pub use lives::{Called, Cow, Exec, Exit, Fork, Stack, Teardown, call, memory_flags};

/// Every record starts with this.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Header {
    /// `CLOCK_MONOTONIC`, taken when the kernel program started.
    pub at_ns: u64,
    /// See [`kind`]: the numbers live in recordings and are never reused.
    pub kind: u16,
    /// The whole record in bytes: a reader steps over kinds that it does not know.
    pub len: u16,
    pub cpu: u16,
    /// Meaning depends on the kind: see [`switch_flags`], [`thread_flags`].
    pub flags: u16,
}

/// Kind numbers, append-only.
pub mod kind {
    pub const SWITCH: u16 = 1;
    pub const WAKING: u16 = 2;
    pub const WAKEUP_NEW: u16 = 3;
    pub const MIGRATE: u16 = 4;
    pub const NEWTASK: u16 = 5;
    pub const FORK: u16 = 6;
    pub const EXEC: u16 = 7;
    pub const EXIT: u16 = 8;
    pub const RENAME: u16 = 9;
    pub const LOST: u16 = 10;
    /// One thread as the task iterator saw it at the start.
    pub const THREAD: u16 = 11;
    /// One thread as the task iterator saw it at the end.
    pub const THREAD_END: u16 = 12;
    /// Written by the collector, no more than a header: the window begins at `at_ns`.
    pub const WINDOW_BEGIN: u16 = 13;
    /// Written by the collector: the window ends at `at_ns`.
    pub const WINDOW_END: u16 = 14;
    pub const CGROUP: u16 = 15;
    /// Written by the collector: what one CPU has counted.
    pub const CPU_SWITCHES: u16 = 16;
    /// No more than a header: calls the collector to the slots, and is not passed on.
    pub const CALL: u16 = 17;
    /// A thread that is not watched left a CPU while watched ones waited.
    pub const LEFT: u16 = 18;
    /// Who a thread is that is not watched and woke one that is.
    pub const NAME: u16 = 19;
    /// A system call that creates, replaces or waits for processes has returned.
    pub const CALLED: u16 = 20;
    pub const COW: u16 = 21;
    pub const TEARDOWN: u16 = 22;
}

/// Flags of [`Switch`].
pub mod switch_flags {
    /// The tracepoint's `preempt` argument. False for preemption on return to user space.
    pub const PREEMPT: u16 = 1 << 0;
    /// `next.mm` is set and differs from `prev.active_mm`.
    pub const ADDRESS_SPACE: u16 = 1 << 1;
    /// `prev.in_iowait`.
    pub const IOWAIT: u16 = 1 << 2;
    /// `prev.throttled` (6.18 and later).
    pub const THROTTLED: u16 = 1 << 3;
    /// What `next` is, two bits: see [`super::next_kind`].
    pub const NEXT_KIND_SHIFT: u16 = 4;
    pub const NEXT_KIND_MASK: u16 = 0b11 << NEXT_KIND_SHIFT;
    /// `prev` belongs to the tracer itself.
    pub const PREV_OWN: u16 = 1 << 6;
    /// `next` belongs to the tracer itself.
    pub const NEXT_OWN: u16 = 1 << 7;
    /// `prev` stays on the run queue: preempted, yielded, or blocked with a signal pending.
    pub const RUNNABLE: u16 = 1 << 8;
    /// `syscall` holds the number of the system call `prev` is in.
    pub const SYSCALL: u16 = 1 << 9;
    /// `prev` made a 32-bit system call: `syscall` counts in the other table.
    pub const COMPAT: u16 = 1 << 10;
    /// `next` was stamped as queued: `next_wait_ns` is its wait, else it is 0 and means nothing.
    pub const NEXT_QUEUED: u16 = 1 << 11;
    /// `steal_ns` was measured.
    pub const STEAL: u16 = 1 << 12;
    /// `prev` is none of the threads that are watched: of it only this record tells.
    pub const PREV_UNWATCHED: u16 = 1 << 13;
    pub const NEXT_UNWATCHED: u16 = 1 << 14;
    /// The switch of this CPU before this one was neither told nor kept: whoever came last has gone.
    pub const GAP: u16 = 1 << 15;
}

/// The values of [`switch_flags::NEXT_KIND_MASK`].
pub mod next_kind {
    pub const IDLE: u16 = 0;
    pub const KERNEL_THREAD: u16 = 1;
    pub const SAME_PROCESS: u16 = 2;
    pub const OTHER_PROCESS: u16 = 3;
}

/// One context switch on `header.cpu`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Switch {
    pub header: Header,
    pub prev: u64,
    pub next: u64,
    /// 0 for the idle thread.
    pub prev_tid: u32,
    pub next_tid: u32,
    /// Cumulative counters of `prev`; this very switch is already counted.
    pub prev_nvcsw: u64,
    pub prev_nivcsw: u64,
    /// Cumulative run-queue wait of `prev`, including the wait that preceded this slice.
    pub prev_run_delay_ns: u64,
    /// Cumulative `sum_exec_runtime` of `prev`: net of steal.
    pub prev_sum_exec_ns: u64,
    /// Cumulative run-queue wait of `next`, without the part on this CPU that ends now ...
    pub next_run_delay_ns: u64,
    /// ... which is this: `rq.clock - next.last_queued`.
    pub next_wait_ns: u64,
    /// Low half of `nvcsw + nivcsw` of `next`: the number of its last switch-out.
    pub next_seq: u32,
    /// `TASK_*` bits `prev` left in; see also [`switch_flags::RUNNABLE`].
    pub prev_state: u32,
    /// This CPU's cumulative steal as the scheduler knows it (`prev_steal_time_rq`).
    pub steal_ns: u64,
    /// This CPU's cumulative time that the scheduler takes out of run time (`clock - clock_task`).
    pub clock_lag_ns: u64,
    pub syscall: u32,
    /// Threads on this CPU's run queue, the one that runs next included.
    pub nr_running: u32,
    /// What the scheduler took for the time of this switch: its counters go by this clock, which
    /// stands still from a preempting wake-up until the switch it causes.
    pub rq_clock_ns: u64,
    /// The last `sched_waking` of `next` since it came to a CPU before, if any; else 0. One that is
    /// not told here is told by a [`Waking`].
    pub next_waking_ns: u64,
    /// As in [`Waking`], all three.
    pub next_waker: u32,
    pub next_waker_cpu: u16,
    pub next_waker_syscall: u16,
    /// This CPU's cumulative time in hard interrupts, and in softirqs without those that interrupted them.
    pub irq_ns: u64,
    pub softirq_ns: u64,
    /// Cumulative time for which the group of `next` was throttled on this CPU with somebody in its queue.
    pub next_throttled_ns: u64,
    /// From the kernel's decision that `prev` is to go to this switch; 0: not known.
    pub resched_ns: u32,
    /// See [`pack_priority`].
    pub prev_priority: u32,
}

/// Policy and priority in 32 bits: the policy, nice as a signed byte from bit 8 on, the priority of real-time
/// policies from bit 16 on.
#[inline(always)]
pub const fn pack_priority(policy: u32, static_prio: u32, rt_priority: u32) -> u32 {
    // The static priority of nice 0 is 120: DEFAULT_PRIO, include/linux/sched/prio.h.
    let nice = static_prio.wrapping_sub(120) & 0xff;
    (policy & 0xff) | nice << 8 | rt_priority << 16
}

/// What woke a thread, above its tid in `waker`.
pub mod waker {
    /// Tids are below 2^22.
    pub const KIND_SHIFT: u32 = 24;
    pub const TID_MASK: u32 = (1 << KIND_SHIFT) - 1;
    /// The current thread, in a system call or in the kernel.
    pub const THREAD: u32 = 0;
    /// A hard interrupt: the current thread is a bystander.
    pub const IRQ: u32 = 1;
    pub const SOFTIRQ: u32 = 2;
    /// The interrupt or softirq that expires timers.
    pub const TIMER: u32 = 3;
    /// Nobody tells interrupts on this machine: it may have been one.
    pub const UNKNOWN: u32 = 4;
}

/// `sched_waking`: somebody decided to wake a thread. Fires before placement, so it names no CPU.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waking {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    /// Whoever was current: the waker, or the bystander whom an interrupt stopped. See [`waker`].
    pub waker: u32,
    pub waker_cpu: u16,
    /// The system call it was in and one more; 0: none, or it cannot be told.
    pub waker_syscall: u16,
    pub reserved: u32,
}

/// `sched_wakeup_new`: a new thread is on a run queue, its life begins.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WakeupNew {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    pub target_cpu: u32,
    /// As in [`Switch`], of the run queue it is on.
    pub rq_clock_ns: u64,
}

/// `sched_migrate_task`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Migrate {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    pub to_cpu: u32,
}

/// Flags of [`Thread`].
pub mod thread_flags {
    pub const KERNEL_THREAD: u16 = 1 << 0;
    /// An io_uring or vhost worker: user memory, but never in user space.
    pub const IO_WORKER: u16 = 1 << 1;
    pub const ON_CPU: u16 = 1 << 2;
    /// Past its last switch-out or about to be: a zombie.
    pub const DEAD: u16 = 1 << 3;
    /// Still stamped as queued.
    pub const QUEUED: u16 = 1 << 4;
    pub const IOWAIT: u16 = 1 << 5;
    pub const SYSCALL: u16 = 1 << 6;
    pub const COMPAT: u16 = 1 << 7;
    /// The thread was being switched while its fields were read: the counters may not belong together.
    pub const TORN: u16 = 1 << 8;
    /// Belongs to the tracer itself.
    pub const OWN: u16 = 1 << 9;
    /// `cgroup_id` was read.
    pub const CGROUP: u16 = 1 << 10;
    /// Created but not yet woken for the first time (`TASK_NEW`).
    pub const UNBORN: u16 = 1 << 11;
    /// `steal_ns` was measured.
    pub const STEAL: u16 = 1 << 12;
    /// As in [`switch_flags`].
    pub const UNWATCHED: u16 = 1 << 13;
}

/// Who a thread is and where its counters stand: from the task iterator and from `task_newtask`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Thread {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    pub tgid: u32,
    /// The thread group of the real parent; 0 for what the kernel started.
    pub ppid: u32,
    /// `TASK_*` bits.
    pub state: u32,
    /// `CLOCK_MONOTONIC`.
    pub start_ns: u64,
    pub nvcsw: u64,
    pub nivcsw: u64,
    pub run_delay_ns: u64,
    pub sum_exec_ns: u64,
    pub cgroup_id: u64,
    /// `task_newtask`: the clone flags. Iterator: 0.
    pub clone_flags: u64,
    /// `task_newtask`: the key of the thread that called clone. Iterator: 0.
    pub parent: u64,
    pub comm: [u8; 16],
    pub policy: u32,
    /// 100 + 20 + nice for the fair policies.
    pub static_prio: u32,
    pub rt_priority: u32,
    /// The CPU the thread is on, or was last.
    pub cpu: u32,
    pub syscall: u32,
    /// `task_newtask`: the tid of the thread that called clone. Iterator: 0.
    pub parent_tid: u32,
    /// As in [`Switch`], of the run queue the thread is on.
    pub steal_ns: u64,
    pub clock_lag_ns: u64,
    /// Iterator: a wake-up that no switch-in has told yet; else 0.
    pub waking_ns: u64,
}

/// `task_rename`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rename {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    pub reserved: u32,
    pub comm: [u8; 16],
}

/// `cgroup_attach_task`: a thread, or its whole process, is in another cgroup now.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cgroup {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    /// 0: this thread alone.
    pub whole_process: u32,
    pub cgroup_id: u64,
}

/// Flags of [`Left`] and [`Name`].
pub mod who_flags {
    pub const KERNEL_THREAD: u16 = 1 << 0;
    /// Belongs to the tracer itself.
    pub const OWN: u16 = 1 << 1;
    /// As in [`switch_flags`], or it may have been so.
    pub const GAP: u16 = 1 << 2;
    /// It has not left: somebody asked who is there.
    pub const STAYS: u16 = 1 << 3;
    /// What interrupts and steal took is not told: another CPU asked.
    pub const UNMEASURED: u16 = 1 << 4;
}

/// Who left `header.cpu` at `header.at_ns`, and is not watched. Kept while watched threads are on some run
/// queue, and told when one of them had waited here.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Left {
    pub header: Header,
    /// 0 for the idle thread.
    pub tid: u32,
    pub tgid: u32,
    pub comm: [u8; 16],
    /// See [`pack_priority`].
    pub priority: u32,
    /// Who came; of one that stays: itself.
    pub next_tid: u32,
    /// As in [`Switch`]: cumulative for this CPU.
    pub steal_ns: u64,
    pub irq_ns: u64,
    pub softirq_ns: u64,
    /// How long it has had the CPU by the clock of the run queue; 0: not known. Before that, if somebody else came
    /// last, that one had it, or others whom the kernel does not show.
    pub ran_ns: u64,
}

/// Who a thread is that is not watched.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Name {
    pub header: Header,
    pub tid: u32,
    pub tgid: u32,
    pub comm: [u8; 16],
    /// See [`pack_priority`].
    pub priority: u32,
    pub reserved: u32,
}

/// The ring of `header.cpu` was full: records of one probe are missing before this point.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Lost {
    pub header: Header,
    /// See [`crate::counters::Probe`].
    pub probe: u32,
    pub reserved: u32,
    /// How many this probe lost on this CPU since it was attached.
    pub total: u64,
}

/// What `header.cpu` has counted up to `header.at_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CpuSwitches {
    pub header: Header,
    pub counted: crate::counters::CpuSwitches,
}

const _: () = {
    assert!(size_of::<Header>() == 16);
    assert!(size_of::<Switch>() == 176);
    assert!(size_of::<CpuSwitches>() == 96);
    assert!(size_of::<Waking>() == 40);
    assert!(size_of::<WakeupNew>() == 40);
    assert!(size_of::<Migrate>() == 32);
    assert!(size_of::<Thread>() == 168);
    assert!(size_of::<Rename>() == 48);
    assert!(size_of::<Cgroup>() == 40);
    assert!(size_of::<Lost>() == 32);
    assert!(size_of::<Left>() == 80);
    assert!(size_of::<Name>() == 48);
};
