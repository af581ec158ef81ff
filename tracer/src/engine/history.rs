//! Who had each CPU, back to the beginning of the longest waits; what a wait was for.
//!
//! In: who left a CPU when, and what interrupts and the hypervisor took meanwhile. Out: a wait in pieces
//! that follow each other from its beginning to its end. Must not know: who waits.

mod stretch;

use std::collections::VecDeque;

use crate::{
    audit::share,
    model::{Charge, Cpu, Nanos, Piece, Timestamp, WhoId},
};
use stretch::{Began, Stretch, put};
pub use stretch::{End, Taken};

/// Stretches kept one by one of all CPUs together, and of one at least and at most.
const ALL: usize = 1 << 13;
const LEAST: usize = 1 << 9;
const MOST: usize = 1 << 12;

/// What is told late mostly belongs so near to the end.
const NEAR: usize = 16;

/// Shares that are looked through for one.
const FEW: usize = 4;

/// Older ones are summed up, so many at a time. When there are so many sums, or they hold so many shares, of all
/// CPUs together and of one at least, the older half of them become half as many, again and again: how far back a sum reaches is a
/// small part of how long ago it was.
const BLOCK: usize = 1 << 8;
const BLOCKS: usize = 1 << 8;
const ROOM: usize = 1 << 14;
const LEAST_ROOM: usize = 1 << 9;

/// Told apart in one sum; what is less than these had is nobody's.
const SHARES: usize = LEAST_ROOM / 4;

/// Many stretches as one: of a part of it, everybody has that part.
#[derive(Debug, Default)]
struct Block {
    until: Timestamp,
    /// In order of [`Charge`].
    shares: Vec<(Charge, Nanos)>,
}

/// In any order, any of them several times: afterwards in order, each of them once.
fn add_up(shares: &mut Vec<(Charge, Nanos)>) {
    merge(shares);
    if shares.len() > SHARES {
        shares.sort_unstable_by_key(|&(_, ns)| std::cmp::Reverse(ns));
        for (charge, _) in &mut shares[SHARES..] {
            *charge = Charge::Unknown;
        }
        merge(shares);
    }
}

fn merge(shares: &mut Vec<(Charge, Nanos)>) {
    shares.sort_unstable_by_key(|&(charge, _)| charge);
    shares.dedup_by(|one, all| {
        let same = one.0 == all.0;
        if same {
            all.1 += one.1;
        }
        same
    });
}

#[derive(Debug, Default)]
struct Place {
    /// Nothing is known of what was before.
    forgotten: Timestamp,
    /// By their ends.
    blocks: VecDeque<Block>,
    /// Where the stretches begin.
    began: Began,
    /// By their ends.
    stretches: VecDeque<Stretch>,
    /// By their ends: told before it was their turn.
    ahead: VecDeque<Stretch>,
    /// Room for what is summed up, used again and again.
    pieces: Vec<Piece>,
    spare: Vec<Vec<(Charge, Nanos)>>,
    /// Shares in all blocks.
    held: usize,
}

#[derive(Debug)]
pub struct History {
    places: Vec<Place>,
    keep: usize,
    room: usize,
}

impl Default for History {
    fn default() -> History {
        History::new(1)
    }
}

impl History {
    pub fn new(cpus: usize) -> History {
        History {
            places: Vec::new(),
            keep: (ALL / cpus.max(1)).clamp(LEAST, MOST),
            room: (ROOM / cpus.max(1)).max(LEAST_ROOM),
        }
    }

    /// Somebody had this CPU until then, and `next` came, or stays.
    pub fn left(&mut self, cpu: Cpu, at: Timestamp, end: End, next: Charge) {
        self.put(cpu, Stretch::new(at, end, next));
    }

    /// The same of what is told when it turns out to matter: later than what came after it, an end more makes two
    /// stretches of one; or before its turn.
    pub fn others_left(&mut self, cpu: Cpu, at: Timestamp, end: End, next: Charge) {
        let stretch = Stretch::new(at, end, next);
        let ahead = &mut self.place(cpu).ahead;
        let later = ahead.iter().rev().take_while(|other| other.until > at);
        ahead.insert(ahead.len() - later.count(), stretch);
    }

