//! Items → blocks, one after another.

use std::io;

use super::Item;
use super::codec::{Encoder, Items};
use super::format::{BLOCK_NS, BlockHeader, block_kind};

/// Where blocks go.
pub trait TakesBlocks {
    /// Number and size of the header are still to come.
    fn take(&mut self, header: BlockHeader, payload: &[u8]) -> io::Result<()>;
}

/// One block on its way.
pub struct Packer {
    items: Items,
    encoder: Encoder,
    /// The first watermark of the block.
    since: Option<u64>,
    /// Of the block that was closed last.
    payload: Vec<u8>,
}

impl Packer {
    pub fn new() -> io::Result<Packer> {
        Ok(Packer {
            items: Items::default(),
            encoder: Encoder::new()?,
            since: None,
            payload: Vec::new(),
        })
    }

    /// One record, from its header on. Its length is a `u16` there, and no more is taken here.
    #[inline]
    pub fn record(&mut self, bytes: &[u8], to: &mut impl TakesBlocks) -> io::Result<()> {
        if bytes.len() > usize::from(u16::MAX) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "too long for a record",
            ));
        }
        self.push(Item::Record(bytes), to)
    }

    /// The pipeline was advanced to here, after what came so far.
    pub fn advance(&mut self, watermark: u64, to: &mut impl TakesBlocks) -> io::Result<()> {
        self.push(Item::Advance(watermark), to)?;
        let since = *self.since.get_or_insert(watermark);
        if watermark.saturating_sub(since) >= BLOCK_NS {
            self.close(to)?;
        }
        Ok(())
    }

    #[inline]
    fn push(&mut self, item: Item<'_>, to: &mut impl TakesBlocks) -> io::Result<()> {
        if self.items.push(item).is_none() {
            self.close(to)?;
            self.items
                .push(item)
                .expect("an empty block has room for any item");
        }
        Ok(())
    }

    /// The block so far, if there is anything in it.
    pub fn close(&mut self, to: &mut impl TakesBlocks) -> io::Result<()> {
        if self.items.places.is_empty() {
            return Ok(());
        }
        self.payload.clear();
        self.since = None;
        let times = self.encoder.encode(&mut self.items, &mut self.payload)?;
        let items = self.items.places.len() as u32;
        self.items.clear();
        let header = BlockHeader {
            kind: block_kind::ITEMS,
            items,
            first_ns: times.first_ns,
            last_ns: times.last_ns,
            ..BlockHeader::default()
        };
        to.take(header, &self.payload)
    }
}
