//! A recording in the formats of other tools.
//!
//! In: the rows of the time line, block by block, and the report over the same window. Out: files. All formats are
//! made of the same rows, so that what they add up to is the same in each, and what the report says. Memory holds a
//! block of rows and the threads that live. Must not know: recordings, the pipeline, terminals.

mod csv;
mod folded;
mod html;
mod ndjson;
mod parquet;
mod perfetto;
mod tables;

use std::collections::HashMap;
use std::io;
use std::path::Path;

use anyhow::Context as _;

pub use csv::Table;

use crate::host::Host;
use crate::output::file::Output;
use crate::report::Report;
use crate::timeline::Rows;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Tables spans, switches, waits, forks and threads, one file each; OUT is a directory
    Parquet,
    /// One JSON object a line, each with a `type`
    Ndjson,
    /// One table, see --table
    Csv,
    /// Stacks of names and nanoseconds, for flame graphs: what threads were off the CPU in and waited for
    Folded,
    /// One page for a browser that needs nothing else: report, tables and a time line
    Html,
    /// Tracks of threads and CPUs, with wake-ups as arrows, for ui.perfetto.dev
    Perfetto,
}

/// What is known before the first row.
pub struct Known<'a> {
    pub host: &'a Host,
    pub report: &'a Report,
    /// Paths of cgroups by id.
    pub cgroups: &'a HashMap<u64, String>,
    /// The window's start in nanoseconds since 1970, UTC.
    pub started_unix_ns: i64,
}

/// Something that takes rows.
pub trait Exporter {
    fn rows(&mut self, rows: &Rows) -> anyhow::Result<()>;
    /// All rows have been given: makes the files whole.
    fn finish(self: Box<Self>) -> anyhow::Result<()>;
}

/// An exporter to `to`: a directory for [`Format::Parquet`], a file for all others.
pub fn exporter<'a>(
    format: Format,
    table: Table,
    known: &'a Known<'a>,
    to: &Path,
) -> anyhow::Result<Box<dyn Exporter + 'a>> {
    Ok(match format {
        Format::Parquet => Box::new(parquet::Parquet::create(known, to)?),
        Format::Ndjson => Box::new(Text::new(ndjson::Ndjson::new(known), to)?),
        Format::Csv => Box::new(Text::new(csv::Csv::new(known, table), to)?),
        Format::Folded => Box::new(Text::new(folded::Folded::new(known), to)?),
        Format::Html => Box::new(Text::new(html::Html::new(known), to)?),
        Format::Perfetto => Box::new(Text::new(perfetto::Perfetto::new(known), to)?),
    })
}

/// A format that is one stream of bytes.
trait Writer {
    /// Before the first rows.
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()>;
    fn rows(&mut self, rows: &Rows, out: &mut dyn io::Write) -> io::Result<()>;
    /// After the last ones.
    fn end(&mut self, out: &mut dyn io::Write) -> io::Result<()>;
}

/// That stream, to where it goes.
struct Text<W> {
    writer: W,
    output: Output,
}

impl<W: Writer> Text<W> {
    fn new(mut writer: W, to: &Path) -> anyhow::Result<Text<W>> {
        let mut output = Output::open(Some(to))?;
        output.render(|out| writer.begin(out))?;
        Ok(Text { writer, output })
    }
}

impl<W: Writer> Exporter for Text<W> {
    fn rows(&mut self, rows: &Rows) -> anyhow::Result<()> {
        let Text { writer, output } = self;
        output.render(|out| writer.rows(rows, out))
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        let Text {
            mut writer,
            mut output,
        } = *self;
        output.render(|out| writer.end(out))?;
        output.finish()
    }
}

/// An error of a library as one of input and output, which says more to whoever reads it.
fn other<E: Into<Box<dyn std::error::Error + Send + Sync>>>(error: E) -> io::Error {
    io::Error::other(error)
}

/// The path of a file in the directory of an export, which is made where it is missing.
fn in_directory(directory: &Path, name: &str) -> anyhow::Result<std::path::PathBuf> {
    std::fs::create_dir_all(directory)
        .with_context(|| format!("make directory {}", directory.display()))?;
    Ok(directory.join(name))
}
