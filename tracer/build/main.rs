//! Builds the kernel programs (package `tracer-ebpf`) and leaves them as `$OUT_DIR/tracer-ebpf`, which
//! the library embeds.
//!
//! The host crates need stable Rust only; the kernel programs need `core` compiled for BPF. So they are
//! a build of their own, with a toolchain that can do this and with none of the caller's settings.

#![expect(clippy::print_stdout, reason = "the way to talk to cargo")]

mod toolchain;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::{env, fs};

use anyhow::{Context as _, ensure};
use object::build::elf::SectionData;

use toolchain::{Machine, Missing};

/// A finished object to embed instead: for packagers, and for machines without the tools.
const PREBUILT: &str = "TRACER_EBPF_OBJECT";

fn main() -> ExitCode {
    let Err(error) = run() else {
        return ExitCode::SUCCESS;
    };
    for line in format!("{error:#}").lines() {
        println!("cargo::error={line}");
    }
    // The lines above already end the build. A status adds the output, which is of use after a compile
    // error and would bury the remedy of a missing tool.
    if error.is::<Missing>() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

fn run() -> anyhow::Result<()> {
    let object = PathBuf::from(variable("OUT_DIR")?).join("tracer-ebpf");
    for name in [PREBUILT, "TRACER_EBPF_TOOLCHAIN"] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    if variable("CARGO_CFG_TARGET_OS")? != "linux" {
        // Recordings are read on any system; there is no kernel here to load this into.
        return fs::write(&object, []).context("write an empty object");
    }
    if let Some(prebuilt) = env::var_os(PREBUILT).filter(|path| !path.is_empty()) {
        let prebuilt = Path::new(&prebuilt);
        rerun_if_changed(prebuilt);
        return copy(prebuilt, &object).with_context(|| format!("take the object of {PREBUILT}"));
    }
    build(&object)
}

fn build(object: &Path) -> anyhow::Result<()> {
    let package = PathBuf::from(variable("CARGO_MANIFEST_DIR")?);
    let workspace = package
        .parent()
        .context("find the workspace of the package")?;
    for input in ["tracer-ebpf", "tracer-common", "Cargo.lock", "Cargo.toml"] {
        rerun_if_changed(&workspace.join(input));
    }
    let tools = Machine::here().tools()?;
    rerun_if_changed(&tools.linker.path);

    let target = toolchain::target(&variable("CARGO_CFG_TARGET_ENDIAN")?);
    let target_dir = target_dir(object)?;
    let status = tools
        .command("cargo", &variable("CARGO_CFG_TARGET_ARCH")?)
        .current_dir(workspace)
        .args([
            "build",
            "--package=tracer-ebpf",
            "--bins",
            "--release",
            "-Zbuild-std=core",
        ])
        .args(["--target", target])
        .arg("--target-dir")
        .arg(&target_dir)
        .status()
        .with_context(|| format!("run cargo of toolchain {}", tools.toolchain.name))?;
    ensure!(
        status.success(),
        "build the kernel programs with toolchain {} and {}: cargo ended with {status}, see below",
        tools.toolchain.name,
        tools.linker.path.display(),
    );

    let built = target_dir.join(target).join("release/tracer-ebpf");
    let content = fs::read(&built).with_context(|| format!("read {}", built.display()))?;
    let small = without_debug(&content).context("take what is for debuggers out of the object")?;
    fs::write(object, small).with_context(|| format!("write {}", object.display()))
}

/// The linker made the object's BTF of it, and nobody reads it again: it would be most of what is embedded.
fn without_debug(object: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut builder = object::build::elf::Builder::read(object)?;
    for section in &mut builder.sections {
        let name = section.name.as_slice();
        section.delete = [&b".debug_"[..], b".rel.debug_"]
            .iter()
            .any(|prefix| name.starts_with(prefix));
    }
    builder.delete_orphans();
    // The linker has the names of sections and symbols in one table, which no two can have that are written anew.
    for section in &mut builder.sections {
        if let SectionData::SectionString = section.data {
            section.data = SectionData::String;
        }
    }
    let names = builder.sections.add();
    names.name = b".shstrtab"[..].into();
    names.sh_type = object::elf::SHT_STRTAB;
    names.data = SectionData::SectionString;
    let mut small = Vec::new();
    builder.write(&mut small)?;
    Ok(small)
}

/// One for all profiles and for clippy, as these programs are the same for all: beside `debug` and
/// `release` of the outer cargo, which holds the locks of those while this script runs.
fn target_dir(object: &Path) -> anyhow::Result<PathBuf> {
    // <target>/debug/build/tracer-<hash>/out/tracer-ebpf
    let mut place = object.ancestors().nth(5).unwrap_or(object);
    // Where cargo was told for which target to build: <target>/<triple>/debug/...
    let target = variable("TARGET")?;
    if target == variable("HOST")? && place.ends_with(target) {
        place = place.parent().unwrap_or(place);
    }
    Ok(place.join("tracer-ebpf"))
}

/// The content only: `fs::copy` takes the mode along, and a read-only object could not be replaced.
fn copy(from: &Path, to: &Path) -> anyhow::Result<()> {
    let content = fs::read(from).with_context(|| format!("read {}", from.display()))?;
    fs::write(to, content).with_context(|| format!("write {}", to.display()))
}

fn variable(name: &str) -> anyhow::Result<String> {
    env::var(name).with_context(|| format!("read {name}, which cargo sets"))
}

fn rerun_if_changed(path: &Path) {
    println!("cargo::rerun-if-changed={}", path.display());
}
