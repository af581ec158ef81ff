//! All checks of a change, in order, cheapest first. One that fails does not hide the others.

use std::fs;
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};

use crate::command::{self, ask, cargo, is_root, show};
use crate::counts::{Counts, not_allowed, read_not_applicable};
use crate::setup::has_clippy;
use crate::toolchain::{Machine, target};
use crate::{build, demo, dependencies, dist, install, setup, tidy, vm, workspace};

/// Where a test on the real kernel says what this machine cannot show.
const NOT_APPLICABLE: &str = "TRACER_NA_FILE";
/// What may be missing, and why: anything else that is missing is a failure.
const ALLOWED: &str = "tracer/tests/na.txt";

enum Outcome {
    Passed,
    Failed(String),
    /// This machine cannot do it; says why.
    NotApplicable(String),
}

pub fn run(all: bool) -> anyhow::Result<()> {
    let mut counts = Counts::default();
    let mut steps = Steps::default();
    // Without it nothing else would mean anything.
    steps.run("setup", || setup::run(true).map(passed));
    steps.stop_if_failed()?;

    steps.run("format", || {
        command::run(cargo().args(["fmt", "--all", "--check"])).map(passed)
    });
    steps.run("lints", || {
        let mut clippy = cargo();
        command::run(clippy.args(["clippy", "--all-targets", "--", "-D", "warnings"])).map(passed)
    });
    steps.run("kernel lints", kernel_lints);
    steps.run("house rules", || tidy::run().map(passed));
    steps.run("core tests", || core_tests(&mut counts).map(passed));
    steps.run("kernel tests", || kernel_tests(&mut counts).map(passed));
    if all {
        let prefix = build::target_dir().join("installed");
        steps.run("dependencies", || dependencies::licences().map(passed));
        steps.run("advisories", advisories);
        steps.run("install", || install::run(&prefix).map(passed));
        steps.run("demo", || demo_ends_well().map(passed));
        hand_out(&mut steps, &mut counts);
    }

    steps.print();
    println!("tests: {counts}");
    steps.stop_if_failed()
}

/// Clippy on the kernel programs, by the toolchain that builds them.
fn kernel_lints() -> anyhow::Result<Outcome> {
    let tools = Machine::here().tools()?;
    if !has_clippy(&tools.toolchain) {
        let name = &tools.toolchain.name;
        return Ok(Outcome::NotApplicable(format!(
            "toolchain {name} has no clippy"
        )));
    }
    let endian = if cfg!(target_endian = "big") {
        "big"
    } else {
        "little"
    };
    let mut clippy = tools.command("cargo-clippy", std::env::consts::ARCH);
    clippy
        .current_dir(workspace())
        .args([
            "clippy",
            "--package=tracer-ebpf",
            "--release",
            "-Zbuild-std=core",
        ])
        .args(["--target", target(endian), "--target-dir"])
        // Where the build script builds them, too.
        .arg(build::target_dir().join("tracer-ebpf"))
        .args(["--", "-D", "warnings"]);
    command::run(&mut clippy).map(passed)
}

fn advisories() -> anyhow::Result<Outcome> {
    let none = "no copy of the advisory database can be had".to_owned();
    let checked = dependencies::advisories()?;
    Ok(checked.map_or(Outcome::NotApplicable(none), passed))
}

/// Everything that takes no privilege and no particular kernel.
fn core_tests(counts: &mut Counts) -> anyhow::Result<()> {
    let mut tests = cargo();
    tests.args(["test", "--no-fail-fast", "--lib", "--bins"]);
    tests.args(test_files(|name| !is_kernel_test(name))?);
    let units = count(&mut tests, counts);
    let examples = count(cargo().args(["test", "--no-fail-fast", "--doc"]), counts);
    units.and(examples)
}

/// One test at a time: they load the machine on purpose, and each would measure the others.
fn kernel_tests(counts: &mut Counts) -> anyhow::Result<()> {
    let files = test_files(is_kernel_test)?;
    ensure!(
        !files.is_empty(),
        "find tracer/tests/kernel_*.rs: there is none"
    );
    let written = build::target_dir().join("not-applicable.txt");
    fs::write(&written, "").with_context(|| format!("empty {}", written.display()))?;

    let mut tests = cargo();
    tests
        // What users run: a collector without optimizations is a load of its own and falls behind.
        .args(["test", "--release", "--no-fail-fast", "--package=tracer"])
        .args(files);
    tests
        .args(["--", "--test-threads=1"])
        .env(NOT_APPLICABLE, &written);
    if !is_root() {
        tests.env(runner_variable()?, "sudo -E");
    }
    let tested = count(&mut tests, counts);

    let written = fs::read_to_string(&written).context("read what could not be tested")?;
    let found = read_not_applicable(&written);
    counts.not_applicable(found.len());
    for (name, reason) in &found {
        println!("n/a: {name}: {reason}");
    }
    let list = fs::read_to_string(workspace().join(ALLOWED)).unwrap_or_default();
    let refused = not_allowed(&found, &list);
    if !refused.is_empty() {
        let names: Vec<&str> = refused.iter().map(|(name, _)| *name).collect();
        tested?;
        bail!(
            "not tested here, and {ALLOWED} does not allow that: {}",
            names.join(", ")
        );
    }
    tested
}

