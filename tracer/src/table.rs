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
    blocks: Vec<Box<[T; BLOCK]>>,
    /// Places in use.
    len: usize,
}

impl<T> Default for Table<T> {
    fn default() -> Table<T> {
        Table {
            blocks: Vec::new(),
            len: 0,
        }
    }
}

impl<T> Table<T> {
    /// Rows, from the first slot to the last one in use.
    pub fn rows(&self) -> usize {
        self.len
    }

    #[inline]
    pub fn get(&self, slot: Slot) -> Option<&T> {
        let block = self.blocks.get(slot.index() / BLOCK)?;
        (slot.index() < self.len).then(|| &block[slot.index() % BLOCK])
    }

    #[inline]
    pub fn get_mut(&mut self, slot: Slot) -> Option<&mut T> {
        let block = self.blocks.get_mut(slot.index() / BLOCK)?;
        (slot.index() < self.len).then(|| &mut block[slot.index() % BLOCK])
    }

    pub fn iter(&self) -> impl Iterator<Item = (Slot, &T)> {
        let rows = self.blocks.iter().flat_map(|block| block.iter());
        (0..).map(Slot).zip(rows.take(self.len))
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = (Slot, &mut T)> {
        let rows = self.blocks.iter_mut().flat_map(|block| block.iter_mut());
        (0..).map(Slot).zip(rows.take(self.len))
    }
}

impl<T: Default> Table<T> {
    /// At the end; answers where that is.
    pub fn push(&mut self, row: T) -> Slot {
        let slot = Slot(self.len as u32);
        *self.at(slot) = row;
        slot
    }

    /// The place of `slot`, whether or not there was one.
    #[inline]
    pub fn at(&mut self, slot: Slot) -> &mut T {
        if slot.index() >= self.len {
            self.grow(slot);
        }
        &mut self[slot]
    }

    #[cold]
    fn grow(&mut self, slot: Slot) {
        self.len = slot.index() + 1;
        while self.blocks.len() * BLOCK < self.len {
            let mut rows = Vec::with_capacity(BLOCK);
            rows.resize_with(BLOCK, T::default);
            // As long as the array by the line above.
            self.blocks.extend(rows.into_boxed_slice().try_into().ok());
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
        assert_eq!(table.get(Slot(0)), None);
        for number in 0..3 * BLOCK as u32 + 1 {
            assert_eq!(table.push(number), Slot(number));
        }
        assert_eq!(table.iter().count(), 3 * BLOCK + 1);
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
        assert_eq!(table.iter_mut().count(), 131);
        assert_eq!((table[Slot(129)], *table.at(Slot(130))), (0, 5));
    }
}
