use std::path::PathBuf;

use super::*;
use crate::kernel::btf::tests::{real_kernel, small_kernel};
use crate::kernel::{fields, interrupts};

/// A machine where nothing is wrong but what a test makes wrong.
fn machine() -> Facts {
    let btf = Btf::parse(small_kernel()).expect("whole");
    let mut fields = fields::resolve(&btf);
    fields.missing_required.clear();
    Facts {
        release: "6.18.44-test".to_owned(),
        cpus: 2,
        fields: Some(fields),
        capabilities: Some(1 << 38 | 1 << 39),
        initial_user_namespace: Some(true),
        initial_pid_namespace: Some(true),
        open_files: Some(1024),
        ..Facts::default()
    }
}

fn refusal(facts: Facts, btf: Option<Btf>) -> Option<Refusal> {
    let mut requirements = kernel::requirements(&facts, btf.as_ref());
    // The small kernel has one tracepoint only; the real ones are another test's matter.
    requirements.retain(|found| !found.seen.contains("no such tracepoint"));
    requirements.extend(access::requirements(&facts));
    requirements.extend(optional::requirements(&facts, btf.as_ref()));
    Preflight {
        requirements,
        btf,
        fields: facts.fields,
    }
    .refusal()
}

fn small() -> Option<Btf> {
    Some(Btf::parse(small_kernel()).expect("whole"))
}

#[test]
fn a_machine_with_everything_is_not_refused() {
    assert_eq!(refusal(machine(), small()), None);
    let admin = Facts {
        capabilities: Some(1 << 21),
        ..machine()
    };
    assert_eq!(refusal(admin, small()), None);
}

#[test]
fn what_could_not_be_told_does_not_refuse() {
    let facts = Facts {
        release: "strange".to_owned(),
        cpus: 2,
        open_files: Some(1024),
        ..Facts::default()
    };
    let refusal = refusal(facts, small());
    assert_eq!(refusal, None);
}

