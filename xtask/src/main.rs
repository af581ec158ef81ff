//! What a developer does with this repository, one task each: `cargo xtask <task>`.

#![expect(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tasks talk to a person"
)]

mod apt;
mod bench;
mod build;
mod ci;
mod command;
mod counts;
mod demo;
mod dependencies;
mod dist;
mod fuzz;
mod install;
mod setup;
mod soak;
mod tidy;
#[path = "../../tracer/build/toolchain.rs"]
mod toolchain;
mod vm;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use counts::Counts;

/// Tasks of the tracer repository.
#[derive(Parser)]
#[command(bin_name = "cargo xtask")]
enum Task {
    /// Install what the build needs and this machine lacks; say what is there already
    Setup {
        /// Also what the tests on the real kernel use
        #[arg(long)]
        test: bool,
    },
    /// Build target/release/tracer
    Build,
    /// Install the binary, its manual pages and its shell completions
    Install {
        /// Where bin/ and share/ are
        #[arg(long, value_name = "DIR", default_value = "/usr/local")]
        prefix: PathBuf,
    },
    /// Build what is handed out: a static program, a Debian package, checksums, in target/packages
    Dist {
        /// Also install the package on a fresh Debian, below target/packages, and run `tracer doctor` there
        #[arg(long)]
        check: bool,
    },
    /// Build, trace a built-in workload of threads and processes for 5 s, print the report
    Demo,
    /// Format, lints, house rules, core tests, tests on the real kernel
    Test {
        /// Also what takes longer or needs more of the machine
        #[arg(long)]
        all: bool,
    },
    /// Measure what tracing costs, side by side with runqlat, perf sched and others, and against the budgets
    ///
    /// Installs what is missing, builds, and runs on an otherwise idle machine for about 12 minutes. Ratios
    /// are what is claimed, times are information. Fails when something could not be measured.
    Bench(bench::Options),
    /// Trace the whole system for minutes under a load of births and switches, and watch the tracer's memory
    ///
    /// Fails when it grows after the first minute, when something is missing that is not told, or when an
    /// interval does not come.
    Soak(soak::Options),
    /// Try hostile input on everything that reads what others wrote, one target after another
    ///
    /// Fails when something panics, hangs or takes too much memory; what did it is then in tracer/fuzz/artifacts.
    Fuzz(fuzz::Options),
    /// Boot kernels of Debian in QEMU, without KVM, and run what must hold on each of them; a verdict for each
    VmTest(vm::Options),
    /// Check the house rules that no compiler knows
    Tidy,
}

fn main() -> ExitCode {
    let done = match Task::parse() {
        Task::Setup { test } => setup::run(test),
        Task::Build => build::run().map(drop),
        Task::Install { prefix } => install::run(&prefix),
        Task::Dist { check } => dist::run(check),
        Task::Demo => return end(demo::run()),
        Task::Test { all } => ci::run(all),
        Task::Bench(options) => bench::run(&options),
        Task::Soak(options) => soak::run(&options),
        Task::Fuzz(options) => fuzz::run(&options),
        Task::VmTest(options) => vm::run(&options, None, &mut Counts::default()),
        Task::Tidy => tidy::run(),
    };
    end(done.map(|()| ExitCode::SUCCESS))
}

fn end(result: anyhow::Result<ExitCode>) -> ExitCode {
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The root of the repository: xtask is a directory of it.
fn workspace() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("xtask is below the workspace")
}
