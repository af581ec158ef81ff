//! What builds programs for arm64 on a machine of another kind: a C compiler that links, and Rust's library for it.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use super::packages::Packages;
use crate::apt::version_of;
use crate::command::{ask, cargo};
use crate::setup;

pub const TARGET: &str = "aarch64-unknown-linux-gnu";
pub const STRIP: &str = "aarch64-linux-gnu-strip";
const LINKER: &str = "aarch64-linux-gnu-gcc";

/// The library for programs of another architecture, in the version of Debian's compiler.
const LIBRARY: &str = "libstd-rust-web-dev";

pub struct Cross {
    /// Not that of the other builds: another compiler has its own of everything.
    target_dir: PathBuf,
    /// A compiler, and where its libraries are, unless cargo's own can do it.
    compiler: Option<(PathBuf, PathBuf)>,
}

impl Cross {
    /// Installs what is missing.
    ///
    /// # Errors
    /// Something is not to be had, in a sentence.
    pub fn for_arm64(packages: &Packages) -> anyhow::Result<Cross> {
        setup::cross_arm64()?;
        let target_dir = packages.place().join("target");
        let compiler = match library_of_cargo() {
            true => None,
            false => Some(debian(packages)?),
        };
        Ok(Cross {
            target_dir,
            compiler,
        })
    }

    /// A cargo that builds static programs; its subcommand comes first.
    pub fn cargo(&self, subcommand: &str) -> Command {
        let mut cargo = cargo();
        cargo.args([subcommand, "--target", TARGET]);
        let mut flags = "-Ctarget-feature=+crt-static".to_owned();
        if let Some((compiler, sysroot)) = &self.compiler {
            flags += &format!("\x1f--sysroot={}", sysroot.display());
            cargo.env("RUSTC", compiler);
        }
        cargo
            .env("CARGO_ENCODED_RUSTFLAGS", flags)
            .env("CARGO_TARGET_DIR", &self.target_dir)
            .env("CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER", LINKER);
        cargo
    }
}

/// As with `rustup target add`.
fn library_of_cargo() -> bool {
    let place = ask("rustc", &["--print=target-libdir", "--target", TARGET]);
    place.is_some_and(|place| Path::new(place.trim()).is_dir())
}

/// Debian's compiler, with its library for arm64 beside the one for this machine.
fn debian(packages: &Packages) -> anyhow::Result<(PathBuf, PathBuf)> {
    let version = version_of(LIBRARY).with_context(|| {
        format!("find Rust's library for arm64: run `rustup target add {TARGET}`")
    })?;
    let compiler = PathBuf::from("/usr/bin/rustc");
    let own = ask(&compiler.to_string_lossy(), &["--print=target-libdir"]);
    let own = own.context("ask Debian's compiler for its library")?;
    let own = Path::new(own.trim())
        .parent()
        .context("a library is in a directory")?;
    // By version: it is of no use to any other compiler.
    let sysroot = packages.place().join(format!("rust-{version}"));
    let libraries = sysroot.join("lib/rustlib");
    let library = libraries.join(TARGET);
    if !library.exists() {
        fs::create_dir_all(&libraries).context("make a place for Rust's libraries")?;
        let link = libraries.join(own.file_name().context("a library has a name")?);
        if !link.exists() {
            symlink(own, link).context("have the library of this machine beside the other one")?;
        }
        let is_library = |path: &Path| path.ends_with(TARGET) && path.is_dir();
        packages.take(&format!("{LIBRARY}={version}"), &is_library, &library)?;
    }
    ensure!(
        library.join("lib").is_dir(),
        "{} has no libraries",
        library.display()
    );
    Ok((compiler, sysroot))
}
