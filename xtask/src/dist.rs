//! What is handed out: one program that needs nothing of the system it runs on, and a Debian package of it.
//!
//! The program is linked with glibc, statically: the kernel programs are in it, the C library is, and zstd.

use std::fs;
use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use object::Object as _;

use crate::apt::debian_mirror;
use crate::build::target_dir;
use crate::command::{self, as_root, ask, cargo};
use crate::{install, setup};

/// Of the program, as it is handed out.
const LARGEST: u64 = 12 << 20;

/// The Debian that the package is tried on.
const DEBIAN: &str = "bookworm";

pub fn run(check: bool) -> anyhow::Result<()> {
    let host = host()?;
    let tracer = program()?;
    let made = tracer.with_file_name("package");
    install::made(&tracer, &made)?;

    let place = target_dir().join("packages");
    fs::create_dir_all(&place).with_context(|| format!("create {}", place.display()))?;
    for old in fs::read_dir(&place)?.flatten() {
        if old.file_type()?.is_file() {
            fs::remove_file(old.path())?;
        }
    }
    let package = package(&host, &place)?;
    let copy = place.join("tracer");
    fs::copy(&tracer, &copy).with_context(|| format!("write {}", copy.display()))?;
    checksums(&place)?;
    if check {
        try_package(&package, &place)?;
    }
    println!("{}", place.display());
    Ok(())
}

/// The program, static and stripped.
pub fn program() -> anyhow::Result<PathBuf> {
    setup::run(false)?;
    let host = host()?;
    // For this target by name, so that what runs while building is linked as usual.
    command::run(
        cargo()
            .args(["build", "--profile=dist", "--package=tracer"])
            .args(["--target", &host])
            .env("RUSTFLAGS", "-C target-feature=+crt-static"),
    )?;
    let tracer = target_dir().join(&host).join("dist/tracer");
    // Cargo leaves the symbols of what is linked statically.
    command::run(Command::new("strip").arg("--strip-all").arg(&tracer))?;
    expect_small_and_static(&tracer)?;
    Ok(tracer)
}

fn host() -> anyhow::Result<String> {
    let answer = ask("rustc", &["-vV"]).context("ask rustc for its host")?;
    let host = answer.lines().find_map(|line| line.strip_prefix("host: "));
    Ok(host.context("find the host in rustc's answer")?.to_owned())
}

fn expect_small_and_static(tracer: &Path) -> anyhow::Result<()> {
    let bytes = fs::read(tracer).with_context(|| format!("read {}", tracer.display()))?;
    let size = bytes.len() as u64;
    ensure!(
        size < LARGEST,
        "{} has {size} bytes, {LARGEST} is the most",
        tracer.display()
    );
    let file = object::File::parse(&*bytes).context("read the program as ELF")?;
    let libraries = file.imports().context("read what the program imports")?;
    ensure!(
        libraries.is_empty() && interpreter(&bytes)?.is_none(),
        "{} is not static",
        tracer.display()
    );
    println!("{size} bytes, static");
    Ok(())
}

/// The loader that the kernel would start first.
fn interpreter(bytes: &[u8]) -> anyhow::Result<Option<&[u8]>> {
    use object::read::elf::{ElfFile64, ProgramHeader as _};

    let file = ElfFile64::<object::Endianness>::parse(bytes).context("read the program as ELF")?;
    let endian = file.endian();
    for header in file.elf_program_headers() {
        if let Some(path) = header
            .interpreter(endian, bytes)
            .context("read the program's headers")?
        {
            return Ok(Some(path));
        }
    }
    Ok(None)
}

fn package(host: &str, place: &Path) -> anyhow::Result<PathBuf> {
    setup::subcommand("deb")?;
    command::run(
        cargo()
            .args(["deb", "--package=tracer", "--no-build", "--no-strip"])
            .args(["--profile=dist", "--target", host])
            .arg("--output")
            .arg(place),
    )?;
    let packages = files(place)?;
    let mut packages = packages.into_iter().filter(|path| is_package(path));
    match (packages.next(), packages.next()) {
        (Some(package), None) => Ok(package),
        _ => bail!("find the package in {}", place.display()),
    }
}

fn is_package(path: &Path) -> bool {
    path.extension().is_some_and(|extension| extension == "deb")
}

