//! Slots of records, shared with the kernel: read in place, without a system call.
//!
//! In: two maps. Out: records as bytes. Never sees an event.

use std::{
    io,
    os::fd::{AsFd as _, BorrowedFd},
    ptr,
    sync::atomic::{AtomicU64, Ordering},
};

use aya::maps::MapData;
use rustix::mm::{MapFlags, ProtFlags, mmap, munmap};
use tracer_common::counters::SlotMarks;

/// Records read before their slots are given back: each time is a write to a line that the kernel reads.
const GIVE_BACK: u64 = 256;

pub struct Slots {
    records: Mapping,
    marks: Mapping,
    /// Programs refer to them by their descriptors until they are loaded.
    _maps: [MapData; 2],
    /// Of a record.
    size: usize,
    /// For each CPU, a power of two.
    each: u64,
    /// What is being read: up to here it is there, and from here on it is read.
    head: u64,
    next: u64,
}

/// `BPF_F_MMAPABLE` maps live until they are unmapped, whatever becomes of their descriptors.
struct Mapping {
    start: *mut u8,
    length: usize,
}

// SAFETY: an address range of this process, used by whoever owns it.
unsafe impl Send for Mapping {}

impl Slots {
    /// Of the maps of records, each of `size` bytes, and of marks: `each` slots for each of `cpus` CPUs, by
    /// number.
    pub fn map(maps: [MapData; 2], size: usize, cpus: u64, each: u64) -> io::Result<Slots> {
        let [records, marks] = &maps;
        let (records, marks) = (records.fd().as_fd(), marks.fd().as_fd());
        let length = |size: usize, count: u64| {
            let count = usize::try_from(count).map_err(io::Error::other)?;
            Ok::<usize, io::Error>(size * count)
        };
        Ok(Slots {
            records: Mapping::new(records, length(size, cpus * each)?, ProtFlags::READ)?,
            marks: Mapping::new(
                marks,
                length(size_of::<SlotMarks>(), cpus)?,
                ProtFlags::READ | ProtFlags::WRITE,
            )?,
            _maps: maps,
            size,
            each,
            head: 0,
            next: 0,
        })
    }

    /// How many records there are for each CPU at the most.
    pub fn each(&self) -> u64 {
        self.each
    }

    /// Begins to read what a CPU has written so far; answers how much that is.
    pub fn begin(&mut self, cpu: u32) -> u64 {
        let [head, tail, from] = self.marks_of(cpu);
        // Pairs with the kernel program's order of writes: what is below the head is whole, and where to begin
        // was written before it.
        let head = head.load(Ordering::Acquire);
        let next = tail
            .load(Ordering::Relaxed)
            .max(from.load(Ordering::Relaxed));
        // Once all is read, more may have been left out since.
        (self.head, self.next) = (head, next.min(head));
        self.head - self.next
    }

    /// The next record of that CPU, if there is one.
    pub fn peek(&self, cpu: u32) -> Option<&[u8]> {
        if self.next == self.head {
            return None;
        }
        let slot = u64::from(cpu) * self.each + (self.next & (self.each - 1));
        let at = slot as usize * self.size;
        let record = self.records.start.wrapping_add(at);
        // SAFETY: inside the mapping, and whole: it is below the head, and the kernel writes there again
        // only when the tail is beyond it.
        Some(unsafe { std::slice::from_raw_parts(record, self.size) })
    }

    /// That one was read.
    pub fn advance(&mut self, cpu: u32) {
        self.next = self.next.wrapping_add(1);
        if self.next.is_multiple_of(GIVE_BACK) {
            self.end(cpu);
        }
    }

    /// All that was read is given back.
    pub fn end(&self, cpu: u32) {
        self.marks_of(cpu)[1].store(self.next, Ordering::Release);
    }

    fn marks_of(&self, cpu: u32) -> [&AtomicU64; 3] {
        let at = cpu as usize * size_of::<SlotMarks>();
        assert!(at < self.marks.length, "a CPU that was counted");
        let marks: *mut SlotMarks = self.marks.start.wrapping_add(at).cast();
        // SAFETY: inside the mapping, aligned, and shared with the kernel as atomics are.
        unsafe {
            [
                AtomicU64::from_ptr(&raw mut (*marks).head),
                AtomicU64::from_ptr(&raw mut (*marks).tail),
                AtomicU64::from_ptr(&raw mut (*marks).from),
            ]
        }
    }
}

impl Mapping {
    fn new(map: BorrowedFd<'_>, length: usize, allowed: ProtFlags) -> io::Result<Mapping> {
        let page = rustix::param::page_size();
        let length = length.next_multiple_of(page);
        // SAFETY: a new mapping at an address of the kernel's choice.
        let start = unsafe { mmap(ptr::null_mut(), length, allowed, MapFlags::SHARED, map, 0) }?;
        Ok(Mapping {
            start: start.cast(),
            length,
        })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: mapped by `new`, and nothing refers to it any more.
        let _ = unsafe { munmap(self.start.cast(), self.length) };
    }
}
