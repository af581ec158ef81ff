//! A recording through the pipeline, as often as somebody needs it.
//!
//! In: a file, what is asked of it. Out: the report, and on the way whatever the pipeline tells. Must not know:
//! formats, where the report goes.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{self, BufReader, IsTerminal as _, Read, Write as _},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use rustc_hash::FxHashSet;

use crate::{
    audit::Tolerance,
    cli::{RecordedTarget, TargetOptions},
    cmd::{
        Failure,
        asked::{in_words, union},
        describe,
        tape::{Head, Tail, remember},
    },
    host::Host,
    insights::insights,
    model::{Cpu, Nanos, Timestamp},
    pipeline::{self, Pipeline, Replay, Settings},
    recording::{self, Item, Part, Reader},
    reorder,
    report::{EndReason, Report},
    summary::Outside,
    target::Target,
    timeline::Shown,
};

/// What is asked of a recording.
#[derive(Clone, Debug)]
pub struct Question {
    pub file: PathBuf,
    pub target: RecordedTarget,
    pub max_threads: usize,
    pub max_forks: usize,
    pub slower: Option<Nanos>,
    pub replay: Replay,
    /// What is being done, where somebody at a terminal waits for it.
    pub doing: &'static str,
}

/// A part of a recording's window; `end` is the option that says where it ends.
pub fn part(
    from: Option<Duration>,
    to: Option<Duration>,
    end: &str,
) -> Result<pipeline::Part, Failure> {
    if let (Some(from), Some(to)) = (from, to)
        && from >= to
    {
        let why = format!("{end}: nothing lies before --from");
        return Err(Failure::Usage(why));
    }
    let nanos = |duration: Duration| Nanos(duration.as_nanos() as u64);
    Ok(pipeline::Part {
        from: nanos(from.unwrap_or_default()),
        to: to.map(nanos),
    })
}

/// What it answers.
pub struct Answer {
    pub host: Host,
    pub report: Report,
    /// Paths of cgroups by id.
    pub cgroups: HashMap<u64, String>,
    /// The window's start in nanoseconds since 1970, UTC.
    pub started_unix_ns: i64,
    /// Everybody who has rows, where that was asked for.
    pub shown: Shown,
    /// The file ends before the recording did.
    pub cut_off: bool,
}

