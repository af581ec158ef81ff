//! `cargo xtask vm-test`: kernels of Debian in QEMU, the tests that any of them must pass, and a verdict for each.
//!
//! A kernel is fetched, not installed. The tracer is the program that is handed out, and its tests are those of this
//! machine: the same files for every kernel.

mod architecture;
mod console;
mod cross;
mod initramfs;
mod judge;
mod kernels;
mod machine;
mod packages;
mod plan;
mod programs;

use std::fs;
use std::num::NonZero;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail, ensure};
use clap::Args;

use crate::apt::debian_mirror;
use crate::bench::process::catch_signals;
use crate::build::target_dir;
use crate::counts::Counts;
use crate::{dist, setup, workspace};
use architecture::{Architecture, Series};
use cross::Cross;
use initramfs::Initramfs;
use judge::Verdict;
use kernels::Table;
use packages::{Kernel, Packages};
use programs::Programs;

/// The first numbers of their versions. The one that takes as long as the others comes first: they run beside it.
const SERIES: [&str; 3] = ["7", "6.1", "6.12"];

/// On two CPUs with nothing beside them it is four.
const MINUTES: u64 = 8;

#[derive(Args)]
pub struct Options {
    /// A kernel, by the first numbers of its version: its newest release. As 7-arm64 one for arm64 [default: 6.1, 6.12, 7]
    #[arg(long = "kernel", value_name = "SERIES", value_parser = Series::named)]
    kernels: Vec<Series>,

    /// A kernel field that the tracer is to read from a wrong place, as in task_struct.nvcsw: each kernel must fail
    #[arg(long, value_name = "STRUCT.FIELD")]
    wrong_offset: Option<String>,

    /// A step of the tests, by its row in docs/KERNELS.md [default: all]
    #[arg(long, value_name = "STEP", conflicts_with = "write")]
    only: Vec<String>,

    /// Write what the kernels have and show to docs/KERNELS.md, instead of comparing it with what stands there
    #[arg(long)]
    write: bool,

    /// How long all kernels together may take from the first one's start: one that is not done is killed, and fails
    #[arg(long, value_name = "N", default_value_t = MINUTES)]
    minutes: u64,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            kernels: Vec::new(),
            wrong_offset: None,
            only: Vec::new(),
            write: false,
            minutes: MINUTES,
        }
    }
}

/// Why this machine can boot none of those that are booted unless asked otherwise.
pub fn lacking() -> anyhow::Result<Option<String>> {
    if !cfg!(target_arch = "x86_64") {
        return Ok(Some("the kernels are for x86-64, as the tests are".into()));
    }
    if let Some(why) = setup::without(setup::QEMU)? {
        return Ok(Some(why));
    }
    let mirror = debian_mirror()?;
    let why = "no package source of this machine is Debian's, which has the kernels";
    Ok(mirror.is_none().then(|| why.to_owned()))
}

/// Fails when a kernel does. The tests are counted either way. `tracer` is static; without one it is built where a kernel
/// can run it.
pub fn run(options: &Options, tracer: Option<&Path>, counts: &mut Counts) -> anyhow::Result<()> {
    catch_signals()?;
    let steps = plan::chosen(&options.only)?;
    if let Some(why) = lacking()? {
        bail!(why);
    }
    let mut wanted = options.kernels.clone();
    if wanted.is_empty() {
        wanted = SERIES
            .into_iter()
            .map(Series::named)
            .collect::<Result<_, _>>()?;
    }
    let wrong = options.wrong_offset.iter();
    // The kernel hands to the init what it does not know itself.
    let parameters: Vec<String> = wrong
        .map(|field| format!("TRACER_WRONG_OFFSET={field}"))
        .collect();
    let allowed = workspace().join(judge::ALLOWED);
    let allowed =
        fs::read_to_string(&allowed).with_context(|| format!("read {}", allowed.display()))?;
    let page = workspace().join(kernels::PLACE);
    // Before the first run there is none.
    let mut table = Table::parse(&fs::read_to_string(&page).unwrap_or_default());
    let plan = plan::written(&steps);
    let mut systems: Vec<System> = Vec::new();
    for Series { architecture, .. } in &wanted {
        if !systems.iter().any(|it| it.is_of(architecture)) {
            systems.push(System::of(architecture, tracer, &plan)?);
        }
    }
    let mut kernels: Vec<(Series, Kernel, &Path)> = Vec::new();
    for series in wanted {
        let system = systems.iter().find(|it| it.is_of(series.architecture));
        let system = system.context("a system for each architecture")?;
        let kernel = system.packages.kernel(&series)?;
        kernels.push((series, kernel, &system.initramfs));
    }
    let limit = Duration::from_secs(60 * options.minutes);
    let deadline = Instant::now() + limit;
    let takes = kernels.iter().map(|(of, ..)| of.architecture.takes).max();
    let at_once = thread::available_parallelism().map_or(1, NonZero::get) / takes.unwrap_or(1);
    let booted = in_turn(&kernels, at_once.max(1), |(_, kernel, initramfs)| {
        println!("== {}", kernel.release);
        let begin = Instant::now();
        let mut console = machine::boot(kernel, initramfs, &parameters, deadline)?;
        if console.unfinished().is_some() && Instant::now() >= deadline {
            console.ended(&format!(
                "not done when the {} minutes of all kernels were over",
                options.minutes
            ));
        }
        anyhow::Ok((console, begin.elapsed()))
    });
    for system in &systems {
        fs::remove_file(&system.initramfs).context("remove the file system")?;
    }
    let mut verdicts = Vec::new();
    for ((series, kernel, _), booted) in kernels.iter().zip(booted) {
        let (console, took) = booted?;
        let name = &series.name;
        let mut verdict = Verdict::of(&kernel.release, name, &steps, &console, &allowed, took);
        if options.write && verdict.problems.is_empty() {
            table.put(&verdict.column);
        } else {
            verdict.problems.extend(table.differences(&verdict.column));
        }
        verdicts.push(verdict);
    }
    if options.write {
        fs::write(&page, table.render()).context("write what the kernels have and show")?;
    }
    println!();
    for verdict in &verdicts {
        println!("{verdict}");
        counts.add(verdict.counts);
    }
    let failed = verdicts
        .iter()
        .filter(|verdict| !verdict.problems.is_empty())
        .count();
    ensure!(failed == 0, "{failed} of {} kernels failed", verdicts.len());
    Ok(())
}

