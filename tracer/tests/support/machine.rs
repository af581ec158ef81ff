//! What the machine runs meanwhile, and what it says of itself.

use std::collections::BTreeSet;
use std::fs;
use std::io::Write as _;
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};

use super::{Running, binary, pause, timeout};

/// Runs in the background until it is dropped, with all its children.
#[track_caller]
pub fn background(program: &str, args: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::null());
    Running::start_as_is(command.stdout(Stdio::null()).stderr(Stdio::null()))
}

/// A pattern of `tracer workload` in the background.
#[track_caller]
pub fn background_workload(pattern: &[&str]) -> Running {
    let mut args = vec!["workload"];
    args.extend(pattern);
    background(env!("CARGO_BIN_EXE_tracer"), &args)
}

/// A shell that does nothing, has its pid, and runs a script once it is told to.
pub struct Gated {
    shell: Child,
    gate: Option<ChildStdin>,
}

impl Gated {
    #[track_caller]
    pub fn new(script: &str) -> Gated {
        let mut shell = Command::new("sh")
            .args(["-c", &format!("read line; exec <&-; {script}")])
            .env("TRACER", binary().get_program())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .spawn()
            .expect("start a shell");
        let gate = shell.stdin.take();
        Gated { shell, gate }
    }

    pub fn pid(&self) -> String {
        self.shell.id().to_string()
    }

    /// Lets the script run.
    pub fn open(&mut self) {
        let mut gate = self.gate.take().expect("opened once");
        gate.write_all(b"\n").expect("tell the shell");
    }

    /// Waits for its success.
    #[track_caller]
    pub fn ends(mut self) {
        let status = self.shell.wait().expect("wait for the shell");
        assert!(status.success(), "the script ended with {status}");
    }
}

impl Drop for Gated {
    fn drop(&mut self) {
        // Without the line the shell's input ends, and so does it; no signal to a number that may be reused.
        drop(self.gate.take());
        let _ = self.shell.kill();
        let _ = self.shell.wait();
    }
}

/// Waits until something holds; a test that needs time needs this, not a pause.
#[track_caller]
pub fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + timeout();
    while !holds() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        pause();
    }
}

/// The processes whose parent this is.
pub fn children(of: u32) -> BTreeSet<u32> {
    let pids = fs::read_dir("/proc").expect("list /proc").flatten();
    let pids = pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok());
    pids.filter(|&pid| parent(pid) == Some(of)).collect()
}

fn parent(pid: u32) -> Option<u32> {
    status(pid, "PPid:")?.parse().ok()
}

/// A line of its /proc/PID/status. None when it is gone.
pub fn status(pid: u32, key: &str) -> Option<String> {
    let text = fs::read(format!("/proc/{pid}/status")).ok()?;
    let text = String::from_utf8_lossy(&text);
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    Some(line.trim().to_owned())
}

/// The threads of a process, with their names.
pub fn tasks(pid: u32) -> Vec<(u32, String)> {
    let tasks = fs::read_dir(format!("/proc/{pid}/task"))
        .into_iter()
        .flatten();
    let task = |entry: fs::DirEntry| {
        let tid: u32 = entry.file_name().to_str()?.parse().ok()?;
        Some((tid, status(tid, "Name:")?))
    };
    tasks.flatten().filter_map(task).collect()
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// The CPU to pin to: the last, as most of what cannot be moved lives on the first.
pub fn last_cpu() -> String {
    let last = allowed_cpus().pop();
    last.expect("at least one CPU").to_string()
}

/// Those that this test may run on.
pub fn allowed_cpus() -> Vec<u16> {
    let allowed = rustix::thread::sched_getaffinity(None).expect("read the CPUs allowed");
    let all = 0..u16::try_from(rustix::thread::CpuSet::MAX_CPU).unwrap_or(u16::MAX);
    all.filter(|&cpu| allowed.is_set(cpu.into())).collect()
}

pub fn cpus() -> u64 {
    std::thread::available_parallelism().map_or(1, |count| count.get() as u64)
}

/// `/proc/stat` again and again, so that its counters are known closely at any time.
pub struct Counters {
    stop: Arc<AtomicBool>,
    reader: JoinHandle<Vec<Sample>>,
}

/// Read between these two times.
struct Sample {
    from: u64,
    to: u64,
    switches: u64,
    births: u64,
}

/// What a counter grew by at least and at most.
pub type Bounds = std::ops::RangeInclusive<u64>;

impl Counters {
    pub fn start() -> Counters {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let reader = std::thread::spawn(move || {
            // Read in time however busy the machine is; where that is not permitted, bounds are wider.
            let _ = rustix::process::setpriority_process(None, -20);
            let mut samples = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                samples.extend(Sample::read());
                std::thread::sleep(Duration::from_millis(2));
            }
            samples.extend(Sample::read());
            samples
        });
        Counters { stop, reader }
    }

    /// The growth of `ctxt` and `processes` over a window on the monotonic clock.
    pub fn growth(self, start: u64, duration: u64) -> (Bounds, Bounds) {
        self.stop.store(true, Ordering::Relaxed);
        let samples = self.reader.join().expect("the reader does not panic");
        let end = start + duration;
        let last_before = |time| samples.iter().rfind(|sample| sample.to <= time);
        let first_after = |time| samples.iter().find(|sample| sample.from >= time);
        let outer = (last_before(start), first_after(end));
        let inner = (first_after(start), last_before(end));
        let bounds = |counter: fn(&Sample) -> u64| {
            let growth = |(from, to): (Option<&Sample>, Option<&Sample>)| {
                let (from, to) = (from.expect("read around"), to.expect("read around"));
                counter(to) - counter(from)
            };
            growth(inner)..=growth(outer)
        };
        (
            bounds(|sample| sample.switches),
            bounds(|sample| sample.births),
        )
    }
}

impl Sample {
    fn read() -> Option<Sample> {
        let from = monotonic();
        let text = fs::read_to_string("/proc/stat").ok()?;
        let counter = |key| {
            let line = text.lines().find_map(|line| line.strip_prefix(key))?;
            line.trim().parse().ok()
        };
        Some(Sample {
            from,
            switches: counter("ctxt ")?,
            births: counter("processes ")?,
            to: monotonic(),
        })
    }
}

/// The clock of the reports.
pub fn monotonic() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}
