//! What the loader writes into the kernel programs before they are verified.
//!
//! Every value is a read-only global of its own: the verifier sees constants, so a feature that is
//! off costs nothing, and a field offset may be used for a direct load through a BTF pointer.

/// Bits of the global `FEATURES`.
pub mod feature {
    /// `sched_switch` hands over `prev_state` as its fourth argument (5.18).
    pub const PREV_STATE_ARG: u64 = 1 << 0;
    /// `task_struct.throttled` (6.18).
    pub const THROTTLED: u64 = 1 << 1;
    /// `rq.prev_steal_time_rq` (CONFIG_PARAVIRT_TIME_ACCOUNTING).
    pub const STEAL: u64 = 1 << 2;
    /// `bpf_task_pt_regs` (5.15) on x86-64 and arm64: the system call a thread is in.
    pub const SYSCALL: u64 = 1 << 3;
    /// `thread_info.status` (x86-64) or `pt_regs.pstate` (arm64) tells 32-bit system calls.
    pub const COMPAT: u64 = 1 << 4;
    /// `task_struct.in_iowait`.
    pub const IOWAIT: u64 = 1 << 5;
    /// Cgroup ids come from the unified hierarchy.
    pub const CGROUP_V2: u64 = 1 << 6;
    /// Cgroup ids come from the cpu controller's own hierarchy (version 1).
    pub const CGROUP_V1: u64 = 1 << 7;
    /// Only what concerns watched threads is told.
    pub const NARROW: u64 = 1 << 8;
    /// Processes that watched ones create are watched, too.
    pub const CHILDREN: u64 = 1 << 9;
    /// Switches go to slots. Where stores may become visible in another order than they were made in
    /// (arm64), BPF has no cheap means against it: there they go to the rings.
    pub const SLOTS: u64 = 1 << 10;
    /// The programs that measure interrupts are attached.
    pub const INTERRUPTS: u64 = 1 << 11;
    /// `sched_set_need_resched_tp` (6.16) is attached.
    pub const RESCHED: u64 = 1 << 12;
    /// How long a group was throttled on a CPU is known (CONFIG_CFS_BANDWIDTH).
    pub const THROTTLED_TIME: u64 = 1 << 13;
    /// System calls that create, replace and wait for processes are watched, and writes after a fork.
    pub const FORKS: u64 = 1 << 14;
    /// `sched_process_exit` comes before the address space is given back: since 6.16, when it began to tell
    /// whether all of a process has ended.
    pub const GROUP_DEAD: u64 = 1 << 15;
    /// What an address space holds can be read.
    pub const MEMORY: u64 = 1 << 16;
    /// The size of a thread's kernel stack is known (CONFIG_VMAP_STACK), and its stack pointer in user space.
    pub const STACKS: u64 = 1 << 17;
    /// The counts of resident pages are in an array that the verifier does not look into (before 6.2).
    pub const COPIED_COUNTS: u64 = 1 << 18;
}

/// Names of the other globals.
pub mod global {
    /// `u64`: bits of [`super::feature`].
    pub const FEATURES: &str = "FEATURES";
    /// `u64`: the thread group of the tracer itself.
    pub const OWN_TGID: &str = "OWN_TGID";
    /// `u64`: exclusive-or of every thread key, so that no kernel address leaves the machine.
    pub const KEY_SECRET: &str = "KEY_SECRET";
    /// `u64`: the bit of `in_iowait` in its byte.
    pub const IOWAIT_MASK: &str = "IOWAIT_MASK";
    /// `u64`: 2^n - 1, for 2^n slots a CPU.
    pub const SLOT_MASK: &str = "SLOT_MASK";
    /// `u64`: that n.
    pub const SLOT_SHIFT: &str = "SLOT_SHIFT";
    /// `u64`: 2^n - 1, for 2^n entries in the history of a CPU.
    pub const HISTORY_MASK: &str = "HISTORY_MASK";
    /// `u64`: that n.
    pub const HISTORY_SHIFT: &str = "HISTORY_SHIFT";
    /// `u64`: 2^n - 1. Every 2^n-th record of a probe on a CPU wakes the collector.
    pub const WAKE_MASK: &str = "WAKE_MASK";
}

