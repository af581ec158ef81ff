//! Rows by tid, of which those stay that may still change, and of the others the dearest.
//!
//! In: rows. Out: the same, not too many. Must not know: what they say.

use rustc_hash::FxHashMap;

use crate::model::{Nanos, Timestamp};

/// Records may still tell of what ended less than this ago.
const SETTLES: Nanos = Nanos(200_000_000);

pub trait Row {
    fn at(&self) -> Timestamp;
    /// The dearest are kept.
    fn cost(&self) -> Nanos;
}

#[derive(Debug)]
pub struct Kept<R> {
    keep: usize,
    total: u64,
    /// The last one of each tid.
    open: FxHashMap<u32, R>,
    done: Vec<R>,
    /// There may be so many before some are given up.
    limit: usize,
}

impl<R: Row> Kept<R> {
    pub fn new(keep: usize) -> Kept<R> {
        Kept {
            keep,
            total: 0,
            open: FxHashMap::default(),
            done: Vec::new(),
            limit: 2 * keep,
        }
    }

    /// How many there were.
    pub fn total(&self) -> u64 {
        self.total
    }

    pub fn get_mut(&mut self, tid: u32) -> Option<&mut R> {
        self.open.get_mut(&tid)
    }

    /// Of the rows that may still change.
    pub fn tids(&self) -> Vec<u32> {
        self.open.keys().copied().collect()
    }

    /// One more, with all that were there. `ended` tells since when a row does not change any more.
    pub fn add(&mut self, tid: u32, row: R, mut ended: impl FnMut(&mut R) -> Option<Timestamp>) {
        let now = row.at();
        self.total += 1;
        if let Some(mut before) = self.open.insert(tid, row) {
            // Whoever has its tid: it has ended.
            ended(&mut before);
            self.done.push(before);
        }
        if self.open.len() + self.done.len() > self.limit {
            self.retire(now, ended);
        }
    }

    #[cold]
    fn retire(&mut self, now: Timestamp, mut ended: impl FnMut(&mut R) -> Option<Timestamp>) {
        let settled = self
            .open
            .extract_if(|_, row| ended(row).is_some_and(|ended| ended < now.before(SETTLES)));
        self.done.extend(settled.map(|(_, row)| row));
        self.keep_the_dearest();
        // What lives does not go: the next look is worth it only when there is more.
        self.limit = self.open.len() + self.done.len() + self.keep;
    }

    fn keep_the_dearest(&mut self) {
        if self.done.len() > self.keep {
            let dearest = |row: &R| std::cmp::Reverse((row.cost(), std::cmp::Reverse(row.at())));
            self.done.select_nth_unstable_by_key(self.keep, dearest);
            self.done.truncate(self.keep);
        }
    }

    /// All that are kept, in order of time.
    pub fn all(&self) -> Vec<&R> {
        let mut rows: Vec<&R> = self.done.iter().chain(self.open.values()).collect();
        if rows.len() > self.keep {
            rows.sort_by_key(|row| std::cmp::Reverse((row.cost(), std::cmp::Reverse(row.at()))));
            rows.truncate(self.keep);
        }
        rows.sort_by_key(|row| row.at());
        rows
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Clone, Copy, Debug, PartialEq)]
    struct Cost(u64, u64);

    impl Row for Cost {
        fn at(&self) -> Timestamp {
            Timestamp(self.0)
        }

        fn cost(&self) -> Nanos {
            Nanos(self.1)
        }
    }

    const MS: u64 = 1_000_000;

    #[test]
    fn the_dearest_stay_and_all_are_counted() {
        let mut kept = Kept::new(10);
        for number in 0..1_000 {
            let cost = if number % 100 == 7 { 1_000 + number } else { 1 };
            kept.add(number as u32, Cost(number * 100 * MS, cost), |row| {
                Some(Timestamp(row.0))
            });
            assert!(kept.open.len() + kept.done.len() <= 24, "{number}");
        }
        assert_eq!(kept.total(), 1_000);
        let all = kept.all();
        assert_eq!(all.len(), 10);
        assert!(all.is_sorted_by_key(|row| row.0));
        assert!(all.iter().all(|row| row.1 >= 1_000), "{all:?}");
    }

    #[test]
    fn a_tid_that_is_used_again_hides_nothing() {
        let mut kept = Kept::new(10);
        kept.add(5, Cost(1, 1), |_| None);
        kept.add(5, Cost(2, 2), |_| None);
        assert_eq!(kept.get_mut(5), Some(&mut Cost(2, 2)));
        assert_eq!(kept.all(), [&Cost(1, 1), &Cost(2, 2)]);
    }

    #[test]
    fn what_lives_stays_within_reach() {
        let mut kept = Kept::new(10);
        for tid in 0..100 {
            kept.add(tid, Cost(u64::from(tid) * 1_000 * MS, 1), |row| {
                (row.0 % 2_000 != 0).then_some(Timestamp(row.0))
            });
        }
        assert_eq!(kept.get_mut(0).map(|row| row.0), Some(0));
    }
}
