//! Reads of kernel structures through BTF pointers, at offsets found when the programs were loaded.

use aya_ebpf::{
    Global,
    helpers::{
        bpf_probe_read_kernel,
        generated::{bpf_get_current_task, bpf_get_current_task_btf, bpf_task_pt_regs},
    },
};
use tracer_common::{
    record::{pack_priority, thread_flags},
    settings::feature,
};

use crate::{registers::Registers, settings::*};

/// `PF_KTHREAD`, include/linux/sched.h: unchanged since 2.6.
const PF_KTHREAD: u32 = 0x0020_0000;
/// `PF_IO_WORKER`, since 5.12.
const PF_IO_WORKER: u32 = 0x10;
/// `PF_EXITING`, include/linux/sched.h: unchanged since 2.6.
const PF_EXITING: u32 = 0x4;
/// `TS_COMPAT`, arch/x86/include/asm/thread_info.h: a 32-bit system call is under way.
const TS_COMPAT: u32 = 0x2;
/// `TASK_DEAD`, include/linux/sched.h: since 4.14.
const TASK_DEAD: u32 = 0x80;
/// `TASK_NEW`, include/linux/sched.h.
const TASK_NEW: u32 = 0x800;
/// `TASK_ON_RQ_MIGRATING`, kernel/sched/sched.h.
const TASK_ON_RQ_MIGRATING: u8 = 2;

/// A pointer that the verifier knows the type of. A load through a stale or null one yields 0.
#[derive(Clone, Copy)]
pub struct Pointer(*const u8);

impl Pointer {
    #[inline(always)]
    pub fn new(address: *const u8) -> Pointer {
        Pointer(address)
    }

    /// One load. `Global::load` at the point of use keeps the offset a constant for the verifier.
    #[inline(always)]
    pub fn read<T: Copy>(self, offset: &Global<u64>) -> T {
        self.read_at(offset.load())
    }

    #[inline(always)]
    pub fn read_at<T: Copy>(self, offset: u64) -> T {
        // SAFETY: checked by the verifier against the type's BTF; faults read as 0.
        unsafe { self.0.add(offset as usize).cast::<T>().read_volatile() }
    }

    /// The same by a helper, which takes ten times as long: for what the verifier knows no type of.
    #[inline(always)]
    pub fn copy<T: Copy + Default>(self, offset: &Global<u64>) -> T {
        let place = self.0.wrapping_add(offset.load() as usize).cast::<T>();
        // SAFETY: the helper checks the address.
        unsafe { bpf_probe_read_kernel(place) }.unwrap_or_default()
    }

    #[inline(always)]
    pub fn follow(self, offset: &Global<u64>) -> Pointer {
        Pointer(self.read(offset))
    }

    #[inline(always)]
    pub fn address(self) -> u64 {
        self.0 as u64
    }
}

/// The key of whoever runs here. Its address is enough, so that 5.10 can do it.
#[inline(always)]
pub fn key_of_current() -> u64 {
    address_of_current() ^ KEY_SECRET.load()
}

/// As a plain number.
#[inline(always)]
pub fn address_of_current() -> u64 {
    // SAFETY: a helper without preconditions.
    unsafe { bpf_get_current_task() }
}

/// A `task_struct`.
#[derive(Clone, Copy)]
pub struct Task(Pointer);

impl Task {
    #[inline(always)]
    pub fn new(task: *const u8) -> Task {
        Task(Pointer(task))
    }

    /// Whoever runs here; only where `feature::SYSCALL` says that the kernel has newer helpers than this one.
    #[inline(always)]
    pub fn current() -> Task {
        // SAFETY: a helper without preconditions.
        Task::new(unsafe { bpf_get_current_task_btf() }.cast())
    }

    /// Writes the number that names the thread in the stream; see `tracer_common::record`.
    ///
    /// The verifier forbids bit operations on pointers. What is read back from a ring or a map
    /// (not from the stack) is a plain number to it.
    #[inline(always)]
    pub fn write_key(self, place: &mut u64) {
        let place = &raw mut *place;
        // SAFETY: `place` is a valid reference; volatile, so that the number makes the detour.
        unsafe {
            place.write_volatile(self.0.address());
            place.write(place.read_volatile() ^ KEY_SECRET.load());
        }
    }

