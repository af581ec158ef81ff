//! Holds records until their order is certain.
//!
//! In: records of many CPUs, each CPU's nearly in order (an interrupt may reserve its record between
//! another's stamp and its reservation). Out: all of them in order of time. Must not know: more of a
//! record than its header.
//!
//! What is held are bytes: an event takes more room and is moved more often, and most of it is decoded
//! in the moment it is used. What is in order already is not held in bytes: see `runs`.

mod runs;

use tracer_common::record::{Header, Switch};

use crate::{
    decode::{Envelope, LATEST, envelope},
    model::{Cpu, Timestamp},
};
use runs::{Held, Runs};
pub use runs::{Record, Run};

/// So far from the end a record is put in its place at once. Further, and the whole queue is sorted once
/// before it is released: a snapshot comes before the records of the rings that are older.
const NEAR: usize = 16;

/// A buffer this small is never given back.
const SMALL: usize = 2 << 10;

#[derive(Debug, Default)]
pub struct Reorder {
    /// Either there are runs, or records in queues.
    runs: Runs,
    /// By CPU.
    queues: Vec<Queue>,
    /// While records are released: the fronts of all queues that take part, as a heap.
    fronts: Vec<Front>,
    released: Timestamp,
    late: u64,
    unreadable: u64,
}

/// The time at the front of a queue, and which one; the lower CPU goes first at equal times.
type Front = (Timestamp, usize);

#[derive(Debug, Default)]
struct Queue {
    /// Records behind each other as they came.
    bytes: Vec<u8>,
    /// In order of time, unless `unsorted`.
    entries: Vec<Entry>,
    /// Entries before this one are released.
    next: usize,
    unsorted: bool,
    /// The most bytes held of late: old bursts are forgotten by and by.
    peak: usize,
}

#[derive(Clone, Copy, Debug)]
struct Entry {
    at: Timestamp,
    /// Where in `bytes` it begins; where it ends is in its header.
    start: usize,
}

impl Reorder {
    /// A record older than what was released already is dropped and counted: its place is past.
    pub fn push(&mut self, envelope: Envelope<'_>) {
        let Envelope { at, cpu, record } = envelope;
        if at < self.released {
            self.late += 1;
            return;
        }
        if !self.runs.is_empty() {
            self.spill();
        }
        let index = usize::from(cpu.0);
        if index >= self.queues.len() {
            self.add_cpu(cpu);
        }
        let queue = &mut self.queues[index];
        let entry = Entry {
            at,
            start: queue.bytes.len(),
        };
        queue.bytes.extend_from_slice(record);
        if queue.entries.last().is_none_or(|last| last.at <= at) {
            queue.entries.push(entry);
        } else {
            queue.squeeze_in(entry);
        }
    }

    /// Records in order, as if they were pushed one by one.
    pub fn take(&mut self, mut run: Box<dyn Run>) {
        let late = run.front().is_some_and(|(at, _)| at < self.released);
        if !late && run.end() < LATEST {
            self.hold();
            self.runs.take(run);
            return;
        }
        while run.front().is_some() {
            self.push_lent(run.next());
        }
    }

    fn push_lent(&mut self, record: Record<'_>) {
        let mut bytes = [0; Switch::BYTES];
        let record = match record {
            Record::Switch(switch) => {
                switch.write_to(&mut bytes);
                &bytes
            }
            Record::Bytes(bytes) => bytes,
        };
        match envelope(record) {
            Some(envelope) => self.push(envelope),
            None => self.unreadable += 1,
        }
    }

    /// What is queued becomes a run.
    fn hold(&mut self) {
        let mut held = Held::default();
        for (cpu, queue) in (0..=u16::MAX).map(Cpu).zip(&mut self.queues) {
            for entry in &queue.entries[queue.next..] {
                let record = envelope(&queue.bytes[entry.start..]).map_or(&[][..], |it| it.record);
                held.push(entry.at, cpu, record);
            }
            *queue = Queue::default();
        }
        held.sort();
        self.runs.take(Box::new(held));
    }

