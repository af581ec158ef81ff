//! What is missing from the stream, as far as the stream itself tells: how much, and where.
//!
//! In: announcements of the kernel programs, and when each CPU was heard of. Out: numbers and holes. Must
//! not know: threads, spans.

use crate::model::{Cpu, Timestamp};

/// Holes that are told one by one, the longest; of the others the sums.
const HOLES: usize = 32;

/// Nothing was heard of the switches of a CPU, and something was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Hole {
    pub cpu: Cpu,
    /// The last switch before, and the first record after it.
    pub from: Timestamp,
    pub to: Timestamp,
    pub records: u64,
}

#[derive(Clone, Debug, Default)]
pub struct Losses {
    /// Records that found no room in a ring, as announced.
    pub records: u64,
    /// Switches of some thread that its own numbers prove and no record told.
    pub switches: u64,
    /// What is missing from now on is after the window.
    closed: bool,
    /// How many holes there are; the longest of them are in `longest`.
    pub holes: u64,
    pub longest: Vec<Hole>,
    /// By CPU: the last switch.
    heard: Vec<Timestamp>,
    /// By CPU and probe: the loss announced so far.
    announced: Vec<(Cpu, u32, u64)>,
}

impl Losses {
    pub fn any(&self) -> bool {
        self.records > 0 || self.switches > 0
    }

    /// The window begins: what was missed while the probes were being attached is before it.
    pub fn begin(&mut self) {
        self.records = 0;
        self.switches = 0;
        self.holes = 0;
        self.longest.clear();
    }

    /// The window ends. What was missing before is known by now: the last look told.
    pub fn close(&mut self) {
        self.closed = true;
    }

    /// Switches of a thread are missing.
    pub fn switches(&mut self, missing: u64) {
        if !self.closed {
            self.switches += missing;
        }
    }

    pub fn heard(&mut self, cpu: Cpu, at: Timestamp) {
        let index = usize::from(cpu.0);
        if index >= self.heard.len() {
            self.heard.resize(index + 1, Timestamp(0));
        }
        self.heard[index] = at;
    }

    /// One probe lost `total` records on this CPU so far, the last ones just before `at`.
    pub fn announced(&mut self, cpu: Cpu, at: Timestamp, probe: u32, total: u64) {
        let place = self
            .announced
            .iter_mut()
            .find(|(c, p, _)| (*c, *p) == (cpu, probe));
        let records = match place {
            Some((_, _, before)) => {
                let records = total.saturating_sub(*before);
                *before = total.max(*before);
                records
            }
            None => {
                self.announced.push((cpu, probe, total));
                total
            }
        };
        self.records += records;
        let from = self.heard.get(usize::from(cpu.0)).copied();
        if let (Some(from), true) = (from, records > 0 && !self.closed) {
            self.hole(Hole {
                cpu,
                from,
                to: at.max(from),
                records,
            });
        }
    }

    fn hole(&mut self, hole: Hole) {
        // Each probe announces for itself: the same hole may be told several times.
        let same = |old: &&mut Hole| (old.cpu, old.from) == (hole.cpu, hole.from);
        if let Some(old) = self.longest.iter_mut().find(same) {
            old.to = old.to.max(hole.to);
            old.records += hole.records;
            return;
        }
        self.holes += 1;
        if self.longest.len() < HOLES {
            self.longest.push(hole);
            return;
        }
        let length = |hole: &Hole| hole.to.since(hole.from);
        if let Some(shortest) = self.longest.iter_mut().min_by_key(|old| length(old))
            && length(shortest) < length(&hole)
        {
            *shortest = hole;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Cpu = Cpu(1);

    #[test]
    fn a_hole_reaches_from_the_last_switch_to_the_announcement() {
        let mut losses = Losses::default();
        losses.heard(CPU, Timestamp(10));
        losses.announced(CPU, Timestamp(30), 0, 5);
        losses.announced(CPU, Timestamp(31), 1, 2);
        losses.heard(CPU, Timestamp(40));
        losses.announced(CPU, Timestamp(50), 0, 8);
        let hole = |from, to, records| Hole {
            cpu: CPU,
            from: Timestamp(from),
            to: Timestamp(to),
            records,
        };
        assert_eq!(losses.longest, [hole(10, 31, 7), hole(40, 50, 3)]);
        assert_eq!((losses.records, losses.holes), (10, 2));
    }

    #[test]
    fn the_longest_are_kept_and_all_are_counted() {
        let mut losses = Losses::default();
        for nth in 1..=100 {
            losses.heard(CPU, Timestamp(nth * 1_000));
            losses.announced(CPU, Timestamp(nth * 1_000 + nth), 0, nth);
        }
        assert_eq!((losses.holes, losses.longest.len()), (100, HOLES));
        let shortest = losses
            .longest
            .iter()
            .map(|hole| hole.to.since(hole.from).0)
            .min();
        assert_eq!(shortest, Some(100 - HOLES as u64 + 1));
    }

    #[test]
    fn an_announcement_told_twice_counts_once() {
        let mut losses = Losses::default();
        losses.announced(CPU, Timestamp(1), 0, 5);
        losses.announced(CPU, Timestamp(2), 0, 5);
        assert_eq!(losses.records, 5);
    }
}
