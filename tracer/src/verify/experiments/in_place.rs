//! What the kernel itself takes for a switch, from the entry of the scheduler to its end, by what it switches between.

use tracer_common::counters::switch_cost;

use crate::{
    kernel::ruler::{Costs, Lengths, Ruler},
    verify::{Finding, Lab, Measurement, Samples, Summary, Unit, lab::Pattern},
};

/// Each pattern is played so often: how far these differ is how well the median is known.
const PLAYS: usize = 10;
const ROUNDS: u64 = 4_000;
const HOPS: u64 = 1_000;
/// Fewer switches of a kind came about by accident.
const FEWEST: u64 = 200;

/// Of those that claims go by.
pub struct InPlace {
    pub same_space: Measurement,
    pub other_space: Measurement,
}

struct Kind {
    name: &'static str,
    index: u32,
    /// The pattern whose switches are of this kind.
    of: usize,
}

const KINDS: [Kind; 6] = [
    kind("same_space", switch_cost::SAME_SPACE, 0),
    kind("other_space", switch_cost::OTHER_SPACE, 1),
    kind("to_kernel_thread", switch_cost::TO_KERNEL, 3),
    kind("to_idle", switch_cost::TO_IDLE, 2),
    kind("back_from_idle", switch_cost::BACK, 2),
    kind("back_to_other_space", switch_cost::BACK_OTHER, 3),
];

const fn kind(name: &'static str, index: u32, of: usize) -> Kind {
    Kind { name, index, of }
}

pub fn measure(lab: &Lab, finding: &mut Finding) -> anyhow::Result<InPlace> {
    let measured = match lab.cannot_measure_in_place() {
        Some(why) => Err(why),
        None => Ok(of_all_kinds(lab, finding)?),
    };
    let of = |kind: &Kind| {
        let name = format!("switch.in_place.{}", kind.name);
        match &measured {
            Err(why) => Measurement::unavailable(name, Unit::Nanoseconds, why.as_str()),
            Ok(plays) => plays.measurement(name, kind),
        }
    };
    let all: Vec<Measurement> = KINDS.iter().map(of).collect();
    let in_place = InPlace {
        same_space: all[0].clone(),
        other_space: all[1].clone(),
    };
    finding.measurements.extend(all);
    finding.method.push_str(
        ". In place: from sched_entry_tp to sched_exit_tp, with only these two attached, less what an empty pair of \
         programs measures",
    );
    Ok(in_place)
}

struct Plays {
    /// What two programs measure with nothing between them.
    empty: f64,
    /// By pattern, each time it was played.
    of_patterns: Vec<Vec<Costs>>,
}

fn of_all_kinds(lab: &Lab, finding: &mut Finding) -> anyhow::Result<Plays> {
    let relay = |name: &str| Pattern::named(name).with("--count", lab.scaled(ROUNDS));
    let mut patterns = vec![relay("relay-threads-futex"), relay("relay-processes-futex")];
    if lab.cpus.len() > 1 {
        patterns.push(relay("relay-threads-futex").with("--cpus", 2));
        patterns.push(Pattern::named("hops").with("--count", lab.scaled(HOPS)));
    }
    let mut ruler = lab.ruler()?;
    ruler.measure_nothing()?;
    let empty = play(lab, &mut ruler, &patterns[0])?;
    ruler.stop();
    let empty = &empty[switch_cost::EMPTY as usize];
    let median = empty.quantile(0.5).unwrap_or_default();
    finding.measurements.push(
        Measurement::counted("switch.in_place.empty_pair", Unit::Nanoseconds, median, empty.count)
            .noted("two programs one after the other on the same tracepoint; subtracted from what is in place"),
    );
    ruler.measure_switches()?;
    let mut of_patterns = vec![Vec::new(); patterns.len()];
    for _ in 0..PLAYS {
        for (pattern, costs) in patterns.iter().zip(&mut of_patterns) {
            costs.push(play(lab, &mut ruler, pattern)?);
        }
    }
    ruler.stop();
    Ok(Plays {
        empty: median,
        of_patterns,
    })
}

/// What one play was measured to cost.
fn play(lab: &Lab, ruler: &mut Ruler, pattern: &Pattern) -> anyhow::Result<Costs> {
    let playing = lab.ready(pattern)?;
    ruler.watch(&playing.tids)?;
    let before = ruler.costs()?;
    playing.go()?;
    let mut costs = ruler.costs()?;
    for (now, before) in costs.iter_mut().zip(&before) {
        *now = now.since(before);
    }
    Ok(costs)
}

impl Plays {
    fn measurement(&self, name: String, kind: &Kind) -> Measurement {
        let Some(plays) = self.of_patterns.get(kind.of) else {
            return Measurement::unavailable(name, Unit::Nanoseconds, "there is one CPU");
        };
        let index = kind.index as usize;
        let all = Lengths::sum(plays.iter().map(|costs| &costs[index]));
        if all.count < FEWEST {
            let why = format!("only {} switches of this kind came about", all.count);
            return Measurement::unavailable(name, Unit::Nanoseconds, why);
        }
        let net = |ns: f64| (ns - self.empty).max(0.0);
        let of_plays = plays.iter().filter_map(|costs| costs[index].quantile(0.5));
        let of_plays: Samples = of_plays.map(net).collect();
        let quantile = |part| all.quantile(part).map(net).unwrap_or_default();
        Measurement {
            name,
            unit: Unit::Nanoseconds,
            summary: Ok(Summary {
                n: all.count,
                median: quantile(0.5),
                p99: quantile(0.99),
                interval: of_plays.summary().and_then(|it| it.interval),
            }),
            note: None,
        }
    }
}
