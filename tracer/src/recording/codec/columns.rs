//! Columns of numbers as bytes. A number is cut into groups of seven bits, the lowest first, the top bit of
//! each saying whether another follows; all first groups of a column are one *plane*, all second ones the
//! next. Planes are compressed one by one: the noise of a column stays in its first ones, and a plane that is
//! nothing but foretold numbers is one byte, however long.

use zstd::bulk::{Compressor, Decompressor};

use crate::recording::format::{LEVEL, take, take_u32};

/// Groups of seven bits in 64.
const PLANES: usize = 10;

/// Of all planes of a block, when unpacked.
const LARGEST: usize = 64 << 20;

/// How a plane is stored.
mod stored {
    pub const PLAIN: u8 = 0;
    /// One byte, again and again.
    pub const SAME: u8 = 1;
    pub const ZSTD: u8 = 2;
}

/// Planes grow at the same pace, and would begin at the same place of a page each: then they all fall into the
/// same few lines of a cache. So each begins, or follows, by so much later than the one before.
const STAGGER: usize = 3 * 64;

/// Before the first byte of a column's planes.
fn lead(column: usize) -> usize {
    column * STAGGER % 4096
}

pub struct Packer<const COLUMNS: usize> {
    /// Behind their leads.
    columns: Box<[[Vec<u8>; PLANES]; COLUMNS]>,
    zstd: Compressor<'static>,
    packed: Vec<u8>,
    /// Bytes of each column in the last block: for measurements.
    #[cfg(test)]
    pub sizes: Vec<usize>,
}

impl<const COLUMNS: usize> Packer<COLUMNS> {
    pub fn new() -> std::io::Result<Self> {
        let planes = |column| std::array::from_fn(|_| vec![0; lead(column)]);
        Ok(Packer {
            columns: Box::new(std::array::from_fn(planes)),
            zstd: Compressor::new(LEVEL)?,
            packed: Vec::new(),
            #[cfg(test)]
            sizes: Vec::new(),
        })
    }

    #[inline(always)]
    pub fn push(&mut self, column: usize, number: u64) {
        if number < 0x80 {
            self.columns[column][0].push(number as u8);
        } else {
            self.push_groups(column, number);
        }
    }

    #[inline(never)]
    fn push_groups(&mut self, column: usize, number: u64) {
        let mut rest = number;
        for plane in &mut self.columns[column] {
            let low = (rest & 0x7f) as u8;
            rest >>= 7;
            if rest == 0 {
                plane.push(low);
                return;
            }
            plane.push(low | 0x80);
        }
    }

    /// Bytes as they are, into the first plane: such a column holds nothing else.
    pub fn push_bytes(&mut self, column: usize, bytes: &[u8]) {
        self.columns[column][0].extend(bytes);
    }

    /// All columns, which are empty afterwards.
    pub fn pack(&mut self, into: &mut Vec<u8>) -> std::io::Result<()> {
        #[cfg(test)]
        self.sizes.clear();
        for (column, planes) in self.columns.iter_mut().enumerate() {
            let lead = lead(column);
            let is_used = |plane: &&Vec<u8>| plane.len() > lead;
            let used = planes.iter().take_while(is_used).count();
            #[cfg(test)]
            let before = into.len();
            into.push(used as u8);
            for plane in &mut planes[..used] {
                pack_plane(&plane[lead..], &mut self.zstd, &mut self.packed, into)?;
                plane.truncate(lead);
            }
            #[cfg(test)]
            self.sizes.push(into.len() - before);
        }
        Ok(())
    }
}

fn pack_plane(
    plane: &[u8],
    zstd: &mut Compressor<'static>,
    packed: &mut Vec<u8>,
    into: &mut Vec<u8>,
) -> std::io::Result<()> {
    let head = |into: &mut Vec<u8>, stored: u8, size: usize| {
        into.push(stored);
        into.extend((plane.len() as u32).to_le_bytes());
        into.extend((size as u32).to_le_bytes());
    };
    if plane.iter().all(|byte| *byte == plane[0]) {
        head(into, stored::SAME, 1);
        into.push(plane[0]);
        return Ok(());
    }
    packed.clear();
    packed.reserve(zstd::zstd_safe::compress_bound(plane.len()));
    zstd.compress_to_buffer(plane, packed)?;
    if packed.len() < plane.len() {
        head(into, stored::ZSTD, packed.len());
        into.extend(packed.as_slice());
    } else {
        head(into, stored::PLAIN, plane.len());
        into.extend(plane);
    }
    Ok(())
}