    /// It is the turn of all that was told up to then.
    pub fn catch_up(&mut self, at: Timestamp) {
        for index in 0..self.places.len() {
            self.places[index].catch_up(at, self.keep, self.room);
        }
    }

    /// The same on one CPU, and of the one after that, which says who was there before it.
    pub fn catch_up_beyond(&mut self, cpu: Cpu, at: Timestamp) {
        let (keep, room) = (self.keep, self.room);
        let place = self.place(cpu);
        place.catch_up(at, keep, room);
        if let Some(stretch) = place.ahead.pop_front() {
            place.put(stretch, keep, room);
        }
    }

    /// Who had this CPU until then cannot be told, nor who came.
    pub fn lost(&mut self, cpu: Cpu, at: Timestamp) {
        let end = End {
            charge: Charge::Unknown,
            came: None,
            gap: true,
            taken: None,
        };
        self.put(cpu, Stretch::new(at, end, Charge::Unknown));
    }

    fn put(&mut self, cpu: Cpu, stretch: Stretch) {
        let (keep, room) = (self.keep, self.room);
        let place = self.place(cpu);
        place.catch_up(stretch.until, keep, room);
        place.put(stretch, keep, room);
    }

    /// The first look saw it there, before any switch.
    pub fn occupied(&mut self, cpu: Cpu, charge: Charge) {
        let place = self.place(cpu);
        if place.began.at == Timestamp(0) && place.began.there == Charge::Unknown {
            place.began.there = charge;
        }
    }

    /// What a wait of `waiter` on this CPU was for, from the last piece on, up to `to`.
    pub fn explain(
        &self,
        (cpu, waiter): (Cpu, WhoId),
        from: Timestamp,
        to: Timestamp,
        pieces: &mut Vec<Piece>,
    ) {
        if from >= to {
            return;
        }
        let Some(place) = self.places.get(usize::from(cpu.0)) else {
            return put(pieces, to, Charge::Unknown);
        };
        let stretches = &place.stretches;
        // Most waits are short.
        let mut first = stretches.len();
        while first > 0 && stretches[first - 1].until > from {
            first -= 1;
        }
        let mut began = match first.checked_sub(1) {
            Some(last) => {
                let known = stretches.range(..first).rev().find_map(Stretch::sums);
                Began {
                    sums: known.or(place.began.sums),
                    ..place.began.after(&stretches[last])
                }
            }
            None => place.began,
        };
        let mut at = from;
        if at < began.at {
            at = began.at.min(to);
            place.explain_roughly(waiter, from, at, pieces);
        }
        for stretch in stretches.range(first..) {
            let end = stretch.until.min(to);
            if at < end {
                stretch.split(began, at, end, pieces);
                at = end;
            }
            if at == to {
                return;
            }
            began = began.after(stretch);
        }
        put(pieces, to, began.there);
    }

    /// Everybody who is referred to.
    pub fn names(&self) -> impl Iterator<Item = WhoId> {
        self.places.iter().flat_map(|place| {
            let ends = place.stretches.iter().chain(&place.ahead);
            let charges = ends.flat_map(|stretch| [stretch.charge, stretch.next]);
            let sums = place.blocks.iter().flat_map(|block| &block.shares);
            let sums = sums.map(|(charge, _)| *charge);
            charges
                .chain(sums)
                .chain([place.began.there])
                .filter_map(|charge| match charge {
                    Charge::Who(who) => Some(who),
                    _ => None,
                })
        })
    }

    fn place(&mut self, cpu: Cpu) -> &mut Place {
        let index = usize::from(cpu.0);
        if index >= self.places.len() {
            self.places.resize_with(index + 1, Place::default);
        }
        &mut self.places[index]
    }
}

impl Place {
    #[inline]
    fn catch_up(&mut self, at: Timestamp, keep: usize, room: usize) {
        while let Some(stretch) = self.ahead.pop_front_if(|stretch| stretch.until <= at) {
            self.put(stretch, keep, room);
        }
    }

    #[inline]
    fn put(&mut self, stretch: Stretch, keep: usize, room: usize) {
        let last = self.stretches.back();
        if last.is_none_or(|last| last.until >= stretch.until) {
            return self.put_between(stretch, keep, room);
        }
        self.stretches.push_back(stretch);
        if self.stretches.len() > keep {
            self.sum_up(room);
        }
    }

