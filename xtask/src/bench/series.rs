//! What tools add by one measure, round by round, and as a ratio to the yardstick of the round. Pure.

use std::collections::BTreeMap;

use super::stats::{Spread, added, ratio};

#[derive(Default)]
pub struct Series {
    /// Without a tool.
    pub base: Vec<f64>,
    /// What nothing adds: base runs compared with the base runs around them. The noise of the figures.
    pub nothing: Added,
    tools: BTreeMap<&'static str, Added>,
}

#[derive(Clone, Default)]
pub struct Added {
    pub ns: Vec<f64>,
    pub ratios: Vec<f64>,
}

/// A run with a tool, and the runs before and after it.
pub struct Between {
    pub tool: &'static str,
    pub before: f64,
    pub with: f64,
    pub after: f64,
}

impl Series {
    /// Adds a round. Ratios are taken inside it.
    pub fn keep(&mut self, yardstick: &str, bases: &[f64], runs: &[Between]) {
        let added_by = |run: &Between| added(run.before, run.with, run.after);
        let yardstick = runs.iter().find(|run| run.tool == yardstick).map(added_by);
        for run in runs {
            let tool = self.tools.entry(run.tool).or_default();
            tool.keep(added_by(run), yardstick);
        }
        for near in bases.windows(3) {
            self.nothing
                .keep(added(near[0], near[1], near[2]), yardstick);
        }
        self.base.extend(bases);
    }

    pub fn of(&self, tool: &str) -> Added {
        self.tools.get(tool).cloned().unwrap_or_default()
    }

    /// What the yardstick adds is more than what nothing seems to add: else ratios are noise divided by noise.
    pub fn resolves(&self, yardstick: &str) -> bool {
        let yardstick = Spread::of(&self.of(yardstick).ns);
        let noise = Spread::of(&self.nothing.ns);
        yardstick.zip(noise).is_some_and(|(yardstick, noise)| {
            yardstick.median > noise.upper_quartile - noise.lower_quartile
        })
    }
}

impl Added {
    fn keep(&mut self, ns: f64, yardstick: Option<f64>) {
        self.ns.push(ns);
        let ratio = yardstick.and_then(|yardstick| ratio(ns, yardstick));
        self.ratios.extend(ratio);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YARDSTICK: &str = "runqlat";

    fn adds(tool: &'static str, ns: f64) -> Between {
        Between {
            tool,
            before: 9.0,
            with: 10.0 + ns,
            after: 11.0,
        }
    }

    #[test]
    fn a_ratio_is_to_the_yardstick_of_the_same_round() {
        let mut series = Series::default();
        series.keep(YARDSTICK, &[], &[adds("a", 1.0), adds(YARDSTICK, 2.0)]);
        series.keep(YARDSTICK, &[], &[adds(YARDSTICK, 4.0), adds("a", 1.0)]);
        // Noise: no ratio, but what was added is told.
        series.keep(YARDSTICK, &[], &[adds("a", 3.0), adds(YARDSTICK, -1.0)]);
        // Without the yardstick, too.
        series.keep(YARDSTICK, &[], &[adds("a", 3.0)]);
        assert_eq!(series.of("a").ratios, [0.5, 0.25]);
        assert_eq!(series.of("a").ns, [1.0, 1.0, 3.0, 3.0]);
        assert_eq!(series.of(YARDSTICK).ratios, [1.0, 1.0]);
        assert!(series.of("b").ns.is_empty());
    }

    #[test]
    fn bases_among_themselves_show_the_noise() {
        let mut series = Series::default();
        let bases = [10.0, 12.0, 10.0, 10.0];
        series.keep(YARDSTICK, &bases, &[adds(YARDSTICK, 4.0)]);
        assert_eq!(series.base, bases);
        assert_eq!(series.nothing.ns, [2.0, -1.0]);
        assert_eq!(series.nothing.ratios, [0.5, -0.25]);
    }

    #[test]
    fn a_yardstick_within_the_noise_measures_nothing() {
        let mut series = Series::default();
        assert!(!series.resolves(YARDSTICK));
        // Noise from -1 to 2: quartiles 1.5 apart.
        series.keep(
            YARDSTICK,
            &[10.0, 12.0, 10.0, 10.0],
            &[adds(YARDSTICK, 1.4)],
        );
        assert!(!series.resolves(YARDSTICK));
        series.keep(YARDSTICK, &[], &[adds(YARDSTICK, 3.0)]);
        assert!(series.resolves(YARDSTICK));
    }
}