    #[inline(always)]
    pub fn tid(self) -> u32 {
        self.0.read(&TASK_PID)
    }

    #[inline(always)]
    pub fn tgid(self) -> u32 {
        self.0.read(&TASK_TGID)
    }

    /// Whether this is the tracer itself: it too can take the CPU from others, and is named.
    #[inline(always)]
    pub fn is_own(self) -> bool {
        u64::from(self.tgid()) == OWN_TGID.load()
    }

    #[inline(always)]
    fn flags(self) -> u32 {
        self.0.read(&TASK_FLAGS)
    }

    #[inline(always)]
    pub fn is_kernel_thread(self) -> bool {
        self.flags() & PF_KTHREAD != 0
    }

    /// `TASK_*` bits as they stand now.
    #[inline(always)]
    pub fn state(self) -> u32 {
        self.0.read(&TASK_STATE)
    }

    #[inline(always)]
    pub fn nvcsw(self) -> u64 {
        self.0.read(&TASK_NVCSW)
    }

    #[inline(always)]
    pub fn nivcsw(self) -> u64 {
        self.0.read(&TASK_NIVCSW)
    }

    /// The number of this thread's last switch-out.
    #[inline(always)]
    pub fn seq(self) -> u64 {
        self.nvcsw().wrapping_add(self.nivcsw())
    }

    #[inline(always)]
    pub fn run_delay(self) -> u64 {
        self.0.read(&TASK_RUN_DELAY)
    }

    /// By the clock of its run queue; 0 when not stamped.
    #[inline(always)]
    pub fn last_queued(self) -> u64 {
        self.0.read(&TASK_LAST_QUEUED)
    }

    /// When it came to its CPU, by the clock of the run queue; 0 of idle threads.
    #[inline(always)]
    pub fn last_arrival(self) -> u64 {
        self.0.read(&TASK_LAST_ARRIVAL)
    }

    #[inline(always)]
    pub fn sum_exec(self) -> u64 {
        self.0.read(&TASK_SUM_EXEC)
    }

    #[inline(always)]
    pub fn mm(self) -> u64 {
        self.0.read(&TASK_MM)
    }

    #[inline(always)]
    pub fn active_mm(self) -> u64 {
        self.0.read(&TASK_ACTIVE_MM)
    }

    /// Its own; a null one, of which all is 0, of kernel threads and of who has given it back.
    #[inline(always)]
    pub fn address_space(self) -> AddressSpace {
        AddressSpace(self.0.follow(&TASK_MM))
    }

    /// On its way out.
    #[inline(always)]
    pub fn is_exiting(self) -> bool {
        self.flags() & PF_EXITING != 0
    }

    /// Makes a 32-bit system call.
    #[inline(always)]
    pub fn is_compat(self) -> bool {
        has(feature::COMPAT)
            && match cfg!(bpf_target_arch = "aarch64") {
                true => self.registers().are_32_bit(),
                false => self.0.read::<u32>(&TASK_THREAD_STATUS) & TS_COMPAT != 0,
            }
    }

    #[inline(always)]
    pub fn on_cpu(self) -> bool {
        // The whole field in Linux 7.3, before that the low byte of an int that is 0 or 1.
        self.0.read::<u8>(&TASK_ON_CPU) != 0
    }

    #[inline(always)]
    pub fn cpu(self) -> u32 {
        self.0.read(&TASK_CPU)
    }

    #[inline(always)]
    pub fn in_iowait(self) -> bool {
        has(feature::IOWAIT) && u64::from(self.0.read::<u8>(&TASK_IOWAIT)) & IOWAIT_MASK.load() != 0
    }

    #[inline(always)]
    pub fn is_throttled(self) -> bool {
        has(feature::THROTTLED) && self.0.read::<u8>(&TASK_THROTTLED) != 0
    }

