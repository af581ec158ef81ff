//! The tracer for minutes under births and switches without end: its memory must not grow with what has
//! passed, and nothing may be missing that it does not tell.

use std::fs;
use std::io::{BufRead as _, BufReader, Read};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;
use serde::Deserialize;

use crate::bench::process::{Process, catch_signals, pause};
use crate::bench::stats::Spread;
use crate::bench::table::Table;
use crate::command::{self, as_root, is_root, show};
use crate::{build, setup};

const LOAD: [&str; 6] = ["--switch", "4", "--fork", "4", "--clone", "4"];
const SECOND: Duration = Duration::from_secs(1);
/// An interval that has not come after so long will not; machines may be slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// What memory may vary by and not be growing.
const MOST_GROWTH: f64 = 1.05;

#[derive(Args)]
pub struct Options {
    /// For how long
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1440))]
    minutes: u64,

    /// The tracer as the caller built it, before becoming root
    #[arg(long, hide = true)]
    built: Option<PathBuf>,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    let tracer = match &options.built {
        Some(built) => built.clone(),
        None => {
            setup::run(true)?;
            build::run()?
        }
    };
    if !is_root() {
        ensure!(options.built.is_none(), "become root: sudo did not do it");
        let mut again = as_root(&[], std::env::current_exe().context("find this program")?)?;
        again.args(std::env::args_os().skip(1)).arg("--built");
        return command::run(again.arg(tracer));
    }
    catch_signals()?;
    let scratch = tempfile::tempdir().context("make a directory for what the load says")?;
    let mut load = Command::new("stress-ng");
    println!("$ {}", show(load.args(LOAD)));
    let mut load = Process::start("stress-ng", &mut load, Stdio::null(), scratch.path())?;
    let soaked = soak(&tracer, options.minutes, &mut load)?;
    load.stop()?;
    println!("\n{}", table(&soaked, options.minutes));
    let wrong = wrong(&soaked, options.minutes);
    ensure!(wrong.is_empty(), "{}", wrong.join("\nerror: "));
    println!("no growth, and nothing missing that was not told");
    Ok(())
}

/// What is read of a line; the threads are most of it, and are passed over.
#[derive(Deserialize)]
struct Line {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    interval: Option<Interval>,
    quality: Quality,
    system: System,
}

#[derive(Deserialize)]
struct Interval {
    at_ns: u64,
    duration_ns: u64,
}

#[derive(Deserialize)]
struct Quality {
    verdict: String,
    reasons: Vec<String>,
    lost_records: u64,
}

#[derive(Deserialize)]
struct System {
    switches: Option<u64>,
}

/// At a second of ours.
#[derive(Clone, Copy, Debug)]
struct Sample {
    at: Duration,
    rss_kib: u64,
    /// Of the machine since it started, as the kernel counts them.
    births: u64,
}

/// All that was seen.
struct Soaked {
    samples: Vec<Sample>,
    lines: Vec<Line>,
    /// How the tracer ended, if not well.
    failed: Option<String>,
}

/// Killed when dropped: an error or a signal leaves no tracer behind.
struct Tracer(Child);

impl Drop for Tracer {
    fn drop(&mut self) {
        if matches!(self.0.try_wait(), Ok(None)) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

fn soak(program: &PathBuf, minutes: u64, load: &mut Process) -> anyhow::Result<Soaked> {
    let mut command = Command::new(program);
    let duration = format!("{minutes}m");
    command.args([
        "run",
        "--duration",
        &duration,
        "--interval",
        "1s",
        "--format",
        "ndjson",
    ]);
    println!("$ {}", show(&command));
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut tracer = Tracer(command.spawn().context("start the tracer")?);
    let output = tracer
        .0
        .stdout
        .take()
        .context("read what the tracer says")?;
    // At once, whatever is done with it: a reader that is late makes the tracer late.
    let (lines_of, began) = (read_lines(output), Instant::now());
    let mut soaked = Soaked {
        samples: Vec::new(),
        lines: Vec::new(),
        failed: None,
    };
    let mut heard = Instant::now();
    loop {
        while let Ok(line) = lines_of.try_recv() {
            soaked.lines.push(line?);
            heard = Instant::now();
        }
        if let Some(status) = tracer
            .0
            .try_wait()
            .context("ask for the state of the tracer")?
        {
            soaked.failed = (!status.success()).then(|| format!("the tracer ended with {status}"));
            break;
        }
        load.must_run()?;
        if heard.elapsed() > PATIENCE {
            bail!("no interval came for {} s", PATIENCE.as_secs());
        }
        // Between the end of the tracer and the look at its state there is no memory to read.
        if let Some(rss_kib) = rss_kib(tracer.0.id()) {
            soaked.samples.push(Sample {
                at: began.elapsed(),
                rss_kib,
                births: births()?,
            });
        }
        pause(SECOND)?;
    }
    for line in lines_of {
        soaked.lines.push(line?);
    }
    Ok(soaked)
}

fn read_lines(output: impl Read + Send + 'static) -> Receiver<anyhow::Result<Line>> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::with_capacity(1 << 20, output).split(b'\n') {
            let line = line.context("read what the tracer says");
            let line = line.and_then(|line| {
                serde_json::from_slice(&line).context("understand a line of the tracer's")
            });
            // Nobody listens any more: an error has ended all this.
            if sender.send(line).is_err() {
                return;
            }
        }
    });
    receiver
}

