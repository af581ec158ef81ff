//! Records → memory, the newest of them → a file.
//!
//! What is kept is *stretches*: each begins with a look at everything, as a recording does, so that any of them can
//! be the first one of a file. Looks of later ones are left out there.

use std::collections::VecDeque;
use std::io::{self, Write};

use super::format::BlockHeader;
use super::packer::{Packer, TakesBlocks};
use super::writer::Blocks;

/// What is kept in memory.
pub struct Flight {
    packer: Packer,
    stretches: Stretches,
}

struct Stretches {
    /// At least one.
    all: VecDeque<Stretch>,
    bytes: u64,
}

#[derive(Default)]
struct Stretch {
    /// When its look was taken.
    began: u64,
    /// Records lost before that.
    lost: u64,
    look: Vec<Block>,
    blocks: Vec<Block>,
}

struct Block {
    header: BlockHeader,
    payload: Box<[u8]>,
}

impl Flight {
    /// The first look, taken about `at`, comes as records.
    pub fn new(at: u64) -> io::Result<Flight> {
        let first = Stretch {
            began: at,
            ..Stretch::default()
        };
        Ok(Flight {
            packer: Packer::new()?,
            stretches: Stretches {
                all: VecDeque::from([first]),
                bytes: 0,
            },
        })
    }

    /// As of [`super::Writer`].
    #[inline]
    pub fn record(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.packer.record(bytes, &mut self.stretches)
    }

    pub fn advance(&mut self, watermark: u64) -> io::Result<()> {
        self.packer.advance(watermark, &mut self.stretches)
    }

    /// A look taken at `at` begins a stretch, after `lost` records had been lost.
    pub fn begin<'a>(
        &mut self,
        at: u64,
        lost: u64,
        look: impl IntoIterator<Item = &'a [u8]>,
    ) -> io::Result<()> {
        self.packer.close(&mut self.stretches)?;
        let look = packed(&mut self.packer, look)?;
        self.stretches.bytes += look.iter().map(Block::size).sum::<u64>();
        self.stretches.all.push_back(Stretch {
            began: at,
            lost,
            look,
            blocks: Vec::new(),
        });
        Ok(())
    }

    /// Forgets stretches that are over: those beyond `most` bytes, and those that ended before `since`.
    pub fn forget(&mut self, most: u64, since: u64) {
        let Stretches { all, bytes } = &mut self.stretches;
        while let Some(next) = all.get(1)
            && (*bytes > most || next.began <= since)
        {
            *bytes -= all.pop_front().map_or(0, |oldest| oldest.size());
        }
    }

    /// When the newest stretch began, and how large it is.
    pub fn newest(&self) -> (u64, u64) {
        let newest = self.stretches.all.back();
        newest.map_or((0, 0), |stretch| (stretch.began, stretch.size()))
    }

    /// Records lost before what is kept.
    pub fn lost_before(&self) -> u64 {
        let oldest = self.stretches.all.front();
        oldest.map_or(0, |stretch| stretch.lost)
    }

    /// All that is kept as a file, with these records behind it. Nothing is forgotten by that.
    pub fn write<'a, W: Write>(
        &mut self,
        out: W,
        header: &[u8],
        last: impl IntoIterator<Item = &'a [u8]>,
        trailer: &[u8],
    ) -> io::Result<W> {
        self.packer.close(&mut self.stretches)?;
        let mut blocks = Blocks::begin(out, header)?;
        let all = &self.stretches.all;
        let look = all.iter().take(1).flat_map(|first| &first.look);
        let kept = all.iter().flat_map(|stretch| &stretch.blocks);
        let last = packed(&mut self.packer, last)?;
        for block in look.chain(kept).chain(&last) {
            blocks.take(block.header, &block.payload)?;
        }
        blocks.end(trailer)
    }
}

impl TakesBlocks for Stretches {
    fn take(&mut self, header: BlockHeader, payload: &[u8]) -> io::Result<()> {
        let block = Block::new(header, payload);
        if let Some(newest) = self.all.back_mut() {
            self.bytes += block.size();
            newest.blocks.push(block);
        }
        Ok(())
    }
}

impl Stretch {
    fn size(&self) -> u64 {
        self.look.iter().chain(&self.blocks).map(Block::size).sum()
    }
}

impl Block {
    fn new(header: BlockHeader, payload: &[u8]) -> Block {
        Block {
            header,
            payload: payload.into(),
        }
    }

    fn size(&self) -> u64 {
        (self.payload.len() + size_of::<Block>()) as u64
    }
}

impl TakesBlocks for Vec<Block> {
    fn take(&mut self, header: BlockHeader, payload: &[u8]) -> io::Result<()> {
        self.push(Block::new(header, payload));
        Ok(())
    }
}

/// These records in blocks of their own; the packer is empty, before and after.
fn packed<'a>(
    packer: &mut Packer,
    records: impl IntoIterator<Item = &'a [u8]>,
) -> io::Result<Vec<Block>> {
    let mut blocks = Vec::new();
    for record in records {
        packer.record(record, &mut blocks)?;
    }
    packer.close(&mut blocks)?;
    Ok(blocks)
}
