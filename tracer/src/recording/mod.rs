//! Recordings: the records of a stream in a file, as they were pushed and in that order.
//!
//! Moves bytes. It knows where the fields of a record are, to foretell them (`codec`), and not what they
//! mean for anybody; a record that it does not know is kept as it is.
//!
//! A file is a prefix with the caller's header, then blocks, the last one with the caller's trailer. Each
//! block is written at once and can be read alone: a file that was cut off is read up to its last whole block.

mod codec;
mod flight;
mod format;
mod packer;
mod reader;
#[cfg(test)]
mod tests;
mod writer;

use std::io;

pub use codec::{Record, Run};
pub use flight::Flight;
pub use format::VERSION;
pub use reader::Reader;
pub use writer::Writer;

/// What was written, in the order in which it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Item<'a> {
    /// One record from its header on.
    Record(&'a [u8]),
    /// The pipeline was advanced to here.
    Advance(u64),
}

/// What is read at once.
#[derive(Debug)]
pub enum Part<'a> {
    Item(Item<'a>),
    /// Records of a block; its advances and what is told between them follow.
    Run(Box<Run>),
}

/// Why a file cannot be read at all.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("not a recording")]
    NotARecording,
    #[error("made by a newer tracer (version {found}, this one reads up to {VERSION})")]
    Newer { found: u16 },
    #[error("the header of the recording is damaged")]
    DamagedHeader,
    #[error("read the header of the recording")]
    Io(#[from] io::Error),
}