fn files(place: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let entries = fs::read_dir(place).with_context(|| format!("list {}", place.display()))?;
    let paths = entries.flatten().map(|entry| entry.path());
    let mut files: Vec<PathBuf> = paths.filter(|path| path.is_file()).collect();
    files.sort();
    Ok(files)
}

/// As `sha256sum --check` reads them.
fn checksums(place: &Path) -> anyhow::Result<()> {
    let mut sum = Command::new("sha256sum");
    sum.current_dir(place);
    for file in files(place)? {
        sum.arg(file.file_name().context("a file has a name")?);
    }
    let sums = sum.output().context("run sha256sum")?;
    ensure!(
        sums.status.success(),
        "sha256sum ended with {}",
        sums.status
    );
    fs::write(place.join("SHA256SUMS"), sums.stdout).context("write the checksums")
}

/// Why the package cannot be tried on this machine.
pub fn lacking() -> anyhow::Result<Option<String>> {
    if let Some(why) = setup::without(setup::DEBOOTSTRAP)? {
        return Ok(Some(why));
    }
    let mirror = debian_mirror()?;
    let why = "no package source of this machine is Debian's, of which a new one could be made";
    Ok(mirror.is_none().then(|| why.to_owned()))
}

/// On a Debian that has nothing but what every Debian has: it installs, runs, and leaves nothing when it goes.
fn try_package(package: &Path, place: &Path) -> anyhow::Result<()> {
    if let Some(why) = lacking()? {
        bail!(why);
    }
    let root = place.join("debian");
    let result = in_new_debian(package, &root);
    command::run(
        as_root(&[], "rm")?
            .args(["--recursive", "--force", "--one-file-system"])
            .arg(&root),
    )?;
    result
}

fn in_new_debian(package: &Path, root: &Path) -> anyhow::Result<()> {
    let mirror = debian_mirror()?.context("find Debian among this machine's package sources")?;
    println!(
        "$ debootstrap --variant=minbase {DEBIAN} {}",
        root.display()
    );
    let mut debootstrap = as_root(&[], "debootstrap")?;
    debootstrap
        .args(["--variant=minbase", DEBIAN])
        .arg(root)
        .arg(mirror)
        // Hundreds of lines that something goes well; what goes wrong it tells elsewhere.
        .stdout(Stdio::null());
    let status = debootstrap.status().context("run debootstrap")?;
    ensure!(
        status.success(),
        "make a Debian: debootstrap ended with {status}"
    );
    command::run(
        as_root(&[], "cp")?
            .arg(package)
            .arg(root.join("tracer.deb")),
    )?;
    let script = root.join("try.sh");
    let mut write = as_root(&[], "tee")?;
    let mut write = write
        .arg(&script)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("run tee")?;
    let mut input = write.stdin.take().context("write to tee")?;
    input.write_all(TRY.as_bytes()).context("write to tee")?;
    drop(input);
    ensure!(write.wait()?.success(), "write {}", script.display());
    // Mounts of its own, which are gone with it; the processes are the machine's, as the tracer wants to see them.
    let mounts = "mount -t proc proc \"$0/proc\" && mount --rbind /sys \"$0/sys\" && exec chroot \"$0\" sh /try.sh";
    let mut unshare = as_root(&[], "unshare")?;
    command::run(
        unshare
            .args(["--mount", "--propagation=private", "sh", "-c", mounts])
            .arg(root),
    )
}

/// In the new Debian.
const TRY: &str = r#"set -eu
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
dpkg --install /tracer.deb
for file in bin/tracer share/man/man1/tracer.1 share/man/man1/tracer-run.1 lib/systemd/system/tracer.service \
    share/bash-completion/completions/tracer share/zsh/vendor-completions/_tracer \
    share/fish/vendor_completions.d/tracer.fish share/doc/tracer/copyright; do
    test -s "/usr/$file" || { echo "error: /usr/$file is not there" >&2; exit 1; }
done
tracer --version
tracer doctor
tracer run --duration 1s -- tracer workload pingpong-threads --count 1000
dpkg --purge tracer
test ! -e /usr/bin/tracer
test ! -e /usr/lib/systemd/system/tracer.service
"#;
