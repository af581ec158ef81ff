//! The processes that are started here: each ends when its guard goes, whatever the reason.

use std::fs::{self, File};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, LazyLock};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

/// Rare enough that looking costs the load nothing that would be seen.
pub const LOOK: Duration = Duration::from_millis(10);

/// How a process is ended, and how long each is waited for. `offcputime` looks up every symbol of the system
/// before it ends, and nobody reads that.
const ENDINGS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(20)),
    (Signal::TERM, Duration::from_secs(5)),
    (Signal::KILL, Duration::from_secs(5)),
];

static INTERRUPTED: LazyLock<Arc<AtomicBool>> = LazyLock::new(Arc::default);

/// From here on a signal does not end this process: the next wait does, by an error, and all guards go.
pub fn catch_signals() -> anyhow::Result<()> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        signal_hook::flag::register(signal, Arc::clone(&INTERRUPTED))
            .with_context(|| format!("catch signal {signal}"))?;
    }
    Ok(())
}

/// Looks again and again until there is an answer.
pub fn wait_for<T>(
    what: &str,
    limit: Duration,
    mut look: impl FnMut() -> anyhow::Result<Option<T>>,
) -> anyhow::Result<T> {
    let begin = Instant::now();
    loop {
        if let Some(answer) = look()? {
            return Ok(answer);
        }
        if begin.elapsed() > limit {
            bail!("wait for {what}: nothing after {} s", limit.as_secs());
        }
        pause(LOOK)?;
    }
}

pub fn pause(duration: Duration) -> anyhow::Result<()> {
    thread::sleep(duration);
    check_interrupted()
}

pub fn check_interrupted() -> anyhow::Result<()> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        bail!("interrupted");
    }
    Ok(())
}

/// A process of ours, in a process group of its own: its children end with it, and an interrupt at the
/// terminal reaches it only through us.
pub struct Process {
    name: String,
    child: Child,
    output: PathBuf,
    complaints: PathBuf,
}

impl Process {
    /// What it prints goes to files in `scratch`.
    pub fn start(
        name: &str,
        command: &mut Command,
        stdin: Stdio,
        scratch: &Path,
    ) -> anyhow::Result<Process> {
        let file = |extension: &str| {
            let path = scratch.join(format!("{}.{extension}", name.replace(['/', ' '], "-")));
            let file = File::create(&path).with_context(|| format!("create {}", path.display()))?;
            anyhow::Ok((path, file))
        };
        let (output, stdout) = file("out")?;
        let (complaints, stderr) = file("err")?;
        let child = command
            .env("LC_ALL", "C")
            .process_group(0)
            .stdin(stdin)
            .stdout(stdout)
            .stderr(stderr)
            .spawn()
            .with_context(|| format!("start {name}"))?;
        Ok(Process {
            name: name.to_owned(),
            child,
            output,
            complaints,
        })
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    pub fn stdin(&mut self) -> Option<ChildStdin> {
        self.child.stdin.take()
    }

    /// An error, with its own words, when it has ended.
    pub fn must_run(&mut self) -> anyhow::Result<()> {
        match self.ended()? {
            None => Ok(()),
            Some(status) => Err(self.failed(status)),
        }
    }

    /// Until it ends by itself, well.
    pub fn finish(mut self, limit: Duration) -> anyhow::Result<String> {
        let what = format!("the end of {}", self.name);
        let status = wait_for(&what, limit, || self.ended())?;
        if !status.success() {
            return Err(self.failed(status));
        }
        let output = fs::read(&self.output).with_context(|| format!("read {}", self.name))?;
        Ok(String::from_utf8_lossy(&output).into_owned())
    }

    /// Ends it, however it takes that.
    pub fn stop(mut self) -> anyhow::Result<()> {
        self.end().map(drop)
    }

    /// Asks it to end, as a person would by ^C, then less kindly, and says how it did.
    pub fn end(&mut self) -> anyhow::Result<ExitStatus> {
        for (signal, patience) in ENDINGS {
            if let Some(status) = self.ended()? {
                return Ok(status);
            }
            self.signal(signal);
            self.ends_within(patience)?;
        }
        let status = self.ended()?;
        status.with_context(|| format!("stop {}: it does not end", self.name))
    }

    /// How it ended, in one line.
    pub fn failed(&self, status: ExitStatus) -> anyhow::Error {
        let said = fs::read(&self.complaints).unwrap_or_default();
        let said = last_words(&String::from_utf8_lossy(&said));
        anyhow::anyhow!("{}: ended with {status}{said}", self.name)
    }

    pub fn ended(&mut self) -> anyhow::Result<Option<ExitStatus>> {
        let status = self.child.try_wait();
        status.with_context(|| format!("ask for the state of {}", self.name))
    }

    fn ends_within(&mut self, limit: Duration) -> anyhow::Result<Option<ExitStatus>> {
        let begin = Instant::now();
        loop {
            let status = self.ended()?;
            if status.is_some() || begin.elapsed() > limit {
                return Ok(status);
            }
            thread::sleep(LOOK);
        }
    }

    fn signal(&self, signal: Signal) {
        // A group whose last process has just gone needs no signal.
        if let Some(group) = i32::try_from(self.pid()).ok().and_then(Pid::from_raw) {
            let _ = kill_process_group(group, signal);
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // An error here has nowhere to go.
        let _ = self.end();
    }
}

/// The end of what a program said on stderr, made fit for one line.
fn last_words(said: &str) -> String {
    let lines: Vec<&str> = said
        .lines()
        .filter(|line| !line.trim().is_empty())
        .collect();
    let last = &lines[lines.len().saturating_sub(2)..];
    if last.is_empty() {
        return String::new();
    }
    let words: String = last.join("; ").chars().take(300).collect();
    format!(": {}", words.trim().replace(char::is_control, " "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn last_words_are_one_line() {
        assert_eq!(last_words(""), "");
        assert_eq!(last_words("\n"), "");
        assert_eq!(last_words("a\nb\n\nc\td\n"), ": b; c d");
    }

    #[test]
    fn a_process_tells_why_it_ended() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut shell = Command::new("sh");
        shell.args(["-c", "echo no luck >&2; exit 3"]);
        let process = Process::start("a shell", &mut shell, Stdio::null(), scratch.path());
        let error = process.expect("started").finish(Duration::from_secs(20));
        assert_eq!(
            error.expect_err("it failed").to_string(),
            "a shell: ended with exit status: 3: no luck"
        );
    }

    #[test]
    fn a_process_ends_with_its_guard() {
        let scratch = tempfile::tempdir().expect("a directory");
        let mut sleep = Command::new("sleep");
        let process = Process::start("sleep", sleep.arg("600"), Stdio::null(), scratch.path());
        let mut process = process.expect("started");
        process.must_run().expect("it sleeps");
        let directory = PathBuf::from(format!("/proc/{}", process.pid()));
        assert!(directory.exists());
        drop(process);
        assert!(!directory.exists());
    }
}
