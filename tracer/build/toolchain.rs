//! Finds what can build the kernel programs: a Rust toolchain that has its library source (`core` is
//! compiled for BPF, nobody ships it) and `bpf-linker`.
//!
//! Compiled into the build script and, by path, into xtask, so both always agree. It looks and
//! answers; installing is the business of `cargo xtask setup`.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fmt, fs};

/// The command which mends everything that is reported missing here.
pub const REMEDY: &str = "cargo xtask setup";

/// Where to look. A value, so that tests can describe machines that they do not run on.
pub struct Machine {
    pub rustup_home: PathBuf,
    /// The directories of `PATH`, then cargo's own: a login shell may not have that one yet.
    pub path: Vec<PathBuf>,
    /// The distribution's sysroot. Not `rustc` of the `PATH`, which is rustup's where both exist.
    pub system: PathBuf,
    /// `TRACER_EBPF_TOOLCHAIN`: this rustup toolchain and no other.
    pub wanted: Option<String>,
    /// Asks a compiler who it is.
    pub ask: fn(&Path) -> Option<Compiler>,
}

/// What a compiler says about itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Compiler {
    /// As in `1.95.0` or `1.97.0-nightly`.
    pub release: String,
    pub llvm: u32,
}

/// A toolchain that can build the kernel programs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Toolchain {
    /// As rustup names it, or the distribution's sysroot.
    pub name: String,
    pub sysroot: PathBuf,
    pub compiler: Compiler,
}

/// `bpf-linker`, and the LLVM it was built with where the file tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Linker {
    pub path: PathBuf,
    pub llvm: Option<u32>,
}

/// All that the build needs.
#[derive(Debug)]
pub struct Tools {
    pub toolchain: Toolchain,
    pub linker: Linker,
}

/// Why nothing can be built, with everything that was looked at.
#[derive(Debug, PartialEq, Eq)]
pub struct Missing {
    what: Vec<&'static str>,
    rejected: Vec<String>,
}

impl fmt::Display for Missing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let what = self.what.join(" and ");
        write!(
            f,
            "cannot build the kernel programs without {what}; run: {REMEDY}"
        )?;
        for rejected in &self.rejected {
            write!(f, "\n  looked at {rejected}")?;
        }
        Ok(())
    }
}

impl std::error::Error for Missing {}

impl Machine {
    pub fn here() -> Machine {
        let home = env::var_os("HOME").map_or_else(|| PathBuf::from("/"), PathBuf::from);
        let directory = |variable, default| {
            env::var_os(variable).map_or_else(|| home.join(default), PathBuf::from)
        };
        let mut path: Vec<PathBuf> =
            env::var_os("PATH").map_or_else(Vec::new, |path| env::split_paths(&path).collect());
        path.push(directory("CARGO_HOME", ".cargo").join("bin"));
        Machine {
            rustup_home: directory("RUSTUP_HOME", ".rustup"),
            path,
            system: PathBuf::from("/usr"),
            wanted: env::var("TRACER_EBPF_TOOLCHAIN")
                .ok()
                .filter(|name| !name.is_empty()),
            ask: ask_compiler,
        }
    }

    pub fn tools(&self) -> Result<Tools, Missing> {
        let linker = self.linker();
        let toolchain = self.toolchain(linker.as_ref().and_then(|linker| linker.llvm));
        match (toolchain, linker) {
            (Ok(toolchain), Some(linker)) => Ok(Tools { toolchain, linker }),
            (Ok(_), None) => Err(Missing {
                what: vec!["bpf-linker"],
                rejected: Vec::new(),
            }),
            (Err(mut missing), linker) => {
                if linker.is_none() {
                    missing.what.push("bpf-linker");
                }
                Err(missing)
            }
        }
    }

