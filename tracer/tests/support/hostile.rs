//! What hostile input is tried on: by `fuzz/`, and with what that found worth keeping by `tests/corpus.rs`.

use std::io;
use std::mem::offset_of;
use std::path::Path;
use std::time::Duration;

use clap::{Parser as _, error::ErrorKind};
use tracer::{
    audit::Tolerance,
    cli::{Cli, Command, usage},
    cmd,
    decode::is_history,
    engine::Facts,
    export::{self, Known},
    host::Host,
    kernel::{btf::Btf, fields, session::wanted_types},
    model::{Cpu, Nanos, Timestamp},
    output::{self, Format, Style},
    pipeline::{Pipeline, Replay, Settings},
    recording::{self, Item, Part, Reader, Run, Writer},
    report::Report,
    summary::Outside,
    target::Target,
    timeline::Shown,
};
use tracer_common::record::{Header, Switch};

const SLICE: &str = "a slice can be read";

/// How a recording is read: item by item, or as `tracer report` does.
#[derive(Clone, Copy, Debug)]
enum By {
    Items,
    Parts,
}

/// Any bytes as a recording, to a report and to rows. Whatever they are, it ends, and with no panic; read the one way
/// or the other, it tells the same.
pub fn replay(bytes: &[u8]) {
    let whole = read_both_ways(bytes);
    let (by_items, _) = once(bytes, By::Items, None, |_| ());
    let (report, shown) = once(bytes, By::Parts, None, |_| ());
    match whole {
        // The rest of a run is told one by one, and each that makes no sense is counted.
        Ends::Damaged => {
            let reasons = &report.quality.reasons;
            let told = |reason: &String| reason.ends_with("records could not be read");
            assert!(reasons.iter().any(told), "{reasons:?}");
        }
        Ends::Whole | Ends::Cut => assert_eq!(as_json(&by_items), as_json(&report)),
    }
    let host = Host::default();
    let style = Style::for_terminal(Some(80), false, true);
    for format in [Format::Table, Format::Ndjson] {
        output::report(format, &host, &report, &style, &mut io::sink()).expect("a sink takes all");
    }
    let known = Known {
        host: &host,
        report: &report,
        cgroups: &Default::default(),
        started_unix_ns: 0,
    };
    let nowhere = Path::new("/dev/null");
    for format in [export::Format::Ndjson, export::Format::Perfetto] {
        let mut exporter = export::exporter(format, export::Table::Spans, &known, nowhere)
            .expect("/dev/null can be written to");
        once(bytes, By::Parts, Some(shown.clone()), |pipeline| {
            if let Some(rows) = pipeline.rows() {
                exporter.rows(rows).expect("/dev/null takes all");
                rows.clear();
            }
        });
        exporter.finish().expect("/dev/null takes all");
    }
}

fn as_json(report: &Report) -> String {
    let (host, style) = (Host::default(), Style::for_terminal(None, false, false));
    let mut json = Vec::new();
    output::report(Format::Json, &host, report, &style, &mut json).expect("memory takes all");
    String::from_utf8(json).expect("JSON is text")
}

fn once(
    bytes: &[u8],
    by: By,
    told: Option<Shown>,
    mut each: impl FnMut(&mut Pipeline),
) -> (Report, Shown) {
    let mut pipeline = Pipeline::new(Settings {
        facts: Facts {
            cpus: vec![Cpu(0), Cpu(1)],
            ..Facts::default()
        },
        target: Target::default(),
        tolerance: Tolerance {
            tick: Nanos(4_000_000),
        },
        max_threads: 10,
        max_forks: 10,
        intervals: false,
        slower: Some(Nanos(1_000_000)),
        replay: Replay {
            census: told.is_none(),
            told,
            ..Replay::default()
        },
    });
    let mut last = 0;
    if let Ok(mut reader) = Reader::open(bytes) {
        loop {
            let mut part = |part: Part<'_>| match part {
                Part::Run(run) => pipeline.take(run),
                Part::Item(Item::Record(record)) => pipeline.push(record),
                Part::Item(Item::Advance(watermark)) => {
                    last = watermark;
                    pipeline.advance(Timestamp(watermark));
                }
            };
            let more = match by {
                By::Items => reader.next_block(|item| part(Part::Item(item))),
                By::Parts => reader.next_part(part),
            };
            if !more.expect(SLICE) {
                break;
            }
            each(&mut pipeline);
        }
    }
    let report = pipeline.finish(Timestamp(last), &Outside::default());
    each(&mut pipeline);
    (report, pipeline.take_shown())
}