/// So many at a time. What became of each, in their order.
fn in_turn<T: Sync, R: Send>(all: &[T], at_once: usize, job: impl Fn(&T) -> R + Sync) -> Vec<R> {
    let (next, done) = (AtomicUsize::new(0), Mutex::new(Vec::new()));
    thread::scope(|scope| {
        for _ in 0..at_once.min(all.len()) {
            scope.spawn(|| {
                while let Some((at, one)) = take(all, &next) {
                    let result = job(one);
                    done.lock()
                        .unwrap_or_else(PoisonError::into_inner)
                        .push((at, result));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(at, _)| *at);
    done.into_iter().map(|(_, result)| result).collect()
}

fn take<'a, T>(all: &'a [T], next: &AtomicUsize) -> Option<(usize, &'a T)> {
    let at = next.fetch_add(1, Ordering::Relaxed);
    all.get(at).map(|one| (at, one))
}

/// What the kernels of an architecture boot into, and where they come from.
struct System {
    architecture: &'static Architecture,
    packages: Packages,
    initramfs: PathBuf,
}

impl System {
    fn of(
        architecture: &'static Architecture,
        tracer: Option<&Path>,
        plan: &str,
    ) -> anyhow::Result<System> {
        let mut place = target_dir().join("vm");
        if architecture.is_foreign() {
            place.push(architecture.debian);
        }
        if let Some(why) = setup::without(architecture.qemu)? {
            bail!(why);
        }
        let packages = Packages::at(place.clone(), architecture)?;
        let programs = match (architecture.is_foreign(), tracer) {
            (true, _) => Programs::cross_build(&Cross::for_arm64(&packages)?, &place)?,
            (false, Some(tracer)) => Programs::build(tracer, &place)?,
            (false, None) => Programs::build(&dist::program()?, &place)?,
        };
        let initramfs = place.join("initramfs");
        file_system(&packages.busybox()?, &programs, plan, &initramfs)?;
        Ok(System {
            architecture,
            packages,
            initramfs,
        })
    }

    fn is_of(&self, architecture: &Architecture) -> bool {
        self.architecture.debian == architecture.debian
    }
}

fn file_system(busybox: &Path, programs: &Programs, plan: &str, to: &Path) -> anyhow::Result<()> {
    let mut files = Initramfs::default();
    files.program(busybox, "/bin/busybox")?;
    files.text("/etc/passwd", "root:x:0:0::/:/bin/sh\n");
    // Where the tests were told that it is, and where a person looks for it.
    let tracer = programs.place.to_string_lossy();
    files.program(&programs.tracer, &tracer)?;
    files.link(&tracer, "/bin/tracer");
    files.program(&programs.init, "/init")?;
    for (file, program) in &programs.tests {
        files.program(program, &plan::place(file))?;
    }
    for library in &programs.libraries {
        files.program(library, &library.to_string_lossy())?;
    }
    files.text("/plan", plan);
    files.write(&["/proc", "/sys", "/dev", "/tmp"], to)
}

#[cfg(test)]
mod tests {
    use super::in_turn;

    #[test]
    fn results_are_in_the_order_of_what_they_are_of() {
        let all: Vec<u32> = (0..50).collect();
        let squares: Vec<u32> = all.iter().map(|n| n * n).collect();
        assert_eq!(in_turn(&all, 3, |n| n * n), squares);
        assert_eq!(in_turn(&[0_u32; 0], 3, |n| *n), [0; 0]);
    }
}