    /// The first toolchain that has all it takes: rustup's nightly, then rustup's others, then the
    /// distribution's. Those with an LLVM newer than `newest_llvm` write what the linker cannot read.
    pub fn toolchain(&self, newest_llvm: Option<u32>) -> Result<Toolchain, Missing> {
        let mut rejected = Vec::new();
        for (name, sysroot) in self.candidates() {
            match self.judge(&sysroot, newest_llvm) {
                Ok(compiler) => {
                    return Ok(Toolchain {
                        name,
                        sysroot,
                        compiler,
                    });
                }
                Err(reason) => rejected.push(format!("{name}: {reason}")),
            }
        }
        if let (Some(wanted), true) = (&self.wanted, rejected.is_empty()) {
            rejected.push(format!(
                "{wanted} (TRACER_EBPF_TOOLCHAIN): rustup has no such toolchain"
            ));
        }
        Err(Missing {
            what: vec!["a Rust toolchain with its library source"],
            rejected,
        })
    }

    pub fn linker(&self) -> Option<Linker> {
        let path = self.program("bpf-linker")?;
        let llvm = fs::read(&path).ok().and_then(|binary| linked_llvm(&binary));
        Some(Linker { path, llvm })
    }

    pub fn program(&self, name: &str) -> Option<PathBuf> {
        self.path
            .iter()
            .map(|directory| directory.join(name))
            .find(|file| file.is_file())
    }

    fn candidates(&self) -> Vec<(String, PathBuf)> {
        let mut names: Vec<String> = fs::read_dir(self.rustup_home.join("toolchains"))
            .map(|entries| {
                entries
                    .flatten()
                    .filter_map(|e| e.file_name().into_string().ok())
                    .collect()
            })
            .unwrap_or_default();
        names.sort_by_key(|name| (!is_channel(name, "nightly"), name.clone()));
        if let Some(wanted) = &self.wanted {
            names.retain(|name| is_channel(name, wanted));
        }

        // rustup keeps links for other names of one toolchain (`1.95.0` of `stable`): look once.
        let mut seen = BTreeSet::new();
        let mut candidates: Vec<(String, PathBuf)> = names
            .into_iter()
            .map(|name| (name.clone(), self.rustup_home.join("toolchains").join(name)))
            .filter(|(_, sysroot)| {
                seen.insert(sysroot.canonicalize().unwrap_or_else(|_| sysroot.clone()))
            })
            .collect();
        if self.wanted.is_none() && self.system.join("bin/rustc").exists() {
            candidates.push((self.system.display().to_string(), self.system.clone()));
        }
        candidates
    }

    fn judge(&self, sysroot: &Path, newest_llvm: Option<u32>) -> Result<Compiler, String> {
        for program in ["rustc", "cargo"] {
            if !sysroot.join("bin").join(program).exists() {
                return Err(format!("has no {program}"));
            }
        }
        if !sysroot
            .join("lib/rustlib/src/rust/library/core/src/lib.rs")
            .exists()
        {
            return Err("has no library source (component rust-src)".into());
        }
        let compiler = (self.ask)(&sysroot.join("bin/rustc"))
            .ok_or("its rustc does not answer to `rustc -vV`")?;
        let oldest = env!("CARGO_PKG_RUST_VERSION");
        if version(&compiler.release) < version(oldest) {
            return Err(format!("is Rust {}, {oldest} is needed", compiler.release));
        }
        match newest_llvm {
            Some(newest) if compiler.llvm > newest => Err(format!(
                "has LLVM {}, which a bpf-linker with LLVM {newest} cannot read",
                compiler.llvm
            )),
            _ => Ok(compiler),
        }
    }
}

