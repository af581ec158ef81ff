//! Threads that make others wait, and what they and the kernel tell of it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};
use tempfile::NamedTempFile;

use super::machine::{Gated, last_cpu, until};

/// Where they meet, wherever the test itself may run by now.
pub fn cpu() -> u16 {
    static CPU: OnceLock<u16> = OnceLock::new();
    *CPU.get_or_init(|| last_cpu().parse().expect("a number"))
}

/// A pattern of `tracer workload` that is pinned, placed, and known to a tracer before it begins.
pub struct Planted {
    gated: Gated,
    pid: u32,
    told: NamedTempFile,
}

impl Planted {
    #[track_caller]
    pub fn new(pattern: &[&str]) -> Planted {
        let told = NamedTempFile::new().expect("a file for what it tells");
        let (pattern, file) = (pattern.join(" "), told.path().display());
        let gated = Gated::new(&format!("exec \"$TRACER\" workload {pattern} >{file}"));
        let pid = gated.pid().parse().expect("a number");
        Planted { gated, pid, told }
    }

    #[track_caller]
    pub fn pinned(cpu: u16, pattern: &[&str]) -> Planted {
        let planted = Planted::new(pattern);
        pin(planted.pid, cpu);
        planted
    }

    pub fn pid(&self) -> u32 {
        self.pid
    }

    pub fn pid_text(&self) -> String {
        self.pid.to_string()
    }

    /// Changes its policy, as `chrt` takes it; false when this is not permitted here.
    #[track_caller]
    pub fn policy(&self, flag: &str, priority: u8) -> bool {
        let (priority, pid) = (priority.to_string(), self.pid_text());
        let mut chrt = Command::new("chrt");
        let output = chrt.args([flag, "-p", &priority, &pid]).output();
        output.expect("run chrt").status.success()
    }

    pub fn open(&mut self) {
        self.gated.open();
    }

    /// Lets it begin, and waits until it runs the pattern.
    #[track_caller]
    pub fn begin(&mut self) {
        self.open();
        until("the pattern runs", || {
            let path = format!("/proc/{}/comm", self.pid);
            let name = fs::read_to_string(path).unwrap_or_default();
            !["sh", "tracer"].contains(&name.trim())
        });
    }

    /// What the kernel counted of its only thread.
    #[track_caller]
    pub fn counted(&self) -> Scheduled {
        scheduled(self.pid)
    }

    /// Waits for its end and takes what it tells: lines of numbers.
    #[track_caller]
    pub fn ends(self) -> Vec<Vec<u64>> {
        self.gated.ends();
        let text = fs::read_to_string(self.told.path()).expect("read what it told");
        let numbers = |line: &str| {
            let words = line.split_whitespace();
            words.map(|word| word.parse().expect("a number")).collect()
        };
        text.lines().map(numbers).collect()
    }
}

/// `/proc/TID/schedstat`. A running thread's time is as old as its last tick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scheduled {
    pub run_ns: u64,
    pub wait_ns: u64,
    pub slices: u64,
}

#[track_caller]
pub fn scheduled(tid: u32) -> Scheduled {
    let path = format!("/proc/{tid}/schedstat");
    let text = fs::read_to_string(path).expect("read what the kernel counted");
    let mut numbers = text.split_whitespace().map(str::parse);
    let mut number = || numbers.next().expect("three of them").expect("a number");
    Scheduled {
        run_ns: number(),
        wait_ns: number(),
        slices: number(),
    }
}

#[track_caller]
pub fn pin(tid: u32, cpu: u16) {
    let mut set = CpuSet::new();
    set.set(cpu.into());
    let tid = Pid::from_raw(tid.cast_signed()).expect("a tid");
    sched_setaffinity(Some(tid), &set).expect("pin a thread");
}

/// While it lives, the calling thread and what it starts are anywhere but on one CPU.
pub struct Apart(CpuSet);

impl Apart {
    /// None: there is no other CPU.
    #[track_caller]
    pub fn from(cpu: u16) -> Option<Apart> {
        let before = sched_getaffinity(None).expect("read the CPUs allowed");
        let mut others = before;
        others.unset(cpu.into());
        sched_setaffinity(None, &others).ok()?;
        Some(Apart(before))
    }
}

impl Drop for Apart {
    fn drop(&mut self) {
        let _ = sched_setaffinity(None, &self.0);
    }
}

/// A cgroup that may use the CPU for a part of each period. Removed at the end.
pub struct Quota {
    path: PathBuf,
    version: u8,
}

impl Quota {
    /// None: there is no controller that could.
    pub fn new(name: &str, quota_us: u64, period_us: u64) -> Option<Quota> {
        let name = format!("tracer-{name}-{}", std::process::id());
        let old = Path::new("/sys/fs/cgroup/cpu");
        let quota = if old.join("cpu.cfs_quota_us").exists() || old.join("tasks").exists() {
            let path = old.join(name);
            fs::create_dir(&path).ok()?;
            Quota { path, version: 1 }
        } else {
            let root = Path::new("/sys/fs/cgroup");
            // Where it was delegated already this changes nothing.
            let _ = fs::write(root.join("cgroup.subtree_control"), "+cpu");
            let path = root.join(name);
            fs::create_dir(&path).ok()?;
            Quota { path, version: 2 }
        };
        quota.limit(quota_us, period_us).then_some(quota)
    }

    fn limit(&self, quota_us: u64, period_us: u64) -> bool {
        let write = |file: &str, text: String| fs::write(self.path.join(file), text).is_ok();
        match self.version {
            1 => {
                write("cpu.cfs_period_us", period_us.to_string())
                    && write("cpu.cfs_quota_us", quota_us.to_string())
            }
            _ => write("cpu.max", format!("{quota_us} {period_us}")),
        }
    }

    #[track_caller]
    pub fn admit(&self, pid: u32) {
        let procs = self.path.join("cgroup.procs");
        fs::write(procs, pid.to_string()).expect("move into the cgroup");
    }

    /// As reports name it.
    pub fn name(&self) -> String {
        let name = self.path.file_name().expect("it has a name");
        name.to_string_lossy().into_owned()
    }

    #[track_caller]
    fn counter(&self, key: &str) -> Option<u64> {
        let text = fs::read_to_string(self.path.join("cpu.stat")).expect("read cpu.stat");
        let mut lines = text.lines();
        let value = lines.find_map(|line| line.strip_prefix(key)?.strip_prefix(' '))?;
        value.parse().ok()
    }

    #[track_caller]
    pub fn throttled_ns(&self) -> u64 {
        let old = self.counter("throttled_time");
        let new = || Some(self.counter("throttled_usec")? * 1_000);
        old.or_else(new).expect("a throttled time in cpu.stat")
    }

    #[track_caller]
    pub fn times_throttled(&self) -> u64 {
        self.counter("nr_throttled")
            .expect("nr_throttled in cpu.stat")
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        // Who has been in it may take a moment to be gone.
        until("the cgroup is empty", || {
            fs::remove_dir(&self.path).is_ok() || !self.path.exists()
        });
    }
}
