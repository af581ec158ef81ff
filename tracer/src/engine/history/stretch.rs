//! One stretch of a CPU, between two ends that were told: who had it, and who before that unseen.
//!
//! In: who left and came when, and what was taken meanwhile. Out: pieces. Must not know: other stretches.

use crate::{
    audit::share,
    model::{Charge, Interrupts, Nanos, Piece, Timestamp},
};

/// Somebody had a CPU up to some time.
#[derive(Clone, Copy, Debug)]
pub struct End {
    pub charge: Charge,
    /// Since when, where that is known.
    pub came: Option<Timestamp>,
    /// The switch before this end may be missing.
    pub gap: bool,
    /// What was taken from the CPU; `None`: not measured.
    pub taken: Option<Taken>,
}

/// Cumulative for a CPU.
#[derive(Clone, Copy, Debug, Default)]
pub struct Taken {
    pub steal: Nanos,
    pub interrupts: Interrupts,
}

/// Cumulative for a CPU; only differences count, and those are short: low halves are enough.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sums {
    irq: u32,
    softirq: u32,
    steal: u32,
}

impl From<Taken> for Sums {
    fn from(taken: Taken) -> Sums {
        Sums {
            irq: taken.interrupts.irq.0 as u32,
            softirq: taken.interrupts.softirq.0 as u32,
            steal: taken.steal.0 as u32,
        }
    }
}

/// An [`End`], packed. The stretch begins where the one before it ended.
#[derive(Clone, Copy, Debug)]
pub struct Stretch {
    pub until: Timestamp,
    pub charge: Charge,
    /// Who came then.
    pub next: Charge,
    came: Timestamp,
    sums: Sums,
    gap: bool,
    /// `came` is known.
    dated: bool,
    /// `sums` are known. What was taken here is found with the next one of which they are.
    measured: bool,
}

const _: () = assert!(size_of::<Stretch>() == 48);

/// Where a stretch begins.
#[derive(Clone, Copy, Debug)]
pub struct Began {
    pub at: Timestamp,
    /// As far as they were measured.
    pub sums: Option<Sums>,
    /// Who came then.
    pub there: Charge,
}

impl Default for Began {
    fn default() -> Began {
        Began {
            at: Timestamp(0),
            sums: None,
            there: Charge::Unknown,
        }
    }
}

impl Began {
    pub fn after(self, stretch: &Stretch) -> Began {
        Began {
            at: stretch.until,
            sums: stretch.sums().or(self.sums),
            there: stretch.next,
        }
    }
}

impl Stretch {
    pub fn new(until: Timestamp, end: End, next: Charge) -> Stretch {
        Stretch {
            until,
            charge: end.charge,
            next,
            came: end.came.unwrap_or_default(),
            sums: end.taken.map(Sums::from).unwrap_or_default(),
            gap: end.gap,
            dated: end.came.is_some(),
            measured: end.taken.is_some(),
        }
    }

    pub fn sums(&self) -> Option<Sums> {
        self.measured.then_some(self.sums)
    }

    /// Two records tell of one switch, or that something is missing before it.
    pub fn told_again(&mut self, again: Stretch) {
        self.next = again.next;
        if self.charge == again.charge {
            if !self.dated {
                (self.came, self.dated, self.gap) = (again.came, again.dated, again.gap);
            }
        } else if self.charge == Charge::Unknown {
            (self.charge, self.came, self.dated) = (again.charge, again.came, again.dated);
        } else {
            self.gap |= again.gap;
        }
        if !self.measured {
            (self.sums, self.measured) = (again.sums, again.measured);
        }
    }

    /// The part from `from` to `to`.
    pub fn split(&self, began: Began, from: Timestamp, to: Timestamp, pieces: &mut Vec<Piece>) {
        let as_it_came = began.there == self.charge && !self.gap;
        if as_it_came {
            return self.part((began, self.charge), from, to, pieces);
        }
        let came = match self.charge {
            // No CPU idles while somebody waits for it: who waits at the end of that began to wait in it.
            Charge::Idle if to == self.until => from,
            Charge::Idle => to,
            _ if self.dated => self.came.clamp(from, to),
            _ => to,
        };
        let before = if self.gap || !self.dated || self.charge == Charge::Idle {
            Charge::Unknown
        } else {
            began.there
        };
        if from < came {
            self.part((began, before), from, came, pieces);
        }
        if came < to {
            self.part((began, self.charge), came, to, pieces);
        }
    }

    /// Nobody knows where in the stretch the interrupts were: each part has its share of them.
    fn part(
        &self,
        (began, charge): (Began, Charge),
        from: Timestamp,
        to: Timestamp,
        pieces: &mut Vec<Piece>,
    ) {
        let (Some(taken), Some(then)) = (self.sums(), began.sums) else {
            return put(pieces, to, charge);
        };
        if taken == then || charge == Charge::Unknown {
            return put(pieces, to, charge);
        }
        let (length, all) = (to.since(from), self.until.since(began.at));
        let mut left = length;
        let mut take = |now: u32, then: u32| {
            let part = Nanos(now.wrapping_sub(then).into()).min(all);
            let part = share(part, length, all).min(left);
            left = left - part;
            part
        };
        let parts = [
            (Charge::Irq, take(taken.irq, then.irq)),
            (Charge::Softirq, take(taken.softirq, then.softirq)),
            (Charge::Steal, take(taken.steal, then.steal)),
        ];
        let mut at = Timestamp(from.0 + left.0);
        put(pieces, at, charge);
        for (charge, part) in parts {
            if part > Nanos::ZERO {
                at = Timestamp(at.0 + part.0);
                put(pieces, at, charge);
            }
        }
    }
}

#[inline]
pub fn put(pieces: &mut Vec<Piece>, to: Timestamp, charge: Charge) {
    pieces.push(Piece { to, charge });
}
