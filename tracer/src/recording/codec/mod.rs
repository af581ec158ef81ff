//! Blocks of items, packed: their fields by columns, each as what a guess missed it by.
//!
//! Rings are drained one after another, so records come as stretches of one CPU each. First goes the *outline*,
//! in the order of the items: what each is, its CPU, its time. Whoever has that can put the records of all
//! CPUs into the order of time, and in this order their fields follow: what a thread did last, on whatever
//! CPU, then says much about what it does next.

mod coder;
mod columns;
mod items;
mod layouts;
mod others;
mod run;
mod switch;
mod threads;

use std::io;

use rustc_hash::FxHashMap;
use tracer_common::record::Switch;

use coder::{Coder, Packing, Unpacking};
use columns::{Packer, Unpacker};
use items::{Head, header_of, shape, what};
use layouts::store_header;
use others::{Others, all_columns};
use switch::Switches;
use threads::Threads;

use super::format::BLOCK_BYTES;

pub use items::Items;
pub use run::{Record, Run};

/// The columns of the outline; those of switches follow, then all others.
mod outline {
    pub const WHAT: usize = 0;
    pub const RAW_LENGTH: usize = 1;
    pub const RAW: usize = 2;
    pub const ADVANCE: usize = 3;
    pub const CPU: usize = 4;
    pub const SWITCH_TIME: usize = 5;
    pub const TIME: usize = 6;
    pub const COLUMNS: usize = 7;
}

/// What an item takes besides its bytes, at most.
const ITEM: usize = 32;

const OTHERS: usize = outline::COLUMNS + switch::NAMES.len();
const COLUMNS: usize = OTHERS + all_columns();

/// All that fields are foretold from: empty when a block begins, so that each can be read alone.
struct State {
    switches: Switches,
    others: Others,
    threads: Threads,
}

impl State {
    fn new() -> State {
        State {
            switches: Switches::default(),
            others: Others::new(OTHERS),
            threads: Threads::default(),
        }
    }

    fn clear(&mut self) {
        self.switches.clear();
        self.others.clear();
        self.threads.clear();
    }

    /// The fields of a record that is known; all but the flags of its header are right. These come in the order of
    /// time. `None`: nothing that was packed.
    fn code<C: Coder>(&mut self, coder: &mut C, head: Head, bytes: &mut [u8]) -> Option<()> {
        if head.what == what::SWITCH {
            let bytes: &mut [u8; Switch::BYTES] = bytes.try_into().ok()?;
            let mut record = Switch::from_bytes(bytes);
            self.switches.code(coder, &mut self.threads, &mut record);
            record.write_to(bytes);
        } else {
            self.others(coder, head, bytes);
        }
        Some(())
    }

    fn others<C: Coder>(&mut self, coder: &mut C, head: Head, bytes: &mut [u8]) {
        let layout = usize::from(head.what - what::OTHERS);
        self.others
            .code(coder, &mut self.threads, layout, head.at_ns, bytes);
    }
}

/// What each item is; `given` when packing. `None`: nothing that was packed.
fn outline<C: Coder>(
    coder: &mut C,
    count: usize,
    given: impl Fn(usize) -> Head,
    mut each: impl FnMut(Head) -> Option<()>,
) -> Option<()> {
    // The last times of each CPU: of switches, which do not come with the rest, and of the rest.
    let mut times: Vec<[u64; 2]> = Vec::new();
    let (mut last_cpu, mut last_advance) = (0, 0);
    for index in 0..count {
        let Head { at_ns, cpu, .. } = given(index);
        let what = coder.plain(outline::WHAT, given(index).what.into());
        let what = u8::try_from(what).ok()?;
        let mut head = Head {
            what,
            ..Head::default()
        };
        match shape(what)? {
            Some((_, length)) => head.length = length as u16,
            None => {
                let length = coder.plain(outline::RAW_LENGTH, given(index).length.into());
                head.length = u16::try_from(length).ok()?;
            }
        }
        match what {
            what::RAW => {}
            what::ADVANCE => {
                last_advance = coder.number(outline::ADVANCE, at_ns, last_advance);
                head.at_ns = last_advance;
            }
            _ => {
                last_cpu = coder.quarter(outline::CPU, cpu, last_cpu);
                head.cpu = last_cpu;
                let cpu = usize::from(last_cpu);
                if times.len() <= cpu {
                    times.resize(cpu + 1, [0; 2]);
                }
                let (column, last) = match what {
                    what::SWITCH => (outline::SWITCH_TIME, &mut times[cpu][0]),
                    _ => (outline::TIME, &mut times[cpu][1]),
                };
                *last = coder.number(column, at_ns, *last);
                head.at_ns = *last;
            }
        }
        each(head)?;
    }
    Some(())
}

/// Known records of all items, in the order of time.
fn in_order(items: &Items, order: &mut Vec<(u64, u32)>) {
    order.clear();
    let heads = items.places.iter().map(|place| place.head);
    let known = (0..)
        .zip(heads)
        .filter(|(_, head)| head.what >= what::SWITCH);
    order.extend(known.map(|(index, head)| (head.at_ns, index)));
    order.sort_by_key(|&(at_ns, _)| at_ns);
}

