//! `docs/KERNELS.md`: what each kernel has and shows, as the runs told. Text in, text out.

use std::collections::BTreeMap;

use anyhow::Context as _;
use serde_json::Value;

use super::packages::numbers;

pub const PLACE: &str = "docs/KERNELS.md";

/// The row that moves with every release of Debian: told, not compared.
const RELEASE: &str = "release";
const TITLE: &str = "kernel";
/// Between the title and the rows.
const RULE: &str = "---";

const INTRO: &str = "# Kernels

What each kernel has of what the tracer uses, as `tracer doctor` finds it there, and the tests that ran on it. Written by
`cargo xtask vm-test --write`, which boots kernels of Debian in QEMU, on two emulated CPUs: the same tests on each, and on
x86-64 the same file that `cargo xtask dist` hands out. Without `--write` a run that finds something else fails.

`yes`: the kernel has it. `no`: it has not, and what is lost is n/a in the report; `tracer doctor` says what that is. `?`: it
cannot be told there. `ok`: all tests passed. `ok, 1 n/a`: so many of them need what the kernel lacks
(`tracer/tests/vm/na.txt` says which, and why).

`-arm64` is asked for by name, as in `cargo xtask vm-test --kernel 7-arm64`: tracer and tests are cross-built for it, and
linked statically. No cost was measured there.

";

/// A kernel: row and cell, in order.
pub struct Column {
    pub series: String,
    pub cells: Vec<(String, String)>,
}

impl Column {
    pub fn new(series: &str, release: &str) -> Column {
        Column {
            series: series.to_owned(),
            cells: vec![(RELEASE.to_owned(), release.to_owned())],
        }
    }

    pub fn add(&mut self, row: &str, cell: &str) {
        self.cells.push((row.to_owned(), cell.to_owned()));
    }

    /// What `tracer doctor --format json` said.
    pub fn add_doctor(&mut self, said: &str) -> anyhow::Result<()> {
        let said: Value = serde_json::from_str(said).context("read what the doctor said")?;
        let rows = said["requirements"].as_array();
        for row in rows.context("find the doctor's list")? {
            let state = match row["state"].as_str() {
                Some("found") => "yes",
                Some("missing") => "no",
                _ => "?",
            };
            self.add(row["name"].as_str().context("read a name")?, state);
        }
        Ok(())
    }
}

#[derive(Default)]
pub struct Table {
    rows: Vec<String>,
    columns: Vec<(String, BTreeMap<String, String>)>,
}

impl Table {
    pub fn parse(text: &str) -> Table {
        let mut table = Table::default();
        for line in text.lines() {
            let Some(line) = line
                .strip_prefix("| ")
                .and_then(|line| line.strip_suffix(" |"))
            else {
                continue;
            };
            let mut cells = line.split(" | ").map(|cell| cell.trim().to_owned());
            let Some(row) = cells.next().filter(|row| row != RULE) else {
                continue;
            };
            if row == TITLE {
                table.columns = cells.map(|series| (series, BTreeMap::new())).collect();
                continue;
            }
            for ((_, column), cell) in table.columns.iter_mut().zip(cells) {
                column.insert(row.clone(), cell);
            }
            table.rows.push(row);
        }
        table
    }

    /// In the place of the column of that series. Oldest first. A new row comes after the one that is before it there.
    pub fn put(&mut self, column: &Column) {
        let mut next = 0;
        for (row, _) in &column.cells {
            let known = self.rows.iter().position(|known| known == row);
            let at = known.unwrap_or(next);
            if known.is_none() {
                self.rows.insert(at, row.clone());
            }
            next = at + 1;
        }
        let cells = column.cells.iter().cloned().collect();
        match self
            .columns
            .iter_mut()
            .find(|(series, _)| *series == column.series)
        {
            Some((_, known)) => *known = cells,
            None => self.columns.push((column.series.clone(), cells)),
        }
        self.columns.sort_by_key(|(series, _)| numbers(series));
    }

    pub fn render(&self) -> String {
        let mut text = INTRO.to_owned();
        let mut line =
            |row: &str, cells: Vec<&str>| text += &format!("| {row} | {} |\n", cells.join(" | "));
        line(
            TITLE,
            self.columns
                .iter()
                .map(|(series, _)| series.as_str())
                .collect(),
        );
        line(RULE, vec![RULE; self.columns.len()]);
        for row in &self.rows {
            let cell = |cells: &'_ BTreeMap<String, String>| {
                cells.get(row).cloned().unwrap_or_else(|| "-".to_owned())
            };
            let cells: Vec<String> = self.columns.iter().map(|(_, cells)| cell(cells)).collect();
            line(row, cells.iter().map(String::as_str).collect());
        }
        text
    }

    /// What a kernel has and shows now that is otherwise here; nothing of a kernel that is not here.
    pub fn differences(&self, column: &Column) -> Vec<String> {
        let Some((_, known)) = self
            .columns
            .iter()
            .find(|(series, _)| *series == column.series)
        else {
            return Vec::new();
        };
        let cells = column.cells.iter().filter(|(row, _)| row != RELEASE);
        cells
            .filter_map(|(row, cell)| {
                let here = known.get(row).map_or("-", String::as_str);
                (here != cell).then(|| format!("{row}: {cell}; {PLACE} says {here}"))
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn column(series: &str, cells: &[(&str, &str)]) -> Column {
        let mut column = Column::new(series, "5.10.223");
        for (row, cell) in cells {
            column.add(row, cell);
        }
        column
    }

    #[test]
    fn what_is_written_is_read_again_and_compared() {
        let mut table = Table::default();
        table.put(&column("5.10", &[("steal time", "no"), ("births", "ok")]));
        table.put(&column(
            "7",
            &[("steal time", "yes"), ("births", "ok"), ("clocks", "?")],
        ));
        let text = table.render();
        assert!(text.contains("| clocks | - | ? |\n"), "{text}");
        table.put(&column("6.1", &[("steal time", "no"), ("memory", "yes")]));
        let in_order = "| steal time | no | no | yes |\n| memory | - | yes | - |\n| births |";
        assert!(table.render().contains(in_order), "{}", table.render());
        let table = Table::parse(&text);
        assert_eq!(table.render(), text);

        let now = |cells| table.differences(&column("7", cells));
        assert_eq!(now(&[("steal time", "yes"), ("births", "ok")]), [""; 0]);
        assert_eq!(
            now(&[("births", "ok, 1 n/a")]),
            ["births: ok, 1 n/a; docs/KERNELS.md says ok"]
        );
        assert_eq!(
            table.differences(&column("6.6", &[("births", "?")])),
            [""; 0]
        );
    }

    #[test]
    fn a_doctor_fills_a_column() {
        let said = r#"{"requirements": [{"name": "steal time", "state": "missing"},
            {"name": "sched_switch", "state": "found"}, {"name": "pmu", "state": "unknown"}]}"#;
        let mut column = Column::new("7", "7.3.4");
        column.add_doctor(said).expect("it is JSON");
        let cells = column
            .cells
            .iter()
            .map(|(row, cell)| format!("{row} {cell}"));
        let cells: Vec<String> = cells.collect();
        assert_eq!(
            cells,
            [
                "release 7.3.4",
                "steal time no",
                "sched_switch yes",
                "pmu ?"
            ]
        );
    }
}