/// How a recording ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ends {
    Whole,
    /// Too early, both ways.
    Cut,
    /// In a run that is not what its block promised.
    Damaged,
}

/// Reads block by block, both ways: what is told in the order of time is what would be told in that of writing.
fn read_both_ways(bytes: &[u8]) -> Ends {
    let (Ok(mut by_items), Ok(mut by_parts)) = (Reader::open(bytes), Reader::open(bytes)) else {
        return Ends::Cut;
    };
    loop {
        let mut items = Vec::new();
        let more = by_items.next_block(|item| items.push(owned(item)));
        let (mut run, mut rest) = (None, Vec::new());
        let more_parts = by_parts.next_part(|part| match part {
            Part::Item(item) => rest.push(owned(item)),
            Part::Run(told) => run = Some(records_of(*told)),
        });
        if run.as_ref().is_some_and(|run| run.contains(&Vec::new())) {
            assert!(by_items.is_cut(), "only one way finds damage");
            return Ends::Damaged;
        }
        assert_eq!(by_items.is_cut(), by_parts.is_cut());
        assert_eq!(by_items.trailer(), by_parts.trailer());
        let more = more.expect(SLICE);
        assert_eq!(more, more_parts.expect(SLICE));
        if let Some(run) = run {
            let in_time = |item: &Owned| match item {
                Owned::Record(record) => !is_history(record),
                Owned::Advance(_) => false,
            };
            let (mut records, others): (Vec<_>, Vec<_>) = items.into_iter().partition(in_time);
            records.sort_by_key(Owned::place);
            let run: Vec<Owned> = run.into_iter().map(Owned::Record).collect();
            assert!(records == run, "{records:?} and {run:?}");
            items = others;
        }
        assert!(items == rest, "{items:?} and {rest:?}");
        if !more {
            return if by_items.is_cut() {
                Ends::Cut
            } else {
                Ends::Whole
            };
        }
    }
}

/// Each is what was foretold of it, or nothing.
fn records_of(mut run: Run) -> Vec<Vec<u8>> {
    let mut records = Vec::new();
    let mut last = 0;
    while let Some((at_ns, cpu)) = run.front() {
        let mut bytes = [0; Switch::BYTES];
        let record = match run.take_next() {
            recording::Record::Bytes(bytes) => bytes.to_vec(),
            recording::Record::Switch(switch) => {
                switch.write_to(&mut bytes);
                bytes.to_vec()
            }
        };
        last = at_ns;
        if !record.is_empty() {
            assert_eq!(place(&record), (at_ns, cpu));
        }
        records.push(record);
    }
    assert_eq!(run.end(), last);
    records
}

/// Time and CPU of a record that is known.
fn place(record: &[u8]) -> (u64, u16) {
    let at_ns = record.first_chunk().expect("a header");
    let cpu = record[offset_of!(Header, cpu)..]
        .first_chunk()
        .expect("a header");
    (u64::from_ne_bytes(*at_ns), u16::from_ne_bytes(*cpu))
}

