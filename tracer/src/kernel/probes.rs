//! The kernel programs and where they are attached, in the order of attaching.
//!
//! Births before switches: from the first switch record on, every thread that is born is told.

/// A `tp_btf` program.
pub struct Probe {
    /// The program's name in the object, and the tracepoint's.
    pub name: &'static str,
    /// Without it tracing still starts; `doctor` says what is lost.
    pub optional: bool,
}

const fn required(name: &'static str) -> Probe {
    Probe {
        name,
        optional: false,
    }
}

/// Only where it is asked for: the kernel decides often, and for every thread.
pub const RESCHED: &str = "sched_set_need_resched_tp";

pub const PROBES: &[Probe] = &[
    required("task_newtask"),
    Probe {
        name: "sched_process_fork",
        optional: true,
    },
    Probe {
        name: "cgroup_attach_task",
        optional: true,
    },
    required("sched_process_exec"),
    required("sched_process_exit"),
    required("task_rename"),
    required("sched_migrate_task"),
    required("sched_wakeup_new"),
    Probe {
        name: RESCHED,
        optional: true,
    },
    required("sched_waking"),
    required("sched_switch"),
];

/// The iterator program, and the iterator it belongs to.
pub const SNAPSHOT: (&str, &str) = ("snapshot", "task");

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
