//! A window in equal slices, and what happens in it by group and slice.
//!
//! In: the rows of the time line, in any order. Out: sums by slice, which add up to those of the report. Memory holds
//! groups times slices, however long the recording. Must not know: the other recording, chance.

use rustc_hash::FxHashMap;

use super::{Culprit, Group, names::normalised};
use crate::{
    model::{Comm, Nanos, OffState},
    timeline::{Row, Rows, State, WaitRow},
};

/// Slices of a window: enough for blocks of neighbours, few enough to hold them for every group.
pub const SLICES: u64 = 200;
/// In nanoseconds: a shorter slice would hold little more than one turn of a thread (a slice of the scheduler takes
/// 3 ms, and up to 10 ms where ticks come 100 times a second).
pub const SHORTEST: u64 = 10_000_000;

/// Groups that are told apart; the others share one.
const GROUPS: usize = 5_000;
/// Pairs of a group and a culprit that are told apart; the culprits of the others share one name.
const CAUSES: usize = 20_000;

const OTHERS: &str = "(others)";

/// A window of `duration` in `count` equal parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Slices {
    duration: u64,
    count: u64,
}

impl Slices {
    pub fn of(duration: Nanos) -> Slices {
        Slices {
            duration: duration.0,
            count: (duration.0 / SHORTEST).clamp(1, SLICES),
        }
    }

    pub fn count(self) -> usize {
        self.count as usize
    }

    pub fn duration(self) -> Nanos {
        Nanos(self.duration)
    }

    /// Where a slice begins.
    fn edge(self, index: usize) -> u64 {
        let edge = u128::from(self.duration) * index as u128 / u128::from(self.count);
        edge as u64
    }

    pub fn length(self, index: usize) -> Nanos {
        Nanos(self.edge(index + 1) - self.edge(index))
    }

    /// The slice that holds this time; the last one what lies behind the window.
    fn index(self, at: u64) -> usize {
        if self.duration == 0 {
            return 0;
        }
        let index = u128::from(at) * u128::from(self.count) / u128::from(self.duration);
        let index = (index as usize).min(self.count() - 1);
        // Edges are whole nanoseconds.
        let behind = index + 1 < self.count() && self.edge(index + 1) <= at;
        index + usize::from(behind)
    }
}

/// A quantity, by slice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Empty as long as there is nothing of it.
    slices: Vec<u64>,
    /// What has no place in time: only the kernel's counters tell of it.
    unplaced: u64,
}

impl Tally {
    pub fn total(&self) -> u64 {
        self.slices.iter().sum::<u64>() + self.unplaced
    }

    pub fn unplaced(&self) -> u64 {
        self.unplaced
    }

    /// Of one slice.
    pub fn slice(&self, index: usize) -> u64 {
        self.slices.get(index).copied().unwrap_or(0)
    }

    /// So many at one time.
    pub fn count(&mut self, slices: Slices, at_ns: Option<i64>, count: u64) {
        match at_ns {
            _ if count == 0 => {}
            None => self.unplaced += count,
            Some(at) => {
                let index = slices.index(at.max(0) as u64);
                self.in_use(slices)[index] += count;
            }
        }
    }

    /// A stretch of time, cut at the edges of slices.
    fn spread(&mut self, slices: Slices, at_ns: Option<i64>, ns: u64) {
        let Some(at) = at_ns else {
            self.unplaced += ns;
            return;
        };
        if ns == 0 {
            return;
        }
        let mut from = at.max(0) as u64;
        let to = from.saturating_add(ns);
        let mut index = slices.index(from);
        let parts = self.in_use(slices);
        while from < to {
            let last = index + 1 == slices.count();
            let end = if last {
                to
            } else {
                slices.edge(index + 1).min(to)
            };
            parts[index] += end - from;
            from = end;
            index += 1;
        }
    }

    fn in_use(&mut self, slices: Slices) -> &mut [u64] {
        self.slices.resize(slices.count(), 0);
        &mut self.slices
    }
}

/// What the threads of one name did, summed.
#[derive(Clone, Debug, Default)]
pub struct Sums {
    /// Threads that had this name.
    pub threads: u64,
    /// Belongs to the tracer itself.
    pub own: bool,
    pub run: Tally,
    pub wait: Tally,
    pub block: Tally,
    pub voluntary: Tally,
    pub involuntary: Tally,
    /// Adds up to `wait`.
    pub waited_for: FxHashMap<Culprit, Tally>,
}

/// All groups of a recording.
#[derive(Debug)]
pub struct Groups {
    slices: Slices,
    groups: FxHashMap<Group, Sums>,
    /// The group of each thread that is told of.
    members: FxHashMap<u32, Group>,
    causes: usize,
}

impl Groups {
    pub fn new(slices: Slices) -> Groups {
        Groups {
            slices,
            groups: FxHashMap::default(),
            members: FxHashMap::default(),
            causes: 0,
        }
    }

    pub fn slices(&self) -> Slices {
        self.slices
    }

    pub fn get(&self, group: &Group) -> Option<&Sums> {
        self.groups.get(group)
    }

    pub fn iter(&self) -> impl Iterator<Item = (&Group, &Sums)> {
        self.groups.iter()
    }