fn rss_kib(pid: u32) -> Option<u64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = status
        .lines()
        .find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.split_whitespace().next()?.parse().ok()
}

fn births() -> anyhow::Result<u64> {
    let stat = fs::read_to_string("/proc/stat").context("read /proc/stat")?;
    let line = stat
        .lines()
        .find_map(|line| line.strip_prefix("processes "));
    let count = line.and_then(|line| line.trim().parse().ok());
    count.context("find the births in /proc/stat")
}

/// Everything that is wrong; empty when all is well.
fn wrong(soaked: &Soaked, minutes: u64) -> Vec<String> {
    let mut found: Vec<String> = soaked.failed.iter().cloned().collect();
    found.extend(grown(&soaked.samples, minutes));
    let intervals: Vec<&Interval> = soaked
        .lines
        .iter()
        .filter_map(|line| line.interval.as_ref())
        .collect();
    let length = u64::try_from(SECOND.as_nanos()).unwrap_or(u64::MAX);
    let tiled = (0..).zip(&intervals).all(|(nth, interval): (u64, _)| {
        (interval.at_ns, interval.duration_ns) == (nth * length, length)
    });
    // What the last second has is in the report.
    let expected = minutes * 60 - 2;
    if !tiled || (intervals.len() as u64) < expected {
        found.push(format!(
            "{} intervals came, of at least {expected}, {} one after the other",
            intervals.len(),
            if tiled { "all" } else { "not all" }
        ));
    }
    match soaked.lines.last() {
        Some(line) if line.kind == "report" => {}
        _ => found.push("no report came".to_owned()),
    }
    for (nth, line) in soaked.lines.iter().enumerate() {
        let Quality {
            verdict, reasons, ..
        } = &line.quality;
        let known = verdict == "valid" || (verdict == "degraded" && !reasons.is_empty());
        if !known {
            let what = &line.kind;
            found.push(format!(
                "line {nth}, {what}: {verdict}: {}",
                reasons.join("; ")
            ));
        }
    }
    found
}

