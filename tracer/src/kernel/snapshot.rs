//! Every thread as an iterator over all of them sees it: not through the rings.
//!
//! In: nothing but the kernel. Out: records as bytes. Never sees an event.

use std::error::Error;
use std::io::Read as _;

use aya::programs::Iter;
use bytes::Buf as _;
use tracer_common::record::{Header, Stack, Thread, thread_flags};

use super::{
    preflight::{Refusal, refused_by_kernel},
    probes::{SNAPSHOT, STACKS},
    session::{Session, program},
};

/// Passes of the iterator before a torn entry is taken as it is, and not used as evidence.
const PASSES: usize = 5;

const KIND: usize = std::mem::offset_of!(Header, kind);
const FLAGS: usize = std::mem::offset_of!(Header, flags);
const TASK: usize = std::mem::offset_of!(Thread, task);
const TID: usize = std::mem::offset_of!(Thread, tid);
const TGID: usize = std::mem::offset_of!(Thread, tgid);

impl Session {
    /// Every thread, as records of `kind` (`THREAD` or `THREAD_END`): read by an iterator, not
    /// through the rings. A thread that was being switched is read again.
    pub fn snapshot(&mut self, kind: u16) -> Result<Snapshot, Refusal> {
        let mut snapshot = Snapshot::default();
        // A thread is torn for microseconds of its life; one pass takes a millisecond and more.
        for _ in 0..PASSES {
            snapshot.merge(&self.iterate(SNAPSHOT.0)?);
            if snapshot.torn().next().is_none() {
                break;
            }
        }
        for record in snapshot.records.chunks_exact_mut(size_of::<Thread>()) {
            record[KIND..KIND + 2].copy_from_slice(&kind.to_ne_bytes());
        }
        Ok(snapshot)
    }

    /// What the stacks of all watched threads take; nothing where that cannot be told.
    pub fn stacks(&mut self) -> Vec<Stack> {
        let bytes = self.iterate(STACKS.0).unwrap_or_default();
        let entries = bytes.chunks_exact(size_of::<Stack>());
        entries
            .map(|mut entry| Stack {
                tid: entry.get_u32_ne(),
                kernel_pages: entry.get_u32_ne(),
                user_pointer: entry.get_u64_ne(),
            })
            .collect()
    }

    fn iterate(&mut self, name: &str) -> Result<Vec<u8>, Refusal> {
        let refused =
            |error: &(dyn Error + 'static)| refused_by_kernel("iterate over all threads", error);
        let program: &mut Iter = program(&mut self.ebpf, name)?;
        let link = program.attach().map_err(|error| refused(&error))?;
        let link = program.take_link(link).map_err(|error| refused(&error))?;
        let mut file = link.into_file().map_err(|error| refused(&error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| refused(&error))?;
        Ok(bytes)
    }
}

/// `record::Thread`s, one after another.
#[derive(Default)]
pub struct Snapshot {
    records: Vec<u8>,
}

impl Snapshot {
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.chunks_exact(size_of::<Thread>())
    }

    /// Of watched threads only: of the others no switch will be told.
    pub fn watched(&self) -> impl Iterator<Item = &[u8]> {
        self.records()
            .filter(|record| flags_of(record) & thread_flags::UNWATCHED == 0)
    }

    /// Whether any watched thread is not dead.
    pub fn has_watched_life(&self) -> bool {
        self.watched()
            .any(|record| flags_of(record) & thread_flags::DEAD == 0)
    }

    /// Whether a thread has told of its end, and is yet to leave its CPU for the last time.
    pub fn is_leaving(&self, tid: u32) -> bool {
        let on_its_way = thread_flags::ON_CPU | thread_flags::QUEUED;
        self.records()
            .filter(|record| number(record, TID) == tid)
            .map(flags_of)
            .any(|flags| flags & thread_flags::DEAD != 0 && flags & on_its_way != 0)
    }

    pub fn has_process(&self, pid: u32) -> bool {
        self.records().any(|record| number(record, TGID) == pid)
    }

    pub fn has_thread(&self, tid: u32) -> bool {
        self.records().any(|record| number(record, TID) == tid)
    }

    /// The first pass is taken whole; later ones replace torn entries.
    fn merge(&mut self, pass: &[u8]) {
        if self.records.is_empty() {
            self.records = pass.to_vec();
            return;
        }
        let task = |record: &[u8]| <[u8; 8]>::try_from(&record[TASK..TASK + 8]).ok();
        let torn: Vec<usize> = self.torn().collect();
        for index in torn {
            let at = index * size_of::<Thread>();
            let old = &self.records[at..at + size_of::<Thread>()];
            let new = pass
                .chunks_exact(size_of::<Thread>())
                .find(|new| task(new) == task(old));
            if let Some(new) = new {
                self.records[at..at + size_of::<Thread>()].copy_from_slice(new);
            }
        }
    }

    fn torn(&self) -> impl Iterator<Item = usize> {
        let is_torn = |record: &[u8]| flags_of(record) & thread_flags::TORN != 0;
        (0..)
            .zip(self.records())
            .filter(move |(_, record)| is_torn(record))
            .map(|(index, _)| index)
    }
}

fn number(record: &[u8], at: usize) -> u32 {
    (&record[at..]).get_u32_ne()
}

fn flags_of(record: &[u8]) -> u16 {
    u16::from_ne_bytes([record[FLAGS], record[FLAGS + 1]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_ended_leaves_until_it_is_on_no_cpu_and_in_no_queue() {
        let seen = |flags: u16| {
            let mut record = vec![0; size_of::<Thread>()];
            record[FLAGS..FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
            record[TID..TID + 4].copy_from_slice(&7_u32.to_ne_bytes());
            Snapshot { records: record }
        };
        let (dead, on_cpu, queued) = (
            thread_flags::DEAD,
            thread_flags::ON_CPU,
            thread_flags::QUEUED,
        );
        assert!(seen(dead | on_cpu).is_leaving(7));
        assert!(seen(dead | queued).is_leaving(7));
        assert!(!seen(dead).is_leaving(7));
        assert!(!seen(on_cpu | queued).is_leaving(7));
        assert!(!seen(dead | on_cpu).is_leaving(8));
    }
}
