//! Sources that tell their records in the order of time: all of them in this order.
//!
//! In: runs, each of which came after the ones before. Out: records. Must not know: where they are from.

use std::fmt::Debug;

use tracer_common::record;

use crate::model::{Cpu, Timestamp};

/// As it is lent.
#[derive(Clone, Copy, Debug)]
pub enum Record<'a> {
    Switch(&'a record::Switch),
    /// They begin with the record; its header says where it ends.
    Bytes(&'a [u8]),
}

/// Records in the order of time, those of one time by CPU.
pub trait Run: Debug {
    /// Of the next one.
    fn front(&self) -> Option<(Timestamp, Cpu)>;
    /// The time of the last one.
    fn end(&self) -> Timestamp;
    /// The next one.
    fn next(&mut self) -> Record<'_>;
}

/// What a run goes by: its next record, and which run it is at equal ones.
type Front = (Timestamp, Cpu, u64);

#[derive(Debug, Default)]
pub struct Runs {
    /// By their fronts.
    runs: Vec<(Front, Box<dyn Run>)>,
    came: u64,
}

impl Runs {
    pub fn is_empty(&self) -> bool {
        self.runs.is_empty()
    }

    pub fn take(&mut self, run: Box<dyn Run>) {
        self.came += 1;
        let Some((at, cpu)) = run.front() else { return };
        self.runs.push(((at, cpu, self.came), run));
        self.runs.sort_by_key(|&(front, _)| front);
    }

    /// All records before `watermark`, with their times.
    pub fn release(&mut self, watermark: Timestamp, mut each: impl FnMut(Timestamp, Record<'_>)) {
        let watermark = (watermark, Cpu(0), 0);
        while let Some((first, others)) = self.runs.split_first_mut() {
            // Nobody else comes before this: no need to ask after every record.
            let until = match others.first() {
                Some(&(front, _)) => front.min(watermark),
                None => watermark,
            };
            let (front, run) = first;
            if *front >= watermark {
                return;
            }
            let mut next = Some((front.0, front.1));
            while let Some((at, cpu)) = next
                && (at, cpu, front.2) < until
            {
                each(at, run.next());
                next = run.front();
            }
            match next {
                Some((at, cpu)) => {
                    *front = (at, cpu, front.2);
                    let front = *front;
                    let before = others.iter().take_while(|(other, _)| *other < front);
                    let place = before.count();
                    self.runs[..=place].rotate_left(1);
                }
                None => {
                    self.runs.remove(0);
                }
            }
        }
    }

    /// All records, run by run as they came.
    pub fn spill(&mut self, mut each: impl FnMut(Record<'_>)) {
        self.runs.sort_by_key(|&((_, _, came), _)| came);
        for (_, mut run) in self.runs.drain(..) {
            while run.front().is_some() {
                each(run.next());
            }
        }
    }
}

/// Records that came one by one.
#[derive(Debug, Default)]
pub struct Held {
    bytes: Vec<u8>,
    entries: Vec<(Timestamp, Cpu, usize)>,
    next: usize,
}

impl Held {
    pub fn push(&mut self, at: Timestamp, cpu: Cpu, record: &[u8]) {
        self.entries.push((at, cpu, self.bytes.len()));
        self.bytes.extend_from_slice(record);
    }

    /// Those of one time and CPU stay as they came.
    pub fn sort(&mut self) {
        self.entries.sort_by_key(|&(at, cpu, _)| (at, cpu));
    }
}

impl Run for Held {
    fn front(&self) -> Option<(Timestamp, Cpu)> {
        let &(at, cpu, _) = self.entries.get(self.next)?;
        Some((at, cpu))
    }

    fn end(&self) -> Timestamp {
        self.entries
            .last()
            .map_or(Timestamp::default(), |entry| entry.0)
    }

    fn next(&mut self) -> Record<'_> {
        let entry = self.entries.get(self.next);
        let start = entry.map_or(self.bytes.len(), |&(_, _, start)| start);
        self.next += 1;
        Record::Bytes(&self.bytes[start..])
    }
}
