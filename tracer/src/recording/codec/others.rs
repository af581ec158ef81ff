//! How records are foretold that are not switches: field by field, from the last one of their kind.

use std::mem::offset_of;
use std::ops::Range;

use tracer_common::record::Header;

use super::coder::Coder;
use super::layouts::{LAYOUTS, Like, load, store};
use super::threads::Threads;

/// Columns of one layout: flags, keys, then one for each word.
const fn columns(layout: usize) -> usize {
    let fields = LAYOUTS[layout].fields;
    let (mut columns, mut field) = (2, 0);
    while field < fields.len() {
        columns += fields[field].bytes.div_ceil(8);
        field += 1;
    }
    columns
}

/// Of all layouts.
pub const fn all_columns() -> usize {
    let (mut columns_of_all, mut layout) = (0, 0);
    while layout < LAYOUTS.len() {
        columns_of_all += columns(layout);
        layout += 1;
    }
    columns_of_all
}

pub struct Others {
    /// The first column of each layout, among these here.
    first: Vec<usize>,
    /// What the last record had, by column.
    last: Vec<u64>,
    /// The first of these columns among all.
    base: usize,
}

impl Others {
    pub fn new(base: usize) -> Others {
        let first = (0..LAYOUTS.len()).scan(0, |next, layout| {
            let first = *next;
            *next += columns(layout);
            Some(first)
        });
        Others {
            first: first.collect(),
            last: vec![0; all_columns()],
            base,
        }
    }

    pub fn clear(&mut self) {
        self.last.fill(0);
    }

    /// `bytes` are a whole record; its time, kind, length and CPU are known.
    pub fn code<C: Coder>(
        &mut self,
        coder: &mut C,
        threads: &mut Threads,
        layout: usize,
        at: u64,
        bytes: &mut [u8],
    ) {
        let mut column = self.first[layout];
        let flags = offset_of!(Header, flags);
        let actual = load(bytes, flags, 2) as u16;
        let actual = coder.bits(self.base + column, actual, self.last[column] as u16);
        self.last[column] = actual.into();
        store(bytes, flags, 2, actual.into());
        let keys = self.base + column + 1;
        column += 2;
        // The thread whose tid may follow.
        let mut known = None;
        for field in LAYOUTS[layout].fields {
            for (offset, width) in words(field.offset, field.bytes) {
                let actual = load(bytes, offset, width);
                let last = self.last[column];
                let number = match field.like {
                    Like::Key => {
                        let place =
                            threads.code(coder, [self.base + column, keys], actual, last as u32);
                        known = Some(place);
                        self.last[column] = place.into();
                        threads[place].key
                    }
                    Like::Tid => {
                        let guess = known.map_or(0, |place| threads[place].tid);
                        let tid = coder.half(self.base + column, actual as u32, guess);
                        if let Some(place) = known {
                            threads[place].tid = tid;
                        }
                        tid.into()
                    }
                    Like::Time => {
                        let number =
                            coder.number(self.base + column, actual, at.wrapping_add(last));
                        self.last[column] = number.wrapping_sub(at);
                        number
                    }
                    Like::Last => {
                        let number = coder.number(self.base + column, actual, last);
                        self.last[column] = number;
                        number
                    }
                };
                store(bytes, offset, width, number);
                column += 1;
            }
        }
    }
}

/// Where the words of a field are, and how wide.
fn words(offset: usize, bytes: usize) -> impl Iterator<Item = (usize, usize)> {
    let Range { start, end } = offset..offset + bytes;
    (start..end).step_by(8).map(move |at| (at, bytes.min(8)))
}
