//! Records → file, block by block.

use std::io::{self, Write};

use super::format::{BlockHeader, block_kind, pack, prefix};
use super::packer::{Packer, TakesBlocks};

pub struct Writer<W: Write> {
    blocks: Blocks<W>,
    packer: Packer,
}

impl<W: Write> Writer<W> {
    /// `header` is the caller's: nothing here reads it.
    pub fn new(out: W, header: &[u8]) -> io::Result<Writer<W>> {
        Ok(Writer {
            blocks: Blocks::begin(out, header)?,
            packer: Packer::new()?,
        })
    }

    /// One record as it was pushed, from its header on.
    #[inline]
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.packer.record(bytes, &mut self.blocks)
    }

    /// The pipeline was advanced to here, after what was recorded so far.
    pub fn advance(&mut self, watermark: u64) -> io::Result<()> {
        self.packer.advance(watermark, &mut self.blocks)
    }

    /// Bytes in the file so far.
    pub fn written(&self) -> u64 {
        self.blocks.written
    }

    /// `trailer` is the caller's, as the header.
    pub fn finish(mut self, trailer: &[u8]) -> io::Result<W> {
        self.close_block()?;
        self.blocks.end(trailer)
    }

    pub(super) fn close_block(&mut self) -> io::Result<()> {
        self.packer.close(&mut self.blocks)
    }
}

/// A file but for what is in its blocks.
pub struct Blocks<W: Write> {
    out: W,
    pub written: u64,
    number: u32,
    framed: Vec<u8>,
}

impl<W: Write> Blocks<W> {
    pub fn begin(mut out: W, header: &[u8]) -> io::Result<Blocks<W>> {
        let prefix = prefix(header)?;
        out.write_all(&prefix)?;
        Ok(Blocks {
            out,
            written: prefix.len() as u64,
            number: 0,
            framed: Vec::new(),
        })
    }

    pub fn end(mut self, trailer: &[u8]) -> io::Result<W> {
        let mut payload = (trailer.len() as u32).to_le_bytes().to_vec();
        payload.extend(pack(trailer)?);
        let header = BlockHeader {
            kind: block_kind::TRAILER,
            ..BlockHeader::default()
        };
        self.take(header, &payload)?;
        self.out.flush()?;
        Ok(self.out)
    }
}

impl<W: Write> TakesBlocks for Blocks<W> {
    /// The payload behind its header, in one piece.
    fn take(&mut self, header: BlockHeader, payload: &[u8]) -> io::Result<()> {
        let header = BlockHeader {
            number: self.number,
            bytes: payload.len() as u32,
            ..header
        };
        header.frame(payload, &mut self.framed);
        self.out.write_all(&self.framed)?;
        self.number = self.number.wrapping_add(1);
        self.written += self.framed.len() as u64;
        Ok(())
    }
}
