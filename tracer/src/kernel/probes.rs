//! The kernel programs and where they are attached, in the order of attaching.
//!
//! Births before switches: from the first switch record on, every thread that is born is told.

/// A `tp_btf` program.
pub struct Probe {
    /// The program's name in the object, and the tracepoint's.
    pub name: &'static str,
    /// Without it tracing still starts; `doctor` says what is lost.
    pub optional: bool,
    pub when: When,
}

/// When a program is loaded and attached.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    Always,
    /// The delay from a decision to its switch is asked for: the kernel decides often, and for every thread.
    Resched,
    /// What births and ends cost is asked for: every system call of the machine is slower.
    Forks,
    /// What switches cost in place is asked for.
    SwitchCost,
}

const fn required(name: &'static str) -> Probe {
    Probe {
        name,
        optional: false,
        when: When::Always,
    }
}

const fn optional(name: &'static str, when: When) -> Probe {
    Probe {
        name,
        optional: true,
        when,
    }
}

pub const SYS_ENTER: &str = "sys_enter";
pub const SYS_EXIT: &str = "sys_exit";
pub const PAGE_FAULT: &str = "page_fault_user";

pub const SCHED_ENTRY: &str = "sched_entry_tp";
pub const SCHED_EXIT: &str = "sched_exit_tp";

pub const PROBES: &[Probe] = &[
    required("task_newtask"),
    optional("sched_process_fork", When::Always),
    optional("cgroup_attach_task", When::Always),
    required("sched_process_exec"),
    required("sched_process_exit"),
    required("task_rename"),
    required("sched_migrate_task"),
    required("sched_wakeup_new"),
    // What returns has begun: the other way round some would begin and never return.
    optional(SYS_EXIT, When::Forks),
    optional(SYS_ENTER, When::Forks),
    optional(PAGE_FAULT, When::Forks),
    optional("page_fault_kernel", When::Forks),
    optional("exit_mmap", When::Forks),
    optional("sched_set_need_resched_tp", When::Resched),
    optional(SCHED_EXIT, When::SwitchCost),
    optional(SCHED_ENTRY, When::SwitchCost),
    required("sched_waking"),
    required("sched_switch"),
];

/// The iterator program, and the iterator it belongs to.
pub const SNAPSHOT: (&str, &str) = ("snapshot", "task");

/// The same, where only some threads are watched.
pub const STACKS: (&str, &str) = ("stacks", "task");

/// Programs that do nothing, and their tracepoints.
pub const EMPTY: [(&str, &str); 2] = [
    ("empty_switch", "sched_switch"),
    ("empty_waking", "sched_waking"),
];

/// Run by the loader and attached to nothing: chooses threads, and looks whether a CPU idles.
pub const WATCH: &str = "watch_threads";
pub const LOOK: &str = "look_at_cpu";
/// The same: shows what is kept of a CPU.
pub const SHOW: &str = "show_history";

/// Of the ruler alone (`super::ruler`), and their tracepoints.
pub const EMPTY_PAIR: (&str, &str) = ("empty_pair", SCHED_ENTRY);
pub const SPACE_CHANGES: (&str, &str) = ("space_changes", "sched_switch");
pub const TLB_FLUSH: &str = "tlb_flush";
