//! A table by slot that grows in blocks.
//!
//! A `Vec` doubles: at ten thousand threads it holds half of its memory for nobody, and both copies
//! while it grows. Here nothing moves, and at most one block is not in use. Must not know: what rows
//! mean.

use std::ops::{Index, IndexMut};

use crate::model::Slot;

const BLOCK: usize = 64;

/// Rows from slot 0 on; a place that nobody has set is `T::default()`.
#[derive(Clone, Debug)]
pub struct Table<T> {
    /// All full but the last.
    blocks: Vec<Vec<T>>,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table { blocks: Vec::new() }
    }
}

impl<T> Table<T> {
    pub fn len(&self) -> usize {
        let last = self.blocks.last().map_or(BLOCK, Vec::len);
        (self.blocks.len() * BLOCK + last).saturating_sub(BLOCK)
    }

    pub fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let index = slot.index();
        self.blocks.get(index / BLOCK)?.get(index % BLOCK)
    }

    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let index = slot.index();
        self.blocks.get_mut(index / BLOCK)?.get_mut(index % BLOCK)
    }

    /// At the end; answers where that is.
    pub fn push(&mut self, row: T) -> Slot {
        let slot = Slot(self.len() as u32);
        match self.blocks.last_mut() {
            Some(block) if block.len() < BLOCK => block.push(row),
            _ => {
                let mut block = Vec::with_capacity(BLOCK);
                block.push(row);
                self.blocks.push(block);
            }
        }
        slot
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        (0..).map(Slot).zip(self.blocks.iter().flatten())
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        (0..).map(Slot).zip(self.blocks.iter_mut().flatten())
    }
}

impl<T: Default> Table<T> {
    /// The place of `slot`, whether or not there was one.
    #[inline]
    pub fn at(&mut self, slot: Slot) -> &mut T {
        if slot.index() >= self.len() {
            self.grow(slot);
        }
        &mut self[slot]
    }

    #[cold]
    fn grow(&mut self, slot: Slot) {
        while self.len() <= slot.index() {
            self.push(T::default());
        }
    }
}

impl<T> Index<Slot> for Table<T> {
    type Output = T;

    #[inline]
    fn index(&self, slot: Slot) -> &T {
        &self.blocks[slot.index() / BLOCK][slot.index() % BLOCK]
    }
}

impl<T> IndexMut<Slot> for Table<T> {
    #[inline]
    fn index_mut(&mut self, slot: Slot) -> &mut T {
        &mut self.blocks[slot.index() / BLOCK][slot.index() % BLOCK]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_places_over_many_blocks() {
        let mut table = Table::default();
        assert_eq!((table.len(), table.is_empty()), (0, true));
        for number in 0..3 * BLOCK as u32 + 1 {
            assert_eq!(table.push(number), Slot(number));
        }
        assert_eq!(table.len(), 3 * BLOCK + 1);
        assert!(table.iter().all(|(slot, number)| slot.0 == *number));
        table[Slot(64)] = 7;
        assert_eq!(
            (table.get(Slot(64)), table.get(Slot(193))),
            (Some(&7), None)
        );
    }

    #[test]
    fn a_place_that_nobody_has_set_is_there_when_it_is_asked_for() {
        let mut table: Table<u32> = Table::default();
        *table.at(Slot(130)) = 5;
        assert_eq!(table.len(), 131);
        assert_eq!((table[Slot(129)], *table.at(Slot(130))), (0, 5));
    }
}
