//! One table with a line of names above it, RFC 4180. What is null is empty, and names are escaped as on a terminal.

use std::io;

use serde::Serialize;

use super::tables::{TableRow, Tables};
use super::{Known, Writer, other};
use crate::output::escape;
use crate::timeline::Rows;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Table {
    /// Threads in one state each: run, wait, sleep, block, stopped, unknown
    Spans,
    /// Threads that left a CPU
    Switches,
    /// Parts of waits: who or what had the CPU
    Waits,
    /// Births of processes and threads
    Forks,
    /// Threads over the whole window
    Threads,
}

pub struct Csv<'a> {
    table: Table,
    tables: Tables<'a>,
    /// The line of names is still to come.
    names: bool,
}

impl<'a> Csv<'a> {
    pub fn new(known: &'a Known<'a>, table: Table) -> Csv<'a> {
        Csv {
            table,
            tables: Tables::new(known, |bytes| escape::terminal(bytes).into()),
            names: true,
        }
    }
}

impl Writer for Csv<'_> {
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        if self.table != Table::Forks {
            return Ok(());
        }
        let mut lines = Lines::new(out, &mut self.names);
        for fork in self.tables.forks() {
            lines.add(fork)?;
        }
        lines.flush()
    }

    fn rows(&mut self, rows: &Rows, out: &mut dyn io::Write) -> io::Result<()> {
        let table = self.table;
        let mut lines = Lines::new(out, &mut self.names);
        self.tables.each(rows, |row| match (table, row) {
            (Table::Spans, TableRow::Span(row)) => lines.add(row),
            (Table::Switches, TableRow::Switch(row)) => lines.add(row),
            (Table::Waits, TableRow::Wait(row)) => lines.add(row),
            (Table::Threads, TableRow::Thread(row)) => lines.add(row),
            _ => Ok(()),
        })?;
        lines.flush()
    }

    fn end(&mut self, _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }
}

struct Lines<'a> {
    writer: csv::Writer<&'a mut dyn io::Write>,
    names: &'a mut bool,
}

impl<'a> Lines<'a> {
    fn new(out: &'a mut dyn io::Write, names: &'a mut bool) -> Lines<'a> {
        let mut builder = csv::WriterBuilder::new();
        builder.terminator(csv::Terminator::CRLF);
        Lines {
            writer: builder.has_headers(*names).from_writer(out),
            names,
        }
    }

    fn add(&mut self, row: impl Serialize) -> io::Result<()> {
        *self.names = false;
        self.writer.serialize(row).map_err(other)
    }

    fn flush(mut self) -> io::Result<()> {
        self.writer.flush()
    }
}