    /// Two loads: `comm` is 16 bytes on every kernel.
    #[inline(always)]
    pub fn comm(self) -> [u8; 16] {
        let at = TASK_COMM.load();
        let halves = [self.0.read_at::<u64>(at), self.0.read_at::<u64>(at + 8)];
        // SAFETY: both are 16 bytes of plain integers.
        unsafe { core::mem::transmute(halves) }
    }

    #[inline(always)]
    pub fn start_time(self) -> u64 {
        self.0.read(&TASK_START_TIME)
    }

    /// The thread group of the real parent.
    #[inline(always)]
    pub fn ppid(self) -> u32 {
        Task(self.0.follow(&TASK_REAL_PARENT)).tgid()
    }

    #[inline(always)]
    pub fn exit_code(self) -> u32 {
        self.0.read(&TASK_EXIT_CODE)
    }

    #[inline(always)]
    pub fn policy(self) -> u32 {
        self.0.read(&TASK_POLICY)
    }

    #[inline(always)]
    pub fn static_prio(self) -> u32 {
        self.0.read(&TASK_STATIC_PRIO)
    }

    #[inline(always)]
    pub fn rt_priority(self) -> u32 {
        self.0.read(&TASK_RT_PRIORITY)
    }

    /// The run queue this thread is on, or was last; of `next` in a switch: that of this CPU.
    #[inline(always)]
    pub fn run_queue(self) -> RunQueue {
        self.group_queue().run_queue()
    }

    /// The queue of its group on that CPU.
    #[inline(always)]
    pub fn group_queue(self) -> GroupQueue {
        GroupQueue(self.0.follow(&TASK_CFS_RQ))
    }

    /// See `record::pack_priority`.
    #[inline(always)]
    pub fn priority(self) -> u32 {
        pack_priority(self.policy(), self.static_prio(), self.rt_priority())
    }

    /// Whether one of its `TIF_*` is set, by number; of `feature::RESCHED` only.
    #[inline(always)]
    pub fn has_thread_flag(self, number: u32) -> bool {
        self.0.read::<u64>(&TASK_THREAD_FLAGS) >> (number & 63) & 1 != 0
    }

    /// Is on no run queue just now, between two of them.
    #[inline(always)]
    pub fn is_migrating(self) -> bool {
        // As `on_cpu`: never more than 2.
        self.0.read::<u8>(&TASK_ON_RQ) == TASK_ON_RQ_MIGRATING
    }

    /// The id of its cgroup directory: the unified hierarchy's, or the version 1 cpu controller's.
    #[inline(always)]
    pub fn cgroup_id(self) -> u64 {
        if !reads_cgroups() {
            return 0;
        }
        let set = self.0.follow(&TASK_CGROUPS);
        let cgroup = if has(feature::CGROUP_V2) {
            set.follow(&CSS_SET_DFL_CGRP)
        } else {
            set.follow(&CSS_SET_SUBSYS).follow(&CSS_CGROUP)
        };
        cgroup.follow(&CGROUP_KN).read(&KN_ID)
    }

    /// The system call this thread is in, with whether it is a 32-bit one. `None` for threads that
    /// never are in one and on kernels that cannot tell; -1 stands there after an interrupt.
    #[inline(always)]
    pub fn syscall(self) -> Option<(u32, bool)> {
        if !has(feature::SYSCALL) || self.flags() & (PF_KTHREAD | PF_IO_WORKER) != 0 {
            return None;
        }
        let number = self.registers().number();
        // Also refuses -1. Real numbers are far below; the x32 bit is above.
        (number <= 0xffff).then(|| (number, self.is_compat()))
    }

    /// As it came into the kernel last; only where `feature::SYSCALL` says so.
    #[inline(always)]
    fn registers(self) -> Registers {
        // SAFETY: a helper that takes any task.
        Registers::new(unsafe { bpf_task_pt_regs(self.0.0.cast_mut().cast()) } as *const u8)
    }

    /// 0: it has none, or that cannot be told.
    #[inline(always)]
    pub fn user_stack_pointer(self) -> u64 {
        if has(feature::SYSCALL) && has(feature::STACKS) && !self.is_kernel_thread() {
            self.registers().stack_pointer()
        } else {
            0
        }
    }

