//! Tables as Parquet files, one a table: `spans.parquet`, `switches.parquet`, `waits.parquet`, `forks.parquet`,
//! `threads.parquet`.
//!
//! Each row has its host and its time, so that the files of many hosts are one table to whoever reads a folder of
//! them. A file is complete once its footer is: written under another name, it gets its own at the end.

use std::fs::{self, File};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::Context as _;
use parquet::arrow::ArrowWriter;
use parquet::basic::{Compression, ZstdLevel};
use parquet::file::metadata::KeyValue;
use parquet::file::properties::WriterProperties;
use serde::{Deserialize, Serialize};
use serde_arrow::ArrayBuilder;
use serde_arrow::schema::{SchemaLike as _, SerdeArrowSchema, TracingOptions};

use super::tables::{Fork, Span, Switch, TableRow, Tables, Thread, Wait};
use super::{Exporter, Known, in_directory};
use crate::output::{escape, file::create};
use crate::timeline::Rows;

/// Rows that are packed at once, and those that a reader can skip at once.
const BATCH: usize = 32 << 10;
const GROUP: usize = 1 << 20;

pub struct Parquet<'a> {
    tables: Tables<'a>,
    spans: TableFile,
    switches: TableFile,
    waits: TableFile,
    threads: TableFile,
}

impl<'a> Parquet<'a> {
    pub fn create(known: &'a Known<'a>, directory: &Path) -> anyhow::Result<Parquet<'a>> {
        let tables = Tables::new(known, escape::json);
        let mut forks = TableFile::create::<Fork>(known, directory, "forks")?;
        for fork in tables.forks() {
            forks.add(&fork)?;
        }
        forks.finish()?;
        Ok(Parquet {
            tables,
            spans: TableFile::create::<Span>(known, directory, "spans")?,
            switches: TableFile::create::<Switch>(known, directory, "switches")?,
            waits: TableFile::create::<Wait>(known, directory, "waits")?,
            threads: TableFile::create::<Thread>(known, directory, "threads")?,
        })
    }
}

impl Exporter for Parquet<'_> {
    fn rows(&mut self, rows: &Rows) -> anyhow::Result<()> {
        let Parquet {
            tables,
            spans,
            switches,
            waits,
            threads,
        } = self;
        tables.each(rows, |row| match row {
            TableRow::Span(row) => spans.add(&row),
            TableRow::Switch(row) => switches.add(&row),
            TableRow::Wait(row) => waits.add(&row),
            TableRow::Thread(row) => threads.add(&row),
        })
    }

    fn finish(self: Box<Self>) -> anyhow::Result<()> {
        for file in [self.spans, self.switches, self.waits, self.threads] {
            file.finish()?;
        }
        Ok(())
    }
}

/// One table on its way to its file.
struct TableFile {
    path: PathBuf,
    unfinished: PathBuf,
    builder: ArrayBuilder,
    /// In the builder.
    rows: usize,
    writer: Option<ArrowWriter<File>>,
    schema: SerdeArrowSchema,
}

impl TableFile {
    fn create<'de, T: Deserialize<'de>>(
        known: &Known<'_>,
        directory: &Path,
        table: &str,
    ) -> anyhow::Result<TableFile> {
        let path = in_directory(directory, &format!("{table}.parquet"))?;
        let unfinished = path.with_extension("parquet.unfinished");
        let schema = schema::<T>().with_context(|| format!("describe table {table}"))?;
        let builder =
            ArrayBuilder::new(schema.clone()).with_context(|| format!("describe table {table}"))?;
        let mut file = TableFile {
            path,
            unfinished,
            builder,
            rows: 0,
            writer: None,
            schema,
        };
        let writer = file.open(known).with_context(|| file.failed())?;
        file.writer = Some(writer);
        Ok(file)
    }

    fn open(&self, known: &Known<'_>) -> anyhow::Result<ArrowWriter<File>> {
        let fields = Vec::<arrow_schema::FieldRef>::try_from(&self.schema)?;
        let schema = Arc::new(arrow_schema::Schema::new(fields));
        let about =
            |key: &str, value: &str| KeyValue::new(format!("tracer.{key}"), value.to_owned());
        let properties = WriterProperties::builder()
            .set_created_by(concat!("tracer ", env!("CARGO_PKG_VERSION")).to_owned())
            .set_compression(Compression::ZSTD(ZstdLevel::try_new(3)?))
            .set_max_row_group_row_count(Some(GROUP))
            .set_key_value_metadata(Some(vec![
                about("host", &known.host.hostname),
                about("boot_id", &known.host.boot_id),
                about("kernel", &known.host.kernel),
                about("arch", &known.host.arch),
            ]))
            .build();
        let file = create(&self.unfinished)?;
        Ok(ArrowWriter::try_new(file, schema, Some(properties))?)
    }

    fn add(&mut self, row: &impl Serialize) -> anyhow::Result<()> {
        self.builder.push(row).with_context(|| self.failed())?;
        self.rows += 1;
        if self.rows == BATCH {
            self.pack()?;
        }
        Ok(())
    }

    fn pack(&mut self) -> anyhow::Result<()> {
        self.rows = 0;
        let failed = self.failed();
        let batch = self
            .builder
            .to_record_batch()
            .with_context(|| failed.clone())?;
        let writer = self.writer.as_mut();
        writer
            .map_or(Ok(()), |writer| writer.write(&batch))
            .with_context(|| failed)
    }

    fn finish(mut self) -> anyhow::Result<()> {
        self.pack()?;
        let failed = self.failed();
        if let Some(writer) = self.writer.take() {
            writer.close().with_context(|| failed.clone())?;
        }
        fs::rename(&self.unfinished, &self.path).with_context(|| failed)
    }

    fn failed(&self) -> String {
        format!("write {}", self.path.display())
    }
}

/// Nothing half-written stays.
impl Drop for TableFile {
    fn drop(&mut self) {
        if self.writer.is_some() {
            let _ = fs::remove_file(&self.unfinished);
        }
    }
}

/// The columns of a table, from its type.
fn schema<'de, T: Deserialize<'de>>() -> anyhow::Result<SerdeArrowSchema> {
    let options = TracingOptions::default()
        .strings_as_large_utf8(false)
        .overwrite(
            "time",
            serde_json::json!({
                "name": "time",
                "data_type": "Timestamp(Nanosecond, Some(\"UTC\"))",
                "nullable": true,
            }),
        )?;
    Ok(SerdeArrowSchema::from_type::<T>(options)?)
}