/// What is left of a plane.
#[derive(Clone, Copy, Default)]
struct Cursor {
    at: u32,
    end: u32,
}

/// Rows of steady columns that are looked at together: a bit each.
const ROWS: usize = u64::BITS as usize;

/// Columns with one number in each row: most of these are zero, and where they are not is found for many rows at
/// a time.
struct Steady<const COLUMNS: usize> {
    /// Where the first plane of each begins.
    start: [u32; COLUMNS],
    /// Where the numbers of the rows around are not zero.
    odd: [u64; COLUMNS],
    /// Rows in all, and those that were begun.
    rows: usize,
    begun: usize,
    /// Of the row, in `odd`.
    bit: u64,
}

pub struct Unpacker<const COLUMNS: usize> {
    steady: Box<Steady<COLUMNS>>,
    planes: Box<[[Cursor; COLUMNS]; PLANES]>,
    bytes: Vec<u8>,
    zstd: Decompressor<'static>,
    plane: Vec<u8>,
    /// More was asked for than there is.
    short: bool,
    /// Bytes of all planes.
    unpacked: usize,
}

impl<const COLUMNS: usize> Unpacker<COLUMNS> {
    pub fn new() -> std::io::Result<Self> {
        let steady = Steady {
            start: [0; COLUMNS],
            odd: [0; COLUMNS],
            rows: 0,
            begun: 0,
            bit: 0,
        };
        Ok(Unpacker {
            steady: Box::new(steady),
            planes: Box::new([[Cursor::default(); COLUMNS]; PLANES]),
            bytes: Vec::new(),
            zstd: Decompressor::new()?,
            plane: Vec::new(),
            short: false,
            unpacked: 0,
        })
    }

    /// For about as much as another one has unpacked.
    pub fn make_room_as(&mut self, other: &Self) {
        self.bytes
            .reserve(other.bytes.len() + other.bytes.len() / 8);
        self.plane.reserve(other.plane.capacity());
    }

    /// What [`Packer::pack`] made. `None`: it did not make that.
    pub fn unpack(&mut self, mut from: &[u8]) -> Option<()> {
        let from = &mut from;
        self.bytes.clear();
        (self.short, self.unpacked) = (false, 0);
        self.planes.as_flattened_mut().fill(Cursor::default());
        for column in 0..COLUMNS {
            let [used] = take(from)?;
            for plane in 0..usize::from(used) {
                let at = self.bytes.len();
                self.unpack_plane(from)?;
                let cursor = &mut self.planes.get_mut(plane)?[column];
                (cursor.at, cursor.end) = (at as u32, self.bytes.len() as u32);
                self.unpacked += self.bytes.len() - at;
                self.bytes.resize(self.bytes.len() + STAGGER, 0);
            }
        }
        from.is_empty().then_some(())
    }

    fn unpack_plane(&mut self, from: &mut &[u8]) -> Option<()> {
        let [stored] = take(from)?;
        let length = take_u32(from)? as usize;
        let size = take_u32(from)? as usize;
        let (packed, rest) = from.split_at_checked(size)?;
        *from = rest;
        let end = self.bytes.len() + length;
        if end > LARGEST {
            return None;
        }
        match (stored, packed) {
            (stored::PLAIN, bytes) => self.bytes.extend(bytes),
            (stored::SAME, &[byte]) => self.bytes.resize(end, byte),
            (stored::ZSTD, frame) => {
                self.plane.clear();
                self.plane.reserve(length);
                self.zstd
                    .decompress_to_buffer(frame, &mut self.plane)
                    .ok()?;
                self.bytes.extend(&self.plane);
            }
            _ => return None,
        }
        (self.bytes.len() == end).then_some(())
    }

    /// 0 when there is none: `is_used_up` tells.
    #[inline(always)]
    pub fn pull(&mut self, column: usize) -> u64 {
        let low = self.group(column, 0);
        if low < 0x80 {
            low
        } else {
            self.pull_groups(column, low & 0x7f)
        }
    }

    /// There are so many rows, of these columns.
    pub fn has_rows(&mut self, rows: usize, columns: impl Iterator<Item = usize>) {
        let steady = &mut *self.steady;
        (steady.rows, steady.begun, steady.bit) = (rows, 0, 0);
        for column in columns {
            let cursor = &mut self.planes[0][column];
            steady.start[column] = cursor.at;
            if (cursor.end - cursor.at) as usize == rows {
                cursor.at = cursor.end;
            } else {
                (self.short, steady.rows) = (true, 0);
            }
        }
    }

