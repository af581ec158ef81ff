//! What a crash takes with it.

use serde_json::Value;

use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Unit, Verdict, lab::Pattern, number,
};

/// Crashes, and threads of each process that crashes.
const CRASHES: u64 = 20;
const THREADS: u64 = 4;
const SIGSEGV: f64 = 11.0;

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: format!(
            "Again and again a process of {THREADS} threads, of which one that is not the first reads where it must not, \
             beside another process; its parent asks how it ended, and whether the other one lives. The same under \
             tracer run: by what each thread ended"
        ),
        ..Finding::default()
    };
    let pattern = Pattern::named("crashes-apart")
        .with("--count", lab.scaled(CRASHES))
        .with("--parties", THREADS);
    let measured = lab.play(&pattern)?;
    let share = |name: &str, told: &Samples, of: f64| {
        let fitting = told.iter().filter(|&it| it == of).count();
        let share = fitting as f64 / told.len() as f64;
        Measurement::counted(name, Unit::Share, share, told.len() as u64)
    };
    let ended = share("isolation.process_ended", measured.get("signal")?, SIGSEGV)
        .noted("of the crashes: the parent's wait tells SIGSEGV");
    let alive = share("isolation.others_alive", measured.get("others_alive")?, 1.0)
        .noted("of the crashes: the process beside it lived on");
    let [mut threads, mut spared] = [
        (
            "isolation.threads_ended",
            "of the threads of processes in which one crashed: ended by SIGSEGV",
        ),
        (
            "isolation.other_threads_spared",
            "of all other threads that ended: not by a signal",
        ),
    ]
    .map(|(name, note)| match lab.may_trace() {
        Err(why) => Measurement::unavailable(name, Unit::Share, why.to_string()),
        Ok(()) => Measurement::unavailable(name, Unit::Share, "the tracer saw none").noted(note),
    });
    if lab.may_trace().is_ok() {
        let report = lab.trace(&["--forks"], &pattern)?.report;
        count(&report, &mut threads, &mut spared);
    }
    finding.claims = vec![
        Claim::by(
            "isolation.thread",
            "A thread that crashes takes its process with it",
            &ended,
            |summary| {
                let seen = threads.median().map_or_else(String::new, |share| {
                    format!(
                        ", and of their threads {:.0} % with the same signal",
                        100.0 * share
                    )
                });
                let text = format!(
                    "{:.0} % of the processes ended by the signal of one of their threads{seen}",
                    100.0 * summary.median
                );
                (all(summary.median), text)
            },
        ),
        Claim::by(
            "isolation.process",
            "A process that crashes takes no other with it",
            &alive,
            |summary| {
                let text = format!(
                    "{:.0} % of the processes beside one that crashed lived on, and so did the parent",
                    100.0 * summary.median
                );
                (all(summary.median), text)
            },
        ),
    ];
    finding.measurements = vec![ended, alive, threads, spared];
    Ok(finding)
}

/// By the records of ends: those of processes that crashed, and all others.
fn count(report: &Value, threads: &mut Measurement, spared: &mut Measurement) {
    let list = |name: &str| report[name].as_array().into_iter().flatten();
    let crashed: Vec<&Value> = list("crashes").map(|crash| &crash["pid"]).collect();
    let (inside, outside): (Vec<&Value>, Vec<&Value>) =
        list("exits").partition(|end| crashed.contains(&&end["pid"]));
    let by = |ends: &[&Value], signal: f64| {
        let fitting = ends
            .iter()
            .filter(|end| number(end, "/signal") == Some(signal));
        fitting.count() as f64 / ends.len() as f64
    };
    for (measurement, ends, signal) in [(threads, &inside, SIGSEGV), (spared, &outside, 0.0)] {
        if !ends.is_empty() {
            let note = measurement.note.take();
            let name = measurement.name.clone();
            let share = by(ends, signal);
            *measurement = Measurement::counted(name, Unit::Share, share, ends.len() as u64);
            measurement.note = note;
        }
    }
}

/// One exception is enough.
fn all(share: f64) -> Verdict {
    if share == 1.0 {
        Verdict::Confirmed
    } else if share == 0.0 {
        Verdict::Refuted
    } else {
        Verdict::Depends
    }
}