/// What a block is about, for its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub first_ns: u64,
    pub last_ns: u64,
}

pub struct Encoder {
    state: State,
    order: Vec<(u64, u32)>,
    packer: Packer<COLUMNS>,
    places: FxHashMap<u64, u32>,
}

impl Encoder {
    pub fn new() -> io::Result<Encoder> {
        Ok(Encoder {
            state: State::new(),
            order: Vec::new(),
            packer: Packer::new()?,
            places: FxHashMap::default(),
        })
    }

    pub fn encode(&mut self, items: &mut Items, into: &mut Vec<u8>) -> io::Result<Times> {
        const SHAPED: &str = "items have the shapes that they were given when they were pushed";
        self.places.clear();
        let mut coder = Packing {
            packer: &mut self.packer,
            places: &mut self.places,
        };
        let count = items.places.len();
        let given = |index: usize| items.places[index].head;
        outline(&mut coder, count, given, |_| Some(())).expect(SHAPED);
        for index in 0..count {
            let place = items.places[index];
            if place.head.what == what::RAW {
                coder.bytes(outline::RAW, items.of(place));
            }
        }
        in_order(items, &mut self.order);
        self.state.clear();
        for &(_, index) in &self.order {
            let place = items.places[index as usize];
            self.state
                .code(&mut coder, place.head, items.of(place))
                .expect(SHAPED);
        }
        self.packer.pack(into)?;
        let time = |record: Option<&(u64, u32)>| record.map_or(0, |&(at_ns, _)| at_ns);
        Ok(Times {
            first_ns: time(self.order.first()),
            last_ns: time(self.order.last()),
        })
    }
}

/// Takes a block's payload apart, all of it or record by record.
pub struct Decoder {
    state: State,
    order: Vec<(u64, u32)>,
    unpacker: Unpacker<COLUMNS>,
    /// Of the block.
    heads: Vec<Head>,
}

impl Decoder {
    pub fn new() -> io::Result<Decoder> {
        Ok(Decoder {
            state: State::new(),
            order: Vec::new(),
            unpacker: Unpacker::new()?,
            heads: Vec::new(),
        })
    }

    /// Another one, with as much room.
    pub fn another(&self) -> io::Result<Decoder> {
        let mut another = Decoder::new()?;
        another.unpacker.make_room_as(&self.unpacker);
        Ok(another)
    }

    /// The outline; answers what the items may take. `None`: the payload is not what an encoder makes of so many.
    pub fn begin(&mut self, payload: &[u8], count: usize) -> Option<usize> {
        self.state.clear();
        self.heads.clear();
        self.unpacker.unpack(payload)?;
        let mut coder = Unpacking {
            unpacker: &mut self.unpacker,
        };
        let heads = &mut self.heads;
        heads.reserve(count);
        let mut switches = 0;
        let each = |head: Head| {
            switches += usize::from(head.what == what::SWITCH);
            heads.push(head);
            Some(())
        };
        outline(&mut coder, count, |_| Head::default(), each)?;
        let bytes = self.heads.iter().map(|head| usize::from(head.length));
        let bytes: usize = bytes.sum();
        // A number takes a quarter more when it is in groups of seven bits, and some are foretold in two parts.
        let most = 2 * bytes + ITEM * count;
        if bytes > BLOCK_BYTES || self.unpacker.unpacked() > most {
            return None;
        }
        self.unpacker.has_rows(switches, switch::STEADY.into_iter());
        Some(bytes + ITEM * count)
    }

    /// Whether what was begun can be a [`Run`].
    pub fn is_orderly(&self) -> bool {
        run::is_orderly(&self.heads)
    }

    /// All items of what was begun. `None`: as above.
    pub fn decode(&mut self, items: &mut Items) -> Option<()> {
        self.decode_heads(items)?;
        self.unpacker.is_used_up().then_some(())
    }

    fn decode_heads(&mut self, items: &mut Items) -> Option<()> {
        items.clear();
        let mut coder = Unpacking {
            unpacker: &mut self.unpacker,
        };
        for &head in &self.heads {
            let place = items.make_room(head)?;
            let bytes = items.of(place);
            match head.what {
                what::RAW => coder.bytes(outline::RAW, bytes),
                what::ADVANCE => {}
                _ => store_header(&header_of(head), bytes),
            }
        }
        in_order(items, &mut self.order);
        for &(_, index) in &self.order {
            let place = items.places[index as usize];
            self.state.code(&mut coder, place.head, items.of(place))?;
        }
        Some(())
    }
}

#[cfg(test)]
impl Encoder {
    /// The bytes of each column in the last block.
    pub fn sizes(&self) -> impl Iterator<Item = (String, usize)> {
        let outline = [
            "WHAT",
            "RAW_LENGTH",
            "RAW",
            "ADVANCE",
            "CPU",
            "SWITCH_TIME",
            "TIME",
        ];
        let names = outline.into_iter().chain(switch::NAMES.iter().copied());
        let names = names
            .map(str::to_owned)
            .chain((0..).map(|column| format!("other {column}")));
        names.zip(self.packer.sizes.iter().copied())
    }
}
