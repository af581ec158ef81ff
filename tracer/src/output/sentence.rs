//! Waits in words, the same on screen and in JSON: who had the CPU, who woke whom, what a spike was made of.
//!
//! In: rows of the report. Out: one line, names escaped, no colour.

use super::{escape, human, words};
use crate::model::{Nanos, WaitCause, WakerKind};
use crate::report::{ChargeKind, Spike, SpikeCause, SpikeWaker, WaitedFor, Who};

/// Shares named one by one in a sentence, and the least that is worth a name. More would not be read.
const NAMED: usize = 5;
const WORTH_A_NAME: f64 = 0.01;

/// `api 12 waited 14.2 ms for CPU 3 (preempted): 9.1 ms backup/991 (other process, nice 19), 5.1 ms softirq`.
pub fn spike(spike: &Spike) -> String {
    let verb = if spike.finished {
        "waited"
    } else {
        "waits since"
    };
    let mut text = format!(
        "{} {} {verb} {} for CPU {} ({})",
        comm(&spike.victim),
        spike.victim.tid,
        human::duration(spike.latency),
        spike.cpu,
        began(spike)
    );
    let parts = parts(spike);
    if !parts.is_empty() {
        text.push_str(": ");
        text.push_str(&parts.join(", "));
    }
    text
}

/// The cause, and of a wake-up who decided it and how much of the latency had passed when it was done.
fn began(spike: &Spike) -> String {
    let mut text = words::wait_cause(spike.cause).to_owned();
    if spike.cause != WaitCause::Woken {
        return text;
    }
    if let Some(wake) = spike.wake.filter(|wake| is_worth_it(*wake, spike))
        && let Some(time) = human::part(wake, spike.latency)
    {
        text.push_str(&format!(" {time} late"));
    }
    if let Some(SpikeWaker { kind, who }) = spike.woken_by
        && (who.is_some() || kind != WakerKind::Unknown)
    {
        text.push_str(&format!(
            " by {}",
            waker(kind, who.as_ref(), spike.victim.pid)
        ));
    }
    text
}

fn is_worth_it(time: Nanos, spike: &Spike) -> bool {
    time.0 as f64 >= WORTH_A_NAME * spike.latency.0 as f64
}

fn parts(spike: &Spike) -> Vec<String> {
    let shares = &spike.waited_for;
    let worth_it = shares
        .iter()
        .take_while(|share| is_worth_it(share.ns, spike));
    // A single one takes no more room than its sum.
    let kept = match worth_it.count() {
        all if all <= NAMED + 1 && shares.len() <= all + 1 => shares.len(),
        some => some.min(NAMED),
    };
    let (named, rest) = shares.split_at(kept);
    // What is not known is told apart.
    let (unknown, others): (Vec<&WaitedFor>, Vec<&WaitedFor>) = rest
        .iter()
        .partition(|share| share.kind == ChargeKind::Unknown);
    let one = |share: &WaitedFor| {
        let time = human::part(share.ns, spike.latency)?;
        let culprit = culprit(share, spike.cgroup.as_deref());
        Some(format!("{time} {culprit}"))
    };
    let time: Nanos = others.iter().map(|share| share.ns).sum();
    let others =
        human::part(time, spike.latency).map(|time| format!("{time} {} others", others.len()));
    named
        .iter()
        .filter_map(one)
        .chain(others)
        .chain(unknown.into_iter().filter_map(one))
        .collect()
}

/// `backup/991 (other process, nice 19)`, `softirq`. The cgroup is the one whose quota the waiting thread is under.
pub fn culprit(share: &WaitedFor, cgroup: Option<&str>) -> String {
    match (share.kind, &share.who) {
        (ChargeKind::Thread | ChargeKind::KernelThread, Some(who)) => {
            thread(who, share.same_process)
        }
        (ChargeKind::Thread, None) => "other threads".into(),
        (ChargeKind::KernelThread, None) => "other kernel threads".into(),
        (kind, _) => thing(kind, cgroup),
    }
}

/// What is no thread and had the CPU.
pub fn thing(kind: ChargeKind, cgroup: Option<&str>) -> String {
    match kind {
        ChargeKind::Thread => "a thread".into(),
        ChargeKind::KernelThread => "a kernel thread".into(),
        ChargeKind::Irq => "hard interrupts".into(),
        ChargeKind::Softirq => "softirq".into(),
        ChargeKind::Steal => "steal by the hypervisor".into(),
        ChargeKind::Throttled => match cgroup {
            Some(path) => {
                let path = escape::terminal(path.as_bytes());
                format!("throttled by cpu.max of {path}")
            }
            None => "throttled by cpu.max".into(),
        },
        ChargeKind::Idle => "the CPU idle".into(),
        ChargeKind::OtherCpu => "queued on another CPU".into(),
        ChargeKind::Unknown => "unknown".into(),
    }
}

