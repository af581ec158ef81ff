//! What the running kernel must offer.

use super::facts::Facts;
use super::{Requirement, State};
use crate::kernel::btf::Btf;

const ALL: &str = "all tracing";
const NEEDS_BTF: &str = "cannot be told without the kernel BTF";

/// The oldest kernel whose ring buffer, typed tracepoints and iterators all work as needed.
const OLDEST: (u32, u32) = (5, 10);

/// Tracepoint, whether required, what is lost without it.
const TRACEPOINTS: &[(&str, bool, &str)] = &[
    (
        "sched_switch",
        true,
        "all tracing: it is the event that is counted",
    ),
    (
        "sched_waking",
        true,
        "all tracing: no wait could be told from a sleep",
    ),
    (
        "sched_wakeup_new",
        true,
        "all tracing: no life would have a beginning",
    ),
    (
        "sched_migrate_task",
        true,
        "all tracing: waits would not add up across CPUs",
    ),
    (
        "task_newtask",
        true,
        "all tracing: new threads would have no name",
    ),
    (
        "sched_process_exec",
        true,
        "all tracing: a thread that calls exec would be lost from sight",
    ),
    (
        "sched_process_exit",
        true,
        "all tracing: no life would have an end",
    ),
    (
        "task_rename",
        true,
        "all tracing: threads would keep names they no longer have",
    ),
    (
        "sched_process_fork",
        false,
        "fork is not told from kernel-made workers",
    ),
    (
        "cgroup_attach_task",
        false,
        "threads are taken to be in the cgroup they were first seen in",
    ),
];

pub fn requirements(facts: &Facts, btf: Option<&Btf>) -> Vec<Requirement> {
    let mut list = vec![version(facts), kernel_btf(facts, btf)];
    list.extend(
        TRACEPOINTS
            .iter()
            .map(|&(name, required, lost)| tracepoint(btf, name, required, lost)),
    );
    list.push(task_iterator(btf));
    list.extend(fields(facts));
    list.push(jit(facts));
    list
}

/// `6.18.44-cloud` -> (6, 18).
pub fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|character: char| !character.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn version(facts: &Facts) -> Requirement {
    let state = match parse_version(&facts.release) {
        Some(version) if version >= OLDEST => State::Found,
        Some(_) => State::Missing,
        None => State::Unknown,
    };
    Requirement {
        name: "kernel version".to_owned(),
        state,
        seen: facts.release.clone(),
        lost: ALL,
        remedy: "boot Linux 5.10 or newer".to_owned(),
        required: true,
    }
}

fn kernel_btf(facts: &Facts, btf: Option<&Btf>) -> Requirement {
    let path = facts.btf_path.display();
    let (state, seen) = match (btf, &facts.btf_error) {
        (Some(_), _) => (State::Found, path.to_string()),
        (None, error) => {
            let why = error.as_deref().unwrap_or("not read");
            (
                State::Missing,
                format!("{why} ({path}, kernel {})", facts.release),
            )
        }
    };
    Requirement {
        name: "kernel BTF".to_owned(),
        state,
        seen,
        lost: ALL,
        remedy: "boot a kernel built with CONFIG_DEBUG_INFO_BTF=y".to_owned(),
        required: true,
    }
}

pub fn tracepoint(
    btf: Option<&Btf>,
    name: &str,
    required: bool,
    lost: &'static str,
) -> Requirement {
    let (state, seen) = match btf.map(|btf| btf.tracepoint(name)) {
        Some(Some(_)) => (State::Found, "tracepoint".to_owned()),
        Some(None) => (
            State::Missing,
            "this kernel has no such tracepoint".to_owned(),
        ),
        None => (State::Unknown, NEEDS_BTF.to_owned()),
    };
    Requirement {
        name: name.to_owned(),
        state,
        seen,
        lost,
        remedy: "boot a kernel built with CONFIG_TRACEPOINTS=y that has it".to_owned(),
        required,
    }
}

fn task_iterator(btf: Option<&Btf>) -> Requirement {
    let (state, seen) = match btf.map(|btf| btf.function_exists("bpf_iter_task")) {
        Some(true) => (State::Found, "bpf_iter_task".to_owned()),
        Some(false) => (
            State::Missing,
            "this kernel has no bpf_iter_task".to_owned(),
        ),
        None => (State::Unknown, NEEDS_BTF.to_owned()),
    };
    Requirement {
        name: "task iterator".to_owned(),
        state,
        seen,
        lost: "all tracing: threads that exist already could not be listed, nor any total checked",
        remedy: "boot a kernel built with CONFIG_BPF_SYSCALL=y and CONFIG_PROC_FS=y".to_owned(),
        required: true,
    }
}

/// The run-queue statistics have their own configuration option; all other fields are expected everywhere.
fn fields(facts: &Facts) -> [Requirement; 2] {
    let missing = facts.fields.as_ref().map(|fields| {
        fields
            .missing_required
            .iter()
            .partition::<Vec<&String>, _>(|name| name.contains("sched_info."))
    });
    let judge = |missing: Option<&Vec<&String>>, found: &str| match missing {
        None => (State::Unknown, NEEDS_BTF.to_owned()),
        Some(none) if none.is_empty() => (State::Found, found.to_owned()),
        Some(names) => {
            let names: Vec<&str> = names.iter().map(|name| name.as_str()).collect();
            (
                State::Missing,
                format!("this kernel does not have {}", names.join(", ")),
            )
        }
    };
    let (info, others) = (
        missing.as_ref().map(|found| &found.0),
        missing.as_ref().map(|found| &found.1),
    );
    let (info_state, info_seen) = judge(info, "task_struct.sched_info");
    let (state, seen) = judge(others, "all that are read");
    [
        Requirement {
            name: "SCHED_INFO".to_owned(),
            state: info_state,
            seen: info_seen,
            lost: "all tracing: the kernel would count no waits",
            remedy: "boot a kernel built with CONFIG_SCHED_INFO=y (by CONFIG_SCHEDSTATS or CONFIG_TASK_DELAY_ACCT)"
                .to_owned(),
            required: true,
        },
        Requirement {
            name: "kernel fields".to_owned(),
            state,
            seen,
            lost: ALL,
            remedy: "this kernel is laid out in a way unknown to this build: get a newer tracer, or report it".to_owned(),
            required: true,
        },
    ]
}

fn jit(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.jit.as_deref() {
        Some("0") => (State::Missing, "net.core.bpf_jit_enable is 0".to_owned()),
        Some(value) => (State::Found, format!("net.core.bpf_jit_enable is {value}")),
        None => (
            State::Unknown,
            "net.core.bpf_jit_enable cannot be read by this user".to_owned(),
        ),
    };
    Requirement {
        name: "BPF compiler (JIT)".to_owned(),
        state,
        seen,
        lost: "speed: each event costs several times as much when programs are interpreted",
        remedy: "sysctl net.core.bpf_jit_enable=1".to_owned(),
        required: false,
    }
}
