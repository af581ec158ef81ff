//! Two recordings that never were, and what they differ in.

use super::{host, valid};
use crate::diff::{Change, Creators, Culprit, Diff, Group, Lone, Metric, Side, Slices, Subject};
use crate::model::{BirthKind, Comm, Nanos};
use crate::report::{ChargeKind, Verdict};

fn group(process: &str, thread: &str) -> Group {
    Group {
        process: process.into(),
        thread: thread.into(),
    }
}

fn change(subject: Subject, metric: Metric, before: f64, after: f64) -> Change {
    let difference = after - before;
    Change {
        subject,
        own: false,
        metric,
        before,
        after,
        interval: Some((
            difference - difference.abs() / 16.0,
            difference + difference.abs() / 32.0,
        )),
    }
}

fn lone(thread: &str, run: f64) -> Lone {
    Lone {
        group: group(thread, thread),
        own: thread == "tracer",
        threads: 3,
        run,
        wait: run / 4.0,
        block: 0.0,
        voluntary: 4.5,
        involuntary: run / 1e6,
    }
}

fn waited_for(kind: ChargeKind, comm: Option<&str>) -> Metric {
    Metric::WaitedFor(Culprit {
        kind,
        comm: comm.map(Comm::from),
    })
}

pub fn nothing() -> Diff {
    let report = valid();
    let side = Side {
        host: host(),
        window: report.window,
        target: report.target,
        quality: report.quality,
    };
    let slices = Slices::of(side.window.duration);
    Diff {
        before: side.clone(),
        after: side,
        slices: [slices; 2],
        caveats: Vec::new(),
        no_intervals: None,
        groups: 41,
        compared: 212,
        changes: Vec::new(),
        new: Vec::new(),
        gone: Vec::new(),
    }
}

pub fn diff() -> Diff {
    let api = Subject::Group(group("api", "api-worker-N"));
    let kworker = Subject::Group(group("kworker/N:N", "kworker/N:N"));
    let creators = Subject::Creators(Creators {
        kind: BirthKind::Fork,
        comm: "redis-server".into(),
    });
    let mut diff = nothing();
    diff.after.quality.verdict = Verdict::Degraded;
    diff.after.quality.reasons = vec!["3 records found no room".into()];
    diff.caveats = vec![
        "AFTER is degraded: 3 records found no room".into(),
        "different kernels: 6.1.0 and 6.18.44".into(),
    ];
    diff.changes = vec![
        change(api, Metric::Wait, 12_000_000.0, 341_234_567.8),
        change(
            api,
            waited_for(ChargeKind::Thread, Some("backup")),
            0.0,
            320e6,
        ),
        change(api, waited_for(ChargeKind::Softirq, None), 8e6, 1e6),
        change(api, Metric::Run, 410e6, 302e6),
        change(api, Metric::Involuntary, 12.25, 1_234.0),
        change(kworker, Metric::Voluntary, 100.0, 20.0),
        change(creators, Metric::Births, 1.0, 5.0),
        change(creators, Metric::Stall, 1_200_000.0, 12_400_000.0),
    ];
    diff.new = vec![
        lone("backup", 600e6),
        lone("tracer", 2e6),
        lone("cron", 900.0),
    ];
    diff.gone = vec![lone("nightly-N", 40e6)];
    diff
}

pub fn without_intervals() -> Diff {
    let mut diff = diff();
    diff.no_intervals =
        Some("BEFORE is shorter than 400 ms: what chance did cannot be told".into());
    diff.before.window.duration = Nanos(300_000_000);
    for change in &mut diff.changes {
        change.interval = None;
    }
    diff
}

pub fn crowd() -> Diff {
    let mut diff = nothing();
    for letter in 0..40_u8 {
        let name = format!("group-{}", char::from(b'A' + letter));
        let subject = Subject::Group(group("crowd", &name));
        diff.changes.push(change(subject, Metric::Wait, 1e6, 1e9));
        for culprit in 0..20_u8 {
            let name = format!("to-blame-{}", char::from(b'a' + culprit));
            let metric = waited_for(ChargeKind::Thread, Some(&name));
            diff.changes.push(change(subject, metric, 1e6, 1e7));
        }
        diff.gone.push(lone(&name, 1e8));
    }
    diff
}

pub fn rename(change: &mut Change, name: Comm) {
    match &mut change.subject {
        Subject::Group(group) => group.thread = name,
        Subject::Creators(creators) => creators.comm = name,
    }
    if let Metric::WaitedFor(culprit) = &mut change.metric {
        culprit.comm = culprit.comm.map(|_| name);
    }
}