/// Calls `$with!` with one line per kernel structure field the programs read:
/// `GLOBAL: "structure" "path" required|optional;`. A path may name alternatives with `|`,
/// the newest kernel's first, and elements of arrays with `[N]`. The global of that name (`u64`) holds the offset in bytes.
///
/// This is the one list: the programs declare their globals from it, the loader resolves it.
#[macro_export]
macro_rules! kernel_fields {
    ($with:ident) => {
        $with! {
            TASK_PID: "task_struct" "pid" required;
            TASK_TGID: "task_struct" "tgid" required;
            TASK_FLAGS: "task_struct" "flags" required;
            TASK_STATE: "task_struct" "__state|state" required;
            TASK_EXIT_CODE: "task_struct" "exit_code" required;
            TASK_ON_CPU: "task_struct" "on_cpu" required;
            TASK_CPU: "task_struct" "thread_info.cpu|cpu" required;
            TASK_NVCSW: "task_struct" "nvcsw" required;
            TASK_NIVCSW: "task_struct" "nivcsw" required;
            TASK_RUN_DELAY: "task_struct" "sched_info.run_delay" required;
            TASK_LAST_QUEUED: "task_struct" "sched_info.last_queued" required;
            TASK_LAST_ARRIVAL: "task_struct" "sched_info.last_arrival" required;
            TASK_SUM_EXEC: "task_struct" "se.sum_exec_runtime" required;
            TASK_CFS_RQ: "task_struct" "se.cfs_rq" required;
            TASK_MM: "task_struct" "mm" required;
            TASK_ACTIVE_MM: "task_struct" "active_mm" required;
            TASK_COMM: "task_struct" "comm" required;
            TASK_START_TIME: "task_struct" "start_time" required;
            TASK_REAL_PARENT: "task_struct" "real_parent" required;
            TASK_POLICY: "task_struct" "policy" required;
            TASK_STATIC_PRIO: "task_struct" "static_prio" required;
            TASK_RT_PRIORITY: "task_struct" "rt_priority" required;
            TASK_IOWAIT: "task_struct" "in_iowait" optional;
            TASK_THROTTLED: "task_struct" "throttled" optional;
            TASK_THREAD_STATUS: "task_struct" "thread_info.status" optional;
            TASK_CGROUPS: "task_struct" "cgroups" optional;
            TASK_ON_RQ: "task_struct" "on_rq" required;
            TASK_THREAD_FLAGS: "task_struct" "thread_info.flags" optional;
            CFS_RQ_RQ: "cfs_rq" "rq" required;
            CFS_RQ_THROTTLED: "cfs_rq" "throttled_clock_self_time|throttled_clock_pelt_time|throttled_clock_task_time" optional;
            RQ_CLOCK: "rq" "clock" required;
            RQ_CLOCK_TASK: "rq" "clock_task" required;
            RQ_CURR: "rq" "curr" required;
            RQ_NR_RUNNING: "rq" "nr_running" required;
            RQ_STEAL: "rq" "prev_steal_time_rq" optional;
            CSS_SET_DFL_CGRP: "css_set" "dfl_cgrp" optional;
            CSS_SET_SUBSYS: "css_set" "subsys" optional;
            CSS_CGROUP: "cgroup_subsys_state" "cgroup" optional;
            CGROUP_KN: "cgroup" "kn" optional;
            KN_ID: "kernfs_node" "id" optional;
            PT_REGS_CALL: "pt_regs" "orig_ax|syscallno" optional;
            PT_REGS_SP: "pt_regs" "sp" optional;
            PT_REGS_THIRD: "pt_regs" "dx|regs[2]" optional;
            PT_REGS_FOURTH: "pt_regs" "r10|regs[3]" optional;
            PT_REGS_STATE: "pt_regs" "pstate" optional;
            TASK_STACK: "task_struct" "stack_vm_area" optional;
            VM_PAGES: "vm_struct" "nr_pages" optional;
            MM_FILE_PAGES: "mm_struct" "rss_stat[0].count|rss_stat.count[0]" optional;
            MM_ANON_PAGES: "mm_struct" "rss_stat[1].count|rss_stat.count[1]" optional;
            MM_SHMEM_PAGES: "mm_struct" "rss_stat[3].count|rss_stat.count[3]" optional;
            MM_PEAK_PAGES: "mm_struct" "hiwater_rss" optional;
            MM_PAGE_TABLES: "mm_struct" "pgtables_bytes" optional;
            MM_MAPPINGS: "mm_struct" "map_count" optional;
        }
    };
}