fn demo_ends_well() -> anyhow::Result<()> {
    let code = demo::run()?;
    ensure!(
        code == std::process::ExitCode::SUCCESS,
        "the demo ended with {code:?}"
    );
    Ok(())
}

/// What users get: packaged, and on kernels that are not this machine's.
fn hand_out(steps: &mut Steps, counts: &mut Counts) {
    let mut built = None;
    steps.run("static program", || {
        built = Some(dist::program()?);
        Ok(Outcome::Passed)
    });
    let Some(tracer) = built else { return };
    thread::scope(|scope| {
        // One CPU is enough for it, and while the last machine runs there is one.
        let package = scope.spawn(|| package(&tracer));
        steps.run("virtual machines", || virtual_machines(&tracer, counts));
        steps.run("package", || match package.join() {
            Ok(outcome) => outcome,
            Err(_) => bail!("it panicked, see above"),
        });
    });
}

/// Made with what others leave of the CPUs, and tried on a Debian that has nothing else.
fn package(tracer: &Path) -> anyhow::Result<Outcome> {
    // Of this thread, and so of all that it starts.
    rustix::process::setpriority_process(None, 19).context("give way to others")?;
    let lacking = dist::lacking()?;
    dist::hand_out(tracer, lacking.is_none())?;
    Ok(lacking.map_or(Outcome::Passed, Outcome::NotApplicable))
}

fn virtual_machines(tracer: &Path, counts: &mut Counts) -> anyhow::Result<Outcome> {
    match vm::lacking()? {
        Some(why) => Ok(Outcome::NotApplicable(why)),
        None => vm::run(&vm::Options::default(), Some(tracer), counts).map(passed),
    }
}

/// `--test NAME` for the files of `tracer/tests` that are chosen.
fn test_files(chosen: impl Fn(&str) -> bool) -> anyhow::Result<Vec<String>> {
    let directory = workspace().join("tracer/tests");
    let mut names: Vec<String> = fs::read_dir(&directory)
        .with_context(|| format!("list {}", directory.display()))?
        .flatten()
        .map(|entry| PathBuf::from(entry.file_name()))
        .filter(|name| name.extension().is_some_and(|extension| extension == "rs"))
        .filter_map(|name| Some(name.file_stem()?.to_str()?.to_owned()))
        .filter(|name| chosen(name))
        .collect();
    names.sort();
    Ok(names
        .into_iter()
        .flat_map(|name| ["--test".to_owned(), name])
        .collect())
}

fn is_kernel_test(name: &str) -> bool {
    name.starts_with("kernel_")
}

/// Cargo builds as the caller and runs the test programs by this variable's command.
fn runner_variable() -> anyhow::Result<String> {
    let answer = ask("rustc", &["-vV"]).context("ask rustc for its host")?;
    let host = answer.lines().find_map(|line| line.strip_prefix("host: "));
    let host = host
        .context("find the host in rustc's answer")?
        .to_uppercase()
        .replace('-', "_");
    Ok(format!("CARGO_TARGET_{host}_RUNNER"))
}

/// Runs tests, shows their output as it comes, and counts them.
fn count(tests: &mut Command, counts: &mut Counts) -> anyhow::Result<()> {
    let shown = show(tests);
    println!("$ {shown}");
    let mut child = tests
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| format!("run {shown}"))?;
    let output = child
        .stdout
        .take()
        .context("read the output of the tests")?;
    // Bytes: a test may print what is not UTF-8.
    for line in BufReader::new(output).split(b'\n') {
        let line = line.context("read the output of the tests")?;
        let line = String::from_utf8_lossy(&line);
        println!("{line}");
        counts.read(&line);
    }
    let status = child.wait().with_context(|| format!("wait for {shown}"))?;
    ensure!(status.success(), "{shown}: ended with {status}");
    Ok(())
}

fn passed((): ()) -> Outcome {
    Outcome::Passed
}

#[derive(Default)]
struct Steps(Vec<(&'static str, Outcome, Duration)>);

impl Steps {
    fn run(&mut self, name: &'static str, step: impl FnOnce() -> anyhow::Result<Outcome>) {
        println!("\n== {name}");
        let begin = Instant::now();
        let outcome = step().unwrap_or_else(|error| Outcome::Failed(format!("{error:#}")));
        if let Outcome::Failed(reason) = &outcome {
            println!("error: {reason}");
        }
        self.0.push((name, outcome, begin.elapsed()));
    }

    fn print(&self) {
        println!();
        for (name, outcome, took) in &self.0 {
            let (verdict, reason) = match outcome {
                Outcome::Passed => ("ok", ""),
                Outcome::Failed(_) => ("FAILED", ""),
                Outcome::NotApplicable(reason) => ("n/a", reason.as_str()),
            };
            let line = format!(
                "{verdict:<7}{name:<17}{:>7.1} s  {reason}",
                took.as_secs_f64()
            );
            println!("{}", line.trim_end());
        }
    }

    fn stop_if_failed(&self) -> anyhow::Result<()> {
        let failed = self
            .0
            .iter()
            .filter_map(|(name, outcome, _)| match outcome {
                Outcome::Failed(reason) => Some(format!("{name}: {reason}")),
                _ => None,
            });
        let failed: Vec<String> = failed.collect();
        if failed.is_empty() {
            return Ok(());
        }
        bail!("{}", failed.join("\nerror: "))
    }
}