/// With all that one wants to know of somebody to blame.
fn thread(who: &Who, same_process: Option<bool>) -> String {
    if who.is_nameless() {
        return name(who, false);
    }
    let mut notes: Vec<String> = Vec::new();
    let foreign = same_process == Some(false);
    if who.own {
        notes.push("tracer itself".into());
    } else if who.kernel_thread {
        notes.push("kernel thread".into());
    } else if same_process == Some(true) {
        notes.push("same process".into());
    } else if foreign && who.pid != who.tid {
        notes.push(format!("other process {}", who.pid));
    } else if foreign {
        notes.push("other process".into());
    }
    notes.extend(priority(who));
    let name = name(who, same_process != Some(false));
    if notes.is_empty() {
        name
    } else {
        format!("{name} ({})", notes.join(", "))
    }
}

/// `worker 1240` of the same process and in the kernel, whose names hold slashes; `backup/991` of another process;
/// `thread 75` where only the number is known.
pub fn name(who: &Who, same_process: bool) -> String {
    if who.is_nameless() {
        return format!("thread {}", who.tid);
    }
    let between = if same_process || who.kernel_thread {
        ' '
    } else {
        '/'
    };
    format!("{}{between}{}", comm(who), who.tid)
}

fn comm(who: &Who) -> String {
    match who.comm.bytes() {
        [] => "?".into(),
        bytes => escape::terminal(bytes),
    }
}

/// What the default is not.
fn priority(who: &Who) -> Option<String> {
    let priority = who.priority;
    let policy = words::policy(priority.policy);
    match (priority.policy, priority.nice) {
        (0, 0) => None,
        (0, nice) => Some(format!("nice {nice}")),
        // FIFO and RR.
        (1 | 2, _) => Some(format!("{policy} {}", priority.rt_priority)),
        // Batch.
        (3, nice) if nice != 0 => Some(format!("{policy}, nice {nice}")),
        _ => Some(policy.into_owned()),
    }
}

/// Whoever woke a thread of the process `pid`.
pub fn waker(kind: WakerKind, who: Option<&Who>, pid: u32) -> String {
    match (kind, who) {
        (WakerKind::Thread, Some(who)) => name(who, who.pid == pid),
        (WakerKind::Thread, None) => "other threads".into(),
        (WakerKind::Irq, _) => "an interrupt".into(),
        (WakerKind::Softirq, _) => "a softirq".into(),
        (WakerKind::Timer, _) => "a timer".into(),
        (WakerKind::Unknown, _) => "an unknown waker".into(),
    }
}

