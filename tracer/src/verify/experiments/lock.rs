//! What threads get done that share nothing, send messages, or take a lock; and threads under one lock for everything.

use super::compute::{Party, throughputs};
use crate::model::Nanos;
use crate::output::human;
use crate::verify::{
    Claim, Finding, Lab, Measurement, Samples, Summary, Unit, Verdict, lab::Pattern, named, sum,
};
use crate::workload::NotPermitted;

/// Rounds of Python, and milliseconds of one.
const ROUNDS: u64 = 12;
const ROUND: u64 = 50;
/// More than this many times as much as one thread is some work side by side.
const ALONE: f64 = 1.25;
/// Costs less than this are none to speak of.
const DEAR: f64 = 1.05;

const WAYS: [(&str, &str); 5] = [
    ("lock.one", "compute-threads"),
    ("lock.nothing", "compute-threads"),
    ("lock.mutex", "compute-mutex"),
    ("lock.messages", "compute-messages"),
    ("lock.global", "compute-locked"),
];

pub fn run(lab: &Lab) -> anyhow::Result<Finding> {
    let cpus = lab.cpus.len();
    let mut finding = Finding {
        method: format!(
            "{cpus} threads for {cpus} CPUs, and units of work that are all alike; a sample is what all of them get done in \
             20 ms. nothing: they share nothing; mutex: each result is added to one sum under a lock; messages: \
             each is sent to one thread more, which adds; global: a unit is computed under the lock, as with a global \
             interpreter lock. one: one thread. The same under tracer run: the share of their lives in which they slept \
             in futex, and waited for a CPU. Python: the same count by one thread, {cpus} threads and {cpus} processes \
             of python3"
        ),
        ..Finding::default()
    };
    let parties = WAYS.map(|(name, pattern)| Party {
        name: name.to_owned(),
        pattern,
        parties: if name == "lock.one" { 1 } else { cpus },
        telling: ["lock.mutex", "lock.global"].contains(&name),
    });
    let rates = throughputs(lab, &parties, &mut finding)?;
    for party in &parties[1..] {
        waits(lab, party, &mut finding)?;
    }
    let [one, nothing, mutex, messages, locked] = &rates[..] else {
        anyhow::bail!("each way has its throughput");
    };
    finding
        .claims
        .push(contention(one, nothing, mutex, messages));
    let stand_in = StandIn {
        locked: Measurement::ratio("lock.global_by_one", locked, one),
        free: Measurement::ratio("lock.nothing_by_one", nothing, one),
    };
    let both = [stand_in.locked.clone(), stand_in.free.clone()];
    finding.measurements.extend(both);
    let claim = interpreter(lab, &stand_in, &mut finding)?;
    finding.claims.push(claim);
    Ok(finding)
}

/// What the tracer sees of the time in which they got nothing done.
fn waits(lab: &Lab, party: &Party, finding: &mut Finding) -> anyhow::Result<()> {
    let names = ["slept_in_futex", "waited"].map(|part| format!("{}.{part}", party.name));
    if let Some(why) = party.untraced(lab) {
        for name in names {
            let measurement = Measurement::unavailable(name, Unit::Share, why.clone());
            finding.measurements.push(measurement);
        }
        return Ok(());
    }
    let report = party.traced(lab)?;
    let rows = named(&report, "party");
    let lived = sum(&rows, "/lifetime_ns");
    let places: Vec<_> = rows
        .iter()
        .filter_map(|row| row["off_cpu"].as_array())
        .flatten()
        .filter(|place| place["syscall"] == "futex")
        .collect();
    let slept = sum(&places, "/ns");
    let switches = sum(&rows, "/switches/voluntary") + sum(&rows, "/switches/involuntary");
    for (name, ns) in names.into_iter().zip([slept, sum(&rows, "/wait_ns")]) {
        finding.measurements.push(if lived > 0.0 {
            Measurement::counted(name, Unit::Share, ns / lived, switches as u64)
        } else {
            Measurement::unavailable(name, Unit::Share, "the tracer saw none of them")
        });
    }
    Ok(())
}

