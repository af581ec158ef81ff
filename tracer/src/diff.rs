//! What two recordings differ in, by groups of threads of one name, and whether that is more than chance.
//!
//! In: sums of both by group and slice of time. Out: changes with intervals, sorted, and groups that only one has.
//! A rate is what a group did in a second of the window, however long that was. Must not know: files, formats.

mod births;
mod caveats;
pub(crate) mod chance;
mod names;
mod series;
mod slices;

use std::cmp::Reverse;

use rustc_hash::FxHashMap;

pub use births::Births;
pub use series::{CONFIDENCE, RESAMPLES};
pub use slices::{Groups, Slices, Tally};

use self::{
    chance::largest_discovery,
    series::{Estimate, FEWEST, Series, estimate},
    slices::{SHORTEST, Sums},
};
use crate::{
    host::Host,
    model::{BirthKind, Comm},
    report::{ChargeKind, Quality, Target, Window},
};

/// A smaller part of the larger of two values is no change: from one recording of a steady load to the next as much
/// comes and goes with the time of day.
pub const RELATIVE_FLOOR: f64 = 0.1;
/// Nor is less than this: 1 ms a second is a thousandth of a CPU.
const TIME_FLOOR: f64 = 1e6;
/// Switches a second: a thread that wakes by a slow timer makes as many.
const SWITCHES_FLOOR: f64 = 10.0;
/// Births a second.
const BIRTHS_FLOOR: f64 = 1.0;
/// In nanoseconds of stall: what a birth of a thread takes on a fast machine.
const STALL_FLOOR: f64 = 10_000.0;

/// Threads of one name in processes of one name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Group {
    pub process: Comm,
    pub thread: Comm,
}

/// Who or what had the CPU while others waited.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Culprit {
    pub kind: ChargeKind,
    /// Of threads.
    pub comm: Option<Comm>,
}

/// Whoever creates in one way, by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Creators {
    pub kind: BirthKind,
    pub comm: Comm,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    Group(Group),
    Creators(Creators),
}

/// What is compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Metric {
    /// Nanoseconds a second, the first four.
    Wait,
    WaitedFor(Culprit),
    Run,
    Block,
    /// Switches a second.
    Voluntary,
    Involuntary,
    /// A second.
    Births,
    /// Nanoseconds a birth, its creator stood still.
    Stall,
}

impl Metric {
    /// Among the changes of a group; culprits share one.
    fn place(self) -> u8 {
        match self {
            Metric::Wait => 0,
            Metric::WaitedFor(_) => 1,
            Metric::Run => 2,
            Metric::Block => 3,
            Metric::Voluntary => 4,
            Metric::Involuntary => 5,
            Metric::Births => 6,
            Metric::Stall => 7,
        }
    }

