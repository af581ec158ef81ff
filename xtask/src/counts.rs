//! Adds up what the test programs report, and holds what they could not test against what may be so.

use std::collections::BTreeMap;
use std::fmt;

/// Over all test programs of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub passed: usize,
    pub failed: usize,
    pub ignored: usize,
    /// Tests that ended early, as this machine lacks what they test. libtest knows them as passed.
    pub not_applicable: usize,
}

impl Counts {
    /// Takes a line of a test program's output; all but its summary is passed over.
    pub fn read(&mut self, line: &str) {
        let Some(summary) = line.trim().strip_prefix("test result: ") else {
            return;
        };
        for part in summary.split([';', '.']) {
            let mut words = part.split_whitespace();
            let (Some(number), Some(what)) = (words.next(), words.next()) else {
                continue;
            };
            let Ok(number) = number.parse::<usize>() else {
                continue;
            };
            match what {
                "passed" => self.passed += number,
                "failed" => self.failed += number,
                "ignored" => self.ignored += number,
                _ => {}
            }
        }
    }

    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.ignored += other.ignored;
        self.not_applicable += other.not_applicable;
    }

    pub fn not_applicable(&mut self, tests: usize) {
        self.passed = self.passed.saturating_sub(tests);
        self.not_applicable += tests;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Counts {
            passed,
            failed,
            ignored,
            not_applicable,
        } = self;
        write!(
            f,
            "{passed} passed, {failed} failed, {ignored} ignored, {not_applicable} n/a"
        )
    }
}

/// Reads `n/a: NAME: REASON` lines, as tests write them: the reason for each test.
pub fn read_not_applicable(written: &str) -> BTreeMap<&str, &str> {
    let lines = written
        .lines()
        .filter_map(|line| line.trim().strip_prefix("n/a:"));
    lines
        .map(|line| line.split_once(": ").unwrap_or((line, "")))
        .map(|(name, reason)| (name.trim(), reason.trim()))
        .collect()
}

/// Those which the committed list (`NAME REASON` lines, `#` for comments) does not allow.
pub fn not_allowed<'a>(found: &BTreeMap<&'a str, &'a str>, list: &str) -> Vec<(&'a str, &'a str)> {
    let listed = |name: &str| {
        list.lines().any(|line| {
            line.split_whitespace()
                .next()
                .is_some_and(|first| first == name)
        })
    };
    found
        .iter()
        .filter(|(name, _)| !listed(name))
        .map(|(name, reason)| (*name, *reason))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn summaries_are_added_up() {
        let mut counts = Counts::default();
        for line in [
            "running 3 tests",
            "test a ... ok",
            "test result: ok. 3 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s",
            "test result: FAILED. 10 passed; 2 failed; 0 ignored; 0 measured; 7 filtered out; finished in 1.20s",
        ] {
            counts.read(line);
        }
        counts.not_applicable(1);
        assert_eq!(counts.to_string(), "12 passed, 2 failed, 1 ignored, 1 n/a");
    }

    #[test]
    fn a_test_is_not_applicable_only_where_the_list_says_so() {
        let written = "n/a: steal_time: no hypervisor\nn/a: pmu: perf_event_open: ENOENT\n\
                       n/a: steal_time: no hypervisor\n";
        let found = read_not_applicable(written);
        assert_eq!(found.len(), 2);
        assert_eq!(found["pmu"], "perf_event_open: ENOENT");
        assert_eq!(
            not_allowed(&found, "# why\nsteal_time  bare metal\n"),
            [("pmu", "perf_event_open: ENOENT")]
        );
        assert!(not_allowed(&found, "steal_time bare metal\npmu  virtual machines").is_empty());
    }
}
