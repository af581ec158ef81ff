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

/// What is known of an item before its fields are.
#[derive(Clone, Copy, Debug, Default)]
pub struct Head {
    /// Of a record that is known; the watermark of an advance.
    pub at_ns: u64,
    pub cpu: u16,
    pub length: u16,
    pub what: u8,
}

#[derive(Clone, Copy, Debug, Default)]
pub struct Place {
    pub start: u32,
    pub head: Head,
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
                let place = self.make_room(head_of(bytes)?)?;
                self.of(place).copy_from_slice(bytes);
            }
            Item::Advance(watermark) => {
                let head = Head {
                    at_ns: watermark,
                    what: what::ADVANCE,
                    ..Head::default()
                };
                self.make_room(head)?;
            }
        }
        Some(())
    }

    /// One more item, its bytes yet to be written.
    #[inline]
    pub fn make_room(&mut self, head: Head) -> Option<Place> {
        let end = self.end + usize::from(head.length);
        if end > BLOCK_BYTES || self.places.len() == MOST_ITEMS {
            return None;
        }
        if self.bytes.len() < end {
            self.bytes.resize(end.next_multiple_of(1 << 14), 0);
        }
        let place = Place {
            start: self.end as u32,
            head,
        };
        self.end = end;
        self.places.push(place);
        Some(place)
    }

    #[inline]
    pub fn of(&mut self, place: Place) -> &mut [u8] {
        let start = place.start as usize;
        &mut self.bytes[start..start + usize::from(place.head.length)]
    }

    pub fn iter(&self) -> impl Iterator<Item = Item<'_>> {
        self.places.iter().map(|place| {
            let start = place.start as usize;
            let bytes = &self.bytes[start..start + usize::from(place.head.length)];
            match place.head.what {
                what::ADVANCE => Item::Advance(place.head.at_ns),
                _ => Item::Record(bytes),
            }
        })
    }
}

/// By kind and length: a record of another length than this build knows is bytes. `None`: too long for any.
#[inline]
fn head_of(bytes: &[u8]) -> Option<Head> {
    let raw = Head {
        length: u16::try_from(bytes.len()).ok()?,
        what: what::RAW,
        ..Head::default()
    };
    if bytes.len() < size_of::<Header>() {
        return Some(raw);
    }
    let header = load_header(bytes);
    if header.len != raw.length {
        return Some(raw);
    }
    let what = if header.kind == kind::SWITCH && bytes.len() == size_of::<Switch>() {
        what::SWITCH
    } else {
        let mut layouts = LAYOUTS.iter();
        let known =
            layouts.position(|layout| layout.kind == header.kind && layout.bytes == bytes.len());
        match known {
            Some(layout) => what::OTHERS + layout as u8,
            None => return Some(raw),
        }
    };
    Some(Head {
        at_ns: header.at_ns,
        cpu: header.cpu,
        what,
        ..raw
    })
}

/// How long an item is and what kind its header names; `None`: that varies. Outer `None`: there is no such item.
#[inline]
pub fn shape(what: u8) -> Option<Option<(u16, usize)>> {
    match what {
        what::RAW => Some(None),
        what::ADVANCE => Some(Some((0, 0))),
        what::SWITCH => Some(Some((kind::SWITCH, size_of::<Switch>()))),
        other => {
            let layout = LAYOUTS.get(usize::from(other - what::OTHERS))?;
            Some(Some((layout.kind, layout.bytes)))
        }
    }
}

/// The header of a record that is known, but for its flags.
#[inline]
pub fn header_of(head: Head) -> Header {
    let kind = match shape(head.what) {
        Some(Some((kind, _))) => kind,
        _ => 0,
    };
    Header {
        at_ns: head.at_ns,
        kind,
        len: head.length,
        cpu: head.cpu,
        flags: 0,
    }
}
