//! The place where experiments are made: this machine, how much time there is, and patterns that are played, alone or
//! under the tracer.
//!
//! In: names of patterns. Out: what they measured of themselves, and reports. Must not know: claims.
//!
//! Whatever is started holds one end of a pipe of this process and ends with it, however it ends. Nothing else is
//! made that could be left behind.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::path::PathBuf;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::{Claim, Effort, Samples, Verdict};
use crate::host::Host;
use crate::kernel::fields::Fields;
use crate::kernel::preflight::{self, Refusal};
use crate::kernel::ruler::Ruler;
use crate::workload::{self, NOT_PERMITTED, NotPermitted};

pub struct Lab {
    pub effort: Effort,
    /// Those that this process may use, never none.
    pub cpus: Vec<usize>,
    pub host: Host,
    /// Why this machine or user cannot trace.
    pub refusal: Option<Refusal>,
    exe: PathBuf,
    /// Where fields are, and the types that programs are loaded for.
    kernel: (Fields, Vec<u8>),
}

/// What to play.
#[derive(Clone, Debug)]
pub struct Pattern {
    arguments: Vec<OsString>,
}

impl Pattern {
    pub fn named(name: &str) -> Pattern {
        Pattern {
            arguments: vec!["workload".into(), name.into(), "--tied".into()],
        }
    }

    pub fn with(mut self, flag: &str, value: impl ToString) -> Pattern {
        self.arguments.push(flag.into());
        self.arguments.push(value.to_string().into());
        self
    }

    /// It tells when it is ready, and waits for [`Playing::go`].
    fn staged(mut self) -> Pattern {
        self.arguments.push("--staged".into());
        self
    }
}

/// What a pattern measured of itself, by name.
#[derive(Clone, Debug, Default)]
pub struct Measured(BTreeMap<String, Samples>);

impl Measured {
    /// # Errors
    /// The pattern did not tell it.
    pub fn get(&self, name: &str) -> anyhow::Result<&Samples> {
        self.0
            .get(name)
            .with_context(|| format!("read {name} from what the pattern tells"))
    }

    fn take(&mut self, line: &str) -> anyhow::Result<()> {
        let (name, numbers) = line
            .split_once(':')
            .with_context(|| format!("read what the pattern tells: {line:?}"))?;
        let numbers: Result<Vec<f64>, _> = numbers.split_whitespace().map(str::parse).collect();
        let numbers = numbers.with_context(|| format!("read {name} of the pattern"))?;
        self.0
            .insert(name.to_owned(), numbers.into_iter().collect());
        Ok(())
    }
}

/// What a pattern measured of itself, and what the tracer saw of it.
pub struct Traced {
    pub measured: Measured,
    pub report: Value,
}

/// A pattern that is ready and waits.
pub struct Playing {
    child: Tied,
    out: BufReader<ChildStdout>,
    /// Of all that will take part.
    pub tids: Vec<u32>,
}

impl Lab {
    /// # Errors
    /// This process cannot find itself, or its CPUs.
    pub fn new(effort: Effort) -> anyhow::Result<Lab> {
        let preflight = preflight::check();
        Ok(Lab {
            effort,
            cpus: workload::allowed_cpus()?,
            host: crate::kernel::host::host(),
            refusal: preflight.refusal(),
            kernel: preflight.into_parts(),
            exe: std::env::current_exe().context("find the tracer's own binary")?,
        })
    }

    /// # Errors
    /// This machine or user cannot trace, in a line.
    pub fn may_trace(&self) -> anyhow::Result<()> {
        match &self.refusal {
            Some(refusal) => bail!("{}", one_line(&refusal.to_string())),
            None => Ok(()),
        }
    }

    /// # Errors
    /// This machine or user cannot trace.
    pub fn ruler(&self) -> anyhow::Result<Ruler> {
        self.may_trace()?;
        let (fields, types) = &self.kernel;
        Ok(Ruler::load(fields, types)?)
    }

    /// Why this kernel cannot tell what a switch costs in place; `None`: it can.
    pub fn cannot_measure_in_place(&self) -> Option<String> {
        if let Err(why) = self.may_trace() {
            return Some(why.to_string());
        }
        let (fields, _) = &self.kernel;
        (!fields.switch_cost)
            .then(|| "this kernel has no sched_entry_tp and sched_exit_tp (6.16)".to_owned())
    }

    /// Why this kernel cannot tell what became of the TLB; `None`: it can.
    pub fn cannot_count_flushes(&self) -> Option<String> {
        if let Err(why) = self.may_trace() {
            return Some(why.to_string());
        }
        let (fields, _) = &self.kernel;
        (!fields.flushes).then(|| "this kernel has no tracepoint tlb_flush (x86 has)".to_owned())
    }

    /// So many where there is a minute.
    pub fn scaled(&self, count: u64) -> u64 {
        match self.effort {
            Effort::Quick => count.div_ceil(6),
            Effort::Normal => count,
            Effort::Thorough => count * 5,
        }
    }

