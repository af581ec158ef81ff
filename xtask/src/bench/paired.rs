//! Paired rounds: base, tool, base, next tool, base, .. in one go, so that each tool is compared with the runs
//! right before and after it, and with the yardstick of the same round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::load::{Load, Timing};
use super::process::pause;
use super::series::{Between, Series};
use super::tools::{Tool, Window};
use super::{Bench, cpu_time, monotonic_ns};

/// The kernel frees the programs of a tool, and the pages of its files, after the tool has ended.
const SETTLE: Duration = Duration::from_millis(150);

pub struct Settings {
    pub load: Load,
    pub tools: &'static [Tool],
    /// The one of them that the ratios are ratios to.
    pub yardstick: &'static str,
    pub rounds: usize,
    pub length: Duration,
    /// Where tools run that are processes of their own.
    pub tool_cpu: Option<u32>,
    pub measures: &'static [Measure],
}

/// One way to look at a run.
pub struct Measure {
    pub name: &'static str,
    /// What a run is told in, and how many nanoseconds one is.
    pub unit: &'static str,
    pub unit_ns: f64,
    /// What is added is told in percent of the run, of what: for runs whose length was chosen here.
    pub percent_of: Option<&'static str>,
    pub of: fn(&Sample) -> f64,
}

/// One run of the load.
#[derive(Clone, Copy)]
pub struct Sample {
    pub value_ns: f64,
    pub loops: u64,
    /// CPU time of the load.
    pub load_cpu_ns: f64,
    /// CPU time of the tool's own process while the load was at work.
    pub tool_cpu_ns: f64,
}

pub struct Outcome {
    pub loops: u64,
    pub yardstick: &'static str,
    /// One for each measure.
    pub series: Vec<Series>,
    pub failed: BTreeMap<&'static str, Failed>,
    /// How often each was said.
    pub notes: BTreeMap<String, usize>,
}

/// Rounds in which a tool did not trace from beginning to end.
#[derive(Default)]
pub struct Failed {
    /// In its own words.
    pub reasons: Vec<String>,
    in_a_row: usize,
}

/// A tool that failed so often in a row is not asked again.
const GIVE_UP: usize = 2;

struct Run {
    tool: &'static str,
    before: Sample,
    with: Sample,
    after: Sample,
}

pub fn run(bench: &Bench, settings: &Settings) -> anyhow::Result<Outcome> {
    let mut outcome = Outcome {
        loops: settings.load.loops(bench, settings.length)?,
        yardstick: settings.yardstick,
        series: settings
            .measures
            .iter()
            .map(|_| Series::default())
            .collect(),
        failed: BTreeMap::new(),
        notes: BTreeMap::new(),
    };
    for number in 0..settings.rounds {
        let begin = Instant::now();
        let place = format!("round {} of {}", number + 1, settings.rounds);
        round(bench, settings, number, &mut outcome).with_context(|| place.clone())?;
        eprintln!("  {place}: {:.0} s", begin.elapsed().as_secs_f64());
    }
    Ok(outcome)
}

fn round(
    bench: &Bench,
    settings: &Settings,
    number: usize,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let loops = outcome.loops;
    let base = || anyhow::Ok(sample(bench, settings, loops, None)?.0);
    let mut before = base()?;
    let mut bases = vec![before];
    let mut runs = Vec::new();
    for n in 0..settings.tools.len() {
        // Each round begins with another tool: none always has the same one before it.
        let tool = &settings.tools[(n + number) % settings.tools.len()];
        if failures_in_a_row(outcome, tool) >= GIVE_UP {
            continue;
        }
        let with = sample(bench, settings, loops, Some(tool));
        pause(SETTLE)?;
        let after = base()?;
        bases.push(after);
        match with {
            Ok((with, note)) => {
                runs.push(Run {
                    tool: tool.name,
                    before,
                    with,
                    after,
                });
                if let Some(failed) = outcome.failed.get_mut(tool.name) {
                    failed.in_a_row = 0;
                }
                if let Some(note) = note {
                    *outcome.notes.entry(note).or_default() += 1;
                }
            }
            Err(error) => {
                let reason = named(tool.name, &format!("{error:#}"));
                eprintln!("  n/a: {reason}");
                let failed = outcome.failed.entry(tool.name).or_default();
                failed.reasons.push(reason);
                failed.in_a_row += 1;
            }
        }
        before = after;
    }
    for (measure, series) in settings.measures.iter().zip(&mut outcome.series) {
        let of = measure.of;
        let between = runs.iter().map(|run| Between {
            tool: run.tool,
            before: of(&run.before),
            with: of(&run.with),
            after: of(&run.after),
        });
        let bases: Vec<f64> = bases.iter().map(of).collect();
        series.keep(settings.yardstick, &bases, &between.collect::<Vec<_>>());
    }
    Ok(())
}

fn failures_in_a_row(outcome: &Outcome, tool: &Tool) -> usize {
    let failed = outcome.failed.get(tool.name);
    failed.map_or(0, |failed| failed.in_a_row)
}

/// Whose error it is, said once.
fn named(tool: &str, error: &str) -> String {
    if error.starts_with(tool) {
        error.to_owned()
    } else {
        format!("{tool}: {error}")
    }
}

/// Without a tool all is done the same way.
fn sample(
    bench: &Bench,
    settings: &Settings,
    loops: u64,
    tool: Option<&Tool>,
) -> anyhow::Result<(Sample, Option<String>)> {
    let load = settings.load.ready(bench, loops)?;
    let load_pid = load.pid();
    let tracing = tool
        .map(|tool| tool.start(bench, load_pid, settings.tool_cpu))
        .transpose()?;
    let tool_pid = tracing.as_ref().and_then(|tracing| tracing.pid());
    let cpu_ns = || CpuNs {
        load: cpu_time::of(std::process::id()).map_or(0.0, |time| time.children_ns),
        // One that has ended can be asked until it is waited for.
        tool: tool_pid
            .and_then(cpu_time::of)
            .map_or(0.0, |time| time.own_ns),
    };
    let (from_ns, before) = (monotonic_ns(), cpu_ns());
    let Timing { value_ns, total_ns } = load.run()?;
    let after = cpu_ns();
    let sample = Sample {
        value_ns,
        loops,
        load_cpu_ns: after.load - before.load,
        tool_cpu_ns: after.tool - before.tool,
    };
    let length_ns = total_ns as u64;
    let note = match (tool, tracing) {
        (Some(tool), Some(tracing)) => tracing
            .stop(Window { from_ns, length_ns })
            .with_context(|| format!("{}: trace the load to its end", tool.name))?,
        _ => None,
    };
    Ok((sample, note))
}

/// So far.
struct CpuNs {
    load: f64,
    tool: f64,
}

#[cfg(test)]
mod tests {
    use super::named;

    #[test]
    fn an_error_names_its_tool_once() {
        assert_eq!(named("runqlat", "no luck"), "runqlat: no luck");
        assert_eq!(named("runqlat", "runqlat: ended"), "runqlat: ended");
    }
}