    /// Goes on to the next row of these columns.
    #[inline(always)]
    pub fn next_row(&mut self, columns: impl Iterator<Item = usize>) {
        let steady = &mut *self.steady;
        steady.bit = steady.bit.rotate_left(1);
        if steady.begun.is_multiple_of(ROWS) {
            self.look_ahead(columns);
        }
        self.steady.begun += 1;
    }

    #[inline(never)]
    fn look_ahead(&mut self, columns: impl Iterator<Item = usize>) {
        let steady = &mut *self.steady;
        let rows = (steady.rows.saturating_sub(steady.begun)).min(ROWS);
        self.short |= rows == 0;
        for column in columns {
            let start = steady.start[column] as usize + steady.begun;
            let numbers = self.bytes.get(start..start + rows).unwrap_or_default();
            steady.odd[column] = odd(numbers);
        }
        steady.bit = 1;
    }

    /// The number of a steady column in this row.
    #[inline(always)]
    pub fn pull_steady(&mut self, column: usize) -> u64 {
        if self.steady.odd[column] & self.steady.bit == 0 {
            0
        } else {
            self.pull_odd(column)
        }
    }

    #[inline(never)]
    fn pull_odd(&mut self, column: usize) -> u64 {
        let at = self.steady.start[column] as usize + self.steady.begun - 1;
        let low = self.bytes.get(at).map_or(0, |&byte| u64::from(byte));
        if low < 0x80 {
            low
        } else {
            self.pull_groups(column, low & 0x7f)
        }
    }

    #[inline(never)]
    fn pull_groups(&mut self, column: usize, low: u64) -> u64 {
        let mut number = low;
        for plane in 1..PLANES {
            let group = self.group(column, plane);
            number |= (group & 0x7f) << (7 * plane);
            if group < 0x80 {
                break;
            }
        }
        number
    }

    #[inline(always)]
    fn group(&mut self, column: usize, plane: usize) -> u64 {
        let cursor = &mut self.planes[plane][column];
        let at = cursor.at;
        if at == cursor.end {
            self.short = true;
            return 0;
        }
        cursor.at += 1;
        self.bytes[at as usize].into()
    }

    /// The next bytes of a column of bytes, as far as there are any.
    pub fn pull_bytes(&mut self, column: usize, into: &mut [u8]) {
        let cursor = &mut self.planes[0][column];
        let there = &self.bytes[cursor.at as usize..cursor.end as usize];
        let length = there.len().min(into.len());
        into[..length].copy_from_slice(&there[..length]);
        self.short |= length < into.len();
        cursor.at += length as u32;
    }

    /// Bytes that can be asked for.
    pub fn unpacked(&self) -> usize {
        self.unpacked
    }

    /// Whether more was asked for than there is.
    #[inline]
    pub fn is_short(&self) -> bool {
        self.short
    }

    /// Whether everything was asked for, and nothing else.
    pub fn is_used_up(&self) -> bool {
        let left = |cursor: &Cursor| cursor.at != cursor.end;
        !self.short && !self.planes.iter().flatten().any(left)
    }
}

/// Which of up to 64 bytes are not zero, as bits.
#[inline]
fn odd(bytes: &[u8]) -> u64 {
    const LOW: u64 = 0x7f7f_7f7f_7f7f_7f7f;
    // Moves the top bit of each byte into the top byte.
    const GATHER: u64 = 0x0002_0408_1020_4081;
    let of = |eight: [u8; 8]| {
        let word = u64::from_le_bytes(eight);
        let tops = (((word & LOW) + LOW) | word) & !LOW;
        (tops >> 7).wrapping_mul(GATHER << 7) >> 56
    };
    let (eights, rest) = bytes.as_chunks();
    let mut last = [0; 8];
    for (place, byte) in last.iter_mut().zip(rest) {
        *place = *byte;
    }
    let eights = eights.iter().rev();
    eights.fold(of(last), |bits, &eight| bits << 8 | of(eight))
}

#[cfg(test)]
mod tests {
    use super::odd;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn bytes_that_are_not_zero_are_found(
            bytes in prop::collection::vec(prop_oneof![Just(0_u8), any::<u8>()], 0..=64),
        ) {
            let slow = (0..).zip(&bytes).filter(|(_, byte)| **byte != 0);
            prop_assert_eq!(odd(&bytes), slow.map(|(place, _)| 1_u64 << place).sum::<u64>());
        }
    }
}