fn contention(one: &Samples, nothing: &Samples, mutex: &Samples, messages: &Samples) -> Claim {
    let [by_mutex, by_messages] =
        [mutex, messages].map(|guarded| Measurement::ratio("ratio", nothing, guarded));
    Claim::by(
        "lock.sharing",
        "What threads share must be guarded, and that costs",
        &by_mutex,
        |locks| {
            let sent = by_messages.summary.as_ref().ok();
            let unit = one.median().map_or(0.0, |rate| 1e9 / rate);
            let mut text = format!(
                "without sharing they get {:.2} times as much done as with a lock for each {} of work, and {:.2} times as \
                 much as with a message for each",
                locks.median,
                human::duration(Nanos(unit as u64)),
                sent.map_or(f64::NAN, |it| it.median),
            );
            let costs = sent.and_then(|it| it.is_above(DEAR));
            let verdict = match (locks.is_above(DEAR), costs) {
                (Some(true), Some(true)) => Verdict::Confirmed,
                (Some(false), Some(false)) => Verdict::Refuted,
                (Some(_), Some(_)) => Verdict::Depends,
                _ => {
                    text.push_str(": too noisy to tell");
                    Verdict::NotAvailable
                }
            };
            (verdict, text)
        },
    )
}

const NAME: &str = "lock.interpreter";
const CLAIM: &str = "Threads under a global interpreter lock do not run in parallel";

/// By Python where there is one that has such a lock, else by the stand-in.
fn interpreter(lab: &Lab, stand_in: &StandIn, finding: &mut Finding) -> anyhow::Result<Claim> {
    let cpus = lab.cpus.len();
    let pattern = Pattern::named("python")
        .with("--parties", cpus)
        .with("--count", lab.scaled(ROUNDS).max(8))
        .with("--duration", format!("{ROUND}ms"));
    let measured = match lab.play(&pattern) {
        Ok(measured) => measured,
        Err(error) => {
            let Some(NotPermitted(why)) = error.downcast_ref() else {
                return Err(error);
            };
            for who in ["threads", "processes"] {
                let name = format!("lock.python.{who}_by_one");
                let measurement = Measurement::unavailable(name, Unit::Ratio, why);
                finding.measurements.push(measurement);
            }
            return Ok(stand_in.judge(cpus, why));
        }
    };
    let version = measured.get("version")?.iter();
    let version: Vec<String> = version.map(|part| part.to_string()).collect();
    let python = format!("python3 {}", version.join("."));
    let one = measured.get("one")?;
    let by_one = |who: &str| {
        let name = format!("lock.python.{who}_by_one");
        anyhow::Ok(Measurement::ratio(name, measured.get(who)?, one).noted(python.clone()))
    };
    let (threads, processes) = (by_one("threads")?, by_one("processes")?);
    let claim = if measured.get("gil")?.median() == Some(0.0) {
        stand_in.judge(cpus, &format!("{python} has no such lock"))
    } else {
        in_parallel(cpus, &python, &threads, "its processes", &processes)
    };
    finding.measurements.extend([threads, processes]);
    Ok(claim)
}

/// Threads of this program, of which one computes at a time, and those that share nothing: by one alone.
struct StandIn {
    locked: Measurement,
    free: Measurement,
}

impl StandIn {
    fn judge(&self, cpus: usize, why: &str) -> Claim {
        let who = format!("a stand-in ({why}): a program whose threads compute under one lock");
        in_parallel(cpus, &who, &self.locked, "threads without it", &self.free)
    }
}

/// Whether threads get more done than one of them, where others do.
fn in_parallel(
    cpus: usize,
    who: &str,
    threads: &Measurement,
    others: &str,
    free: &Measurement,
) -> Claim {
    Claim::by(NAME, CLAIM, threads, |summary| {
        let free = free.summary.as_ref().ok();
        let mut text = format!(
            "{who}: {cpus} threads on {cpus} CPUs get {:.2} times as much done as one, {others} {:.2} times",
            summary.median,
            free.map_or(f64::NAN, |it| it.median)
        );
        let apart = |ratio: &Summary| ratio.is_above(ALONE);
        let verdict = match (apart(summary), free.and_then(apart)) {
            (Some(true), _) => Verdict::Refuted,
            (Some(false), Some(true)) => Verdict::Confirmed,
            (Some(false), Some(false)) => {
                text.push_str(": no CPU was free for any of them");
                Verdict::NotAvailable
            }
            _ => {
                text.push_str(": too noisy to tell");
                Verdict::NotAvailable
            }
        };
        (verdict, text)
    })
}