/// Of the ranking over all spikes.
pub fn cause(cause: &SpikeCause) -> String {
    let whose = |fallback: &str| match (cause.comm, cause.pid) {
        (Some(comm), Some(pid)) => {
            let comm = escape::terminal(comm.bytes());
            let between = if cause.kind == ChargeKind::KernelThread {
                " "
            } else {
                "/"
            };
            format!("{comm}{between}{pid}")
        }
        _ => fallback.to_owned(),
    };
    match cause.kind {
        ChargeKind::Thread => whose("other threads"),
        ChargeKind::KernelThread => format!("{} (kernel thread)", whose("other kernel threads")),
        kind => thing(kind, cause.cgroup.as_deref()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Comm, Priority};
    use crate::output::sample;

    fn us(us: u64) -> Nanos {
        Nanos(us * 1_000)
    }

    fn charged(kind: ChargeKind, length: u64) -> WaitedFor {
        WaitedFor {
            kind,
            who: None,
            same_process: None,
            count: 1,
            ns: us(length),
        }
    }

    #[test]
    fn the_sentence_of_a_spike() {
        assert_eq!(
            spike(&sample::preempted_spike()),
            "api-worker 1234 waited 14.2 ms for CPU 3 (preempted): 9.1 ms backup/991 (other process, nice 19), \
             3.0 ms worker 1240 (same process), 1.6 ms softirq, 0.5 ms unknown"
        );
    }

    #[test]
    fn one_that_has_not_ended_says_so() {
        let text = spike(&Spike {
            finished: false,
            ..sample::preempted_spike()
        });
        assert!(
            text.starts_with("api-worker 1234 waits since 14.2 ms for CPU 3 (preempted): 9.1 ms "),
            "{text}"
        );
    }

    #[test]
    fn a_late_wake_up_is_a_part_of_the_latency() {
        let mut late = sample::preempted_spike();
        late.cause = WaitCause::Woken;
        late.wake = Some(us(1_200));
        late.wait = us(13_000);
        late.waited_for = vec![charged(ChargeKind::Throttled, 13_000)];
        late.cgroup = Some("/app".into());
        let said = |spike_: &Spike| {
            let text = spike(spike_);
            text.trim_start_matches("api-worker 1234 waited 14.2 ms for CPU 3 ")
                .to_owned()
        };
        assert_eq!(
            said(&late),
            "(woken 1.2 ms late): 13.0 ms throttled by cpu.max of /app"
        );
        late.woken_by = Some(SpikeWaker {
            kind: WakerKind::Timer,
            who: None,
        });
        late.wake = Some(us(100));
        assert_eq!(
            said(&late),
            "(woken by a timer): 13.0 ms throttled by cpu.max of /app"
        );
        late.woken_by = Some(SpikeWaker {
            kind: WakerKind::Thread,
            who: Some(sample::who(991, 991, "backup")),
        });
        late.wake = Some(late.latency);
        late.wait = us(0);
        late.waited_for.clear();
        assert_eq!(said(&late), "(woken 14.2 ms late by backup/991)");
    }

    #[test]
    fn who_is_to_blame_says_what_matters() {
        let who = sample::who(800, 812, "conn-7");
        let with = |policy, nice, rt_priority| Who {
            priority: Priority {
                policy,
                nice,
                rt_priority,
            },
            ..who
        };
        let other = Some(false);
        assert_eq!(thread(&who, other), "conn-7/812 (other process 800)");
        assert_eq!(thread(&who, Some(true)), "conn-7 812 (same process)");
        assert_eq!(thread(&who, None), "conn-7 812");
        assert_eq!(
            thread(&with(1, 0, 50), other),
            "conn-7/812 (other process 800, SCHED_FIFO 50)"
        );
        assert_eq!(
            thread(&with(3, 19, 0), Some(true)),
            "conn-7 812 (same process, SCHED_BATCH, nice 19)"
        );
        assert_eq!(
            thread(&with(5, 0, 0), Some(true)),
            "conn-7 812 (same process, SCHED_IDLE)"
        );
        let tracer = Who {
            own: true,
            ..sample::who(50, 50, "tracer")
        };
        assert_eq!(thread(&tracer, other), "tracer/50 (tracer itself)");
        let kernel = Who {
            kernel_thread: true,
            ..sample::who(21, 21, "ksoftirqd/1")
        };
        assert_eq!(thread(&kernel, other), "ksoftirqd/1 21 (kernel thread)");
        assert_eq!(
            thread(&sample::who(7, 7, "\x1b[2J"), other),
            "\\x1b[2J/7 (other process)"
        );
    }

    #[test]
    fn who_has_only_a_number_is_of_no_process() {
        let nameless = Who {
            pid: 0,
            tid: 75,
            ..Who::default()
        };
        for same_process in [None, Some(false), Some(true)] {
            let share = WaitedFor {
                who: Some(nameless),
                same_process,
                ..charged(ChargeKind::Thread, 1)
            };
            assert_eq!(culprit(&share, None), "thread 75");
        }
        assert_eq!(name(&nameless, false), "thread 75");
    }

    #[test]
    fn a_long_tail_is_summed_up_and_what_is_unknown_is_not_hidden_in_it() {
        let mut long = sample::preempted_spike();
        let others = (0..8).map(|n| WaitedFor {
            who: Some(sample::who(n, n, "hog")),
            same_process: Some(false),
            ..charged(ChargeKind::Thread, 1_700)
        });
        long.waited_for = others.chain([charged(ChargeKind::Unknown, 600)]).collect();
        let text = spike(&long);
        assert!(
            text.ends_with("1.7 ms hog/4 (other process), 5.1 ms 3 others, 0.6 ms unknown"),
            "{text}"
        );
        let with = |shares: &[WaitedFor]| {
            let mut spike_ = sample::preempted_spike();
            spike_.waited_for = shares.to_vec();
            let text = spike(&spike_);
            text.split_once(": ")
                .map(|(_, parts)| parts.to_owned())
                .expect("parts")
        };
        // Small ones are together what none of them is; what would be 0.0 is left out.
        let small = |length| charged(ChargeKind::Irq, length);
        let idle = charged(ChargeKind::Idle, 14_000);
        assert_eq!(
            with(&[idle, small(80), small(70), small(50)]),
            "14.0 ms the CPU idle, 0.2 ms 3 others"
        );
        assert_eq!(
            with(&[idle, small(80)]),
            "14.0 ms the CPU idle, 0.1 ms hard interrupts"
        );
        assert_eq!(with(&[idle, small(30)]), "14.0 ms the CPU idle");
    }

    #[test]
    fn those_that_have_no_name_are_told_apart() {
        let many = charged(ChargeKind::Thread, 1);
        assert_eq!(culprit(&many, None), "other threads");
        let named = SpikeCause {
            kind: ChargeKind::Thread,
            pid: Some(991),
            comm: Some(Comm::from("backup")),
            cgroup_id: None,
            cgroup: None,
            ns: us(1),
            share: 1.0,
        };
        assert_eq!(cause(&named), "backup/991");
        let quota = SpikeCause {
            kind: ChargeKind::Throttled,
            cgroup: Some("/evil\n".into()),
            ..named
        };
        assert_eq!(cause(&quota), "throttled by cpu.max of /evil\\n");
    }
}