    /// What is not in order comes between.
    #[cold]
    fn spill(&mut self) {
        let mut runs = std::mem::take(&mut self.runs);
        runs.spill(|record| self.push_lent(record));
    }

    #[cold]
    fn add_cpu(&mut self, cpu: Cpu) {
        self.queues
            .resize_with(usize::from(cpu.0) + 1, Queue::default);
    }

    /// All records before `watermark`, in order of time.
    pub fn release(&mut self, watermark: Timestamp, mut each: impl FnMut(Record<'_>)) {
        self.runs.release(watermark, |at, record| {
            self.released = at;
            each(record);
        });
        self.fronts.clear();
        for (index, queue) in self.queues.iter_mut().enumerate() {
            queue.sort();
            let front = queue.front().filter(|&at| at < watermark);
            self.fronts.extend(front.map(|at| (at, index)));
        }
        // What is sorted is a heap.
        self.fronts.sort_unstable();
        while let Some(&(_, index)) = self.fronts.first() {
            // Nobody else comes before this: no need to ask after every record.
            let until = match self
                .fronts
                .get(1..)
                .and_then(|rest| rest.iter().take(2).min())
            {
                Some(&(at, other)) if index < other => Timestamp(at.0.saturating_add(1)),
                Some(&(at, _)) => at,
                None => watermark,
            };
            let until = until.min(watermark);
            let queue = &mut self.queues[index];
            while let Some(entry) = queue
                .entries
                .get(queue.next)
                .filter(|entry| entry.at < until)
            {
                queue.next += 1;
                self.released = entry.at;
                each(Record::Bytes(&queue.bytes[entry.start..]));
            }
            match queue.front().filter(|&at| at < watermark) {
                Some(at) => self.fronts[0] = (at, index),
                None => {
                    self.fronts.swap_remove(0);
                }
            }
            sink(&mut self.fronts);
        }
        for queue in &mut self.queues {
            queue.tidy();
        }
    }

    /// Bytes of records whose order is not certain yet.
    pub fn held(&self) -> usize {
        self.queues.iter().map(|queue| queue.bytes.len()).sum()
    }

    /// Records that came after their place had passed.
    pub fn late(&self) -> u64 {
        self.late
    }

    /// What runs told that is no record.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }
}

impl Queue {
    fn front(&self) -> Option<Timestamp> {
        Some(self.entries.get(self.next)?.at)
    }

    /// Before those that are later; behind those of the same time, which came first.
    #[cold]
    fn squeeze_in(&mut self, entry: Entry) {
        let later = self.entries.iter().rev().take(NEAR);
        let later = later.take_while(|other| other.at > entry.at).count();
        if later < NEAR {
            self.entries.insert(self.entries.len() - later, entry);
        } else {
            self.entries.push(entry);
            self.unsorted = true;
        }
    }

    fn sort(&mut self) {
        if std::mem::take(&mut self.unsorted) {
            self.entries[self.next..].sort_by_key(|entry| entry.at);
        }
    }

    /// Gives up the room of what is released, once that is no less than what is left to move.
    fn tidy(&mut self) {
        let left = self.entries.len() - self.next;
        if self.next == 0 || self.next < left {
            return;
        }
        let bytes = self.bytes.len();
        self.entries.drain(..self.next);
        self.next = 0;
        let first = self.entries.iter().map(|entry| entry.start).min();
        let first = first.unwrap_or(bytes);
        self.bytes.drain(..first);
        for entry in &mut self.entries {
            entry.start -= first;
        }
        // One that is far ahead of its time would hold on to all that came behind it.
        if first < bytes / 8 {
            self.repack();
        }
        self.peak = bytes.max(self.peak - self.peak / 8);
        // Growth doubles, so that this much is not in use only after a burst.
        if self.bytes.capacity() > SMALL.max(2 * self.peak) {
            self.bytes.shrink_to(self.peak + self.peak / 2);
            let share = self.bytes.capacity() / size_of::<Header>();
            self.entries.shrink_to(share);
        }
    }

