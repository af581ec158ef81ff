//! What this user, here, must be allowed to do.

use super::facts::Facts;
use super::kernel::parse_version;
use super::{Requirement, State};

const SYS_PTRACE: u32 = 19;
const SYS_ADMIN: u32 = 21;
const SYS_RESOURCE: u32 = 24;
const PERFMON: u32 = 38;
const BPF: u32 = 39;

/// Descriptors held beside one ring per CPU: programs, maps, links, BTF, files.
const OWN_FILES: u64 = 96;

pub fn requirements(facts: &Facts) -> Vec<Requirement> {
    let mut list = vec![
        capabilities(facts),
        ptrace(facts),
        pid_namespace(facts),
        lockdown(facts),
        open_files(facts),
    ];
    list.extend(memlock(facts));
    list
}

fn has(facts: &Facts, capability: u32) -> bool {
    facts
        .capabilities
        .is_some_and(|set| set >> capability & 1 == 1)
}

fn capabilities(facts: &Facts) -> Requirement {
    let admin = has(facts, SYS_ADMIN);
    let both = has(facts, BPF) && has(facts, PERFMON);
    let foreign = facts.initial_user_namespace == Some(false);
    let mut remedy = "run as root, or: setcap cap_bpf,cap_perfmon+ep $(command -v tracer)";
    let (state, seen) = match facts.capabilities {
        None => (State::Unknown, "/proc/self/status cannot be read"),
        Some(_) if foreign && (both || admin) => {
            remedy = "run as root on the host, outside of the user namespace (container)";
            (
                State::Missing,
                "this process has them only inside a user namespace",
            )
        }
        Some(_) if both => (State::Found, "both"),
        Some(_) if admin => (State::Found, "CAP_SYS_ADMIN, which includes them"),
        Some(0) => (State::Missing, "this process has no capabilities"),
        Some(_) if has(facts, BPF) => (State::Missing, "this process lacks CAP_PERFMON"),
        Some(_) if has(facts, PERFMON) => (State::Missing, "this process lacks CAP_BPF"),
        Some(_) => (State::Missing, "this process has other capabilities only"),
    };
    Requirement {
        name: "CAP_BPF, CAP_PERFMON".to_owned(),
        state,
        seen: seen.to_owned(),
        lost: "all tracing: only with them the kernel loads programs that read scheduler state",
        remedy: remedy.to_owned(),
        required: true,
    }
}

/// No reason to refuse: nothing that is traced takes it.
fn ptrace(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.capabilities {
        None => (State::Unknown, "/proc/self/status cannot be read"),
        Some(_) if has(facts, SYS_PTRACE) => (State::Found, "this process has it"),
        Some(_) => (State::Missing, "this process lacks it"),
    };
    Requirement {
        name: "CAP_SYS_PTRACE".to_owned(),
        state,
        seen: seen.to_owned(),
        lost: "what processes of other users have in memory at the end is n/a, but for their resident size",
        remedy: "run as root".to_owned(),
        required: false,
    }
}

fn pid_namespace(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.initial_pid_namespace {
        Some(true) => (State::Found, "the one of the host"),
        Some(false) => (
            State::Missing,
            "this process is in a container's: the numbers here are not the kernel's",
        ),
        None => (State::Unknown, "/proc/self/ns/pid cannot be read"),
    };
    Requirement {
        name: "PID namespace".to_owned(),
        state,
        seen: seen.to_owned(),
        lost: "all tracing: threads would be mixed up with others of the same number",
        remedy: "run on the host, or start the container with --pid=host".to_owned(),
        required: true,
    }
}

/// No reason to refuse: what a locked-down kernel forbids differs, and loading will tell.
fn lockdown(facts: &Facts) -> Requirement {
    let (state, seen) = match facts.lockdown.as_deref() {
        Some("confidentiality") => (
            State::Unknown,
            "confidentiality: the kernel may refuse to load programs".to_owned(),
        ),
        Some(mode) => (State::Found, mode.to_owned()),
        None => (
            State::Unknown,
            "/sys/kernel/security/lockdown cannot be read".to_owned(),
        ),
    };
    Requirement {
        name: "no kernel lockdown".to_owned(),
        state,
        seen,
        lost: "possibly all tracing: the kernel may refuse to load programs",
        remedy: "to see it: mount -t securityfs none /sys/kernel/security; to lift it: boot without lockdown="
            .to_owned(),
        required: false,
    }
}

fn open_files(facts: &Facts) -> Requirement {
    let needed = facts.cpus.saturating_add(OWN_FILES);
    let enough = facts.open_files.is_none_or(|limit| limit >= needed);
    Requirement {
        name: "open files".to_owned(),
        state: if enough { State::Found } else { State::Missing },
        seen: match facts.open_files {
            Some(limit) => format!("limit {limit}, needed {needed}"),
            None => "no limit".to_owned(),
        },
        lost: "all tracing: every CPU has a ring buffer of its own, each an open file",
        remedy: format!("ulimit -n {needed}"),
        required: true,
    }
}

/// Since 5.11 BPF memory is charged to the cgroup, not to this limit.
fn memlock(facts: &Facts) -> Option<Requirement> {
    parse_version(&facts.release).filter(|&version| version < (5, 11))?;
    let raised = facts.memlock.is_none() || has(facts, SYS_RESOURCE);
    Some(Requirement {
        name: "locked memory".to_owned(),
        state: if raised { State::Found } else { State::Missing },
        seen: match facts.memlock {
            None => "no limit".to_owned(),
            Some(limit) if raised => format!("limit {limit} bytes, may be raised"),
            Some(limit) => {
                format!("limit {limit} bytes, and kernels before 5.11 charge the buffers to it")
            }
        },
        lost: "all tracing: no buffer could be made",
        remedy: "ulimit -l unlimited, or run as root".to_owned(),
        required: true,
    })
}
