//! What a virtual machine tells on its console, line by line. Knows of no process and no clock.

use std::collections::BTreeMap;
use std::time::Duration;

use super::plan::DOCTOR;
use crate::counts::{Counts, read_not_applicable};

/// Begins each line of `tracer/tests/vm/init.rs` and of a test that asks for something.
const MARK: &str = "vm: ";

#[derive(Default)]
pub struct Console {
    pub steps: Vec<Step>,
    done: bool,
    ended: Option<String>,
}

/// What was planned, and how it went: programs under one name, one after the other.
#[derive(Default)]
pub struct Step {
    pub name: String,
    pub output: String,
    pub counts: Counts,
    /// As far as programs before this one have counted.
    before: Counts,
    runs: bool,
    /// How each program ended: `ok`, or what else.
    pub ends: Vec<String>,
    /// Programs that failed and were run again.
    pub repeated: usize,
    /// `n/a: NAME: REASON`, a line each.
    written: String,
}

impl Step {
    /// Names of what this kernel cannot show, and why.
    pub fn not_applicable(&self) -> BTreeMap<&str, &str> {
        read_not_applicable(&self.written)
    }
}

/// What only the host can do.
#[derive(Debug, PartialEq, Eq)]
pub enum Asks {
    /// To stand still for so long.
    Stop(Duration),
}

impl Console {
    pub fn read(&mut self, line: &str) -> Option<Asks> {
        let Some(told) = line.strip_prefix(MARK) else {
            if let Some(step) = self.steps.last_mut().filter(|step| step.runs) {
                step.counts.read(line);
                step.output.extend([line, "\n"]);
            }
            return None;
        };
        let mut words = told.splitn(4, ' ');
        match words.next()? {
            "begin" => {
                let name = words.next()?;
                if self.steps.last().is_none_or(|step| step.name != name) {
                    self.steps.push(Step {
                        name: name.to_owned(),
                        ..Step::default()
                    });
                }
                let step = self.steps.last_mut()?;
                step.runs = true;
                step.before = step.counts;
            }
            "end" => {
                let step = self.steps.last_mut()?;
                step.runs = false;
                // What it is called is known, and how long it took is for a person.
                step.ends.push(words.nth(2)?.to_owned());
            }
            "again" => {
                let step = self.steps.last_mut()?;
                step.runs = true;
                step.ends.pop();
                step.counts = step.before;
                step.repeated += 1;
            }
            "stop" => return Some(Asks::Stop(Duration::from_secs(words.next()?.parse().ok()?))),
            "n/a:" => self.steps.last_mut()?.written.extend([told, "\n"]),
            "done" => self.done = true,
            _ => {}
        }
        None
    }

    /// The kernel is up, and has told what it has: the rest is for people.
    pub fn has_begun(&self) -> bool {
        self.steps.iter().any(|step| step.name != DOCTOR)
    }

    /// Why the machine was given up. The first reason is the cause of the others.
    pub fn ended(&mut self, why: &str) {
        self.ended.get_or_insert_with(|| why.to_owned());
    }

    /// None: it ran all that was planned.
    pub fn unfinished(&self) -> Option<&str> {
        match (&self.ended, self.done) {
            (Some(why), _) => Some(why),
            (None, false) => Some("it ended before it was done"),
            (None, true) => None,
        }
    }

    pub fn step(&self, name: &str) -> Option<&Step> {
        self.steps.iter().find(|step| step.name == name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_have_their_lines_and_ends() {
        let mut console = Console::default();
        for line in [
            "vm: begin exactness",
            "test a ... ok",
            "test result: ok. 1 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.00s",
            "vm: end exactness 12.5 ok",
            "of nobody",
            "vm: begin exactness",
            "test result: ok. 1 passed; 0 failed",
            "vm: end exactness 1.5 ok",
            "vm: begin births",
            "test result: FAILED. 0 passed; 1 failed",
            "vm: end births 1.0 status 101",
            "vm: again births",
            "vm: n/a: pmu: there is none",
            "vm: end births 60.0 signal 9",
        ] {
            assert_eq!(console.read(line), None);
        }
        let [exact, births] = console.steps.as_slice() else {
            panic!("two steps")
        };
        assert_eq!((exact.counts.passed, exact.output.lines().count()), (2, 3));
        assert_eq!(
            (&exact.ends[..], exact.repeated),
            (&["ok".to_owned(), "ok".to_owned()][..], 0)
        );
        assert_eq!(
            (&births.ends[..], births.repeated),
            (&["signal 9".to_owned()][..], 1)
        );
        assert_eq!(births.counts, Counts::default());
        assert_eq!(births.not_applicable()["pmu"], "there is none");
        assert_eq!(console.unfinished(), Some("it ended before it was done"));
        console.read("vm: done");
        assert_eq!(console.unfinished(), None);
        console.ended("Kernel panic");
        console.ended("not done after 9 s");
        assert_eq!(console.unfinished(), Some("Kernel panic"));
    }

    #[test]
    fn a_test_can_ask_the_host() {
        let stop = Console::default().read("vm: stop 3");
        assert_eq!(stop, Some(Asks::Stop(Duration::from_secs(3))));
    }
}
