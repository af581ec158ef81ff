//! File → records, block by block. Nothing in a file is believed before its checksum is right, and no more
//! memory is taken than a block that a [`super::Writer`] makes can need.

use std::io::{self, Read};

use super::codec::{Decoder, Items, Run};
use super::format::{
    BLOCK_HEADER, BlockHeader, LARGEST, MAGIC, MOST_ITEMS, MOST_ROOM, PREFIX, ROOM, VERSION, agree,
    block_kind, take, take_u32, unpack,
};
use super::{Item, OpenError, Part};

pub struct Reader<R: Read> {
    input: R,
    header: Vec<u8>,
    trailer: Option<Vec<u8>>,
    cut: bool,
    blocks: u32,
    /// Bytes that were read of blocks, and what their items may take.
    read: u64,
    told: u64,
    items: Items,
    decoder: Decoder,
    payload: Vec<u8>,
}

/// What comes next in a file.
enum Next {
    Block(BlockHeader),
    /// The file ends here, or makes no sense from here on.
    Cut,
}

impl<R: Read> Reader<R> {
    pub fn open(mut input: R) -> Result<Reader<R>, OpenError> {
        let mut prefix = Vec::new();
        read_up_to(&mut input, PREFIX, &mut prefix)?;
        let rest = &mut prefix.as_slice();
        if take(rest) != Some(MAGIC) {
            return Err(OpenError::NotARecording);
        }
        let damaged = OpenError::DamagedHeader;
        match take(rest).map(u16::from_le_bytes) {
            Some(1..=VERSION) => {}
            Some(found @ VERSION..) => return Err(OpenError::Newer { found }),
            Some(0) | None => return Err(damaged),
        }
        let (Some(size), Some(packed_size), Some(checksum)) =
            (take_u32(rest), take_u32(rest), take_u32(rest))
        else {
            return Err(damaged);
        };
        let (size, packed_size) = (size as usize, packed_size as usize);
        if packed_size > LARGEST {
            return Err(damaged);
        }
        let mut packed = Vec::new();
        read_up_to(&mut input, packed_size, &mut packed)?;
        let mut found = crc32fast::Hasher::new();
        found.update(&prefix[..PREFIX - 4]);
        found.update(&packed);
        if packed.len() < packed_size || !agree(checksum, found.finalize()) {
            return Err(damaged);
        }
        Ok(Reader {
            input,
            header: unpack(&packed, size).ok_or(damaged)?,
            trailer: None,
            cut: false,
            blocks: 0,
            read: 0,
            told: 0,
            items: Items::default(),
            decoder: Decoder::new()?,
            payload: Vec::new(),
        })
    }

    /// What it reads from.
    pub fn input(&self) -> &R {
        &self.input
    }

    /// What the writer's caller wrote first.
    pub fn header(&self) -> &[u8] {
        &self.header
    }

    /// The items of the next block, in the order in which they were written. False: there is none.
    pub fn next_block(&mut self, each: impl FnMut(Item<'_>)) -> io::Result<bool> {
        let more = self.begin_block()?;
        Ok(more && self.tell_items(each))
    }

    /// The same, with all records of a block as one where they can be told in the order of time.
    pub fn next_part(&mut self, mut each: impl FnMut(Part<'_>)) -> io::Result<bool> {
        if !self.begin_block()? {
            return Ok(false);
        }
        if !self.decoder.is_orderly() {
            return Ok(self.tell_items(|item| each(Part::Item(item))));
        }
        let decoder = self.decoder.another()?;
        let decoder = std::mem::replace(&mut self.decoder, decoder);
        let run = Run::new(decoder, &mut self.items);
        self.cut = run.is_none();
        if let Some(run) = run {
            each(Part::Run(Box::new(run)));
            self.items.iter().map(Part::Item).for_each(each);
        }
        Ok(!self.cut)
    }

    /// Goes on to the next block of items.
    fn begin_block(&mut self) -> io::Result<bool> {
        while self.trailer.is_none() && !self.cut {
            let Next::Block(header) = self.read_block()? else {
                self.cut = true;
                break;
            };
            match header.kind {
                block_kind::ITEMS => {
                    let begun = self.begin_items(header.items as usize);
                    self.cut = begun.is_none();
                    return Ok(!self.cut);
                }
                block_kind::TRAILER => {
                    self.trailer = self.unpack_trailer();
                    self.cut = self.trailer.is_none();
                }
                // Of a later minor version.
                _ => {}
            }
        }
        Ok(false)
    }

    /// `None`: nothing that a writer made of what happened.
    fn begin_items(&mut self, count: usize) -> Option<()> {
        if count > MOST_ITEMS {
            return None;
        }
        self.told += self.decoder.begin(&self.payload, count)? as u64;
        let most = ROOM.saturating_add(MOST_ROOM.saturating_mul(self.read));
        (self.told <= most).then_some(())
    }

    /// All items of the block, if it is whole.
    fn tell_items(&mut self, each: impl FnMut(Item<'_>)) -> bool {
        self.cut = self.decoder.decode(&mut self.items).is_none();
        if !self.cut {
            self.items.iter().for_each(each);
        }
        !self.cut
    }

    /// What the writer's caller wrote last, once there is no next block. `None`: it did not come to that.
    pub fn trailer(&self) -> Option<&[u8]> {
        self.trailer.as_deref()
    }

    /// Whether there is no next block because the file ends too early or is damaged. All whole blocks before
    /// that have been read.
    pub fn is_cut(&self) -> bool {
        self.cut
    }

    /// The next block, its payload into `payload`.
    fn read_block(&mut self) -> io::Result<Next> {
        read_up_to(&mut self.input, BLOCK_HEADER, &mut self.payload)?;
        let parsed = self.payload.first_chunk().and_then(BlockHeader::parse);
        let Some((header, checksum)) = parsed.filter(|(header, _)| header.number == self.blocks)
        else {
            return Ok(Next::Cut);
        };
        self.blocks = self.blocks.wrapping_add(1);
        let size = header.bytes as usize;
        read_up_to(&mut self.input, size, &mut self.payload)?;
        self.read += (BLOCK_HEADER + size) as u64;
        let whole = self.payload.len() == size && agree(checksum, crc32fast::hash(&self.payload));
        Ok(if whole {
            Next::Block(header)
        } else {
            Next::Cut
        })
    }

    fn unpack_trailer(&self) -> Option<Vec<u8>> {
        let packed = &mut self.payload.as_slice();
        let size = take_u32(packed)? as usize;
        unpack(packed, size)
    }
}

/// Less only where the input ends. The buffer grows with what comes, not with what was announced.
fn read_up_to(input: &mut impl Read, size: usize, into: &mut Vec<u8>) -> io::Result<()> {
    into.clear();
    input.take(size as u64).read_to_end(into)?;
    Ok(())
}