impl Question {
    /// Replays all of it. `each` sees the pipeline after every block, and once more after the end.
    pub fn ask(
        &self,
        mut each: impl FnMut(&mut Pipeline) -> anyhow::Result<()>,
    ) -> anyhow::Result<Answer> {
        let name = self.file.display();
        let failed = || format!("read recording {name}");
        let file = File::open(&self.file).with_context(failed)?;
        let mut progress = Progress::new(self.doing, &file);
        let input = BufReader::new(Counted { file, read: 0 });
        let mut reader = Reader::open(input).with_context(failed)?;
        let head: Head = serde_json::from_slice(reader.header()).with_context(failed)?;
        let mut pipeline = self.pipeline(&head)?;
        // Where a recording ends that was cut off.
        let mut last = 0;
        loop {
            let more = reader.next_part(|part| match part {
                Part::Run(run) => pipeline.take(run),
                Part::Item(Item::Record(record)) => pipeline.push(record),
                Part::Item(Item::Advance(watermark)) => {
                    last = watermark;
                    pipeline.advance(Timestamp(watermark));
                }
            });
            if !more.with_context(failed)? {
                break;
            }
            progress.at(reader.input().get_ref().read);
            each(&mut pipeline)?;
        }
        progress.done();
        let tail: Option<Tail> = match reader.trailer() {
            Some(trailer) => Some(serde_json::from_slice(trailer).with_context(failed)?),
            None => None,
        };
        let mut host = head.host;
        let mut cgroups = head.cgroups;
        let part = self.replay.part;
        let cut_off = tail.is_none();
        let mut report = match tail {
            Some(tail) => {
                cgroups.extend(tail.cgroups);
                host.steal_percent = tail.steal_percent;
                let mut report = pipeline.finish(Timestamp(tail.ended_ns), &tail.outside.outside());
                // Measured at the end, over all of it.
                if part.is_whole() {
                    report.cost = Some(tail.cost);
                    report.switch_costs = tail.switch_costs;
                    // Of those that were watched, whoever is asked for now.
                    let asked = TargetOptions::from(&self.target);
                    let all = asked.is_whole_system() || !head.facts.narrow;
                    if let Some(costs) = report.switch_costs.as_mut().filter(|_| all) {
                        costs.compare(&report.processes, &report.system, head.facts.narrow);
                    }
                }
                if part.to.is_none() {
                    remember(&mut report, &tail.memory);
                }
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
        if part.from > Nanos::ZERO && report.window.duration == Nanos::ZERO {
            bail!("report from {name}: it ends before --from");
        }
        each(&mut pipeline)?;
        report.window.started = Some(head.clocks.wall(report.window.start));
        let started_unix_ns = head.clocks.unix_ns(report.window.start);
        let cgroups = HashMap::from_iter(cgroups);
        describe(&mut report, &cgroups);
        report.insights = insights(&report, &head.facts);
        Ok(Answer {
            host,
            report,
            cgroups,
            started_unix_ns,
            shown: pipeline.take_shown(),
            cut_off,
        })
    }

    /// Tells whoever asked that there is less than there was to be.
    pub fn warn_if_cut_off(&self, answer: &Answer) {
        if answer.cut_off {
            // Nobody is left to be told when stderr is gone.
            let _ = writeln!(
                io::stderr().lock(),
                "warning: {} was cut off: what follows is about what there is of it",
                self.file.display()
            );
        }
    }

    fn pipeline(&self, head: &Head) -> anyhow::Result<Pipeline> {
        let target = match chosen(&self.target, &head.cgroups)? {
            Some(target) => target,
            None => head.target.clone().target()?,
        };
        Ok(Pipeline::new(Settings {
            facts: head.facts.clone(),
            target,
            tolerance: Tolerance {
                tick: Nanos(head.tick),
            },
            max_threads: self.max_threads,
            max_forks: self.max_forks,
            intervals: false,
            slower: self.slower,
            replay: self.replay.clone(),
        }))
    }
}

/// A block of a recording as the pipeline takes it.
impl reorder::Run for recording::Run {
    #[inline]
    fn front(&self) -> Option<(Timestamp, Cpu)> {
        let (at_ns, cpu) = recording::Run::front(self)?;
        Some((Timestamp(at_ns), Cpu(cpu)))
    }

    fn end(&self) -> Timestamp {
        Timestamp(recording::Run::end(self))
    }

    fn next(&mut self) -> reorder::Record<'_> {
        match self.take_next() {
            recording::Record::Switch(switch) => reorder::Record::Switch(switch),
            recording::Record::Bytes(bytes) => reorder::Record::Bytes(bytes),
        }
    }
}

/// `None`: all that was recorded.
fn chosen(
    asked: &RecordedTarget,
    cgroups: &BTreeMap<u64, String>,
) -> anyhow::Result<Option<Target>> {
    let options = TargetOptions::from(asked);
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
    doing: &'static str,
    length: u64,
    next: Option<Instant>,
    shown: bool,
}

const EVERY: Duration = Duration::from_millis(500);

impl Progress {
    fn new(doing: &'static str, file: &File) -> Progress {
        Progress {
            doing,
            length: file.metadata().map_or(0, |metadata| metadata.len()),
            next: io::stderr().is_terminal().then(|| Instant::now() + EVERY),
            shown: false,
        }
    }

    fn at(&mut self, read: u64) {
        let Some(next) = self.next.filter(|&next| Instant::now() >= next) else {
            return;
        };
        let percent = read * 100 / self.length.max(1);
        let _ = write!(
            io::stderr().lock(),
            "\r{} {} %",
            self.doing,
            percent.min(100)
        );
        (self.next, self.shown) = (Some(next + EVERY), true);
    }

    fn done(&mut self) {
        if self.shown {
            let _ = write!(io::stderr().lock(), "\r\x1b[K");
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
