//! What a run in a virtual machine says of its kernel. Reads no file and no clock.

use std::fmt;
use std::time::Duration;

use super::console::Console;
use super::kernels::Column;
use super::plan::{DOCTOR, Step};
use crate::counts::{Counts, not_allowed};

/// What a kernel cannot show, and why: anything else that is missing is a failure.
pub const ALLOWED: &str = "tracer/tests/vm/na.txt";

pub struct Verdict {
    release: String,
    took: Duration,
    pub counts: Counts,
    repeated: usize,
    pub problems: Vec<String>,
    pub column: Column,
}

impl Verdict {
    /// `steps` are those that were planned; `allowed` has lines `SERIES NAME REASON`.
    pub fn of(
        release: &str,
        series: &str,
        steps: &[&Step],
        console: &Console,
        allowed: &str,
        took: Duration,
    ) -> Verdict {
        let mut verdict = Verdict {
            release: release.to_owned(),
            took,
            counts: Counts::default(),
            repeated: 0,
            problems: Vec::new(),
            column: Column::new(series, release),
        };
        verdict
            .problems
            .extend(console.unfinished().map(str::to_owned));
        let said = console.step(DOCTOR).map_or("", |step| &step.output);
        if let Err(error) = verdict.column.add_doctor(said) {
            verdict.problems.push(format!("{DOCTOR}: {error:#}"));
        }
        let allowed = of_series(allowed, series);
        for planned in steps {
            let cell = verdict.judge(planned, console, &allowed);
            verdict.column.add(planned.name, &cell);
        }
        verdict
    }

    /// Of one step; what it shows, in a word.
    fn judge(&mut self, planned: &Step, console: &Console, allowed: &str) -> String {
        let known = self.problems.len();
        let mut missing = 0;
        let mut problem = |text: String| self.problems.push(format!("{}: {text}", planned.name));
        match console.step(planned.name) {
            None => problem("not run".to_owned()),
            Some(step) => {
                let lacking = step.not_applicable();
                for (name, reason) in not_allowed(&lacking, allowed) {
                    problem(format!(
                        "{name} is n/a, and {ALLOWED} does not allow that: {reason}"
                    ));
                }
                if let Some(how) = step.ends.iter().find(|how| *how != "ok") {
                    problem(how.clone());
                }
                // A test that has another name by now is no test that passed.
                if step.counts.passed != planned.tests.len() {
                    let (passed, all) = (step.counts.passed, planned.tests.len());
                    problem(format!("{passed} tests passed of {all} that are planned"));
                }
                self.repeated += step.repeated;
                self.counts.add(step.counts);
                self.counts.not_applicable(lacking.len());
                missing = lacking.len();
            }
        }
        match missing {
            _ if self.problems.len() > known => "FAILED".to_owned(),
            0 => "ok".to_owned(),
            missing => format!("ok, {missing} n/a"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = if self.problems.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        let seconds = self.took.as_secs_f64();
        write!(
            f,
            "{word:<7}{:<28}{seconds:>6.0} s  {}",
            self.release, self.counts
        )?;
        if self.repeated > 0 {
            write!(f, ", {} run twice", self.repeated)?;
        }
        for problem in &self.problems {
            write!(f, "\n       - {problem}")?;
        }
        Ok(())
    }
}

/// The lines of a series, and those of `*`, without that word.
fn of_series(list: &str, series: &str) -> String {
    let lines = list.lines().filter_map(|line| {
        let (of, rest) = line.split_once(char::is_whitespace)?;
        (of == series || of == "*").then_some(rest.trim_start())
    });
    lines.collect::<Vec<_>>().join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vm::plan::{STEPS, chosen};

    /// A console on which every planned step passed, but for what `change` makes of the lines of one.
    fn console(change: impl Fn(&str, &mut Vec<String>)) -> Console {
        let mut console = Console::default();
        let mut read = |line: &str| assert_eq!(console.read(line), None);
        for line in [
            "vm: begin doctor",
            r#"{"requirements": []}"#,
            "vm: end doctor 1.0 ok",
        ] {
            read(line);
        }
        for step in STEPS {
            let (name, passed) = (step.name, step.tests.len());
            let mut lines = vec![
                format!("vm: begin {name}"),
                format!("test result: ok. {passed} passed; 0 failed"),
                format!("vm: end {name} 1.0 ok"),
            ];
            change(name, &mut lines);
            lines.iter().for_each(|line| read(line));
        }
        read("vm: done");
        console
    }

    fn problems(console: &Console) -> Vec<String> {
        let allowed = "# why\n5.10 io-uring  too old\n* pmu  emulated\n";
        let steps = chosen(&[]).expect("all of them");
        Verdict::of("7.3.4", "7", &steps, console, allowed, Duration::ZERO).problems
    }

    #[test]
    fn all_that_is_planned_must_pass() {
        assert_eq!(problems(&console(|_, _| ())), [""; 0]);
        let births = STEPS.iter().find(|step| step.name == "births");
        let births = births.map_or(0, |step| step.tests.len());
        let fewer = console(|name, lines| {
            if name == "births" {
                lines[1] = "test result: ok. 1 passed; 0 failed".to_owned();
            }
        });
        assert_eq!(
            problems(&fewer),
            [format!(
                "births: 1 tests passed of {births} that are planned"
            )]
        );
        let failed = console(|name, lines| {
            if name == "births" {
                lines[2] = "vm: end births 1.0 status 101".to_owned();
            }
        });
        assert_eq!(problems(&failed), ["births: status 101"]);
        let at_last = console(|name, lines| {
            if name == "births" {
                let first = [
                    "vm: begin births",
                    "vm: end births 1.0 status 101",
                    "vm: again births",
                ];
                lines.splice(..1, first.map(str::to_owned));
            }
        });
        assert_eq!(problems(&at_last), [""; 0]);
        let none = console(|name, lines| {
            if name == "births" {
                lines.clear();
            }
        });
        assert_eq!(problems(&none), ["births: not run"]);
    }

    #[test]
    fn only_what_was_asked_for_must_pass() {
        let console = console(|name, lines| {
            if name != "births" {
                lines.clear();
            }
        });
        let steps = chosen(&["births".to_owned()]).expect("there is one");
        let verdict = Verdict::of("7.3.4", "7", &steps, &console, "", Duration::ZERO);
        assert_eq!(verdict.problems, [""; 0]);
        let error = chosen(&["birth".to_owned()]).err();
        let error = error.map(|error| error.to_string()).unwrap_or_default();
        assert!(
            error.starts_with("there is no step birth, but attach, "),
            "{error}"
        );
    }

    #[test]
    fn what_is_missing_must_be_allowed_for_this_kernel() {
        let console = console(|name, lines| {
            if name == "births" {
                lines.insert(1, "vm: n/a: io-uring: it has none".to_owned());
                lines.insert(1, "vm: n/a: pmu: none".to_owned());
            }
        });
        let refused =
            format!("births: io-uring is n/a, and {ALLOWED} does not allow that: it has none");
        assert_eq!(problems(&console), [refused]);
    }
}