/// Any bytes as records, written and read again: nothing is changed on the way. What comes back is replayed.
pub fn record(mut bytes: &[u8]) {
    let mut writer = Writer::new(Vec::new(), b"{}").expect("memory takes all");
    let mut pushed = Vec::new();
    while let Some((&length, rest)) = bytes.split_first() {
        // No item is longer than 255 bytes here, and those of 8 are advances as well as records.
        let (item, rest) = rest.split_at(rest.len().min(usize::from(length)));
        bytes = rest;
        match <[u8; 8]>::try_from(item) {
            Ok(watermark) => {
                let watermark = u64::from_le_bytes(watermark);
                writer.advance(watermark).expect("memory takes all");
                pushed.push(Owned::Advance(watermark));
            }
            Err(_) => {
                writer.record(item).expect("memory takes all");
                pushed.push(Owned::Record(item.to_vec()));
            }
        }
    }
    let file = writer.finish(b"{}").expect("memory takes all");
    let mut reader = Reader::open(file.as_slice()).expect("its header is whole");
    let mut read = Vec::new();
    while reader
        .next_block(|item| read.push(owned(item)))
        .expect(SLICE)
    {}
    assert!(!reader.is_cut());
    assert!(read == pushed, "{read:?} and {pushed:?}");
    replay(&file);
}

/// Any bytes as the types of a kernel: what is found in them is within them, and what is made of them are types again.
pub fn types(bytes: &[u8]) {
    let Ok(btf) = Btf::parse(bytes.to_vec()) else {
        return;
    };
    // Twelve bytes each, and they follow each other.
    assert!(btf.types() <= bytes.len() / 12);
    let fields = fields::resolve(&btf);
    assert!(fields.offsets.iter().all(|(_, offset)| *offset <= 1 << 32));
    for (strukt, path) in [
        ("s", "a"),
        ("s", "a.b"),
        ("s", "a[3].b"),
        ("s", "a[4294967295]"),
    ] {
        btf.field(strukt, path);
    }
    btf.enumerator("e", "a");
    btf.tracepoint("t");
    let outline = btf.outline(&wanted_types());
    let outline = Btf::parse(outline).expect("what is made of types are types");
    assert!(outline.types() <= btf.types());
}

/// Any bytes as a command line, with a zero byte between arguments: it is understood, or refused on one clean line.
pub fn arguments(bytes: &[u8]) {
    use std::{ffi::OsString, os::unix::ffi::OsStringExt as _};

    let words = bytes.split(|&byte| byte == 0);
    let words = words.map(|word| OsString::from_vec(word.to_vec()));
    let arguments: Vec<OsString> = [OsString::from("tracer")]
        .into_iter()
        .chain(words)
        .collect();
    match Cli::try_parse_from(&arguments) {
        Ok(cli) => accepted(&cli.command),
        // Answers, which would be printed.
        Err(error)
            if matches!(
                error.kind(),
                ErrorKind::DisplayHelp | ErrorKind::DisplayVersion
            ) => {}
        Err(error) => {
            let error = usage::answer(&error, arguments.into_iter()).expect_err("no answer");
            let line = cmd::message(&error);
            assert_eq!(cmd::exit_code(&error), 2, "{line}");
            assert!(!line.chars().any(char::is_control), "{line:?}");
        }
    }
}

fn accepted(command: &Command) {
    let year = Duration::from_secs(365 * 24 * 3600);
    let times = |times: &[Option<Duration>]| {
        for time in times.iter().flatten() {
            assert!(*time > Duration::ZERO && *time <= year, "{time:?}");
        }
    };
    match command {
        Command::Run(run) => {
            times(&[run.duration, run.interval, run.slower]);
            let buffer = run.buffer.unwrap_or(4 << 10);
            assert!((4 << 10..=1 << 30).contains(&buffer), "{buffer}");
            let limit = run.max_overhead.unwrap_or(1.0);
            assert!(limit > 0.0 && limit <= 100.0, "{limit}");
        }
        Command::Report(report) => times(&[report.from, report.to, report.slower]),
        _ => {}
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Owned {
    Record(Vec<u8>),
    Advance(u64),
}

fn owned(item: Item<'_>) -> Owned {
    match item {
        Item::Record(bytes) => Owned::Record(bytes.to_vec()),
        Item::Advance(watermark) => Owned::Advance(watermark),
    }
}

impl Owned {
    fn place(&self) -> (u64, u16) {
        match self {
            Owned::Record(record) => place(record),
            Owned::Advance(watermark) => (*watermark, 0),
        }
    }
}
