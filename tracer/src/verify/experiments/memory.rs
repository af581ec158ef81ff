//! What one more idle thread adds to the memory in use, and one more idle process.

use crate::output::human;
use crate::verify::{
    Claim, Finding, Lab, Measurement, Unit, Verdict,
    lab::{Measured, Pattern},
    named, number,
};

/// So many at a time.
const PARTIES: u64 = 8;
/// So often.
const STEPS: u64 = 12;
/// Of the threads whose stacks are looked at, and for how long.
const STACKS: u64 = 32;
const LOOKED: &str = "200ms";
const LIVES: &str = "500ms";

const MIB: f64 = (1 << 20) as f64;

struct Kind {
    name: &'static str,
    pattern: &'static str,
    about: &'static str,
}

const KINDS: [Kind; 3] = [
    Kind {
        name: "thread",
        pattern: "idle-threads",
        about: "of pthread_create with its defaults",
    },
    Kind {
        name: "forked",
        pattern: "idle-forked",
        about: "a copy of this program by fork, which shares what neither of the two writes to",
    },
    Kind {
        name: "started",
        pattern: "idle-started",
        about: "this program by fork and exec; others share its file, so only what it wrote is its own",
    },
];

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let mut finding = Finding {
        method: format!(
            "Again and again {PARTIES} more that do nothing; a sample is by how much the sum over all of them grew, for \
             each one. pss: resident memory, shared pages by how many share them; page_table; kernel_stack, of the \
             whole machine (/proc/meminfo); reserved: addresses, resident or not. all: the first three. What else the \
             kernel keeps of each of them is not told by procfs, and not in it"
        ),
        ..Finding::default()
    };
    let mut all = Vec::new();
    for kind in &KINDS {
        // Intervals want several.
        let steps = lab.scaled(STEPS).max(10);
        let pattern = Pattern::named(kind.pattern)
            .with("--parties", PARTIES)
            .with("--count", steps);
        let measured = lab.play(&pattern)?;
        all.push(measurements(kind, &measured, &mut finding)?);
    }
    stacks(lab, &mut finding)?;
    let reserved = measurement(&finding, "memory.thread.reserved").and_then(Measurement::median);
    let [thread, forked, started] = &all[..] else {
        anyhow::bail!("each kind has its measurements");
    };
    let of = |measurement: &Measurement| size(measurement.median());
    finding.claims.push(Claim::by(
        "memory.process",
        "A process takes 10 to 50 MB of memory",
        started,
        |summary| {
            let text = format!(
                "one more idle process of this program takes {}, a forked copy {}: a process takes what it writes to",
                size(Some(summary.median)),
                of(forked)
            );
            (within(summary.median, 10.0, 50.0), text)
        },
    ));
    finding.claims.push(Claim::by(
        "memory.thread",
        "A thread takes 1 MB of memory",
        thread,
        |summary| {
            let text = format!(
                "one more idle thread takes {}; the {} of its stack are reserved addresses, and in memory only where \
                 they are touched",
                size(Some(summary.median)),
                size(reserved)
            );
            (within(summary.median, 0.5, 2.0), text)
        },
    ));
    Ok(finding)
}

fn measurements(
    kind: &Kind,
    measured: &Measured,
    finding: &mut Finding,
) -> anyhow::Result<Measurement> {
    let of = |part: &str| {
        let samples = measured.get(&format!("{part}_bytes"))?;
        let name = format!("memory.{}.{part}", kind.name);
        anyhow::Ok(Measurement::of(name, Unit::Bytes, samples))
    };
    let all = of("all")?.noted(kind.about);
    finding.measurements.push(all.clone());
    for part in ["pss", "page_table", "kernel_stack", "reserved"] {
        finding.measurements.push(of(part)?);
    }
    Ok(all)
}

/// What the tracer finds of the stacks of each thread.
fn stacks(lab: &Lab, finding: &mut Finding) -> anyhow::Result<()> {
    const PARTS: [(&str, &str); 2] = [
        ("memory.thread.touched_stack", "/memory/user_stack_bytes"),
        (
            "memory.thread.own_kernel_stack",
            "/memory/kernel_stack_bytes",
        ),
    ];
    if let Err(why) = lab.may_trace() {
        for (name, _) in PARTS {
            let measurement = Measurement::unavailable(name, Unit::Bytes, why.to_string());
            finding.measurements.push(measurement);
        }
        return Ok(());
    }
    let pattern = Pattern::named("idle-threads")
        .with("--parties", STACKS)
        .with("--count", 1)
        .with("--duration", LIVES);
    let traced = lab.trace(&["--duration", LOOKED], &pattern)?;
    // The first thread is none of them, and its stack another kind of memory.
    let mut threads = named(&traced.report, "idle");
    let first = |thread: &&serde_json::Value| {
        !traced.report["target"]["pids"]
            .as_array()
            .is_some_and(|pids| pids.contains(&thread["tid"]))
    };
    threads.retain(first);
    for (name, pointer) in PARTS {
        let samples = threads.iter().filter_map(|thread| number(thread, pointer));
        let measurement = Measurement::of(name, Unit::Bytes, &samples.collect());
        finding
            .measurements
            .push(measurement.noted("of each thread, by tracer run"));
    }
    Ok(())
}

fn measurement<'a>(finding: &'a Finding, name: &str) -> Option<&'a Measurement> {
    finding.measurements.iter().find(|it| it.name == name)
}

fn within(bytes: f64, low: f64, high: f64) -> Verdict {
    if (low * MIB..=high * MIB).contains(&bytes) {
        Verdict::Confirmed
    } else {
        Verdict::Refuted
    }
}

fn size(bytes: Option<f64>) -> String {
    bytes.map_or_else(
        || "n/a".to_owned(),
        |bytes| human::bytes(bytes.max(0.0) as u64),
    )
}
