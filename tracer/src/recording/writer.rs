//! Records → file, block by block.

use std::io::{self, Write};

use super::Item;
use super::codec::{Encoder, Items};
use super::format::{BLOCK_NS, BlockHeader, block_kind, pack, prefix};

pub struct Writer<W: Write> {
    out: W,
    written: u64,
    blocks: u32,
    /// The first watermark of the block.
    since: Option<u64>,
    items: Items,
    encoder: Encoder,
    payload: Vec<u8>,
    framed: Vec<u8>,
}

impl<W: Write> Writer<W> {
    /// `header` is the caller's: nothing here reads it.
    pub fn new(mut out: W, header: &[u8]) -> io::Result<Writer<W>> {
        let prefix = prefix(header)?;
        out.write_all(&prefix)?;
        Ok(Writer {
            out,
            written: prefix.len() as u64,
            blocks: 0,
            since: None,
            items: Items::default(),
            encoder: Encoder::new()?,
            payload: Vec::new(),
            framed: Vec::new(),
        })
    }

    /// One record as it was pushed, from its header on. Its length is a `u16` there, and no more is taken here.
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        if bytes.len() > usize::from(u16::MAX) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too long for a record",
            ));
        }
        self.push(Item::Record(bytes))
    }

    /// The pipeline was advanced to here, after what was recorded so far.
    pub fn advance(&mut self, watermark: u64) -> io::Result<()> {
        self.push(Item::Advance(watermark))?;
        let since = *self.since.get_or_insert(watermark);
        if watermark.saturating_sub(since) >= BLOCK_NS {
            self.close_block()?;
        }
        Ok(())
    }

    /// Bytes in the file so far.
    pub fn written(&self) -> u64 {
        self.written
    }

    /// `trailer` is the caller's, as the header.
    pub fn finish(mut self, trailer: &[u8]) -> io::Result<W> {
        self.close_block()?;
        self.payload = (trailer.len() as u32).to_le_bytes().to_vec();
        self.payload.extend(pack(trailer)?);
        self.write_block(BlockHeader {
            kind: block_kind::TRAILER,
            ..BlockHeader::default()
        })?;
        self.out.flush()?;
        Ok(self.out)
    }

    #[inline]
    fn push(&mut self, item: Item<'_>) -> io::Result<()> {
        if self.items.push(item).is_none() {
            self.close_block()?;
            self.items
                .push(item)
                .expect("an empty block has room for any item");
        }
        Ok(())
    }

    pub(super) fn close_block(&mut self) -> io::Result<()> {
        if self.items.places.is_empty() {
            return Ok(());
        }
        self.payload.clear();
        self.since = None;
        let times = self.encoder.encode(&mut self.items, &mut self.payload)?;
        let items = self.items.places.len() as u32;
        self.items.clear();
        self.write_block(BlockHeader {
            kind: block_kind::ITEMS,
            items,
            first_ns: times.first_ns,
            last_ns: times.last_ns,
            ..BlockHeader::default()
        })
    }

    /// The payload behind its header, in one piece.
    fn write_block(&mut self, header: BlockHeader) -> io::Result<()> {
        let header = BlockHeader {
            number: self.blocks,
            bytes: self.payload.len() as u32,
            ..header
        };
        header.frame(&self.payload, &mut self.framed);
        self.out.write_all(&self.framed)?;
        self.blocks = self.blocks.wrapping_add(1);
        self.written += self.framed.len() as u64;
        Ok(())
    }
}
