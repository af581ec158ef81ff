//! One description of how a record is foretold serves both directions: a [`Coder`] that packs writes what
//! the guess missed by and answers what it was given; one that unpacks answers what was given then.

use rustc_hash::FxHashMap;

use super::COLUMNS;
use super::columns::{Packer, Unpacker};
use super::switch::{IS_STEADY, STEADY};

pub trait Coder {
    /// A number as it is.
    fn plain(&mut self, column: usize, actual: u64) -> u64;

    /// Bytes as they are: such a column holds nothing else.
    fn bytes(&mut self, column: usize, bytes: &mut [u8]);

    /// The numbers of another switch follow.
    fn next_switch(&mut self);

    /// Where a key stands in the table of threads, when packing.
    fn place(&self, key: u64) -> Option<u32>;

    /// A key that is at the end of that table from now on.
    fn met(&mut self, key: u64, place: u32);

    #[inline(always)]
    fn number(&mut self, column: usize, actual: u64, guess: u64) -> u64 {
        match self.plain(column, zigzag(actual.wrapping_sub(guess) as i64)) {
            0 => guess,
            missed => guess.wrapping_add(unzigzag(missed) as u64),
        }
    }

    #[inline(always)]
    fn half(&mut self, column: usize, actual: u32, guess: u32) -> u32 {
        let missed = i64::from(actual.wrapping_sub(guess) as i32);
        match self.plain(column, zigzag(missed)) {
            0 => guess,
            missed => guess.wrapping_add(unzigzag(missed) as u32),
        }
    }

    #[inline(always)]
    fn quarter(&mut self, column: usize, actual: u16, guess: u16) -> u16 {
        let missed = i64::from(actual.wrapping_sub(guess) as i16);
        match self.plain(column, zigzag(missed)) {
            0 => guess,
            missed => guess.wrapping_add(unzigzag(missed) as u16),
        }
    }

    #[inline(always)]
    fn bits(&mut self, column: usize, actual: u16, guess: u16) -> u16 {
        self.plain(column, u64::from(actual ^ guess)) as u16 ^ guess
    }
}

/// Small numbers of either sign are small ones.
#[inline]
fn zigzag(number: i64) -> u64 {
    ((number << 1) ^ (number >> 63)) as u64
}

#[inline]
fn unzigzag(number: u64) -> i64 {
    (number >> 1) as i64 ^ -((number & 1) as i64)
}

pub struct Packing<'a> {
    pub packer: &'a mut Packer<COLUMNS>,
    pub places: &'a mut FxHashMap<u64, u32>,
}

impl Coder for Packing<'_> {
    #[inline(always)]
    fn plain(&mut self, column: usize, actual: u64) -> u64 {
        self.packer.push(column, actual);
        actual
    }

    fn bytes(&mut self, column: usize, bytes: &mut [u8]) {
        self.packer.push_bytes(column, bytes);
    }

    #[inline(always)]
    fn next_switch(&mut self) {}

    #[inline(always)]
    fn place(&self, key: u64) -> Option<u32> {
        self.places.get(&key).copied()
    }

    fn met(&mut self, key: u64, place: u32) {
        self.places.insert(key, place);
    }
}

pub struct Unpacking<'a> {
    pub unpacker: &'a mut Unpacker<COLUMNS>,
}

impl Coder for Unpacking<'_> {
    #[inline(always)]
    fn plain(&mut self, column: usize, _: u64) -> u64 {
        if IS_STEADY[column] {
            self.unpacker.pull_steady(column)
        } else {
            self.unpacker.pull(column)
        }
    }

    fn bytes(&mut self, column: usize, bytes: &mut [u8]) {
        self.unpacker.pull_bytes(column, bytes);
    }

    #[inline(always)]
    fn next_switch(&mut self) {
        self.unpacker.next_row(STEADY.into_iter());
    }

    #[inline(always)]
    fn place(&self, _: u64) -> Option<u32> {
        None
    }

    fn met(&mut self, _: u64, _: u32) {}
}
