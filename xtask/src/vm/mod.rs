//! `cargo xtask vm-test`: kernels of Debian in QEMU, the tests that any of them must pass, and a verdict for each.
//!
//! A kernel is fetched, not installed. The tracer and its tests are linked statically, and are the same files for
//! every kernel.

mod console;
mod initramfs;
mod judge;
mod kernels;
mod machine;
mod packages;
mod plan;
mod programs;

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use clap::Args;

use crate::bench::process::catch_signals;
use crate::build::target_dir;
use crate::{setup, workspace};
use initramfs::Initramfs;
use judge::Verdict;
use kernels::Table;
use packages::Packages;
use programs::Programs;

/// The first numbers of their versions.
const SERIES: [&str; 3] = ["6.1", "6.12", "7"];

/// Nothing that boots takes longer.
const LIMIT: Duration = Duration::from_secs(900);

#[derive(Args, Default)]
pub struct Options {
    /// A kernel, by the first numbers of its version: its newest release [default: 6.1, 6.12, 7]
    #[arg(long = "kernel", value_name = "SERIES")]
    kernels: Vec<String>,

    /// A kernel field that the tracer is to read from a wrong place, as in task_struct.nvcsw: each kernel must fail
    #[arg(long, value_name = "STRUCT.FIELD")]
    wrong_offset: Option<String>,

    /// Write what the kernels have and show to docs/KERNELS.md, instead of comparing it with what stands there
    #[arg(long)]
    write: bool,
}

pub fn run(options: &Options) -> anyhow::Result<()> {
    catch_signals()?;
    setup::vm_programs()?;
    let programs = Programs::build()?;
    let place = target_dir().join("vm");
    let packages = Packages::at(place.clone())?;
    let busybox = packages.busybox()?;
    let mut kernels: Vec<&str> = options.kernels.iter().map(String::as_str).collect();
    if kernels.is_empty() {
        kernels.extend(SERIES);
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
    let mut verdicts = Vec::new();
    for series in kernels {
        let kernel = packages.kernel(series)?;
        println!("\n== {}", kernel.release);
        let begin = Instant::now();
        let initramfs = place.join("initramfs");
        file_system(&busybox, &programs, &initramfs)?;
        let boot = || machine::boot(&kernel.image, &initramfs, &parameters, LIMIT);
        let mut console = boot()?;
        if let Some(why) = console.unfinished() {
            println!("booted again: {why}");
            // QEMU runs each CPU in a thread of its own, and does not always show one of them at once what another
            // one makes of the kernel's code; with all of them in one thread, it takes several times as long.
            console = boot()?;
            console.booted_again = true;
        }
        fs::remove_file(&initramfs).context("remove the file system")?;
        let mut verdict = Verdict::of(&kernel.release, series, &console, &allowed, begin.elapsed());
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
    }
    let failed = verdicts
        .iter()
        .filter(|verdict| !verdict.problems.is_empty())
        .count();
    ensure!(failed == 0, "{failed} of {} kernels failed", verdicts.len());
    Ok(())
}

fn file_system(busybox: &Path, programs: &Programs, to: &Path) -> anyhow::Result<()> {
    let mut files = Initramfs::with_tools(busybox)?;
    // Where the tests were told that it is, and where a person looks for it.
    let tracer = programs.tracer.to_string_lossy();
    files.program(&programs.tracer, &tracer)?;
    files.link(&tracer, "/bin/tracer");
    for (file, program) in &programs.tests {
        let to = if file == plan::INIT {
            "/init".to_owned()
        } else {
            plan::place(file)
        };
        files.program(program, &to)?;
    }
    files.text("/plan", &plan::written());
    files.write(&["/proc", "/sys", "/dev", "/tmp"], to)
}
