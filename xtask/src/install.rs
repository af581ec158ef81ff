//! Puts the program where a system looks for programs, manual pages and completions.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, ensure};

use crate::build;
use crate::command::{self, as_root, show};

/// Shell, and where its completions are found below the prefix.
const COMPLETIONS: [(&str, &str); 3] = [
    ("bash", "share/bash-completion/completions/tracer"),
    ("zsh", "share/zsh/site-functions/_tracer"),
    ("fish", "share/fish/vendor_completions.d/tracer.fish"),
];

pub fn run(prefix: &Path) -> anyhow::Result<()> {
    let tracer = build::run()?;
    let prefix = std::path::absolute(prefix).context("read the prefix")?;
    let root_needed = !may_write(&prefix);
    for (from, to) in made(&tracer, &build::target_dir().join("install"))? {
        // All is made by the caller; only the copies may take root.
        let mut install = if root_needed {
            as_root(&[], "install")?
        } else {
            Command::new("install")
        };
        let mode = if from == tracer { "-m755" } else { "-m644" };
        command::run(install.args(["-D", mode]).arg(from).arg(prefix.join(to)))?;
    }
    Ok(())
}

/// The files to install, each with its place below the prefix. Pages and completions come out of the
/// program, so they cannot disagree with it; they are left in `stage`.
pub fn made(tracer: &Path, stage: &Path) -> anyhow::Result<Vec<(PathBuf, PathBuf)>> {
    let pages = stage.join("man");
    // A page of a command that is gone must not survive here.
    if pages.exists() {
        fs::remove_dir_all(&pages).with_context(|| format!("empty {}", pages.display()))?;
    }
    fs::create_dir_all(&pages).with_context(|| format!("create {}", pages.display()))?;

    let mut files = vec![(tracer.to_owned(), PathBuf::from("bin/tracer"))];
    generate(tracer, &["man".as_ref(), pages.as_os_str()])?;
    for page in fs::read_dir(&pages).with_context(|| format!("list {}", pages.display()))? {
        let page = page?;
        files.push((
            page.path(),
            Path::new("share/man/man1").join(page.file_name()),
        ));
    }
    for (shell, place) in COMPLETIONS {
        let script = stage.join(shell);
        let text = generate(tracer, &["completions".as_ref(), shell.as_ref()])?;
        fs::write(&script, text).with_context(|| format!("write {}", script.display()))?;
        files.push((script, place.into()));
    }
    Ok(files)
}

fn generate(tracer: &Path, args: &[&std::ffi::OsStr]) -> anyhow::Result<Vec<u8>> {
    let mut command = Command::new(tracer);
    command.arg("generate").args(args);
    let output = command
        .output()
        .with_context(|| format!("run {}", show(&command)))?;
    let complaint = String::from_utf8_lossy(&output.stderr);
    ensure!(
        output.status.success(),
        "{}: {}",
        show(&command),
        complaint.trim()
    );
    Ok(output.stdout)
}

/// Tried instead of computed: ACLs, read-only mounts and quotas have their say too.
fn may_write(prefix: &Path) -> bool {
    let probe = prefix.join(".tracer-install");
    let writable = fs::create_dir_all(prefix)
        .and_then(|()| fs::write(&probe, ""))
        .is_ok();
    writable && fs::remove_file(probe).is_ok()
}
