//! What runs in a virtual machine: the tracer as it is handed out, tests of it as they run here, and the first process.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail, ensure};
use serde::Deserialize;

use super::cross::{self, Cross};
use super::plan;
use crate::command::{ask, cargo, run, show};

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

/// As cargo is to tell what it makes.
const MESSAGES: &str = "--message-format=json-render-diagnostics";

/// A program that cargo made: `bin` or `test`, and its name.
type Built = (String, String, PathBuf);

impl Programs {
    /// The tests as they run on this machine's own kernel, so that what is there is not built again. `scratch` is for
    /// copies.
    pub fn build(tracer: &Path, scratch: &Path) -> anyhow::Result<Programs> {
        let mut build = cargo();
        build.arg("test");
        let made = Made::by(build, &files())?;
        let mut libraries = BTreeSet::new();
        for (_, program) in &made.tests {
            libraries.extend(linked_with(program)?);
        }
        Ok(Programs {
            tracer: tracer.to_owned(),
            place: made.tracer,
            init: init(scratch)?,
            tests: stripped("strip", &made.tests, scratch)?,
            libraries,
        })
    }

    /// All of them static, the tracer built as they are.
    pub fn cross_build(cross: &Cross, scratch: &Path) -> anyhow::Result<Programs> {
        let mut files = files();
        files.insert(plan::INIT);
        let made = Made::by(cross.cargo("test"), &files)?;
        let tracer = vec![("tracer".to_owned(), made.tracer.clone())];
        let mut programs = stripped(cross::STRIP, &[made.tests, tracer].concat(), scratch)?;
        let mut take = |name| {
            let at = programs.iter().position(|(known, _)| known == name);
            let at = at.with_context(|| format!("find {name} among what was built"))?;
            anyhow::Ok(programs.remove(at).1)
        };
        Ok(Programs {
            tracer: take("tracer")?,
            init: take(plan::INIT)?,
            place: made.tracer,
            tests: programs,
            libraries: BTreeSet::new(),
        })
    }
}

/// Of all that is planned.
fn files() -> BTreeSet<&'static str> {
    plan::STEPS.iter().map(|step| step.file).collect()
}

/// What cargo left.
struct Made {
    tracer: PathBuf,
    tests: Vec<(String, PathBuf)>,
}

impl Made {
    /// `build`: as far as its subcommand, and for what it builds.
    fn by(mut build: Command, files: &BTreeSet<&str>) -> anyhow::Result<Made> {
        build.args(["--no-run", "--release", "--package=tracer", MESSAGES]);
        for file in files {
            build.args(["--test", file]);
        }
        let (mut tracer, mut tests) = (None, Vec::new());
        for (kind, name, program) in built(&mut build)? {
            match kind.as_str() {
                "bin" if name == "tracer" => tracer = Some(program),
                "test" => tests.push((name, program)),
                _ => {}
            }
        }
        ensure!(
            tests.len() == files.len(),
            "build {files:?}: cargo made {tests:?}"
        );
        let tracer = tracer.context("build the tracer: cargo made no program of that name")?;
        Ok(Made { tracer, tests })
    }
}

/// Only its last step differs from that of other programs, so that all below it is there already.
fn init(scratch: &Path) -> anyhow::Result<PathBuf> {
    let mut build = cargo();
    build.args(["rustc", "--release", "--package=tracer", "--test"]);
    build.args([plan::INIT, MESSAGES]);
    build.args(["--", "-C", "target-feature=+crt-static"]);
    let built = built(&mut build)?.into_iter();
    let made: Vec<(String, PathBuf)> = built
        .filter(|(kind, ..)| kind == "test")
        .map(|(_, name, program)| (name, program))
        .collect();
    match stripped("strip", &made, scratch)?.pop() {
        Some((_, program)) => Ok(program),
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

/// Copies without what is for debuggers: all of it goes into the memory of a small machine.
fn stripped(
    strip: &str,
    programs: &[(String, PathBuf)],
    to: &Path,
) -> anyhow::Result<Vec<(String, PathBuf)>> {
    let copies = programs.iter().map(|(name, program)| {
        let copy = to.join(name);
        run(Command::new(strip).arg("-o").arg(&copy).arg(program))?;
        Ok((name.clone(), copy))
    });
    copies.collect()
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
