//! Time by who had it: a small table of the ones that count, and the sum of the others.
//!
//! In: who, how long. Out: the same, added up; nothing is lost from the sum. Must not know: names, windows.

use crate::model::{Nanos, WhoId};

/// Places at the most, of a thread that waits for crowds: 2 KiB where few threads are accounted for, and a
/// quarter of a KiB where many are.
const MOST: usize = 128;
const MOST_OF_MANY: usize = 16;
/// The first places.
const LEAST: usize = 4;
/// Places looked at for one.
const PROBES: usize = 8;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Share {
    pub count: u64,
    pub ns: Nanos,
}

impl Share {
    #[inline]
    pub fn add(&mut self, count: u64, ns: Nanos) {
        self.count += count;
        self.ns += ns;
    }
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    who: WhoId,
    /// 0: the place is free.
    count: u32,
    ns: Nanos,
}

const FREE: Entry = Entry {
    who: WhoId(0),
    count: 0,
    ns: Nanos::ZERO,
};

/// Open addressing: most threads wait for a handful, some for hundreds, and each wait asks for all of them.
#[derive(Clone, Debug, Default)]
pub struct Shares {
    /// A power of two, or none.
    entries: Vec<Entry>,
    used: usize,
    rest: Share,
}

impl Shares {
    /// `many` threads are accounted for.
    #[inline]
    pub fn add(&mut self, who: WhoId, ns: Nanos, many: bool) {
        let most = if many { MOST_OF_MANY } else { MOST };
        self.add_many(who, 1, ns, most);
    }

    #[inline]
    fn add_many(&mut self, who: WhoId, count: u32, ns: Nanos, most: usize) {
        let places = self.entries.len();
        for probe in 0..PROBES.min(places) {
            let entry = &mut self.entries[(place(who, places) + probe) & (places - 1)];
            if entry.count > 0 && entry.who == who {
                entry.count = entry.count.saturating_add(count);
                entry.ns += ns;
                return;
            }
            if entry.count == 0 && self.used * 4 < places * 3 {
                *entry = Entry { who, count, ns };
                self.used += 1;
                return;
            }
        }
        self.add_anew(who, count, ns, most);
    }

    /// There is no place for it yet.
    #[cold]
    fn add_anew(&mut self, who: WhoId, count: u32, ns: Nanos, most: usize) {
        let places = self.entries.len();
        if places < most {
            let larger = (places * 2).max(LEAST);
            let entries = std::mem::replace(&mut self.entries, vec![FREE; larger]);
            self.used = 0;
            for entry in entries.into_iter().filter(|entry| entry.count > 0) {
                self.add_many(entry.who, entry.count, entry.ns, most);
            }
            return self.add_many(who, count, ns, most);
        }
        // Whoever counts least of those around makes room for one that counts more.
        let around = (0..PROBES).map(|probe| (place(who, places) + probe) & (places - 1));
        let least = around.min_by_key(|&at| self.entries[at].ns);
        match least.map(|at| &mut self.entries[at]) {
            Some(entry) if entry.ns < ns => {
                self.rest.add(entry.count.into(), entry.ns);
                *entry = Entry { who, count, ns };
            }
            _ => self.rest.add(count.into(), ns),
        }
    }

    pub fn iter(&self) -> impl Iterator<Item = (WhoId, Share)> {
        let used = self.entries.iter().filter(|entry| entry.count > 0);
        used.map(|entry| {
            let share = Share {
                count: entry.count.into(),
                ns: entry.ns,
            };
            (entry.who, share)
        })
    }

    /// Of those that were too many to be kept apart.
    pub fn rest(&self) -> Share {
        self.rest
    }
}

#[inline]
fn place(who: WhoId, places: usize) -> usize {
    (who.0.wrapping_mul(0x9e37_79b1) >> 16) as usize & (places - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sum(shares: &Shares) -> (u64, u64) {
        let all = shares.iter().map(|(_, share)| share).chain([shares.rest()]);
        all.fold((0, 0), |(count, ns), share| {
            (count + share.count, ns + share.ns.0)
        })
    }

    #[test]
    fn a_few_are_exact() {
        let mut shares = Shares::default();
        for round in 1..=100 {
            for who in 0..40 {
                shares.add(WhoId(who * 1000), Nanos(round), false);
            }
        }
        assert_eq!(shares.rest(), Share::default());
        assert_eq!(shares.iter().count(), 40);
        assert!(
            shares
                .iter()
                .all(|(_, share)| share.count == 100 && share.ns == Nanos(5050))
        );
    }

    #[test]
    fn of_a_crowd_the_weighty_ones_stay_and_the_sum_is_whole() {
        let mut shares = Shares::default();
        for who in 0..10_000 {
            let ns = if who == 7_000 { 1_000_000 } else { 10 };
            shares.add(WhoId(who), Nanos(ns), false);
        }
        assert_eq!(sum(&shares), (10_000, 9_999 * 10 + 1_000_000));
        assert!(
            shares
                .iter()
                .any(|(who, share)| who == WhoId(7_000) && share.ns.0 == 1_000_000)
        );
        assert!(shares.entries.len() <= MOST);
    }
}