    /// A smaller difference is not told, and smaller values are not compared.
    pub fn floor(self) -> f64 {
        match self {
            Metric::Wait | Metric::WaitedFor(_) | Metric::Run | Metric::Block => TIME_FLOOR,
            Metric::Voluntary | Metric::Involuntary => SWITCHES_FLOOR,
            Metric::Births => BIRTHS_FLOOR,
            Metric::Stall => STALL_FLOOR,
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Change {
    pub subject: Subject,
    /// Belongs to the tracer itself.
    pub own: bool,
    pub metric: Metric,
    pub before: f64,
    pub after: f64,
    /// Of the difference; `None`: it cannot be told what chance may have done.
    pub interval: Option<(f64, f64)>,
}

impl Change {
    pub fn difference(&self) -> f64 {
        self.after - self.before
    }

    /// Of the difference, whole: for an order.
    fn size(&self) -> u64 {
        self.difference().abs() as u64
    }

    /// `None`: there was none before.
    pub fn ratio(&self) -> Option<f64> {
        (self.before > 0.0).then(|| self.after / self.before)
    }
}

/// A group that only one recording has. All in a second of its window.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Lone {
    pub group: Group,
    pub own: bool,
    /// That had this name, over the whole window.
    pub threads: u64,
    pub run: f64,
    pub wait: f64,
    pub block: f64,
    pub voluntary: f64,
    pub involuntary: f64,
}

/// Where, when and how well a recording was made.
#[derive(Clone, Debug, Default)]
pub struct Side {
    pub host: Host,
    pub window: Window,
    pub target: Target,
    pub quality: Quality,
}

/// A recording, as far as it is compared.
#[derive(Debug)]
pub struct Recorded {
    pub side: Side,
    pub groups: Groups,
    pub births: Births,
}

#[derive(Clone, Debug)]
pub struct Diff {
    pub before: Side,
    pub after: Side,
    /// Slices of each.
    pub slices: [Slices; 2],
    pub caveats: Vec<String>,
    /// Why no change has an interval.
    pub no_intervals: Option<String>,
    /// Groups that both have.
    pub groups: u64,
    /// Pairs of values that were compared.
    pub compared: u64,
    /// Those of a subject together, subjects by the largest change of a wait, or of what was waited for.
    pub changes: Vec<Change>,
    /// Most time first, both.
    pub new: Vec<Lone>,
    pub gone: Vec<Lone>,
}

pub fn diff(before: Recorded, after: Recorded) -> Diff {
    let mut compared = Compared::default();
    let mut groups = 0;
    for (group, sums) in after.groups.iter() {
        if let Some(old) = before.groups.get(group) {
            groups += 1;
            compared.group(
                *group,
                (old, before.groups.slices()),
                (sums, after.groups.slices()),
            );
        }
    }
    compared.births(&before, &after);
    let count = compared.0.len() as u64;
    Diff {
        slices: [before.groups.slices(), after.groups.slices()],
        caveats: caveats::caveats(&before, &after),
        no_intervals: no_intervals(&before, &after),
        groups,
        compared: count,
        changes: compared.changes(),
        new: lone(&after.groups, &before.groups),
        gone: lone(&before.groups, &after.groups),
        before: before.side,
        after: after.side,
    }
}

fn no_intervals(before: &Recorded, after: &Recorded) -> Option<String> {
    let short = |recorded: &Recorded| recorded.groups.slices().count() < FEWEST;
    let name = match (short(before), short(after)) {
        (false, false) => return None,
        (true, false) => "BEFORE is",
        (false, true) => "AFTER is",
        (true, true) => "both are",
    };
    let least = FEWEST as u64 * SHORTEST / 1_000_000;
    Some(format!(
        "{name} shorter than {least} ms: what chance did cannot be told"
    ))
}

/// What was compared, with what chance could have done.
#[derive(Default)]
struct Compared(Vec<(Change, Option<Estimate>)>);

impl Compared {
    fn pair(&mut self, (subject, own): (Subject, bool), metric: Metric, pair: [&Series; 2]) {
        let (Some(before), Some(after)) = (pair[0].mean(), pair[1].mean()) else {
            return;
        };
        // What is small in both is not looked at: whatever is looked at makes all others less certain.
        if before.max(after) < metric.floor() {
            return;
        }
        let estimate = estimate(pair[0], pair[1]);
        let change = Change {
            subject,
            own,
            metric,
            before,
            after,
            interval: estimate.map(|estimate| (estimate.low, estimate.high)),
        };
        self.0.push((change, estimate));
    }

    fn group(&mut self, group: Group, before: (&Sums, Slices), after: (&Sums, Slices)) {
        let subject = (Subject::Group(group), before.0.own || after.0.own);
        let nothing = Tally::default();
        let mut pair = |metric, old: &Tally, new: &Tally| {
            let pair = [old.series(before.1), new.series(after.1)];
            self.pair(subject, metric, [&pair[0], &pair[1]]);
        };
        let (old, new) = (before.0, after.0);
        pair(Metric::Wait, &old.wait, &new.wait);
        pair(Metric::Run, &old.run, &new.run);
        pair(Metric::Block, &old.block, &new.block);
        pair(Metric::Voluntary, &old.voluntary, &new.voluntary);
        pair(Metric::Involuntary, &old.involuntary, &new.involuntary);
        for (culprit, tally) in &new.waited_for {
            let old = old.waited_for.get(culprit).unwrap_or(&nothing);
            pair(Metric::WaitedFor(*culprit), old, tally);
        }
        for (culprit, tally) in &old.waited_for {
            if !new.waited_for.contains_key(culprit) {
                pair(Metric::WaitedFor(*culprit), tally, &nothing);
            }
        }
    }

    fn births(&mut self, before: &Recorded, after: &Recorded) {
        let (old, new) = (&before.births.by, &after.births.by);
        let none = [before, after].map(|of| Tally::default().series(of.groups.slices()));
        let gone = old.keys().filter(|creators| !new.contains_key(creators));
        for creators in new.keys().chain(gone) {
            let subject = (Subject::Creators(*creators), false);
            let (old, new) = (old.get(creators), new.get(creators));
            let rates = [
                old.map_or(&none[0], |cost| &cost.rate),
                new.map_or(&none[1], |cost| &cost.rate),
            ];
            self.pair(subject, Metric::Births, rates);
            let stalls = old
                .zip(new)
                .and_then(|(old, new)| old.stall.as_ref().zip(new.stall.as_ref()));
            if let Some((old, new)) = stalls {
                self.pair(subject, Metric::Stall, [old, new]);
            }
        }
    }

    /// Those that are large, and more than chance.
    fn changes(self) -> Vec<Change> {
        let probabilities: Vec<f64> = self
            .0
            .iter()
            .filter_map(|(_, estimate)| Some(estimate.as_ref()?.p))
            .collect();
        let limit = largest_discovery(&probabilities);
        let certain = |estimate: &Estimate| {
            let one_side = estimate.low > 0.0 || estimate.high < 0.0;
            one_side && limit.is_some_and(|limit| estimate.p <= limit)
        };
        let kept = self
            .0
            .into_iter()
            .filter(|(change, estimate)| is_large(change) && estimate.as_ref().is_none_or(certain));
        let mut changes: Vec<Change> = kept.map(|(change, _)| change).collect();
        let mut waits: FxHashMap<Subject, u64> = FxHashMap::default();
        for change in &changes {
            if let Metric::Wait | Metric::WaitedFor(_) = change.metric {
                let most = waits.entry(change.subject).or_default();
                *most = change.size().max(*most);
            }
        }
        changes.sort_by_cached_key(|change| {
            let most = waits.get(&change.subject).copied();
            let by_size = Reverse(change.size());
            let place = change.metric.place();
            (Reverse(most), change.subject, place, by_size, change.metric)
        });
        changes
    }
}

fn is_large(change: &Change) -> bool {
    let size = change.difference().abs();
    size >= change.metric.floor() && size >= RELATIVE_FLOOR * change.before.max(change.after)
}

impl Tally {
    /// In a second of the window.
    fn series(&self, slices: Slices) -> Series {
        let a_second = |value: u64| value as f64 * 1e9;
        let part = |index| (a_second(self.slice(index)), slices.length(index).0 as f64);
        Series::of_slices((0..slices.count()).map(part), a_second(self.unplaced()))
    }
}

/// Groups that the first has and the second has not.
fn lone(groups: &Groups, others: &Groups) -> Vec<Lone> {
    let slices = groups.slices();
    let rate = |tally: &Tally| tally.series(slices).mean().unwrap_or(0.0);
    let only = groups
        .iter()
        .filter(|(group, _)| others.get(group).is_none());
    let lone = only.map(|(group, sums)| Lone {
        group: *group,
        own: sums.own,
        threads: sums.threads,
        run: rate(&sums.run),
        wait: rate(&sums.wait),
        block: rate(&sums.block),
        voluntary: rate(&sums.voluntary),
        involuntary: rate(&sums.involuntary),
    });
    let mut lone: Vec<Lone> = lone.collect();
    lone.sort_by_key(|lone| (Reverse((lone.run + lone.wait) as u64), lone.group));
    lone
}

#[cfg(test)]
#[path = "diff_tests.rs"]
mod tests;