    /// Plays a pattern to its end.
    ///
    /// # Errors
    /// It could not be played, in a sentence.
    pub fn play(&self, pattern: &Pattern) -> anyhow::Result<Measured> {
        let mut child = self.start(&pattern.arguments)?;
        let mut text = String::new();
        child
            .take_out()?
            .read_to_string(&mut text)
            .context("listen to the pattern")?;
        child.ended()?;
        let mut measured = Measured::default();
        text.lines().try_for_each(|line| measured.take(line))?;
        Ok(measured)
    }

    /// The same under `tracer run`.
    ///
    /// # Errors
    /// As [`Lab::play`]; this machine cannot trace; there is no report.
    pub fn trace(&self, flags: &[&str], pattern: &Pattern) -> anyhow::Result<Traced> {
        self.may_trace()?;
        let mut arguments: Vec<OsString> = vec!["run".into(), "--format".into(), "json".into()];
        arguments.extend(flags.iter().map(OsString::from));
        arguments.extend(["--".into(), self.exe.clone().into()]);
        arguments.extend(pattern.arguments.iter().cloned());
        let mut child = self.start(&arguments)?;
        let mut text = String::new();
        child
            .take_out()?
            .read_to_string(&mut text)
            .context("listen to the tracer")?;
        child.ended()?;
        // The pattern ends before its report is written.
        let at = text.find('{').context("find the tracer's report")?;
        let (told, report) = text.split_at(at);
        let mut measured = Measured::default();
        told.lines().try_for_each(|line| measured.take(line))?;
        let report = serde_json::from_str(report).context("read the tracer's report")?;
        Ok(Traced { measured, report })
    }

    /// Until it waits to begin.
    ///
    /// # Errors
    /// As [`Lab::play`].
    pub fn ready(&self, pattern: &Pattern) -> anyhow::Result<Playing> {
        let mut child = self.start(&pattern.clone().staged().arguments)?;
        let mut out = BufReader::new(child.take_out()?);
        let mut line = String::new();
        out.read_line(&mut line).context("listen to the pattern")?;
        let Some(tids) = line.trim_end().strip_prefix("ready:") else {
            child.ended()?;
            bail!("the pattern is not ready");
        };
        let tids: Result<Vec<u32>, _> = tids.split_whitespace().map(str::parse).collect();
        Ok(Playing {
            child,
            out,
            tids: tids.context("read who takes part in the pattern")?,
        })
    }

    fn start(&self, arguments: &[OsString]) -> anyhow::Result<Tied> {
        let child = Command::new(&self.exe)
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .context("start a pattern")?;
        let mut tied = Tied { child, line: None };
        tied.line = tied.child.stdin.take();
        Ok(tied)
    }

    /// What must be said of every verdict on a machine like this.
    pub(super) fn qualify(&self, claim: &mut Claim) {
        if claim.verdict == Verdict::NotAvailable {
            return;
        }
        let half = |it: super::Interval| it.high - it.low;
        let noisy = match (claim.interval, claim.measured) {
            (Some(interval), Some(measured)) => half(interval) > 0.1 * measured.abs(),
            _ => false,
        };
        if noisy {
            claim.because.push_str("; noisy: the interval is wide");
        }
        if let Some(hypervisor) = &self.host.hypervisor
            && claim.unit == super::Unit::Nanoseconds
        {
            let text = format!("; a virtual machine ({hypervisor}), hardware may differ");
            claim.because.push_str(&text);
        }
    }
}

impl Playing {
    /// Lets it play to its end.
    ///
    /// # Errors
    /// As [`Lab::play`].
    pub fn go(mut self) -> anyhow::Result<Measured> {
        if let Some(line) = &mut self.child.line {
            line.write_all(b"\n").context("let the pattern begin")?;
        }
        let mut measured = Measured::default();
        for line in self.out.lines() {
            measured.take(&line.context("listen to the pattern")?)?;
        }
        self.child.ended()?;
        Ok(measured)
    }
}

/// A child that ends when this is dropped, or this process.
struct Tied {
    child: Child,
    /// Nobody else holds this end.
    line: Option<ChildStdin>,
}

impl Tied {
    fn take_out(&mut self) -> anyhow::Result<ChildStdout> {
        self.child.stdout.take().context("listen to the pattern")
    }

    fn ended(mut self) -> anyhow::Result<()> {
        let mut told = String::new();
        if let Some(mut stderr) = self.child.stderr.take() {
            let _ = stderr.read_to_string(&mut told);
        }
        let status = self.child.wait().context("wait for a pattern")?;
        if status.success() {
            return Ok(());
        }
        let error = told
            .lines()
            .filter_map(|line| line.strip_prefix("error: "))
            .next_back()
            .unwrap_or("it does not say why");
        if status.code() == Some(i32::from(NOT_PERMITTED)) {
            return Err(NotPermitted(error.to_owned()).into());
        }
        bail!("a pattern ended with {status}: {error}")
    }
}

impl Drop for Tied {
    fn drop(&mut self) {
        // It may have ended; nobody has asked for its status, so the number is still its own.
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// The refusal lists its obstacles one a line.
fn one_line(text: &str) -> String {
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines.join(" ")
}