    /// It is the first one, or told late.
    #[inline(never)]
    fn put_between(&mut self, stretch: Stretch, keep: usize, room: usize) {
        let at = stretch.until;
        let index = self.index_of(at);
        if let Some(known) = self.stretches.get_mut(index)
            && known.until == at
        {
            known.told_again(stretch);
            return;
        }
        if index == 0 && at <= self.began.at {
            // It is summed up.
            if at == self.began.at {
                self.began.there = stretch.next;
            }
            return;
        }
        if index == 0 && self.began.at == Timestamp(0) {
            // What was taken before the first end is nobody's.
            self.began.sums = stretch.sums();
        }
        self.stretches.insert(index, stretch);
        if self.stretches.len() > keep {
            self.sum_up(room);
        }
    }

    /// Where an end at this time belongs: before those that are no earlier.
    #[inline]
    fn index_of(&self, at: Timestamp) -> usize {
        let latest = self.stretches.iter().rev().take(NEAR);
        let later = latest.take_while(|other| other.until >= at).count();
        if later < NEAR {
            self.stretches.len() - later
        } else {
            self.stretches.partition_point(|other| other.until < at)
        }
    }

    /// The oldest stretches become one sum.
    #[cold]
    fn sum_up(&mut self, room: usize) {
        let mut pieces = std::mem::take(&mut self.pieces);
        let from = self.began.at;
        for stretch in self.stretches.drain(..BLOCK.min(self.stretches.len())) {
            stretch.split(self.began, self.began.at, stretch.until, &mut pieces);
            self.began = self.began.after(&stretch);
        }
        if from == Timestamp(0) {
            // The first stretch begins with the machine, and has nothing taken out of it.
            self.forgotten = pieces.first().map_or(from, |first| first.to);
        }
        let mut shares = self.spare.pop().unwrap_or_default();
        let mut at = from.max(self.forgotten);
        for piece in pieces.drain(..) {
            let (charge, ns) = (piece.charge, piece.to.since(at));
            // Mostly a few take turns.
            let known = shares.iter_mut().rev().take(FEW);
            match known.into_iter().find(|share| share.0 == charge) {
                Some(share) => share.1 += ns,
                None => shares.push((charge, ns)),
            }
            at = at.max(piece.to);
        }
        add_up(&mut shares);
        self.blocks.push_back(Block {
            until: self.began.at,
            shares,
        });
        self.pieces = pieces;
        self.held += self.blocks.back().map_or(0, |block| block.shares.len());
        if self.held > room || self.blocks.len() > BLOCKS {
            self.halve();
        }
    }

    /// Of the older half of the sums two become one each.
    fn halve(&mut self) {
        let pairs = self.blocks.len() / 4;
        for pair in 0..pairs {
            let Block { until, mut shares } = std::mem::take(&mut self.blocks[2 * pair + 1]);
            let first = &mut self.blocks[2 * pair];
            first.until = until;
            first.shares.append(&mut shares);
            add_up(&mut first.shares);
            self.spare.push(shares);
            self.blocks.swap(pair, 2 * pair);
        }
        self.blocks.drain(pairs..2 * pairs);
        self.held = self.blocks.iter().map(|block| block.shares.len()).sum();
    }

