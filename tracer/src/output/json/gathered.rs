//! A document is written in pieces of one byte or two: here they become few that are large.

use std::io;

/// Handed on from here on.
const ENOUGH: usize = 64 << 10;

pub struct Gathered<'a> {
    held: Vec<u8>,
    out: &'a mut dyn io::Write,
}

impl Gathered<'_> {
    pub fn new(out: &mut dyn io::Write) -> Gathered<'_> {
        Gathered {
            held: Vec::new(),
            out,
        }
    }

    /// Nothing is held back after that.
    pub fn end_line(mut self) -> io::Result<()> {
        self.held.push(b'\n');
        self.hand_on()
    }

    #[cold]
    fn hand_on(&mut self) -> io::Result<()> {
        self.out.write_all(&self.held)?;
        self.held.clear();
        Ok(())
    }
}

impl io::Write for Gathered<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes)?;
        Ok(bytes.len())
    }

    #[inline]
    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.held.extend_from_slice(bytes);
        if self.held.len() >= ENOUGH {
            self.hand_on()?;
        }
        Ok(())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.hand_on()?;
        self.out.flush()
    }
}
