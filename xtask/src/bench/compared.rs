//! The outcome of paired rounds, as a table and as JSON.

use serde_json::{Map, Value, json};

use super::findings::{Findings, spread_json};
use super::paired::{Failed, Measure, Outcome, Settings};
use super::series::{Added, Series};
use super::stats::Spread;
use super::table::{NOT_MEASURED, Table, spread};

impl Outcome {
    /// By one measure. `None` where the tool never traced, and where the yardstick is lost in the noise.
    pub fn ratio(&self, series: &Series, tool: &str) -> Option<Spread> {
        Spread::of(&series.of(tool).ratios).filter(|_| series.resolves(self.yardstick))
    }

    pub fn findings(&self, settings: &Settings) -> Findings {
        let measures = || settings.measures.iter().zip(&self.series);
        let mut notes: Vec<String> = measures()
            .map(|(measure, series)| base(measure, series))
            .collect();
        notes.push(format!(
            "{} rounds of {} loops.",
            settings.rounds, self.loops
        ));
        notes.extend(verdicts(self));

        let unclear = measures().filter(|(_, series)| !series.resolves(self.yardstick));
        let unclear: Vec<String> = unclear
            .map(|(measure, series)| noise(measure, series, self.yardstick))
            .collect();
        let failures: Vec<String> = self.failed.values().map(Failed::text).collect();
        let reasons = failures.iter().chain(&unclear);
        notes.extend(reasons.map(|why| format!("{NOT_MEASURED}: {why}")));

        let mut json = Map::new();
        for (measure, series) in measures() {
            json.insert(measure.name.to_owned(), self.json(settings, series));
        }
        json.insert("loops".to_owned(), json!(self.loops));
        json.insert("rounds".to_owned(), json!(settings.rounds));
        json.insert("errors".to_owned(), json!(failures));
        json.insert("verdicts".to_owned(), json!(self.notes));
        Findings {
            table: self.table(settings),
            notes,
            json: Value::Object(json),
            figures: Vec::new(),
            failures,
        }
    }

    fn table(&self, settings: &Settings) -> Table {
        let mut head = vec!["tool".to_owned()];
        for measure in settings.measures {
            head.push(measure.head());
            head.push(format!("ratio to {}", self.yardstick));
        }
        let mut table = Table::new(&head);
        let mut row = |name: &str, figures: &dyn Fn(&Series) -> [Option<Spread>; 2]| {
            let mut cells = vec![name.to_owned()];
            for (measure, series) in settings.measures.iter().zip(&self.series) {
                let [added, ratio] = figures(series);
                cells.extend([spread(measure.told(series, added)), spread(ratio)]);
            }
            table.row(cells);
        };
        row("(nothing: noise)", &|series| {
            let Added { ns, ratios } = &series.nothing;
            let ratio = Spread::of(ratios).filter(|_| series.resolves(self.yardstick));
            [Spread::of(ns), ratio]
        });
        for tool in settings.tools {
            row(tool.name, &|series| {
                let added = Spread::of(&series.of(tool.name).ns);
                [added, self.ratio(series, tool.name)]
            });
        }
        table
    }

    fn json(&self, settings: &Settings, series: &Series) -> Value {
        let tool = |name: &str| {
            let added = series.of(name);
            json!({
                "added_ns": spread_json(Spread::of(&added.ns)),
                "added_ns_by_round": added.ns,
                "ratio": spread_json(self.ratio(series, name)),
            })
        };
        let tools = settings
            .tools
            .iter()
            .map(|each| (each.name.to_owned(), tool(each.name)));
        json!({
            "base_ns": spread_json(Spread::of(&series.base)),
            "noise_ns": spread_json(Spread::of(&series.nothing.ns)),
            "tools": Value::Object(tools.collect()),
        })
    }
}

impl Failed {
    fn text(&self) -> String {
        let first = self.reasons.first().map_or("", String::as_str);
        match self.reasons.len() {
            1 => format!("{first} (one round)"),
            rounds => format!("{first} (this or the like in {rounds} rounds)"),
        }
    }
}

impl Measure {
    fn head(&self) -> String {
        match self.percent_of {
            Some(what) => format!("added, % of {what}"),
            None => format!("added, {}", self.unit),
        }
    }

    /// What is added, as the head says.
    fn told(&self, series: &Series, added: Option<Spread>) -> Option<Spread> {
        let unit_ns = match self.percent_of {
            Some(_) => Spread::of(&series.base)?.median / 100.0,
            None => self.unit_ns,
        };
        added.map(|added| added.map(|ns| ns / unit_ns))
    }
}

fn base(measure: &Measure, series: &Series) -> String {
    let base = Spread::of(&series.base);
    let base = base.map(|base| base.map(|ns| ns / measure.unit_ns));
    format!("Without a tool: {} {}.", spread(base), measure.unit)
}

fn noise(measure: &Measure, series: &Series, yardstick: &str) -> String {
    let added = measure.told(series, Spread::of(&series.of(yardstick).ns));
    let noise = measure.told(series, Spread::of(&series.nothing.ns));
    format!(
        "{}: what {yardstick} adds, {}, cannot be told from noise, {}, so there are no ratios",
        measure.head(),
        spread(added),
        spread(noise)
    )
}

/// A tool that loses events works less: what our reports said of themselves belongs to the figures.
fn verdicts(outcome: &Outcome) -> Option<String> {
    let counted = outcome.notes.iter();
    let counted: Vec<String> = counted
        .map(|(note, count)| format!("{note} {count}x"))
        .collect();
    (!counted.is_empty()).then(|| format!("Verdicts of the reports: {}.", counted.join(", ")))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::bench::pipe::settings;
    use crate::bench::series::Between;
    use crate::bench::tools::{SYSTEM, YARDSTICK};

    fn outcome(yardstick_adds: f64) -> Outcome {
        let mut series = Series::default();
        let run = |tool, added: f64| Between {
            tool,
            before: 2000.0,
            with: 2000.0 + added,
            after: 2000.0,
        };
        let bases = [2000.0, 2010.0, 2000.0, 1990.0, 2000.0];
        let runs = [run(YARDSTICK, yardstick_adds), run(SYSTEM, 200.0)];
        series.keep(YARDSTICK, &bases, &runs);
        let mut failed = Failed::default();
        failed.reasons.push("cpudist: ended".to_owned());
        Outcome {
            loops: 7,
            yardstick: YARDSTICK,
            series: vec![series, Series::default()],
            failed: BTreeMap::from([("cpudist", failed)]),
            notes: BTreeMap::new(),
        }
    }

    #[test]
    fn a_tool_that_failed_has_no_figures() {
        let findings = outcome(400.0).findings(&settings(1, 1, 0));
        let table = findings.table.to_string();
        // The second measure has nothing at all here.
        let row = |name: &str| {
            let line = table
                .lines()
                .find(|line| line.starts_with(&format!("| {name} ")));
            line.map(|line| line.matches(NOT_MEASURED).count())
        };
        assert_eq!(
            (row("cpudist"), row("tracer run")),
            (Some(4), Some(2)),
            "{table}"
        );
        assert!(table.contains("0.500 (0.500 .. 0.500)"), "{table}");
        assert_eq!(findings.failures, ["cpudist: ended (one round)"]);
    }

    #[test]
    fn noise_gives_no_ratio_and_says_so() {
        let outcome = outcome(5.0);
        assert_eq!(outcome.ratio(&outcome.series[0], SYSTEM), None);
        let findings = outcome.findings(&settings(1, 1, 0));
        assert!(findings.notes.iter().any(|note| note.contains("noise")));
    }
}