    /// Names were too many to be kept apart.
    pub fn are_crowded(&self) -> bool {
        self.groups.len() >= GROUPS || self.causes >= CAUSES
    }

    pub fn take(&mut self, rows: &Rows) {
        for row in &rows.rows {
            match row {
                Row::Met(met) => {
                    let group = self.known(Group {
                        process: normalised(&met.process_comm),
                        thread: normalised(&met.comm),
                    });
                    let before = self.members.insert(met.thread, group);
                    let sums = self.groups.entry(group).or_default();
                    sums.threads += u64::from(before != Some(group));
                }
                Row::Span(span) => {
                    // Only unknown time is ever negative.
                    let ns = span.ns.max(0) as u64;
                    let slices = self.slices;
                    let Some(sums) = self.of(span.thread) else {
                        continue;
                    };
                    let tally = match span.state {
                        State::Run => &mut sums.run,
                        State::Wait => &mut sums.wait,
                        State::Off(OffState::Block) => &mut sums.block,
                        State::Off(OffState::Sleep | OffState::Stopped) | State::Unknown => {
                            continue;
                        }
                    };
                    tally.spread(slices, span.at_ns, ns);
                }
                Row::Wait(wait) => self.waited(wait, rows),
                Row::Switch(switch) => {
                    let slices = self.slices;
                    if let Some(sums) = self.of(switch.thread) {
                        let (at, counts) = (switch.at_ns, (switch.voluntary, switch.involuntary));
                        sums.voluntary.count(slices, at, counts.0);
                        sums.involuntary.count(slices, at, counts.1);
                    }
                }
                Row::Done(done) => {
                    if let Some(sums) = self.of(done.met.thread) {
                        sums.own |= done.row.own;
                    }
                    self.members.remove(&done.met.thread);
                }
            }
        }
    }

    fn waited(&mut self, wait: &WaitRow, rows: &Rows) {
        let slices = self.slices;
        let Groups {
            groups,
            members,
            causes,
            ..
        } = self;
        let Some(sums) = members
            .get(&wait.thread)
            .and_then(|group| groups.get_mut(group))
        else {
            return;
        };
        for piece in &rows.pieces[wait.pieces.clone()] {
            let charged = &piece.charged;
            let comm = charged.who.map(|who| normalised(&who.comm));
            let mut culprit = Culprit {
                kind: charged.kind,
                comm,
            };
            if !sums.waited_for.contains_key(&culprit) {
                if *causes >= CAUSES {
                    culprit.comm = comm.map(|_| Comm::from(OTHERS));
                }
                *causes += 1;
            }
            let tally = sums.waited_for.entry(culprit).or_default();
            tally.spread(slices, piece.at_ns, charged.ns.0);
        }
    }

    fn of(&mut self, thread: u32) -> Option<&mut Sums> {
        let group = self.members.get(&thread)?;
        self.groups.get_mut(group)
    }

    /// The group that has room.
    fn known(&self, group: Group) -> Group {
        if self.groups.len() < GROUPS || self.groups.contains_key(&group) {
            return group;
        }
        let others = Comm::from(OTHERS);
        Group {
            process: others,
            thread: others,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn slices_follow_each_other_and_hold_what_lies_in_them(
            duration in 0..20_000_000_000_u64,
            at in 0..20_000_000_000_u64,
        ) {
            let slices = Slices::of(Nanos(duration));
            let lengths: u64 = (0..slices.count()).map(|index| slices.length(index).0).sum();
            prop_assert_eq!(lengths, duration);
            let index = slices.index(at);
            prop_assert!(index < slices.count());
            if at < duration {
                prop_assert!(slices.edge(index) <= at && at < slices.edge(index + 1));
            }
        }

        #[test]
        fn what_is_cut_adds_up(
            duration in 1..5_000_000_000_u64,
            stretches in proptest::collection::vec((any::<u32>(), any::<u32>(), any::<bool>()), 0..20),
        ) {
            let slices = Slices::of(Nanos(duration));
            let (mut tally, mut sum) = (Tally::default(), 0);
            for (at, ns, placed) in stretches {
                tally.spread(slices, placed.then_some(i64::from(at)), ns.into());
                sum += u64::from(ns);
            }
            prop_assert_eq!(tally.total(), sum);
        }
    }

    #[test]
    fn a_stretch_lies_in_the_slices_that_it_crosses() {
        let slices = Slices::of(Nanos(5 * SHORTEST));
        assert_eq!(slices.count(), 5);
        let mut tally = Tally::default();
        tally.spread(slices, Some(SHORTEST as i64 - 3), SHORTEST + 5);
        assert_eq!(tally.slices, [3, SHORTEST, 2, 0, 0]);
        tally.count(slices, Some(2 * SHORTEST as i64), 7);
        tally.count(slices, None, 1);
        assert_eq!((tally.slice(2), tally.total()), (9, SHORTEST + 13));
    }

    #[test]
    fn a_short_window_is_one_slice() {
        assert_eq!(Slices::of(Nanos(0)).count(), 1);
        assert_eq!(Slices::of(Nanos(SHORTEST - 1)).count(), 1);
        assert_eq!(Slices::of(Nanos(u64::MAX)).count(), SLICES as usize);
    }
}
