//! What tracing costs, measured side by side with its peers: `cargo xtask bench`. Ratios taken inside a round
//! are what is claimed; the method is in docs/PERFORMANCE.md.

mod births;
mod budgets;
mod collector;
mod compared;
mod core;
mod cpu_time;
mod findings;
mod host;
mod load;
mod loss;
mod messaging;
mod paired;
mod pipe;
mod prepare;
mod probes;
pub mod process;
mod recordings;
mod report;
mod series;
mod start;
pub mod stats;
pub mod table;
mod tools;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, bail};
use serde_json::{Map, Value, json};

use findings::{Figure, Findings};
use host::{Cpus, Host};
pub use prepare::Options;

/// What all sections share.
struct Bench {
    quick: bool,
    cpus: Cpus,
    tracer: PathBuf,
    /// The benchmark of the core, or why it was not built.
    core: Result<PathBuf, String>,
    /// For files of tools; gone in the end.
    scratch: PathBuf,
}

impl Bench {
    fn plan<T>(&self, full: T, quick: T) -> T {
        if self.quick { quick } else { full }
    }
}

struct Section {
    name: &'static str,
    title: &'static str,
    run: fn(&Bench) -> anyhow::Result<Findings>,
}

const SECTIONS: [Section; 10] = [
    Section {
        name: "pipe",
        title: "Added to one pipe round trip, all on one CPU",
        run: pipe::run,
    },
    Section {
        name: "messaging",
        title: "Added to a run of 800 processes on all CPUs",
        run: messaging::run,
    },
    Section {
        name: "births",
        title: "Added to a fork, exit and wait, on one CPU",
        run: births::forks,
    },
    Section {
        name: "syscalls",
        title: "Added to every system call",
        run: births::syscalls,
    },
    Section {
        name: "collector",
        title: "The collector, by number of threads",
        run: collector::run,
    },
    Section {
        name: "start",
        title: "Start to first event",
        run: start::run,
    },
    Section {
        name: "core",
        title: "The core alone",
        run: core::run,
    },
    Section {
        name: "recordings",
        title: "Recordings, and reports of them",
        run: recordings::run,
    },
    Section {
        name: "probes",
        title: "The kernel programs alone",
        run: probes::run,
    },
    Section {
        name: "loss",
        title: "Loss under overload",
        run: loss::run,
    },
];

pub fn section_names() -> [&'static str; SECTIONS.len()] {
    SECTIONS.map(|section| section.name)
}

const CLAIM: &str = "Ratios are what is claimed: each compares runs made right after each other on the same \
    machine. Times are information: they differ from machine to machine and from hour to hour. Median of all \
    rounds (quartiles). n/a: not measured, never zero.";

pub fn run(options: &Options) -> anyhow::Result<()> {
    let Some(built) = prepare::run(options)? else {
        return Ok(());
    };
    process::catch_signals()?;
    let scratch = tempfile::Builder::new().prefix("tracer-bench-").tempdir();
    let scratch = scratch.context("make a directory for the files of tools")?;
    let bench = Bench {
        quick: options.quick,
        cpus: Cpus::here().context("find out which CPUs this process may use")?,
        tracer: built.tracer,
        core: built.core,
        scratch: scratch.path().to_owned(),
    };
    let host = Host::read(bench.cpus, &bench.tracer);
    println!("\n{}\n{CLAIM}", host.text());

    let mut sections = Map::new();
    let mut ran = Vec::new();
    let mut figures: Vec<(Figure, f64)> = Vec::new();
    let mut failures = Vec::new();
    for section in SECTIONS
        .iter()
        .filter(|section| options.wants(section.name))
    {
        eprintln!("measure {} ...", section.name);
        let findings = (section.run)(&bench);
        process::check_interrupted()?;
        println!("\n## {}\n", section.title);
        let findings = match findings {
            Ok(findings) => findings,
            Err(error) => Findings::failed(&error),
        };
        findings.print();
        ran.push(section.name);
        figures.extend(findings.figures);
        let named = |failure: &String| format!("{}: {failure}", section.name);
        failures.extend(findings.failures.iter().map(named));
        sections.insert(section.name.to_owned(), findings.json);
    }

    let verdicts = budgets::judge(&ran, &figures);
    if !verdicts.is_empty() {
        println!("\n## Budgets\n\n{}", budgets::table(&verdicts));
    }
    if let Some(file) = &options.json {
        let budgets: Vec<Value> = verdicts.iter().map(budgets::Verdict::json).collect();
        let all = json!({
            "schema": "tracer.bench.v1",
            "quick": options.quick,
            "host": host.json(),
            "sections": sections,
            "budgets": budgets,
            "failures": failures,
        });
        let text = format!("{all:#}\n");
        fs::write(file, text).with_context(|| format!("write {}", file.display()))?;
    }
    // A section that failed has said why.
    if failures.is_empty() && verdicts.iter().any(budgets::Verdict::is_open) {
        failures.push("a budget could not be judged: try on an idle machine".to_owned());
    }
    let missed = verdicts
        .iter()
        .filter(|verdict| verdict.is_missed())
        .count();
    if options.strict && missed > 0 {
        failures.push(format!("{missed} budgets were missed"));
    }
    if !failures.is_empty() {
        bail!("{}", failures.join("\nerror: "));
    }
    Ok(())
}

/// The clock of the tracer's reports.
fn monotonic_ns() -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    // The time since boot is not negative.
    now.tv_sec.unsigned_abs() * 1_000_000_000 + now.tv_nsec.unsigned_abs()
}
