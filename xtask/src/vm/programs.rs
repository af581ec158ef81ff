//! What runs in a virtual machine: the tracer as it is handed out, tests of it as they run here, and the first process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::plan;
use crate::command::{ask, cargo, run, show};
use crate::dist;

pub struct Programs {
    /// Static: each kernel runs the same file.
    pub tracer: PathBuf,
    /// Where the tests look for it.
    pub place: PathBuf,
    /// Static: whatever else is missing, it can say so.
    pub init: PathBuf,
    /// By file name of the test.
    pub tests: Vec<(String, PathBuf)>,
    /// What the tests are linked with, at the places where they look for it.
    pub libraries: BTreeSet<PathBuf>,
}

/// A line of cargo's messages, as far as it matters here.
#[derive(Deserialize)]
struct Message {
    target: Option<Target>,
    executable: Option<PathBuf>,
}

#[derive(Deserialize)]
struct Target {
    name: String,
    kind: Vec<String>,
}

/// A program that cargo made: `bin` or `test`, and its name.
type Built = (String, String, PathBuf);

impl Programs {
    /// `scratch` is for copies.
    pub fn build(scratch: &Path) -> anyhow::Result<Programs> {
        let files: BTreeSet<&str> = plan::STEPS.iter().map(|step| step.file).collect();
        // As the tests on this machine's own kernel are built: what is there is not built again.
        let mut build = cargo();
        build.args(["test", "--no-run", "--release", "--package=tracer"]);
        build.arg("--message-format=json-render-diagnostics");
        for file in &files {
            build.args(["--test", file]);
        }
        let (mut place, mut tests, mut libraries) = (None, Vec::new(), BTreeSet::new());
        for (kind, name, program) in built(&mut build)? {
            match kind.as_str() {
                "bin" if name == "tracer" => place = Some(program),
                "test" => {
                    libraries.extend(linked_with(&program)?);
                    tests.push((name.clone(), stripped(&program, &scratch.join(name))?));
                }
                _ => {}
            }
        }
        ensure!(
            tests.len() == files.len(),
            "build {files:?}: cargo made {tests:?}"
        );
        Ok(Programs {
            tracer: dist::program()?,
            place: place.context("build the tracer: cargo made no program of that name")?,
            init: init(scratch)?,
            tests,
            libraries,
        })
    }
}

/// Only its last step differs from that of other programs, so that all below it is there already.
fn init(scratch: &Path) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["rustc", "--release", "--package=tracer", "--test"]);
    build.args([plan::INIT, "--message-format=json-render-diagnostics"]);
    build.args(["--", "-C", "target-feature=+crt-static"]);
    match built(&mut build)?
        .into_iter()
        .find(|(kind, ..)| kind == "test")
    {
        Some((_, name, program)) => stripped(&program, &scratch.join(name)),
        None => bail!("build the first process: cargo made none"),
    }
}

fn built(build: &mut Command) -> anyhow::Result<Vec<Built>> {
    build.stderr(Stdio::inherit());
    let shown = show(build);
    println!("$ {shown}");
    let output = build.output().with_context(|| format!("run {shown}"))?;
    let status = output.status;
    ensure!(status.success(), "{shown}: ended with {status}");
    let mut built = Vec::new();
    for line in String::from_utf8_lossy(&output.stdout).lines() {
        let message: Message = serde_json::from_str(line).context("read cargo's messages")?;
        if let (Some(target), Some(program)) = (message.target, message.executable) {
            let kind = target.kind.into_iter().next().unwrap_or_default();
            built.push((kind, target.name, program));
        }
    }
    Ok(built)
}

/// A copy without what is for debuggers: all of it goes into the memory of a small machine.
fn stripped(program: &Path, to: &Path) -> anyhow::Result<PathBuf> {
    run(Command::new("strip").arg("-o").arg(to).arg(program))?;
    Ok(to.to_owned())
}

/// The libraries that a program asks for, and what loads them.
fn linked_with(program: &Path) -> anyhow::Result<Vec<PathBuf>> {
    let answer = ask("ldd", &[&program.to_string_lossy()]);
    let answer = answer.with_context(|| format!("ask ldd about {}", program.display()))?;
    let libraries = paths(&answer);
    ensure!(!libraries.is_empty(), "find a library in {answer:?}");
    Ok(libraries)
}

fn paths(answer: &str) -> Vec<PathBuf> {
    let words = answer.split_whitespace();
    words
        .filter(|word| word.starts_with('/'))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn libraries_are_the_paths_that_ldd_names() {
        let answer = "\tlinux-vdso.so.1 (0x00007ffd)\n\
            \tlibc.so.6 => /lib/x86_64-linux-gnu/libc.so.6 (0x00007f1e)\n\
            \t/lib64/ld-linux-x86-64.so.2 (0x00007f1e)\n";
        let expected = [
            "/lib/x86_64-linux-gnu/libc.so.6",
            "/lib64/ld-linux-x86-64.so.2",
        ];
        assert_eq!(paths(answer), expected.map(PathBuf::from));
    }
}