#[test]
fn all_obstacles_are_told_at_once_each_with_its_remedy() {
    let facts = Facts {
        release: "5.4.0".to_owned(),
        btf_path: PathBuf::from("/sys/kernel/btf/vmlinux"),
        btf_error: Some("not exposed by this kernel".to_owned()),
        fields: None,
        capabilities: Some(0),
        initial_pid_namespace: Some(false),
        open_files: Some(16),
        memlock: Some(65_536),
        ..machine()
    };
    insta::assert_snapshot!(refusal(facts, None).expect("nothing works").to_string(), @r"
    cannot trace the scheduler, 6 requirements are missing
      kernel version        5.4.0
                            boot Linux 5.10 or newer
      kernel BTF            not exposed by this kernel (/sys/kernel/btf/vmlinux, kernel 5.4.0)
                            boot a kernel built with CONFIG_DEBUG_INFO_BTF=y
      CAP_BPF, CAP_PERFMON  this process has no capabilities
                            run as root, or: setcap cap_bpf,cap_perfmon+ep $(command -v tracer)
      PID namespace         this process is in a container's: the numbers here are not the kernel's
                            run on the host, or start the container with --pid=host
      open files            limit 16, needed 98
                            ulimit -n 98
      locked memory         limit 65536 bytes, and kernels before 5.11 charge the buffers to it
                            ulimit -l unlimited, or run as root
    ");
}

#[test]
fn capabilities_inside_a_user_namespace_do_not_count() {
    let facts = Facts {
        initial_user_namespace: Some(false),
        capabilities: Some(u64::MAX),
        ..machine()
    };
    insta::assert_snapshot!(refusal(facts, small()).expect("refused").to_string(), @r"
    cannot trace the scheduler, 1 requirement is missing
      CAP_BPF, CAP_PERFMON  this process has them only inside a user namespace
                            run as root on the host, outside of the user namespace (container)
    ");
    let facts = Facts {
        capabilities: Some(1 << 39),
        ..machine()
    };
    insta::assert_snapshot!(refusal(facts, small()).expect("refused").to_string(), @r"
    cannot trace the scheduler, 1 requirement is missing
      CAP_BPF, CAP_PERFMON  this process lacks CAP_PERFMON
                            run as root, or: setcap cap_bpf,cap_perfmon+ep $(command -v tracer)
    ");
}

#[test]
fn missing_fields_are_named() {
    let fields = fields::resolve(&small().expect("whole"));
    let missing = vec![
        "task_struct.sched_info.last_queued".to_owned(),
        "rq.clock".to_owned(),
    ];
    let facts = Facts {
        fields: Some(Fields {
            missing_required: missing,
            ..fields
        }),
        ..machine()
    };
    insta::assert_snapshot!(refusal(facts, small()).expect("refused").to_string(), @r"
    cannot trace the scheduler, 2 requirements are missing
      SCHED_INFO     this kernel does not have task_struct.sched_info.last_queued
                     boot a kernel built with CONFIG_SCHED_INFO=y (by CONFIG_SCHEDSTATS or CONFIG_TASK_DELAY_ACCT)
      kernel fields  this kernel does not have rq.clock
                     this kernel is laid out in a way unknown to this build: get a newer tracer, or report it
    ");
}

#[test]
fn this_machine_has_all_tracepoints() {
    let Some(btf) = real_kernel() else { return };
    let list = kernel::requirements(&machine(), Some(&btf));
    let missing: Vec<_> = list
        .iter()
        .filter(|found| found.state == State::Missing)
        .collect();
    assert_eq!(missing, Vec::<&Requirement>::new());
}

#[test]
fn what_a_kernel_does_not_tell_of_interrupts_is_named() {
    let row = |change: fn(&mut fields::Fields)| {
        let mut facts = machine();
        let fields = facts.fields.as_mut().expect("resolved");
        fields.interrupts = interrupts::Told::default();
        change(fields);
        let list = optional::requirements(&facts, small().as_ref());
        let rows = list
            .into_iter()
            .filter(|row| ["interrupts", "calls between CPUs"].contains(&row.name.as_str()));
        rows.map(|row| (row.state, row.seen)).collect::<Vec<_>>()
    };
    let fine = (State::Found, "this kernel tells".to_owned());
    let lacks = |what: &str| (State::Missing, what.to_owned());
    let calls = |row| {
        if cfg!(target_arch = "x86_64") {
            vec![row]
        } else {
            Vec::new()
        }
    };
    assert_eq!(
        row(|_| ()),
        [vec![fine.clone()], calls(fine.clone())].concat()
    );
    assert_eq!(
        row(|fields| fields.interrupts.untold.push("irq_work_entry".to_owned())),
        [
            vec![fine],
            calls(lacks("this kernel has no irq_work_entry"))
        ]
        .concat()
    );
    assert_eq!(
        row(|fields| fields.interrupts.missing.push("softirq_entry".to_owned())),
        [lacks("this kernel has no softirq_entry")]
    );
    assert_eq!(
        row(|fields| fields.interrupts.threaded = true),
        [lacks("softirqs run in threads here (PREEMPT_RT)")]
    );
}

#[test]
fn an_error_of_the_kernel_becomes_one_line_with_a_remedy() {
    #[derive(Debug, thiserror::Error)]
    #[error("the BPF_PROG_LOAD syscall failed.\nVerifier output: {log}")]
    struct Load {
        log: String,
        #[source]
        source: io::Error,
    }
    let load = |errno, log: &str| {
        let source = io::Error::from_raw_os_error(errno);
        refused_by_kernel(
            "load sched_switch",
            &Load {
                log: log.to_owned(),
                source,
            },
        )
        .to_string()
    };
    let text = load(12, "x");
    insta::assert_snapshot!(text, @r"
    cannot trace the scheduler, the kernel refused
      load sched_switch  the BPF_PROG_LOAD syscall failed. Verifier output: x: Cannot allocate memory (os error 12)
                         not enough memory for the kernel: try a smaller --buffer
    ");
    assert!(load(1, "").contains("lockdown"));
    let long = load(22, &format!("{}the end", "insn\n".repeat(10_000)));
    assert_eq!(long.lines().count(), 3);
    assert!(long.len() < 1000 && long.contains("the end"));
}

#[test]
fn kernels_that_may_skip_events_are_told() {
    let skipping = |release: &str| {
        let facts = Facts {
            release: release.to_owned(),
            ..machine()
        };
        let mut list = optional::requirements(&facts, None).into_iter();
        let found = list.find(|found| found.name == "no skipped events");
        found.expect("it is told").state
    };
    assert_eq!(skipping("6.18.44-cloud"), State::Found);
    assert_eq!(skipping("7.3.4+deb13-cloud-amd64"), State::Unknown);
    assert_eq!(skipping("?"), State::Unknown);
}
