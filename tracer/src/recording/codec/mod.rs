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
mod switch;
mod threads;

use std::io;

use rustc_hash::FxHashMap;
use tracer_common::record::Switch;

use coder::{Coder, Packing, Unpacking};
use columns::{Packer, Unpacker};
use items::{ADVANCE_BYTES, shape, what};
use layouts::{load, load_header, store, store_header};
use others::{Others, all_columns};
use switch::Switches;
use threads::Threads;

pub use items::Items;

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

const OTHERS: usize = outline::COLUMNS + switch::NAMES.len();
const COLUMNS: usize = OTHERS + all_columns();

/// All that is foretold from: empty when a block begins, so that each can be read alone.
struct State {
    switches: Switches,
    others: Others,
    threads: Threads,
    /// The last times of each CPU: of switches, which do not come with the rest, and of the rest.
    times: Vec<[u64; 2]>,
    /// Records that are known, by time.
    order: Vec<(u64, u32)>,
}

impl State {
    fn new() -> State {
        State {
            switches: Switches::default(),
            others: Others::new(OTHERS),
            threads: Threads::default(),
            times: Vec::new(),
            order: Vec::new(),
        }
    }

    /// `None`: nothing that was packed.
    fn code<C: Coder>(&mut self, coder: &mut C, items: &mut Items, count: usize) -> Option<()> {
        self.switches.clear();
        self.others.clear();
        self.threads.clear();
        self.outline(coder, items, count)?;
        self.order.sort_by_key(|&(at, _)| at);
        for &(at_ns, index) in &self.order {
            let place = items.places[index as usize];
            let bytes = items.of(place);
            if place.what == what::SWITCH {
                let bytes: &mut [u8; Switch::BYTES] = bytes.try_into().ok()?;
                let mut record = Switch::from_bytes(bytes);
                self.switches.code(coder, &mut self.threads, &mut record);
                record.write_to(bytes);
            } else {
                let layout = usize::from(place.what - what::OTHERS);
                self.others
                    .code(coder, &mut self.threads, layout, at_ns, bytes);
            }
        }
        Some(())
    }

    /// What each item is, and the headers of known records but for their flags.
    fn outline<C: Coder>(&mut self, coder: &mut C, items: &mut Items, count: usize) -> Option<()> {
        self.times.clear();
        self.order.clear();
        let (mut last_cpu, mut last_advance) = (0, 0);
        for index in 0..count {
            let given = items.places.get(index).copied();
            let given_what = given.map_or(0, |place| place.what);
            let what = coder.plain(outline::WHAT, given_what.into());
            let what = u8::try_from(what).ok()?;
            let (kind, length) = match shape(what)? {
                Some(shape) => shape,
                None => {
                    let given = given.map_or(0, |place| place.length);
                    let length = coder.plain(outline::RAW_LENGTH, given.into());
                    (0, usize::from(u16::try_from(length).ok()?))
                }
            };
            let place = match given {
                Some(place) => place,
                None => items.make_room(what, length)?,
            };
            let bytes = items.of(place);
            match what {
                what::RAW => coder.bytes(outline::RAW, bytes),
                what::ADVANCE => {
                    let given = load(bytes, 0, ADVANCE_BYTES);
                    last_advance = coder.number(outline::ADVANCE, given, last_advance);
                    store(bytes, 0, ADVANCE_BYTES, last_advance);
                }
                _ => {
                    let mut header = load_header(bytes);
                    header.cpu = coder.quarter(outline::CPU, header.cpu, last_cpu);
                    last_cpu = header.cpu;
                    let cpu = usize::from(last_cpu);
                    if self.times.len() <= cpu {
                        self.times.resize(cpu + 1, [0; 2]);
                    }
                    let (column, last) = match what {
                        what::SWITCH => (outline::SWITCH_TIME, &mut self.times[cpu][0]),
                        _ => (outline::TIME, &mut self.times[cpu][1]),
                    };
                    header.at_ns = coder.number(column, header.at_ns, *last);
                    *last = header.at_ns;
                    header.kind = kind;
                    header.len = length as u16;
                    store_header(&header, bytes);
                    self.order.push((header.at_ns, index as u32));
                }
            }
        }
        Some(())
    }
}

/// What a block is about, for its header.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Times {
    pub first_ns: u64,
    pub last_ns: u64,
}

pub struct Encoder {
    state: State,
    packer: Packer<COLUMNS>,
    places: FxHashMap<u64, u32>,
}

impl Encoder {
    pub fn new() -> io::Result<Encoder> {
        Ok(Encoder {
            state: State::new(),
            packer: Packer::new()?,
            places: FxHashMap::default(),
        })
    }

    pub fn encode(&mut self, items: &mut Items, into: &mut Vec<u8>) -> io::Result<Times> {
        self.places.clear();
        let mut coder = Packing {
            packer: &mut self.packer,
            places: &mut self.places,
        };
        let count = items.places.len();
        self.state
            .code(&mut coder, items, count)
            .expect("items have the shapes that they were given when they were pushed");
        self.packer.pack(into)?;
        let time = |record: Option<&(u64, u32)>| record.map_or(0, |&(at_ns, _)| at_ns);
        Ok(Times {
            first_ns: time(self.state.order.first()),
            last_ns: time(self.state.order.last()),
        })
    }
}

pub struct Decoder {
    state: State,
    unpacker: Unpacker<COLUMNS>,
}

impl Decoder {
    pub fn new() -> io::Result<Decoder> {
        Ok(Decoder {
            state: State::new(),
            unpacker: Unpacker::new()?,
        })
    }

    /// `None`: the payload is not what an encoder makes of so many items.
    pub fn decode(&mut self, payload: &[u8], count: usize, items: &mut Items) -> Option<()> {
        items.clear();
        self.unpacker.unpack(payload)?;
        let mut coder = Unpacking {
            unpacker: &mut self.unpacker,
        };
        self.state.code(&mut coder, items, count)?;
        self.unpacker.is_used_up().then_some(())
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
