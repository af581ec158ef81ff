//! The threads of a block, in the order in which they came into it.

use std::ops::{Index, IndexMut};

use super::coder::Coder;
use super::switch::Mean;

/// No place in the table.
pub const NOBODY: u32 = u32::MAX;

/// What the last records of a thread said.
#[derive(Clone, Copy, Debug)]
pub struct Thread {
    pub key: u64,
    pub tid: u32,
    /// Who came when it left.
    pub follower: u32,
    pub nvcsw: u64,
    pub nivcsw: u64,
    pub run_delay: u64,
    pub sum_exec: u64,
    /// The clock of its run time when it came.
    pub task_clock: u64,
    /// The clock of its run queue when it left.
    pub left: u64,
    pub throttled: u64,
    /// From its wake-up until it came.
    pub latency: Mean,
    /// By whether it stayed runnable.
    pub state: [u32; 2],
    /// By whether it was in a system call.
    pub syscall: [u32; 2],
    pub priority: u32,
    pub waker: (u32, u16, u16),
    pub flags: u16,
    pub counts: bool,
}

#[derive(Default)]
pub struct Threads {
    threads: Vec<Thread>,
}

impl Threads {
    pub fn clear(&mut self) {
        self.threads.clear();
    }

    /// The place of a key: the one foretold, another one that is known, or a new one at the end.
    #[inline(always)]
    pub fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        [place_column, key_column]: [usize; 2],
        actual: u64,
        guess: u32,
    ) -> u32 {
        let count = self.threads.len() as u32;
        let guessed = self.threads.get(guess as usize);
        let number = if guessed.is_some_and(|thread| thread.key == actual) {
            0
        } else {
            u64::from(coder.place(actual).unwrap_or(count)) + 1
        };
        let place = match coder.plain(place_column, number) {
            0 => guess,
            number => (number - 1).min(u64::from(NOBODY)) as u32,
        };
        if place < count {
            return place;
        }
        let key = coder.plain(key_column, actual);
        coder.met(key, count);
        self.threads.push(Thread::new(key));
        count
    }
}

impl Index<u32> for Threads {
    type Output = Thread;

    fn index(&self, place: u32) -> &Thread {
        &self.threads[place as usize]
    }
}

impl IndexMut<u32> for Threads {
    fn index_mut(&mut self, place: u32) -> &mut Thread {
        &mut self.threads[place as usize]
    }
}

impl Thread {
    fn new(key: u64) -> Thread {
        Thread {
            key,
            tid: 0,
            follower: NOBODY,
            nvcsw: 0,
            nivcsw: 0,
            run_delay: 0,
            sum_exec: 0,
            task_clock: 0,
            left: 0,
            throttled: 0,
            latency: Mean::default(),
            state: [0; 2],
            syscall: [0; 2],
            priority: 0,
            waker: (0, 0, 0),
            flags: 0,
            counts: true,
        }
    }
}
