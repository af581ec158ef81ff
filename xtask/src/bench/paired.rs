//! Paired rounds: base, tool, base, next tool, base, .. in one go, so that each tool is compared with the runs
//! right before and after it, and with the yardstick of the same round.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context as _;

use super::load::{Load, Timing};
use super::process::pause;
use super::stats::{Spread, added, ratio};
use super::tools::{TOOLS, Tool, Window, YARDSTICK};
use super::{Bench, monotonic_ns};

/// The kernel frees the programs of a tool, and the pages of its files, after the tool has ended.
const SETTLE: Duration = Duration::from_millis(150);

pub struct Settings {
    pub load: Load,
    pub rounds: usize,
    pub length: Duration,
    /// Where tools run that are processes of their own.
    pub tool_cpu: Option<u32>,
}

#[derive(Default)]
pub struct Outcome {
    pub loops: u64,
    /// Without a tool, ns.
    pub base: Vec<f64>,
    /// What nothing adds: base runs compared with the base runs around them. The noise of the figures.
    pub nothing: Added,
    pub tools: BTreeMap<&'static str, Added>,
    pub failures: Vec<String>,
    /// How often each was said.
    pub notes: BTreeMap<String, usize>,
}

/// What one tool added, by round.
#[derive(Default)]
pub struct Added {
    pub ns: Vec<f64>,
    pub ratios: Vec<f64>,
    /// Why there is no more of it.
    pub failed: Option<String>,
}

impl Outcome {
    /// Rounds before a failure prove nothing.
    pub fn ratio(&self, tool: &str) -> Option<Spread> {
        let added = self.tools.get(tool)?;
        Spread::of(&added.ratios).filter(|_| added.failed.is_none())
    }
}

pub fn run(bench: &Bench, settings: &Settings) -> anyhow::Result<Outcome> {
    let load = &settings.load;
    let mut outcome = Outcome {
        loops: load.loops(bench, settings.length)?,
        ..Outcome::default()
    };
    for round in 0..settings.rounds {
        let begin = Instant::now();
        self::round(bench, settings, round, &mut outcome)
            .with_context(|| format!("round {} of {}", round + 1, settings.rounds))?;
        println!(
            "  round {} of {}: {:.0} s",
            round + 1,
            settings.rounds,
            begin.elapsed().as_secs_f64()
        );
    }
    Ok(outcome)
}

fn round(
    bench: &Bench,
    settings: &Settings,
    round: usize,
    outcome: &mut Outcome,
) -> anyhow::Result<()> {
    let loops = outcome.loops;
    let base = || anyhow::Ok(settings.load.ready(bench, loops)?.run()?.value_ns);
    let mut found = Vec::new();
    let mut before = base()?;
    let mut bases = vec![before];
    for n in 0..TOOLS.len() {
        // Each round begins with another tool: none always has the same one before it.
        let tool = &TOOLS[(n + round) % TOOLS.len()];
        if failed_before(outcome, tool) {
            continue;
        }
        let with = with_tool(bench, settings, loops, tool);
        pause(SETTLE)?;
        let after = base()?;
        bases.push(after);
        match with {
            Ok((with, note)) => {
                found.push((tool.name, added(before, with, after)));
                if let Some(note) = note {
                    *outcome.notes.entry(note).or_default() += 1;
                }
            }
            // Its own words are the result, and it will not be asked again.
            Err(error) => {
                let reason = named(tool.name, &format!("{error:#}"));
                println!("  n/a: {reason}");
                outcome.tools.entry(tool.name).or_default().failed = Some(reason.clone());
                outcome.failures.push(reason);
            }
        }
        before = after;
    }
    keep(outcome, &bases, &found);
    Ok(())
}

/// Whose error it is, said once.
fn named(tool: &str, error: &str) -> String {
    if error.starts_with(tool) {
        error.to_owned()
    } else {
        format!("{tool}: {error}")
    }
}

fn failed_before(outcome: &Outcome, tool: &Tool) -> bool {
    let added = outcome.tools.get(tool.name);
    added.is_some_and(|added| added.failed.is_some())
}

/// Ratios are taken inside a round.
fn keep(outcome: &mut Outcome, bases: &[f64], found: &[(&'static str, f64)]) {
    let yardstick = found.iter().find(|(name, _)| *name == YARDSTICK);
    let yardstick = yardstick.map(|&(_, ns)| ns);
    for &(name, ns) in found {
        outcome.tools.entry(name).or_default().keep(ns, yardstick);
    }
    for near in bases.windows(3) {
        outcome
            .nothing
            .keep(added(near[0], near[1], near[2]), yardstick);
    }
    outcome.base.extend(bases);
}

impl Added {
    fn keep(&mut self, ns: f64, yardstick: Option<f64>) {
        self.ns.push(ns);
        let ratio = yardstick.and_then(|yardstick| ratio(ns, yardstick));
        self.ratios.extend(ratio);
    }
}

fn with_tool(
    bench: &Bench,
    settings: &Settings,
    loops: u64,
    tool: &Tool,
) -> anyhow::Result<(f64, Option<String>)> {
    let load = settings.load.ready(bench, loops)?;
    let tracing = tool.start(bench, load.pid(), settings.tool_cpu)?;
    let from_ns = monotonic_ns();
    let Timing { value_ns, total_ns } = load.run()?;
    let length_ns = total_ns as u64;
    let note = tracing
        .stop(Window { from_ns, length_ns })
        .with_context(|| format!("{}: trace the load to its end", tool.name))?;
    Ok((value_ns, note))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_names_its_tool_once() {
        assert_eq!(named("runqlat", "no luck"), "runqlat: no luck");
        assert_eq!(named("runqlat", "runqlat: ended"), "runqlat: ended");
    }

    #[test]
    fn a_ratio_is_to_the_yardstick_of_the_same_round() {
        let mut outcome = Outcome::default();
        keep(&mut outcome, &[], &[("a", 1.0), (YARDSTICK, 2.0)]);
        keep(&mut outcome, &[], &[(YARDSTICK, 4.0), ("a", 1.0)]);
        // Noise: no ratio, but what was added is told.
        keep(&mut outcome, &[], &[("a", 3.0), (YARDSTICK, -1.0)]);
        // Without the yardstick, too.
        keep(&mut outcome, &[], &[("a", 3.0)]);
        assert_eq!(outcome.tools["a"].ratios, [0.5, 0.25]);
        assert_eq!(outcome.tools["a"].ns, [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(
            outcome.ratio(YARDSTICK).map(|ratio| ratio.median),
            Some(1.0)
        );
        assert_eq!(outcome.ratio("b"), None);
    }

    #[test]
    fn bases_among_themselves_show_the_noise() {
        let mut outcome = Outcome::default();
        keep(&mut outcome, &[10.0, 12.0, 10.0, 10.0], &[(YARDSTICK, 4.0)]);
        assert_eq!(outcome.base.len(), 4);
        assert_eq!(outcome.nothing.ns, [2.0, -1.0]);
        assert_eq!(outcome.nothing.ratios, [0.5, -0.25]);
    }
}
