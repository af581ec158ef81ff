//! What tracing needs from machine and user: one list, printed by `doctor`, and by `run` when it refuses.
//!
//! In: files below `/proc` and `/sys`. Out: requirements with what was seen and the remedy. Loads nothing.

mod access;
mod facts;
mod kernel;
mod optional;
mod pmu;

use std::error::Error;
use std::fmt;
use std::io;

use super::btf::Btf;
use super::fields::Fields;
use super::session;
use facts::Facts;
#[cfg(any(test, fuzzing))]
pub(super) use facts::has_tracefs;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Found,
    Missing,
    /// Its own answer, never "fine", but no reason to refuse either: loading will tell.
    Unknown,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Requirement {
    pub name: String,
    pub state: State,
    pub seen: String,
    /// What is lost without it.
    pub lost: &'static str,
    pub remedy: String,
    /// Without it nothing can be traced.
    pub required: bool,
}

/// Everything that was checked, and what the check read anyway.
pub struct Preflight {
    pub requirements: Vec<Requirement>,
    pub btf: Option<Btf>,
    pub fields: Option<Fields>,
}

/// Reads only; needs no privileges.
pub fn check() -> Preflight {
    let (facts, btf) = Facts::read();
    let mut requirements = kernel::requirements(&facts, btf.as_ref());
    requirements.extend(access::requirements(&facts));
    requirements.extend(optional::requirements(&facts, btf.as_ref()));
    Preflight {
        requirements,
        btf,
        fields: facts.fields,
    }
}

impl Preflight {
    /// What a session is loaded with: where fields are, and the numbers of the types it is loaded for.
    pub fn into_parts(self) -> (Fields, Vec<u8>) {
        let types = self
            .btf
            .map_or_else(Vec::new, |btf| btf.outline(&session::wanted_types()));
        (self.fields.unwrap_or_default(), types)
    }

    /// All that stands in the way; `None`: nothing that could be told beforehand.
    pub fn refusal(&self) -> Option<Refusal> {
        let missing = self
            .requirements
            .iter()
            .filter(|found| found.required && found.state == State::Missing);
        let obstacles: Vec<Obstacle> = missing
            .map(|found| Obstacle {
                name: found.name.clone(),
                seen: found.seen.clone(),
                remedy: found.remedy.clone(),
            })
            .collect();
        let are = if obstacles.len() == 1 {
            "requirement is"
        } else {
            "requirements are"
        };
        let headline = format!(
            "cannot trace the scheduler, {} {are} missing",
            obstacles.len()
        );
        (!obstacles.is_empty()).then_some(Refusal {
            headline,
            obstacles,
        })
    }
}

/// Why this machine or user cannot trace: every obstacle at once, each with its remedy.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    headline: String,
    obstacles: Vec<Obstacle>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Obstacle {
    name: String,
    seen: String,
    remedy: String,
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self
            .obstacles
            .iter()
            .map(|obstacle| obstacle.name.len())
            .max()
            .unwrap_or(0);
        write!(f, "{}", self.headline)?;
        for Obstacle { name, seen, remedy } in &self.obstacles {
            write!(f, "\n  {name:width$}  {seen}\n  {:width$}  {remedy}", "")?;
        }
        Ok(())
    }
}

impl Error for Refusal {}

impl Refusal {
    /// What was refused and why, without a remedy: for what tracing does without.
    pub(super) fn seen(self) -> impl Iterator<Item = String> {
        let obstacles = self.obstacles.into_iter();
        obstacles.map(|obstacle| format!("{}: {}", obstacle.name, obstacle.seen))
    }
}

/// The kernel said no although the preflight passed: `what` is the step, such as `load sched_switch`.
pub fn refused_by_kernel(what: &str, error: &(dyn Error + 'static)) -> Refusal {
    let (mut chain, mut cause, mut errno) = (String::new(), Some(error), None);
    while let Some(error) = cause {
        let text = error.to_string();
        // Many errors repeat their source in their own text.
        if !chain.contains(&text) {
            chain = if chain.is_empty() {
                text
            } else {
                format!("{chain}: {text}")
            };
        }
        errno = errno.or(error
            .downcast_ref::<io::Error>()
            .and_then(io::Error::raw_os_error));
        cause = error.source();
    }
    let obstacle = Obstacle {
        name: what.to_owned(),
        seen: shorten(&chain),
        remedy: remedy_for(errno),
    };
    Refusal {
        headline: "cannot trace the scheduler, the kernel refused".to_owned(),
        obstacles: vec![obstacle],
    }
}

/// The same for a step that users can do without: they are told how.
pub fn refused_option(what: &str, error: &(dyn Error + 'static), remedy: &str) -> Refusal {
    let mut refusal = refused_by_kernel(what, error);
    for obstacle in &mut refusal.obstacles {
        remedy.clone_into(&mut obstacle.remedy);
    }
    refusal
}

fn remedy_for(errno: Option<i32>) -> String {
    use rustix::io::Errno;
    match errno.map(Errno::from_raw_os_error) {
        Some(Errno::PERM | Errno::ACCESS) => {
            let lockdown = facts::lockdown().unwrap_or_else(|| "could not tell".to_owned());
            format!(
                "a capability, kernel lockdown (state: {lockdown}), a security module or a container's seccomp \
                 filter forbids it: run as root on the host, without lockdown"
            )
        }
        Some(Errno::NOMEM) => "not enough memory for the kernel: try a smaller --buffer".to_owned(),
        Some(Errno::MFILE | Errno::NFILE) => "too many open files: raise the limit (ulimit -n)".to_owned(),
        _ => "this kernel is not supported as it is: report this line and the output of `tracer doctor`".to_owned(),
    }
}

/// One line. A verifier log is long, and its end says what is wrong.
fn shorten(text: &str) -> String {
    const HEAD: usize = 160;
    const TAIL: usize = 320;
    let line: Vec<char> = text
        .split_whitespace()
        .collect::<Vec<_>>()
        .join(" ")
        .chars()
        .collect();
    if line.len() <= HEAD + TAIL {
        return line.into_iter().collect();
    }
    let (head, tail) = (&line[..HEAD], &line[line.len() - TAIL..]);
    head.iter()
        .chain(&[' ', '.', '.', '.', ' '])
        .chain(tail)
        .collect()
}

#[cfg(test)]
#[path = "preflight/tests.rs"]
mod tests;