impl Tools {
    /// A program of this toolchain (`cargo`, `cargo-clippy`), to work on the kernel programs.
    ///
    /// The caller's compiler, wrapper and flags stay outside: under `cargo clippy` they name
    /// clippy's driver of another toolchain.
    pub fn command(&self, program: &str, arch: &str) -> Command {
        let bin = self.toolchain.sysroot.join("bin");
        let mut command = Command::new(bin.join(program));
        for variable in [
            "RUSTC_WORKSPACE_WRAPPER",
            "RUSTDOC",
            "RUSTFLAGS",
            "RUSTUP_TOOLCHAIN",
        ] {
            command.env_remove(variable);
        }
        command
            .env("CARGO", bin.join("cargo"))
            .env("RUSTC", bin.join("rustc"))
            // Opens `-Z build-std` where the compiler is a stable one; host crates never see it.
            .env("RUSTC_BOOTSTRAP", "1")
            .env("CARGO_ENCODED_RUSTFLAGS", flags(arch))
            .env("PATH", self.path());
        command
    }

    /// The target's default linker is the first `bpf-linker` of the `PATH`: ours.
    fn path(&self) -> OsString {
        let path = env::var_os("PATH").unwrap_or_default();
        let first = self.linker.path.parent().map(Path::to_path_buf);
        env::join_paths(first.into_iter().chain(env::split_paths(&path))).unwrap_or(path)
    }
}

/// The target of the kernel programs: the machine's byte order.
pub fn target(endian: &str) -> &'static str {
    if endian == "big" {
        "bpfeb-unknown-none"
    } else {
        "bpfel-unknown-none"
    }
}

/// Debug info is a flag and not a profile, as it must reach `core`: the linker makes BTF of it, and
/// a function without BTF beside functions with it is refused by the kernel.
fn flags(arch: &str) -> String {
    let arch = format!("--cfg=bpf_target_arch=\"{arch}\"");
    [
        &arch,
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "--cfg=target_has_atomic",
        ADDS,
        "-Aunknown_lints",
        ALLOWED,
    ]
    .join("\x1f")
}

/// The target says that it has no atomic operations, since it has no exchange before Linux 5.12. Additions it
/// had from the beginning, and of what this makes of the core library only those are used.
const ADDS: &str = "--cfg=target_has_atomic=\"64\"";
const ALLOWED: &str = "-Aexplicit_builtin_cfgs_in_flags";

/// `nightly` is the name of `nightly-x86_64-unknown-linux-gnu`, not of `nightly-2026-05-19-...`.
fn is_channel(name: &str, channel: &str) -> bool {
    name.strip_prefix(channel)
        .is_some_and(|rest| match rest.strip_prefix('-') {
            Some(rest) => !rest.starts_with(|c: char| c.is_ascii_digit()),
            None => rest.is_empty(),
        })
}

fn ask_compiler(rustc: &Path) -> Option<Compiler> {
    let output = Command::new(rustc).arg("-vV").output().ok()?;
    read_compiler(&String::from_utf8_lossy(&output.stdout))
}

/// Reads the answer to `rustc -vV`.
fn read_compiler(answer: &str) -> Option<Compiler> {
    let field = |name: &str| {
        answer
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
    };
    Some(Compiler {
        release: field("release:")?.to_owned(),
        llvm: field("LLVM version:")?.split('.').next()?.parse().ok()?,
    })
}

/// `1.97.0-nightly` and `1.95` as numbers that compare.
fn version(release: &str) -> (u32, u32) {
    let mut numbers = release
        .split(['.', '-'])
        .map(|number| number.parse().unwrap_or(0));
    (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
}

/// The LLVM that a binary asks the dynamic loader for. `None` for one linked into the file, which
/// is what the project publishes: those are then believed to be new enough.
fn linked_llvm(binary: &[u8]) -> Option<u32> {
    ["libLLVM.so.", "libLLVM-"].iter().find_map(|name| {
        binary
            .windows(name.len())
            .enumerate()
            .find_map(|(at, window)| {
                let digits = &binary[at + name.len()..];
                let count = digits
                    .iter()
                    .take(3)
                    .take_while(|byte| byte.is_ascii_digit())
                    .count();
                (window == name.as_bytes())
                    .then(|| str::from_utf8(&digits[..count]).ok()?.parse().ok())?
            })
    })
}

#[cfg(test)]
#[path = "toolchain_tests.rs"]
mod tests;