/// The last fifth against the second minute; against the second quarter where that is not to be had.
fn grown(samples: &[Sample], minutes: u64) -> Option<String> {
    let seconds = minutes * 60;
    let early = if minutes < 3 {
        seconds / 4..seconds / 2
    } else {
        60..120
    };
    let late = seconds - seconds / 5..u64::MAX;
    let [before, after] = [early, late].map(|part| {
        let samples = samples
            .iter()
            .filter(|sample| part.contains(&sample.at.as_secs()));
        median(samples.map(|sample| sample.rss_kib as f64))
    });
    match (before, after) {
        (Some(before), Some(after)) if after <= before * MOST_GROWTH => None,
        (Some(before), Some(after)) => Some(format!(
            "memory grew from {} to {} MiB",
            mib(before),
            mib(after)
        )),
        _ => Some("memory could not be read when it mattered".to_owned()),
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    Some(Spread::of(&values.collect::<Vec<f64>>())?.median)
}

fn mib(kib: f64) -> String {
    format!("{:.1}", kib / 1024.0)
}

fn table(soaked: &Soaked, minutes: u64) -> Table {
    let mut table = Table::new(&[
        "minute",
        "RSS, MiB",
        "switches/s",
        "births/s",
        "lost records",
    ]);
    let mut lost_before = 0;
    for minute in 0..minutes {
        let samples = soaked.samples.iter();
        let samples: Vec<&Sample> = samples
            .filter(|sample| sample.at.as_secs() / 60 == minute)
            .collect();
        let rss = median(samples.iter().map(|sample| sample.rss_kib as f64));
        let births = match (samples.first(), samples.last()) {
            (Some(first), Some(last)) if last.at > first.at => {
                let grown = (last.births - first.births) as f64;
                Some(grown / (last.at - first.at).as_secs_f64())
            }
            _ => None,
        };
        let within = |line: &&Line| {
            let at = line.interval.as_ref().map(|interval| interval.at_ns);
            at.is_some_and(|at| at / 60_000_000_000 == minute)
        };
        let lines: Vec<&Line> = soaked.lines.iter().filter(within).collect();
        let switches: Option<u64> = lines.iter().map(|line| line.system.switches).sum();
        // Counted from the beginning of the window.
        let lost = lines.last().map(|line| line.quality.lost_records);
        let cell =
            |value: Option<f64>| value.map_or("n/a".to_owned(), |value| format!("{value:.0}"));
        table.row([
            (minute + 1).to_string(),
            rss.map_or("n/a".to_owned(), mib),
            cell(
                switches
                    .filter(|_| !lines.is_empty())
                    .map(|all| all as f64 / lines.len() as f64),
            ),
            cell(births),
            cell(lost.map(|lost| lost.saturating_sub(lost_before) as f64)),
        ]);
        lost_before = lost.unwrap_or(lost_before);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(minutes: u64, rss_kib: impl Fn(u64) -> u64) -> Vec<Sample> {
        let sample = |second| Sample {
            at: Duration::from_secs(second),
            rss_kib: rss_kib(second),
            births: 0,
        };
        (0..minutes * 60).map(sample).collect()
    }

    fn line(kind: &str, nth: Option<u64>, verdict: &str, reasons: &[&str]) -> Line {
        Line {
            kind: kind.to_owned(),
            interval: nth.map(|nth| Interval {
                at_ns: nth * 1_000_000_000,
                duration_ns: 1_000_000_000,
            }),
            quality: Quality {
                verdict: verdict.to_owned(),
                reasons: reasons.iter().map(|&reason| reason.to_owned()).collect(),
                lost_records: 0,
            },
            system: System { switches: Some(7) },
        }
    }

    fn well(minutes: u64) -> Soaked {
        let intervals = (0..minutes * 60 - 1).map(|nth| line("interval", Some(nth), "valid", &[]));
        Soaked {
            samples: samples(minutes, |_| 1_000),
            lines: intervals
                .chain([line("report", None, "valid", &[])])
                .collect(),
            failed: None,
        }
    }

    #[test]
    fn memory_that_stays_is_no_growth() {
        // Caches fill in the first minute.
        for minutes in [3, 10] {
            let grows_first = samples(minutes, |second| 1_000 * second.min(60));
            assert_eq!(grown(&grows_first, minutes), None);
        }
        assert_eq!(grown(&samples(1, |second| 1_000 * second.min(15)), 1), None);
    }

    #[test]
    fn memory_that_grows_is_told() {
        for minutes in [1, 2, 3, 10] {
            let grows = samples(minutes, |second| 100_000 + second * 1_000);
            let text = grown(&grows, minutes).expect("it grows");
            assert!(text.starts_with("memory grew from "), "{text}");
        }
        assert!(grown(&[], 10).is_some());
    }

    #[test]
    fn what_is_missing_is_wrong() {
        assert_eq!(wrong(&well(1), 1), [""; 0]);
        let told = line(
            "interval",
            Some(0),
            "degraded",
            &["5 records found no room"],
        );
        let mut soaked = well(1);
        soaked.lines[0] = told;
        assert_eq!(wrong(&soaked, 1), [""; 0]);
        for bad in [
            line("interval", Some(0), "degraded", &[]),
            line("interval", Some(0), "invalid", &["1 total differs"]),
            line("interval", Some(5), "valid", &[]),
        ] {
            let mut soaked = well(1);
            soaked.lines[0] = bad;
            assert_eq!(wrong(&soaked, 1).len(), 1);
        }
        let mut soaked = well(1);
        soaked.lines.truncate(30);
        soaked.failed = Some("the tracer ended with 4".to_owned());
        assert_eq!(wrong(&soaked, 1).len(), 3);
    }

    #[test]
    fn a_line_is_read_without_its_threads() {
        let text = r#"{"type":"interval","schema":"tracer.report.v1","interval":{"at_ns":0,"duration_ns":5},
            "quality":{"verdict":"valid","reasons":[],"lost_records":3,"lost_switches":1},
            "system":{"switches":null,"cpus":[]},"processes":[{"threads":[{"tid":1}]}]}"#;
        let line: Line = serde_json::from_str(text).expect("it is one");
        assert_eq!(
            (line.kind.as_str(), line.quality.lost_records),
            ("interval", 3)
        );
    }

    #[test]
    fn the_table_has_a_row_a_minute() {
        let text = table(&well(2), 2).to_string();
        assert_eq!(text.lines().count(), 4, "{text}");
        assert!(text.contains("| 7 |") || text.contains(" 7 |"), "{text}");
    }
}
