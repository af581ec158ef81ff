//! What tracing may cost at most (the budgets of the design), held against what was measured. Pure.

use serde_json::{Value, json};

use super::findings::Figure;
use super::table::{NOT_MEASURED, Table, number};

struct Budget {
    what: &'static str,
    /// Whose task it is to measure it.
    section: &'static str,
    figure: Figure,
    limit: Limit,
}

#[derive(Clone, Copy)]
enum Limit {
    AtMost(f64),
    AtLeast(f64),
}

use Limit::{AtLeast, AtMost};

const BUDGETS: [Budget; 10] = [
    Budget {
        what: "whole system, part of what runqlat adds to a pipe round trip",
        section: "pipe",
        figure: Figure::SystemRatio,
        limit: AtMost(0.5),
    },
    Budget {
        what: "--pid of another process, part of what runqlat adds",
        section: "pipe",
        figure: Figure::UnrelatedRatio,
        limit: AtMost(0.15),
    },
    Budget {
        what: "lost or missed under overload",
        section: "loss",
        figure: Figure::Lost,
        limit: AtMost(0.0),
    },
    Budget {
        what: "core on one CPU, million events/s",
        section: "core",
        figure: Figure::CoreMillionsPerSecond,
        limit: AtLeast(10.0),
    },
    Budget {
        what: "start to first event, ms",
        section: "start",
        figure: Figure::StartMs,
        limit: AtMost(250.0),
    },
    Budget {
        what: "peak memory at 10,000 threads, MiB",
        section: "collector",
        figure: Figure::MemoryMib,
        limit: AtMost(64.0),
    },
    Budget {
        what: "recording, bytes a switch of a pipe",
        section: "recordings",
        figure: Figure::PipeBytes,
        limit: AtMost(8.0),
    },
    Budget {
        what: "recording, bytes a switch of 800 processes",
        section: "recordings",
        figure: Figure::MessagingBytes,
        limit: AtMost(16.0),
    },
    Budget {
        what: "report of a recording on one CPU, million switches/s",
        section: "recordings",
        figure: Figure::ReportMillionsPerSecond,
        limit: AtLeast(5.0),
    },
    Budget {
        what: "the same, times what perf sched timehist does",
        section: "recordings",
        figure: Figure::ReportRatio,
        limit: AtLeast(5.0),
    },
];

pub struct Verdict {
    what: &'static str,
    limit: Limit,
    /// `None` when its section failed.
    measured: Option<f64>,
}

/// Budgets of the sections that ran.
pub fn judge(ran: &[&str], figures: &[(Figure, f64)]) -> Vec<Verdict> {
    let asked = BUDGETS
        .iter()
        .filter(|budget| ran.contains(&budget.section));
    let verdict = |budget: &Budget| Verdict {
        what: budget.what,
        limit: budget.limit,
        measured: figures
            .iter()
            .find(|(figure, _)| *figure == budget.figure)
            .map(|&(_, value)| value),
    };
    asked.map(verdict).collect()
}

impl Limit {
    fn holds(self, value: f64) -> bool {
        match self {
            AtMost(limit) => value <= limit,
            AtLeast(limit) => value >= limit,
        }
    }

    fn text(self) -> String {
        match self {
            AtMost(limit) => format!("<= {}", number(limit)),
            AtLeast(limit) => format!(">= {}", number(limit)),
        }
    }
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self.measured {
            Some(value) if self.limit.holds(value) => "met",
            Some(_) => "MISSED",
            None => NOT_MEASURED,
        }
    }

    pub fn is_missed(&self) -> bool {
        self.measured.is_some_and(|value| !self.limit.holds(value))
    }

    pub fn is_open(&self) -> bool {
        self.measured.is_none()
    }

    pub fn json(&self) -> Value {
        let (at_most, at_least) = match self.limit {
            AtMost(limit) => (Some(limit), None),
            AtLeast(limit) => (None, Some(limit)),
        };
        json!({
            "what": self.what,
            "at_most": at_most,
            "at_least": at_least,
            "measured": self.measured,
            "met": self.measured.map(|value| self.limit.holds(value)),
        })
    }
}

pub fn table(verdicts: &[Verdict]) -> Table {
    let mut table = Table::new(&["budget", "limit", "measured", "verdict"]);
    for verdict in verdicts {
        let measured = verdict
            .measured
            .map_or_else(|| NOT_MEASURED.to_owned(), number);
        table.row([
            verdict.what.to_owned(),
            verdict.limit.text(),
            measured,
            verdict.word().to_owned(),
        ]);
    }
    table
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_is_met_missed_or_not_measured() {
        let figures = [
            (Figure::SystemRatio, 0.5),
            (Figure::UnrelatedRatio, 0.2),
            (Figure::Lost, 0.0),
        ];
        let verdicts = judge(&["pipe", "loss", "start"], &figures);
        let words: Vec<&str> = verdicts.iter().map(Verdict::word).collect();
        assert_eq!(words, ["met", "MISSED", "met", "n/a"]);
        assert_eq!(
            verdicts
                .iter()
                .filter(|verdict| verdict.is_missed())
                .count(),
            1
        );
        assert!(verdicts[3].is_open());
        assert_eq!(verdicts[3].json()["met"], Value::Null);
    }

    #[test]
    fn a_rate_must_be_at_least_that() {
        let slow = judge(&["core"], &[(Figure::CoreMillionsPerSecond, 9.9)]);
        let fast = judge(&["core"], &[(Figure::CoreMillionsPerSecond, 10.0)]);
        assert_eq!((slow[0].word(), fast[0].word()), ("MISSED", "met"));
    }

    #[test]
    fn every_budget_names_a_section() {
        for budget in &BUDGETS {
            let known = crate::bench::SECTIONS
                .iter()
                .any(|section| section.name == budget.section);
            assert!(known, "{}", budget.what);
        }
    }
}
