//! `tracer report`: what a recording tells, as `tracer run` would have told it.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader, IsTerminal as _, Read, Write as _},
    path::Path,
    process::ExitCode,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustc_hash::FxHashSet;

use crate::{
    audit::Tolerance,
    cli::{RecordedTarget, ReportOptions, TargetOptions},
    cmd::{
        asked::{in_words, union},
        describe, style_of,
        tape::{Head, Tail, remember},
        verdict_of,
    },
    insights::insights,
    model::{Nanos, Timestamp},
    output::{self, file::Output},
    pipeline::{Pipeline, Settings},
    recording::{Item, Reader},
    report::EndReason,
    summary::Outside,
    target::Target,
};

pub fn run(options: &ReportOptions) -> anyhow::Result<ExitCode> {
    let name = options.file.display();
    let failed = || format!("read recording {name}");
    let file = File::open(&options.file).with_context(failed)?;
    let length = file.metadata().map_or(0, |metadata| metadata.len());
    let mut output = Output::open(options.output.as_deref())?;
    let mut reader =
        Reader::open(BufReader::new(Counted { file, read: 0 })).with_context(failed)?;
    let head: Head = serde_json::from_slice(reader.header()).with_context(failed)?;
    let target = chosen(&options.target, &head.cgroups)?;
    let facts = head.facts;
    let mut pipeline = Pipeline::new(Settings {
        facts: facts.clone(),
        target: match target {
            Some(target) => target,
            None => head.target.target()?,
        },
        tolerance: Tolerance {
            tick: Nanos(head.tick),
        },
        max_threads: options.max_threads as usize,
        max_forks: options.max_forks as usize,
        intervals: false,
        slower: options.slower.map(|least| Nanos(least.as_nanos() as u64)),
    });
    let style = style_of(options.output.as_deref());
    let mut progress = Progress::new(length);
    // Where a recording ends that was cut off.
    let mut last = 0;
    loop {
        let more = reader.next_block(|item| match item {
            Item::Record(record) => pipeline.push(record),
            Item::Advance(watermark) => {
                last = watermark;
                pipeline.advance(Timestamp(watermark));
            }
        });
        if !more.with_context(failed)? {
            break;
        }
        progress.at(reader.input().get_ref().read);
        for spike in pipeline.take_spikes() {
            output.render(|out| output::spike(options.format, &spike, &style, out))?;
        }
    }
    progress.done();
    let tail: Option<Tail> = match reader.trailer() {
        Some(trailer) => Some(serde_json::from_slice(trailer).with_context(failed)?),
        None => {
            warn(&format!(
                "{name} was cut off: the report is about what there is of it"
            ));
            None
        }
    };
    let mut host = head.host;
    let mut cgroups = head.cgroups;
    let mut report = match tail {
        Some(tail) => {
            cgroups.extend(tail.cgroups);
            host.steal_percent = tail.steal_percent;
            let mut report = pipeline.finish(Timestamp(tail.ended_ns), &tail.outside.outside());
            report.cost = Some(tail.cost);
            remember(&mut report, &tail.memory);
            report
        }
        None => {
            let outside = Outside {
                end_reason: Some(EndReason::RecordingEnd),
                cut_off: true,
                ..Outside::default()
            };
            pipeline.finish(Timestamp(last), &outside)
        }
    };
    for spike in pipeline.take_spikes() {
        output.render(|out| output::spike(options.format, &spike, &style, out))?;
    }
    report.window.started = Some(head.clocks.wall(report.window.start));
    describe(&mut report, &HashMap::from_iter(cgroups));
    report.insights = insights(&report, &facts);
    output.render(|out| output::report(options.format, &host, &report, &style, out))?;
    let seen = !output.is_closed();
    output.finish()?;
    if seen {
        verdict_of(&report)
    } else {
        Ok(ExitCode::SUCCESS)
    }
}

/// `None`: all that was recorded.
fn chosen(
    asked: &RecordedTarget,
    cgroups: &BTreeMap<u64, String>,
) -> anyhow::Result<Option<Target>> {
    let options = TargetOptions {
        pids: asked.pids.clone(),
        tids: asked.tids.clone(),
        comms: asked.comms.clone(),
        cgroups: asked.cgroups.clone(),
        no_children: asked.no_children,
        command: Vec::new(),
    };
    if options.is_whole_system() {
        return Ok(None);
    }
    let mut ids = None;
    for path in &asked.cgroups {
        let below: Vec<u64> = subtree(path, cgroups);
        if below.is_empty() {
            bail!("report cgroup {}: the recording has none", path.display());
        }
        ids.get_or_insert_with(FxHashSet::default).extend(below);
    }
    Ok(Some(Target {
        pids: asked.pids.clone(),
        tids: asked.tids.clone(),
        comm: union(&asked.comms)?,
        cgroups: ids,
        children: !asked.no_children,
        description: in_words(&options),
    }))
}

/// The ids of a cgroup and of all below it.
fn subtree(path: &Path, cgroups: &BTreeMap<u64, String>) -> Vec<u64> {
    // As in /proc/PID/cgroup, or as a directory.
    let path = match path.strip_prefix("/sys/fs/cgroup") {
        Ok(below) => Path::new("/").join(below),
        Err(_) => path.to_owned(),
    };
    let all = cgroups.iter();
    all.filter(|(_, known)| Path::new(known).starts_with(&path))
        .map(|(id, _)| *id)
        .collect()
}

fn warn(what: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(io::stderr().lock(), "warning: {what}");
}

/// A file that knows how far it has been read.
struct Counted {
    file: File,
    read: u64,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        self.read += read as u64;
        Ok(read)
    }
}

/// How far long work is, for somebody at a terminal.
struct Progress {
    length: u64,
    next: Option<Instant>,
    shown: bool,
}

const EVERY: Duration = Duration::from_millis(500);

impl Progress {
    fn new(length: u64) -> Progress {
        Progress {
            length,
            next: io::stderr().is_terminal().then(|| Instant::now() + EVERY),
            shown: false,
        }
    }

    fn at(&mut self, read: u64) {
        let Some(next) = self.next.filter(|&next| Instant::now() >= next) else {
            return;
        };
        let percent = read * 100 / self.length.max(1);
        let _ = write!(io::stderr().lock(), "\rread {} %", percent.min(100));
        (self.next, self.shown) = (Some(next + EVERY), true);
    }

    fn done(&mut self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r           \r");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cgroup_is_known_by_its_path_and_with_all_below_it() {
        let known = [(1, "/"), (2, "/a"), (3, "/a/b"), (4, "/ab")];
        let cgroups = known.map(|(id, path)| (id, path.to_owned())).into();
        let ids = |path| subtree(Path::new(path), &cgroups);
        assert_eq!(ids("/a"), [2, 3]);
        assert_eq!(ids("/a/"), [2, 3]);
        assert_eq!(ids("/sys/fs/cgroup/a/b"), [3]);
        assert_eq!(ids("/sys/fs/cgroup"), [1, 2, 3, 4]);
        assert_eq!(ids("/c"), [0; 0]);
    }
}
