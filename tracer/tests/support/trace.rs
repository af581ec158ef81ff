//! Runs `tracer run` for its report.

use std::fs::{self, File};
use std::path::PathBuf;
use std::process::Stdio;
use std::time::{Duration, Instant};

use rustix::process::Signal;
use serde_json::Value;
use tempfile::TempDir;

use super::check::check_report;
use super::{Outcome, Running, binary, pause, timeout};

/// How a run ended, and its report.
pub struct Traced {
    pub outcome: Outcome,
    pub report: Value,
}

/// `tracer run` with these arguments. The report goes to a file: stdout is the command's.
#[track_caller]
pub fn traced<S: AsRef<str>>(args: &[S]) -> Traced {
    let dir = tempfile::tempdir().expect("a directory for the report");
    let file = dir.path().join("report.json");
    let mut command = binary();
    command.args(["run", "--format", "json", "-o"]).arg(&file);
    let outcome = Running::start(command.args(args.iter().map(AsRef::as_ref))).finish();
    let text = fs::read(&file)
        .unwrap_or_else(|error| panic!("{error}: no report; stderr:\n{}", outcome.stderr()));
    let report = serde_json::from_slice(&text).expect("the report is JSON");
    Traced { outcome, report }
}

/// The same for a report that must be valid.
#[track_caller]
pub fn valid<S: AsRef<str>>(args: &[S]) -> Value {
    let Traced { outcome, report } = traced(args);
    expect_valid(&report);
    outcome.expect_code(0);
    report
}

/// Traces a pattern of `tracer workload` from its first instruction to its end.
#[track_caller]
pub fn workload(pattern: &[&str]) -> Value {
    let mut args = vec!["--", env!("CARGO_BIN_EXE_tracer"), "workload"];
    args.extend(pattern);
    valid(&args)
}

/// Complete, and in agreement with the kernel. On an emulated machine the kernel may have skipped programs that already
/// ran on a CPU, as 7.3 does, and then that must be all that is doubted.
#[track_caller]
pub fn expect_valid(report: &Value) {
    let quality = &report["quality"];
    check_report(report);
    let skipped = quality["missed_events"].as_u64() > Some(0);
    let doubted = skipped && std::env::var_os("TRACER_VM").is_some();
    let verdict = if doubted { "degraded" } else { "valid" };
    assert_eq!(quality["verdict"], verdict, "{quality:#}");
    assert_eq!(quality["lost_records"], 0, "{quality:#}");
}

/// A tracer that is known to trace: its first interval has been seen.
pub struct Live {
    running: Option<Running>,
    /// Its stdout.
    file: PathBuf,
    _dir: TempDir,
}

impl Live {
    /// Without a duration it goes on until [`Live::finish`].
    #[track_caller]
    pub fn start<S: AsRef<str>>(args: &[S]) -> Live {
        let dir = tempfile::tempdir().expect("a directory for the output");
        let file = dir.path().join("lines");
        let mut command = binary();
        command
            .args(["run", "--format", "ndjson", "--interval", "50ms"])
            .args(args.iter().map(AsRef::as_ref))
            .stdin(Stdio::null())
            .stdout(File::create(&file).expect("create the output"))
            .stderr(Stdio::piped());
        let mut live = Live {
            running: Some(Running::start_as_is(&mut command)),
            file,
            _dir: dir,
        };
        let deadline = Instant::now() + timeout();
        while !live.has_line() {
            let running = live.running.take().expect("taken only here and at the end");
            if Instant::now() > deadline || running.has_ended() {
                panic!("no interval came; stderr:\n{}", running.finish().stderr());
            }
            live.running = Some(running);
            pause();
        }
        live
    }

    pub fn id(&self) -> u32 {
        self.running().id()
    }

    #[track_caller]
    pub fn signal(&self, signal: Signal) {
        self.running().signal(signal);
    }

    fn running(&self) -> &Running {
        self.running.as_ref().expect("taken only at the end")
    }

    fn has_line(&self) -> bool {
        fs::read(&self.file).is_ok_and(|text| text.contains(&b'\n'))
    }

    /// What it has printed so far of this type.
    pub fn lines(&self, kind: &str) -> Vec<Value> {
        let text = fs::read_to_string(&self.file).expect("read the output");
        // The last one may not be whole yet.
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let lines = whole
            .lines()
            .map(|line| serde_json::from_str(line).expect("JSON"));
        lines.filter(|line: &Value| line["type"] == kind).collect()
    }

    /// Lets it see what has just happened, then ends it and takes the report, which must be valid.
    #[track_caller]
    pub fn finish(mut self) -> Value {
        std::thread::sleep(Duration::from_millis(100));
        let running = self.running.take().expect("taken only once");
        running.signal(Signal::INT);
        self.take(running)
    }

    /// Waits for its own end.
    #[track_caller]
    pub fn ends(mut self) -> Value {
        let running = self.running.take().expect("taken only once");
        self.take(running)
    }

    /// Ends it now, and takes the report whatever it says.
    #[track_caller]
    pub fn interrupt(mut self) -> Traced {
        let running = self.running.take().expect("taken only once");
        running.signal(Signal::INT);
        self.collect(running)
    }

    #[track_caller]
    fn take(&self, running: Running) -> Value {
        let Traced { outcome, report } = self.collect(running);
        expect_valid(&report);
        outcome.expect_code(0);
        report
    }

    #[track_caller]
    fn collect(&self, running: Running) -> Traced {
        let outcome = running.finish();
        let text = fs::read_to_string(&self.file).expect("read the output");
        let last = text.lines().last().unwrap_or_default();
        let report: Value = serde_json::from_str(last)
            .unwrap_or_else(|error| panic!("{error}; stderr:\n{}", outcome.stderr()));
        assert_eq!(report["type"], "report", "stderr:\n{}", outcome.stderr());
        Traced { outcome, report }
    }
}
