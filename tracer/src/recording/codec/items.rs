//! The items of a block, one behind the other.

use std::mem::size_of;

use tracer_common::record::{Header, Switch, kind};

use super::layouts::{LAYOUTS, load_header};
use crate::recording::Item;
use crate::recording::format::{BLOCK_BYTES, BLOCK_ITEMS, MOST_ITEMS};

/// What an item is, as a number of the format.
pub mod what {
    /// Bytes that are no record known here.
    pub const RAW: u8 = 0;
    pub const ADVANCE: u8 = 1;
    pub const SWITCH: u8 = 2;
    /// And more: a layout of `LAYOUTS`.
    pub const OTHERS: u8 = 3;
}

/// Bytes of a watermark.
pub const ADVANCE_BYTES: usize = size_of::<u64>();

#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub start: u32,
    pub length: u16,
    pub what: u8,
}

#[derive(Debug, Default)]
pub struct Items {
    pub bytes: Vec<u8>,
    pub places: Vec<Place>,
    /// Where the last item ends: `bytes` may be longer.
    pub end: usize,
}

impl Items {
    pub fn clear(&mut self) {
        self.places.clear();
        self.end = 0;
    }

    /// `None`: too large for what is there already.
    #[inline]
    pub fn push(&mut self, item: Item<'_>) -> Option<()> {
        if self.places.len() >= BLOCK_ITEMS {
            return None;
        }
        match item {
            Item::Record(bytes) => {
                let place = self.make_room(what_is(bytes), bytes.len())?;
                self.of(place).copy_from_slice(bytes);
            }
            Item::Advance(watermark) => {
                let place = self.make_room(what::ADVANCE, ADVANCE_BYTES)?;
                self.of(place).copy_from_slice(&watermark.to_ne_bytes());
            }
        }
        Some(())
    }

    /// One more item, its bytes yet to be written.
    #[inline]
    pub fn make_room(&mut self, what: u8, length: usize) -> Option<Place> {
        let end = self.end + length;
        if end > BLOCK_BYTES || self.places.len() == MOST_ITEMS {
            return None;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(1 << 14), 0);
        }
        let place = Place {
            start: self.end as u32,
            length: u16::try_from(length).ok()?,
            what,
        };
        self.end = end;
        self.places.push(place);
        Some(place)
    }

    #[inline]
    pub fn of(&mut self, place: Place) -> &mut [u8] {
        let start = place.start as usize;
        &mut self.bytes[start..start + usize::from(place.length)]
    }

    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.places.iter().map(|place| {
            let start = place.start as usize;
            let bytes = &self.bytes[start..start + usize::from(place.length)];
            match place.what {
                what::ADVANCE => Item::Advance(bytes.try_into().map_or(0, u64::from_ne_bytes)),
                _ => Item::Record(bytes),
            }
        })
    }
}

/// By kind and length: a record of another length than this build knows is bytes.
#[inline]
fn what_is(bytes: &[u8]) -> u8 {
    if bytes.len() < size_of::<Header>() {
        return what::RAW;
    }
    let header = load_header(bytes);
    if usize::from(header.len) != bytes.len() {
        what::RAW
    } else if header.kind == kind::SWITCH && bytes.len() == size_of::<Switch>() {
        what::SWITCH
    } else {
        let mut layouts = LAYOUTS.iter();
        let known =
            layouts.position(|layout| layout.kind == header.kind && layout.bytes == bytes.len());
        known.map_or(what::RAW, |layout| what::OTHERS + layout as u8)
    }
}

/// How long an item is and what kind its header names; `None`: that varies. Outer `None`: there is no such item.
pub fn shape(what: u8) -> Option<Option<(u16, usize)>> {
    match what {
        what::RAW => Some(None),
        what::ADVANCE => Some(Some((0, ADVANCE_BYTES))),
        what::SWITCH => Some(Some((kind::SWITCH, size_of::<Switch>()))),
        other => {
            let layout = LAYOUTS.get(usize::from(other - what::OTHERS))?;
            Some(Some((layout.kind, layout.bytes)))
        }
    }
}
