//! One object a line: `fork` lines, the rows of the other tables in the order in which they became known, the report.

use std::io;

use super::tables::{TableRow, Tables};
use super::{Known, Writer};
use crate::output::{self, Style, escape, json_line};
use crate::timeline::Rows;

pub struct Ndjson<'a> {
    known: &'a Known<'a>,
    tables: Tables<'a>,
}

impl<'a> Ndjson<'a> {
    pub fn new(known: &'a Known<'a>) -> Ndjson<'a> {
        Ndjson {
            known,
            tables: Tables::new(known, escape::json),
        }
    }
}

impl Writer for Ndjson<'_> {
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        for fork in self.tables.forks() {
            json_line("fork", fork, out)?;
        }
        Ok(())
    }

    fn rows(&mut self, rows: &Rows, out: &mut dyn io::Write) -> io::Result<()> {
        self.tables.each(rows, |row| match row {
            TableRow::Span(row) => json_line("span", row, out),
            TableRow::Switch(row) => json_line("switch", row, out),
            TableRow::Wait(row) => json_line("wait", row, out),
            TableRow::Thread(row) => json_line("thread", row, out),
        })
    }

    fn end(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        let style = Style::for_terminal(None, false, true);
        let Known { host, report, .. } = self.known;
        output::report(output::Format::Ndjson, host, report, &style, out)
    }
}