    fn repack(&mut self) {
        let old = std::mem::take(&mut self.bytes);
        for entry in &mut self.entries {
            let record = envelope(&old[entry.start..]).map_or(&[][..], |it| it.record);
            entry.start = self.bytes.len();
            self.bytes.extend_from_slice(record);
        }
    }
}

/// The first of a heap may be too late for its place.
fn sink(heap: &mut [Front]) {
    let mut place = 0;
    loop {
        let children = 2 * place + 1;
        let Some(mut first) = heap.get(children) else {
            return;
        };
        let mut child = children;
        if let Some(second) = heap.get(children + 1).filter(|second| *second < first) {
            (first, child) = (second, children + 1);
        }
        if heap[place] <= *first {
            return;
        }
        heap.swap(place, child);
        place = child;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::tests::bytes::bytes_of;
    use proptest::prelude::*;
    use tracer_common::record::kind;

    fn push(reorder: &mut Reorder, at: u64, cpu: u16) {
        let record = bytes_of(&Header {
            at_ns: at,
            kind: kind::WINDOW_BEGIN,
            len: size_of::<Header>() as u16,
            cpu,
            flags: 0,
        });
        reorder.push(envelope(&record).expect("a whole header"));
    }

    fn drain(reorder: &mut Reorder, watermark: u64) -> Vec<(u64, u16)> {
        let mut released = Vec::new();
        reorder.release(Timestamp(watermark), |record| {
            let Record::Bytes(bytes) = record else {
                panic!("nobody lends a switch");
            };
            let it = envelope(bytes).expect("what was pushed");
            released.push((it.at.0, it.cpu.0));
        });
        released
    }

    #[test]
    fn nothing_at_or_after_the_watermark_is_released() {
        let mut reorder = Reorder::default();
        for (at, cpu) in [(10, 0), (30, 0), (20, 1)] {
            push(&mut reorder, at, cpu);
        }
        assert_eq!(drain(&mut reorder, 20), [(10, 0)]);
        assert_eq!(drain(&mut reorder, 31), [(20, 1), (30, 0)]);
    }

    #[test]
    fn an_interrupt_that_reserved_first_is_put_back_in_order() {
        let mut reorder = Reorder::default();
        for (at, cpu) in [(12, 0), (11, 0), (13, 0), (11, 1)] {
            push(&mut reorder, at, cpu);
        }
        assert_eq!(
            drain(&mut reorder, 99),
            [(11, 0), (11, 1), (12, 0), (13, 0)]
        );
        assert_eq!(reorder.late(), 0);
    }

    #[test]
    fn what_comes_too_late_is_counted_and_dropped() {
        let mut reorder = Reorder::default();
        push(&mut reorder, 10, 0);
        assert_eq!(drain(&mut reorder, 20), [(10, 0)]);
        push(&mut reorder, 9, 1);
        assert_eq!((drain(&mut reorder, 20), reorder.late()), (vec![], 1));
    }

    #[test]
    fn a_snapshot_may_come_before_older_records_of_its_ring() {
        let mut reorder = Reorder::default();
        for at in (500..600).chain(400..550) {
            push(&mut reorder, at, 0);
        }
        let got = drain(&mut reorder, 1000);
        assert_eq!((got.len(), reorder.late()), (250, 0));
        assert!(got.is_sorted());
    }

    /// Bytes and entries held, of all CPUs.
    fn held(reorder: &Reorder) -> usize {
        let of =
            |queue: &Queue| queue.bytes.capacity() + queue.entries.capacity() * size_of::<Entry>();
        reorder.queues.iter().map(of).sum()
    }

    #[test]
    fn what_is_held_does_not_grow_with_the_stream() {
        let mut reorder = Reorder::default();
        push(&mut reorder, 1 << 60, 0);
        let mut most = 0;
        for round in 0..1000 {
            for at in 0..100 {
                push(&mut reorder, round * 100 + at, 0);
            }
            assert_eq!(
                drain(&mut reorder, round * 100 + 50).len(),
                if round == 0 { 50 } else { 100 }
            );
            most = most.max(held(&reorder));
        }
        assert!(most < 20_000, "{most}");
        assert_eq!(drain(&mut reorder, u64::MAX).len(), 51);
    }

    #[test]
    fn the_room_of_a_burst_is_given_back() {
        let mut reorder = Reorder::default();
        for at in 0..100_000 {
            push(&mut reorder, at, 0);
        }
        drain(&mut reorder, 100_000);
        for round in 1..80 {
            for at in 0..100 {
                push(&mut reorder, round * 100_000 + at, 0);
            }
            drain(&mut reorder, u64::MAX);
        }
        assert!(held(&reorder) < 200_000, "{}", held(&reorder));
    }

    #[derive(Clone, Debug)]
    enum Step {
        Push(u64, u16),
        Take(Vec<(u64, u16)>),
        Release(u64),
    }

    fn any_step() -> impl Strategy<Value = Step> {
        let at = || 0..60_u64;
        prop_oneof![
            3 => (at(), 0..3_u16).prop_map(|(at, cpu)| Step::Push(at, cpu)),
            3 => prop::collection::vec((at(), 0..3_u16), 0..20).prop_map(Step::Take),
            2 => at().prop_map(Step::Release),
        ]
    }

    /// Records with a number, to tell those of one time and CPU apart.
    fn numbered(at: u64, cpu: u16, number: u16) -> Vec<u8> {
        bytes_of(&Header {
            at_ns: at,
            kind: kind::WINDOW_BEGIN,
            len: size_of::<Header>() as u16,
            cpu,
            flags: number,
        })
    }

    proptest! {
        #[test]
        fn runs_are_as_good_as_their_records_one_by_one(
            mut steps in prop::collection::vec(any_step(), 0..40),
        ) {
            let (mut with_runs, mut by_ones) = (Reorder::default(), Reorder::default());
            let mut number = 0;
            let mut next = |at, cpu| {
                number += 1;
                numbered(at, cpu, number)
            };
            steps.push(Step::Release(u64::MAX));
            for step in steps {
                match step {
                    Step::Push(at, cpu) => {
                        let record = next(at, cpu);
                        with_runs.push(envelope(&record).expect("whole"));
                        by_ones.push(envelope(&record).expect("whole"));
                    }
                    Step::Take(records) => {
                        let mut run = Held::default();
                        for (at, cpu) in records {
                            let record = next(at, cpu);
                            run.push(Timestamp(at), Cpu(cpu), &record);
                            by_ones.push(envelope(&record).expect("whole"));
                        }
                        run.sort();
                        with_runs.take(Box::new(run));
                    }
                    Step::Release(watermark) => {
                        let mut released = [Vec::new(), Vec::new()];
                        for (reorder, released) in [&mut with_runs, &mut by_ones].into_iter().zip(&mut released) {
                            reorder.release(Timestamp(watermark), |record| match record {
                                Record::Bytes(bytes) => released.push(bytes[..size_of::<Header>()].to_vec()),
                                Record::Switch(_) => panic!("nobody lends a switch"),
                            });
                        }
                        prop_assert_eq!(&released[0], &released[1]);
                    }
                }
            }
            prop_assert_eq!(with_runs.late(), by_ones.late());
            prop_assert_eq!(with_runs.unreadable(), 0);
        }

        #[test]
        fn everything_comes_out_once_and_in_order(
            mut times in prop::collection::vec((0..1000_u64, 0..4_u16), 0..200),
            cut in 0..1000_u64,
        ) {
            let mut reorder = Reorder::default();
            for &(at, cpu) in &times {
                push(&mut reorder, at, cpu);
            }
            let mut got = drain(&mut reorder, cut);
            prop_assert!(got.iter().all(|&(at, _)| at < cut));
            // Into queues of which a part is gone.
            for at in [1100, 1001, 1050] {
                push(&mut reorder, at, 1);
                times.push((at, 1));
            }
            got.extend(drain(&mut reorder, u64::MAX));
            // At equal times the lower CPU goes first.
            prop_assert!(got.is_sorted());
            got.sort_unstable();
            times.sort_unstable();
            prop_assert_eq!(got, times);
        }
    }
}
