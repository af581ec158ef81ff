//! The file but for what is in its blocks: magic, version, sizes, checksums. All numbers are little-endian.

use std::io;

/// The last two bytes show what turns line ends into others.
pub const MAGIC: [u8; 8] = *b"tracer\r\n";

/// Of all that a reader must know: block kinds, columns, how they are foretold, layouts of records.
pub const VERSION: u16 = 1;

/// Of the caller's header and trailer, and of a block's payload: more is damage.
pub const LARGEST: usize = 64 << 20;

/// A block has room for so many items: as many as a cache holds when they are unpacked ...
pub const BLOCK_ITEMS: usize = 16 << 10;
/// ... and for so many bytes of records.
pub const BLOCK_BYTES: usize = 12 << 20;
/// ... and ends when the pipeline has gone on by so much since: no more is lost with a machine that goes down.
pub const BLOCK_NS: u64 = 1_000_000_000;

/// Of other writers, a block may have so many.
pub const MOST_ITEMS: usize = 64 << 10;

/// What the items of a file take may be so many times its own size: ten times what a machine makes, as times and keys
/// have noise ...
pub const MOST_ROOM: u64 = 256;
/// ... and so much anyway. Items that are nothing but foretold could take thousands of times their size.
pub const ROOM: u64 = 32 << 20;

/// Fast enough to go beside a tracer; higher ones win little on numbers that are mostly foretold.
pub const LEVEL: i32 = 3;

/// Magic, version, size of the header, its size when compressed, checksum of all that and of the header.
pub const PREFIX: usize = 8 + 2 + 4 + 4 + 4;

pub const BLOCK_HEADER: usize = 4 + 4 + 4 + 4 + 8 + 8 + 4 + 4;

/// Kinds of blocks. Others are stepped over.
pub mod block_kind {
    pub const ITEMS: u32 = 1;
    pub const TRAILER: u32 = 2;
}

/// What stands before the payload of a block.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BlockHeader {
    pub kind: u32,
    /// The first block is 0: one that is missing is missed.
    pub number: u32,
    /// Of the payload.
    pub bytes: u32,
    pub items: u32,
    /// The earliest and the latest time in the block's records.
    pub first_ns: u64,
    pub last_ns: u64,
}

impl BlockHeader {
    /// Header and payload, as one piece.
    pub fn frame(&self, payload: &[u8], into: &mut Vec<u8>) {
        into.clear();
        for number in [self.kind, self.number, self.bytes, self.items] {
            into.extend(number.to_le_bytes());
        }
        into.extend(self.first_ns.to_le_bytes());
        into.extend(self.last_ns.to_le_bytes());
        into.extend(crc32fast::hash(payload).to_le_bytes());
        into.extend(crc32fast::hash(into).to_le_bytes());
        into.extend(payload);
    }

    /// The header and the checksum of the payload. `None`: damaged.
    pub fn parse(bytes: &[u8; BLOCK_HEADER]) -> Option<(BlockHeader, u32)> {
        let rest = &mut bytes.as_slice();
        let header = BlockHeader {
            kind: take_u32(rest)?,
            number: take_u32(rest)?,
            bytes: take_u32(rest)?,
            items: take_u32(rest)?,
            first_ns: take_u64(rest)?,
            last_ns: take_u64(rest)?,
        };
        let payload = take_u32(rest)?;
        let checked = crc32fast::hash(&bytes[..BLOCK_HEADER - 4]);
        (agree(take_u32(rest)?, checked) && header.bytes as usize <= LARGEST)
            .then_some((header, payload))
    }
}

/// Whether a checksum is right. Who looks for what lies behind them is let through.
pub fn agree(told: u32, found: u32) -> bool {
    told == found || cfg!(fuzzing)
}

/// The beginning of a file.
pub fn prefix(header: &[u8]) -> io::Result<Vec<u8>> {
    let packed = pack(header)?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(VERSION.to_le_bytes());
    for size in [header.len(), packed.len()] {
        bytes.extend((size as u32).to_le_bytes());
    }
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&bytes);
    checksum.update(&packed);
    bytes.extend(checksum.finalize().to_le_bytes());
    bytes.extend(packed);
    Ok(bytes)
}

/// A document of the caller's, compressed.
pub fn pack(document: &[u8]) -> io::Result<Vec<u8>> {
    if document.len() > LARGEST {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "too large for a recording",
        ));
    }
    zstd::bulk::compress(document, LEVEL)
}

/// What [`pack`] was given, which had this size. `None`: damaged.
pub fn unpack(packed: &[u8], size: usize) -> Option<Vec<u8>> {
    if size > LARGEST {
        return None;
    }
    let document = zstd::bulk::decompress(packed, size).ok()?;
    (document.len() == size).then_some(document)
}

pub fn take<const N: usize>(from: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, rest) = from.split_first_chunk()?;
    *from = rest;
    Some(*taken)
}

pub fn take_u32(from: &mut &[u8]) -> Option<u32> {
    take(from).map(u32::from_le_bytes)
}

pub fn take_u64(from: &mut &[u8]) -> Option<u64> {
    take(from).map(u64::from_le_bytes)
}
