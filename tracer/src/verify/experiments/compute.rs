//! What several get done that compute: for the experiments that ask what slows them down.

use serde_json::Value;

use crate::verify::{Effort, Finding, Lab, Measurement, Samples, Unit, lab::Pattern};

/// Milliseconds of all untraced runs of one, and of the traced one.
const LASTS: u64 = 300;
const TRACED: u64 = 150;
/// Runs of each.
const TURNS: u64 = 3;
/// Milliseconds of a run: fewer give too few samples.
const SHORTEST: u64 = 60;

pub struct Party {
    /// Of its measurements.
    pub name: String,
    pub pattern: &'static str,
    /// How many compute.
    pub parties: usize,
    /// Where there are only seconds, the tracer looks at few of them.
    pub telling: bool,
}

impl Party {
    fn playing(&self, milliseconds: u64) -> Pattern {
        Pattern::named(self.pattern)
            .with("--parties", self.parties)
            .with("--duration", format!("{}ms", milliseconds.max(SHORTEST)))
    }

    /// Why the tracer does not look at it; `None`: it does.
    pub fn untraced(&self, lab: &Lab) -> Option<String> {
        let refused = lab.may_trace().err().map(|why| why.to_string());
        let hurried = lab.effort == Effort::Quick && !self.telling;
        refused.or_else(|| hurried.then(|| "a quick run leaves it out".to_owned()))
    }

    pub fn traced(&self, lab: &Lab) -> anyhow::Result<Value> {
        let pattern = self.playing(lab.scaled(TRACED));
        Ok(lab.trace(&[], &pattern)?.report)
    }
}

/// In turn, so that what else the machine does meanwhile is not charged to one of them.
pub fn throughputs(
    lab: &Lab,
    parties: &[Party],
    finding: &mut Finding,
) -> anyhow::Result<Vec<Samples>> {
    let mut rates = vec![Vec::new(); parties.len()];
    for _ in 0..TURNS {
        for (party, rates) in parties.iter().zip(&mut rates) {
            let measured = lab.play(&party.playing(lab.scaled(LASTS) / TURNS))?;
            rates.extend(measured.get("units_per_s")?.iter());
        }
    }
    let rates: Vec<Samples> = rates.into_iter().map(Samples::from_iter).collect();
    for (party, rates) in parties.iter().zip(&rates) {
        let name = format!("{}.throughput", party.name);
        finding
            .measurements
            .push(Measurement::of(name, Unit::PerSecond, rates));
    }
    Ok(rates)
}
