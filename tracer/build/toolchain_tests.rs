//! Which toolchain is taken on which machine. Run as part of xtask: build scripts have no tests.

use super::*;

/// A machine drawn as directories; a compiler answers with the content of its file.
struct Drawn {
    root: tempfile::TempDir,
}

impl Drawn {
    fn new() -> Drawn {
        Drawn {
            root: tempfile::tempdir().expect("a temporary directory"),
        }
    }

    fn file(self, path: &str, content: &str) -> Drawn {
        let path = self.root.path().join(path);
        fs::create_dir_all(path.parent().expect("below the root")).expect("create a directory");
        fs::write(path, content).expect("write a file");
        self
    }

    fn toolchain(self, sysroot: &str, release: &str, llvm: u32) -> Drawn {
        let answer = format!("rustc {release}\nrelease: {release}\nLLVM version: {llvm}.1.4\n");
        self.file(&format!("{sysroot}/bin/rustc"), &answer)
            .file(&format!("{sysroot}/bin/cargo"), "")
    }

    fn source(self, sysroot: &str) -> Drawn {
        self.file(
            &format!("{sysroot}/lib/rustlib/src/rust/library/core/src/lib.rs"),
            "",
        )
    }

    fn linker(self, content: &str) -> Drawn {
        self.file("cargo/bin/bpf-linker", content)
    }

    fn machine(&self) -> Machine {
        let root = self.root.path();
        Machine {
            rustup_home: root.join("rustup"),
            path: vec![root.join("nowhere"), root.join("cargo/bin")],
            system: root.join("usr"),
            wanted: None,
            ask: |rustc| read_compiler(&fs::read_to_string(rustc).ok()?),
        }
    }
}

const NIGHTLY: &str = "rustup/toolchains/nightly-x86_64-unknown-linux-gnu";
const STABLE: &str = "rustup/toolchains/stable-x86_64-unknown-linux-gnu";
const DEBIAN_LINKER: &str = "\x7fELF..libLLVM.so.22.1\0libgcc_s.so.1\0";

#[track_caller]
fn check(machine: &Machine, expected: &str) {
    match machine.tools() {
        Ok(tools) => {
            let sysroot = tools.toolchain.sysroot.display().to_string();
            assert!(sysroot.ends_with(expected), "took {sysroot}");
        }
        Err(missing) => panic!("{missing}"),
    }
}

#[test]
fn rustups_nightly_with_source_is_taken_before_all_others() {
    let drawn = Drawn::new()
        .toolchain("rustup/toolchains/aaa", "1.95.0", 22)
        .source("rustup/toolchains/aaa")
        .toolchain(NIGHTLY, "1.97.0-nightly", 22)
        .source(NIGHTLY)
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    check(&drawn.machine(), NIGHTLY);
}

#[test]
fn a_nightly_without_source_gives_way_to_a_stable_with_it() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.97.0-nightly", 22)
        .toolchain(STABLE, "1.95.0", 22)
        .source(STABLE)
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    check(&drawn.machine(), STABLE);
}

#[test]
fn the_distributions_toolchain_is_taken_when_rustup_has_no_source() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.97.0-nightly", 22)
        .toolchain(STABLE, "1.95.0", 22)
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    check(&drawn.machine(), "usr");
}

#[test]
fn a_machine_without_rustup_is_fine() {
    let drawn = Drawn::new()
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    check(&drawn.machine(), "usr");
}

#[test]
fn a_nightly_too_new_for_the_linker_is_passed_over() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.99.0-nightly", 23)
        .source(NIGHTLY)
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    check(&drawn.machine(), "usr");
}

#[test]
fn a_linker_with_its_llvm_inside_is_believed() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.99.0-nightly", 23)
        .source(NIGHTLY)
        .linker("static");
    check(&drawn.machine(), NIGHTLY);
}

#[test]
fn the_wanted_toolchain_is_taken_or_nothing() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.97.0-nightly", 22)
        .source(NIGHTLY)
        .toolchain(STABLE, "1.95.0", 22)
        .source(STABLE)
        .linker(DEBIAN_LINKER);
    let wanting = |name: &str| Machine {
        wanted: Some(name.into()),
        ..drawn.machine()
    };
    check(&wanting("stable"), STABLE);
    let missing = wanting("beta")
        .tools()
        .expect_err("there is no beta")
        .to_string();
    assert!(
        missing.contains("beta (TRACER_EBPF_TOOLCHAIN)"),
        "{missing}"
    );
}

#[test]
fn all_that_is_missing_is_said_at_once_with_one_remedy() {
    let drawn = Drawn::new()
        .toolchain(NIGHTLY, "1.97.0-nightly", 22)
        .toolchain("usr", "1.63.0", 14)
        .source("usr");
    let missing = drawn
        .machine()
        .tools()
        .expect_err("nothing is usable")
        .to_string();
    let oldest = env!("CARGO_PKG_RUST_VERSION");
    let expected = format!(
        "cannot build the kernel programs without a Rust toolchain with its library source and \
         bpf-linker; run: cargo xtask setup\n  \
         looked at nightly-x86_64-unknown-linux-gnu: has no library source (component rust-src)\n  \
         looked at {}: is Rust 1.63.0, {oldest} is needed",
        drawn.root.path().join("usr").display(),
    );
    assert_eq!(missing, expected);
}

#[test]
fn a_toolchain_is_not_enough_without_a_linker() {
    let drawn = Drawn::new().toolchain("usr", "1.96.0", 22).source("usr");
    let missing = drawn
        .machine()
        .tools()
        .expect_err("there is no linker")
        .to_string();
    assert_eq!(
        missing,
        "cannot build the kernel programs without bpf-linker; run: cargo xtask setup"
    );
}

#[test]
fn dated_nightlies_are_not_the_nightly() {
    assert!(is_channel("nightly-x86_64-unknown-linux-gnu", "nightly"));
    assert!(is_channel("mine", "mine"));
    assert!(is_channel(
        "nightly-2026-05-19-x86_64-unknown-linux-gnu",
        "nightly-2026-05-19"
    ));
    assert!(!is_channel(
        "nightly-2026-05-19-x86_64-unknown-linux-gnu",
        "nightly"
    ));
    assert!(!is_channel("nightlyish", "nightly"));
}

#[test]
fn the_childs_environment_names_one_toolchain_only() {
    let drawn = Drawn::new()
        .toolchain("usr", "1.96.0", 22)
        .source("usr")
        .linker(DEBIAN_LINKER);
    let tools = drawn.machine().tools().expect("both are there");
    let command = tools.command("cargo", "x86_64");
    let variable = |name: &str| {
        let (_, value) = command
            .get_envs()
            .find(|(key, _)| *key == name)
            .expect("it is set");
        value.map(|value| value.to_string_lossy().into_owned())
    };
    assert_eq!(variable("RUSTC_WORKSPACE_WRAPPER"), None);
    assert!(variable("RUSTC").is_some_and(|rustc| rustc.ends_with("usr/bin/rustc")));
    assert!(variable("PATH").is_some_and(|path| {
        let first = path.split(':').next().unwrap_or_default();
        first.ends_with("cargo/bin")
    }));
    let flags = variable("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    let flags: Vec<&str> = flags.split('\x1f').collect();
    let expected = [
        "--cfg=bpf_target_arch=\"x86_64\"",
        "-Cdebuginfo=2",
        "-Clink-arg=--btf",
        "--cfg=target_has_atomic",
        "--cfg=target_has_atomic=\"64\"",
        "-Aunknown_lints",
        "-Aexplicit_builtin_cfgs_in_flags",
    ];
    assert_eq!(flags, expected);
}