    /// What was before the stretches.
    #[cold]
    fn explain_roughly(
        &self,
        waiter: WhoId,
        from: Timestamp,
        to: Timestamp,
        pieces: &mut Vec<Piece>,
    ) {
        let mut at = from;
        if at < self.forgotten {
            at = self.forgotten.min(to);
            put(pieces, at, Charge::Unknown);
        }
        let first = self.blocks.partition_point(|block| block.until <= at);
        for block in self.blocks.range(first..) {
            let end = block.until.min(to);
            if at >= end {
                break;
            }
            // It had the CPU itself before, or has it after the wait.
            let others = || {
                let all = block.shares.iter();
                all.filter(|(charge, _)| *charge != Charge::Who(waiter))
            };
            let length = end.since(at);
            let all: Nanos = others().map(|&(_, ns)| ns).sum();
            for &(charge, ns) in others() {
                at = Timestamp(at.0 + share(ns, length, all).0).min(end);
                put(pieces, at, charge);
            }
            // What rounding left over.
            if at < end {
                at = end;
                match pieces.last_mut().filter(|_| all > Nanos::ZERO) {
                    Some(last) => last.to = end,
                    None => put(pieces, end, Charge::Unknown),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Interrupts;

    const CPU: Cpu = Cpu(1);
    const A: Charge = Charge::Who(WhoId(1));
    const B: Charge = Charge::Who(WhoId(2));
    const WAITER: WhoId = WhoId(3);

    fn taken(irq: u64, softirq: u64, steal: u64) -> Taken {
        Taken {
            steal: Nanos(steal),
            interrupts: Interrupts {
                irq: Nanos(irq),
                softirq: Nanos(softirq),
            },
        }
    }

    fn explained(history: &History, from: u64, to: u64) -> Vec<(u64, Charge)> {
        let mut pieces = Vec::new();
        history.explain((CPU, WAITER), Timestamp(from), Timestamp(to), &mut pieces);
        pieces
            .iter()
            .map(|piece| (piece.to.0, piece.charge))
            .collect()
    }

    fn end(charge: Charge, taken: Taken) -> End {
        End {
            charge,
            came: None,
            gap: false,
            taken: Some(taken),
        }
    }

    fn at_last(charge: Charge, came: u64, gap: bool) -> End {
        End {
            came: Some(Timestamp(came)),
            gap,
            ..end(charge, taken(0, 0, 0))
        }
    }

    /// A until 100, B until 200, then A.
    fn two() -> History {
        let mut history = History::new(2);
        history.left(CPU, Timestamp(0), end(Charge::Idle, taken(0, 0, 0)), A);
        history.left(CPU, Timestamp(100), end(A, taken(0, 0, 0)), B);
        history.left(CPU, Timestamp(200), end(B, taken(0, 0, 0)), A);
        history
    }

    #[test]
    fn who_left_unseen_has_what_the_next_one_had_not() {
        let mut history = two();
        history.left(CPU, Timestamp(300), at_last(B, 260, false), A);
        assert_eq!(
            explained(&history, 190, 310),
            [(200, B), (260, A), (300, B), (310, A)]
        );
        assert_eq!(explained(&history, 270, 280), [(280, B)]);
        assert_eq!(explained(&history, 210, 220), [(220, A)]);
    }

    #[test]
    fn after_a_gap_nobody_knows_who_was_there_but_who_left() {
        let mut history = two();
        history.left(CPU, Timestamp(300), at_last(B, 260, true), A);
        assert_eq!(
            explained(&history, 190, 300),
            [(200, B), (260, Charge::Unknown), (300, B)]
        );
        // The one that came and the one that left are the same, and were not there all the time.
        history.left(CPU, Timestamp(400), at_last(A, 370, true), B);
        assert_eq!(
            explained(&history, 300, 400),
            [(370, Charge::Unknown), (400, A)]
        );
        let unmeasured = End {
            gap: true,
            ..end(B, taken(0, 0, 0))
        };
        history.left(CPU, Timestamp(500), unmeasured, A);
        assert_eq!(explained(&history, 400, 500), [(500, Charge::Unknown)]);
        // Another record of the same switch knows more.
        history.left(CPU, Timestamp(500), at_last(B, 410, false), A);
        assert_eq!(explained(&history, 400, 500), [(500, B)]);
    }

    #[test]
    fn an_idle_cpu_keeps_nobody_waiting_who_waited_before() {
        let mut history = two();
        history.left(CPU, Timestamp(300), end(Charge::Idle, taken(0, 0, 0)), B);
        assert_eq!(explained(&history, 280, 300), [(300, Charge::Idle)]);
        // This one went elsewhere while the other one was there, or not.
        assert_eq!(explained(&history, 250, 290), [(290, Charge::Unknown)]);
    }

    #[test]
    fn a_wait_is_cut_where_others_came_and_went() {
        assert_eq!(explained(&two(), 50, 150), [(100, A), (150, B)]);
        assert_eq!(explained(&two(), 120, 130), [(130, B)]);
        assert_eq!(explained(&two(), 150, 260), [(200, B), (260, A)]);
        assert_eq!(explained(&two(), 150, 150), []);
    }

    #[test]
    fn what_nobody_saw_is_unknown() {
        let mut history = two();
        history.lost(CPU, Timestamp(300));
        assert_eq!(
            explained(&history, 190, 310),
            [(200, B), (300, Charge::Unknown), (310, Charge::Unknown)]
        );
        let mut nothing = Vec::new();
        history.explain((Cpu(9), WAITER), Timestamp(1), Timestamp(2), &mut nothing);
        assert_eq!(nothing[0].charge, Charge::Unknown);
    }

    #[test]
    fn a_part_of_a_stretch_has_its_share_of_the_interrupts() {
        let mut history = two();
        history.left(CPU, Timestamp(300), end(A, taken(10, 20, 40)), B);
        assert_eq!(
            explained(&history, 200, 300),
            [
                (230, A),
                (240, Charge::Irq),
                (260, Charge::Softirq),
                (300, Charge::Steal)
            ]
        );
        assert_eq!(
            explained(&history, 250, 300),
            [
                (265, A),
                (270, Charge::Irq),
                (280, Charge::Softirq),
                (300, Charge::Steal)
            ]
        );
    }

    #[test]
    fn who_was_seen_there_by_another_cpu_is_not_measured() {
        let mut history = two();
        // Told before what came first.
        let had = End {
            taken: None,
            ..at_last(A, 400, true)
        };
        history.left(CPU, Timestamp(500), had, A);
        let b = End {
            came: Some(Timestamp(200)),
            ..end(B, taken(40, 0, 0))
        };
        history.left(CPU, Timestamp(400), b, A);
        assert_eq!(
            explained(&history, 300, 510),
            [(380, B), (400, Charge::Irq), (500, A), (510, A)]
        );
        let last = end(A, taken(50, 0, 0));
        history.left(CPU, Timestamp(600), last, Charge::Unknown);
        assert_eq!(
            explained(&history, 500, 600),
            [(590, A), (600, Charge::Irq)]
        );
        // Who came after that, nobody told.
        assert_eq!(explained(&history, 600, 610), [(610, Charge::Unknown)]);
    }

    #[test]
    fn what_is_told_late_is_put_in_its_place() {
        let mut history = two();
        let mut history_of = |at, who, irq, next| {
            let came = Some(Timestamp(at - 100));
            let end = End {
                came,
                ..end(who, taken(irq, 0, 0))
            };
            history.left(CPU, Timestamp(at), end, next);
        };
        history_of(400, A, 40, B);
        history_of(300, B, 30, A);
        assert_eq!(
            explained(&history, 200, 400),
            [(270, B), (300, Charge::Irq), (390, A), (400, Charge::Irq)]
        );
        history.left(CPU, Timestamp(300), end(A, taken(0, 0, 0)), A);
        assert_eq!(explained(&history, 250, 290)[0].1, B);
    }

    #[test]
    fn what_is_older_than_is_kept_is_summed_up() {
        let mut history = History::new(usize::MAX);
        for at in 0..=LEAST as u64 {
            history.left(CPU, Timestamp(10 * at), end(A, Taken::default()), A);
        }
        assert_eq!(explained(&history, 0, 30), [(10, A), (20, A), (30, A)]);
        let (block, keep) = (BLOCK as u64, LEAST as u64);
        let all = 1000 * block;
        for at in keep..all {
            let [charge, next] = if at % 2 == 0 { [A, B] } else { [B, A] };
            history.left(
                CPU,
                Timestamp(10 * (at + 1)),
                end(charge, Taken::default()),
                next,
            );
        }
        let place = &history.places[usize::from(CPU.0)];
        assert!(place.held <= LEAST_ROOM && place.stretches.len() <= LEAST);
        // However long ago: half of the time had one, half the other.
        let shares = |from, to| {
            let mut at = from;
            let mut shares = [0; 2];
            for (to, charge) in explained(&history, from, to) {
                shares[usize::from(charge == B)] += to - at;
                at = to;
            }
            shares
        };
        let (from, half) = (5 * 10 * block, 100 * 10 * block);
        let [a, b] = shares(from, from + 2 * half);
        assert!(a.abs_diff(b) <= half / 50, "{a} {b}");
        let [a, b] = shares(10 * (keep + 1), 10 * all);
        assert_eq!(a + b, 10 * (all - keep - 1));
        assert!(a.abs_diff(b) <= (a + b) / 100, "{a} {b}");
    }
}