    /// 0: not known.
    #[inline(always)]
    pub fn kernel_stack_pages(self) -> u32 {
        if has(feature::STACKS) {
            self.0.follow(&TASK_STACK).read(&VM_PAGES)
        } else {
            0
        }
    }

    /// The flags of a `Thread` record that do not depend on when it is taken.
    #[inline(always)]
    pub fn thread_flags(self) -> u16 {
        let flags = self.flags();
        let state = self.state();
        let mut answer = 0;
        if flags & PF_KTHREAD != 0 {
            answer |= thread_flags::KERNEL_THREAD;
        } else if flags & PF_IO_WORKER != 0 {
            answer |= thread_flags::IO_WORKER;
        }
        if state & TASK_DEAD != 0 {
            answer |= thread_flags::DEAD;
        }
        if state & TASK_NEW != 0 {
            answer |= thread_flags::UNBORN;
        }
        if self.in_iowait() {
            answer |= thread_flags::IOWAIT;
        }
        if self.is_own() {
            answer |= thread_flags::OWN;
        }
        if reads_cgroups() {
            answer |= thread_flags::CGROUP;
        }
        if has(feature::STEAL) {
            answer |= thread_flags::STEAL;
        }
        answer
    }
}

/// A `struct mm_struct`; of `feature::MEMORY` only.
#[derive(Clone, Copy)]
pub struct AddressSpace(Pointer);

impl AddressSpace {
    #[inline(always)]
    pub fn exists(self) -> bool {
        self.0.address() != 0
    }

    /// Resident pages of files, of shared memory and anonymous ones. Since 6.2 each CPU adds what it has gained
    /// or lost only once that is some dozens of pages (`percpu_counter_batch`).
    #[inline(always)]
    pub fn resident(self) -> u64 {
        let read = |offset| {
            let count: i64 = if has(feature::COPIED_COUNTS) {
                self.0.copy(offset)
            } else {
                self.0.read(offset)
            };
            count.max(0) as u64
        };
        read(&MM_FILE_PAGES)
            .wrapping_add(read(&MM_ANON_PAGES))
            .wrapping_add(read(&MM_SHMEM_PAGES))
    }

    /// The most there ever were, as far as the kernel has noticed.
    #[inline(always)]
    pub fn peak(self) -> u64 {
        self.0.read(&MM_PEAK_PAGES)
    }

    #[inline(always)]
    pub fn page_table_bytes(self) -> u64 {
        self.0.read(&MM_PAGE_TABLES)
    }

    #[inline(always)]
    pub fn mappings(self) -> u32 {
        self.0.read(&MM_MAPPINGS)
    }
}

/// A `struct cfs_rq`.
#[derive(Clone, Copy)]
pub struct GroupQueue(Pointer);

impl GroupQueue {
    #[inline(always)]
    pub fn run_queue(self) -> RunQueue {
        RunQueue(self.0.follow(&CFS_RQ_RQ))
    }

    /// Cumulative time for which it was throttled with somebody in it, up to the end of the last time.
    #[inline(always)]
    pub fn throttled(self) -> u64 {
        if has(feature::THROTTLED_TIME) {
            self.0.read(&CFS_RQ_THROTTLED)
        } else {
            0
        }
    }
}

/// A `struct rq`.
#[derive(Clone, Copy)]
pub struct RunQueue(Pointer);

impl RunQueue {
    #[inline(always)]
    pub fn clock(self) -> u64 {
        self.0.read(&RQ_CLOCK)
    }

    #[inline(always)]
    pub fn clock_task(self) -> u64 {
        self.0.read(&RQ_CLOCK_TASK)
    }

    /// Who is on the CPU of this run queue.
    #[inline(always)]
    pub fn current(self) -> Task {
        Task(self.0.follow(&RQ_CURR))
    }

    #[inline(always)]
    pub fn nr_running(self) -> u32 {
        self.0.read(&RQ_NR_RUNNING)
    }

    #[inline(always)]
    pub fn steal(self) -> u64 {
        if has(feature::STEAL) {
            self.0.read(&RQ_STEAL)
        } else {
            0
        }
    }
}
