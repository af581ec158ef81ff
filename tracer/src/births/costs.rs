//! What all births of one kind by creators of one name took.
//!
//! In: stalls, first runs, what was resident. Out: distributions, and how the stall grows with memory.

use rustc_hash::FxHashMap;

use crate::{
    dist::Histogram,
    model::{BirthKind, Comm, Nanos, Timestamp},
    report::{Dist, ForkCost, PerGib},
};

/// Names that are told apart; the others share one.
const NAMES: usize = 1_000;

#[derive(Debug, Default)]
pub struct Costs {
    by_name: FxHashMap<(BirthKind, Comm), Cost>,
}

#[derive(Debug, Default)]
pub struct Cost {
    pub count: u64,
    pub first_run: Histogram,
    syscall: Histogram,
    line: Line,
}

impl Cost {
    /// The creator stood still, with so much resident; `None`: none of it was copied, or it is not known.
    pub fn stalled(&mut self, stall: Nanos, at: Timestamp, resident: Option<u64>) {
        self.syscall.record(stall, at);
        if let Some(bytes) = resident {
            self.line.add(bytes as f64 / GIB, stall.0 as f64);
        }
    }
}

impl Costs {
    pub fn of(&mut self, kind: BirthKind, comm: Comm) -> &mut Cost {
        let mut key = (kind, comm);
        if self.by_name.len() >= NAMES && !self.by_name.contains_key(&key) {
            key.1 = Comm::default();
        }
        self.by_name.entry(key).or_default()
    }

    /// Most time first.
    pub fn report(&self, from: Timestamp, calls: bool) -> Vec<ForkCost> {
        let known = |dist: Dist| (dist.count > 0).then_some(dist);
        let mut rows: Vec<ForkCost> = self
            .by_name
            .iter()
            .map(|(&(kind, comm), cost)| ForkCost {
                kind,
                comm,
                count: cost.count,
                syscall: known(cost.syscall.summary(from)).filter(|_| calls),
                first_run: known(cost.first_run.summary(from)),
                per_gib: cost.line.slope(),
            })
            .collect();
        let time = |dist: Option<Dist>| dist.map(|dist| dist.sum);
        rows.sort_by_key(|row| {
            let order = (time(row.syscall), time(row.first_run), row.count);
            (std::cmp::Reverse(order), row.kind, row.comm.0)
        });
        rows
    }
}

const GIB: f64 = (1u64 << 30) as f64;
/// A slope needs so many points ...
const POINTS: f64 = 8.0;
/// ... that differ by so much: the kernel's figures may be off by a good part of a MiB.
const SPREAD: f64 = (32u64 << 20) as f64 / GIB;

/// Least squares, one point after another (Welford).
#[derive(Clone, Copy, Debug, Default)]
struct Line {
    n: f64,
    mean_x: f64,
    mean_y: f64,
    xx: f64,
    xy: f64,
    yy: f64,
    least: f64,
    most: f64,
}

impl Line {
    fn add(&mut self, x: f64, y: f64) {
        if self.n == 0.0 {
            (self.least, self.most) = (x, x);
        }
        self.n += 1.0;
        let (dx, dy) = (x - self.mean_x, y - self.mean_y);
        self.mean_x += dx / self.n;
        self.mean_y += dy / self.n;
        self.xx += dx * (x - self.mean_x);
        self.yy += dy * (y - self.mean_y);
        self.xy += dx * (y - self.mean_y);
        self.least = self.least.min(x);
        self.most = self.most.max(x);
    }

    /// With its standard error.
    fn slope(&self) -> Option<PerGib> {
        if self.n < POINTS || self.most - self.least < SPREAD {
            return None;
        }
        let ns = self.xy / self.xx;
        let left = (self.yy - ns * self.xy).max(0.0);
        let error = (left / (self.n - 2.0) / self.xx).sqrt();
        Some(PerGib { ns, error })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found_with_its_error() {
        let mut line = Line::default();
        let mut noise = [3.0, -3.0].into_iter().cycle();
        for step in 0..40 {
            let gib = f64::from(step) / 10.0;
            line.add(
                gib,
                50_000.0 + 2_000_000.0 * gib + noise.next().unwrap_or(0.0),
            );
        }
        let found = line.slope().expect("forty points over four GiB");
        assert!((found.ns - 2_000_000.0).abs() < 2.0, "{found:?}");
        // By hand: residuals of 3 ns, sum of squares of x 53.3.
        assert!(found.error > 0.3 && found.error < 0.6, "{found:?}");
    }

    #[test]
    fn too_few_points_and_points_of_one_size_are_no_line() {
        let mut line = Line::default();
        for step in 0..7 {
            line.add(f64::from(step), 1.0);
        }
        assert_eq!(line.slope(), None);
        let mut line = Line::default();
        for step in 0..1_000 {
            line.add(1.0 + f64::from(step % 2) / 1_024.0, f64::from(step));
        }
        assert_eq!(line.slope(), None);
    }

    #[test]
    fn names_beyond_a_number_share_one() {
        let mut costs = Costs::default();
        for number in 0..2 * NAMES {
            let name = Comm::from(number.to_string().as_str());
            costs.of(BirthKind::Fork, name).count += 1;
        }
        let rows = costs.report(Timestamp(0), true);
        assert_eq!(rows.len(), NAMES + 1);
        let rest = rows.iter().find(|row| row.comm == Comm::default());
        assert_eq!(rest.map(|row| row.count), Some(NAMES as u64));
        assert_eq!(
            rows.iter().map(|row| row.count).sum::<u64>(),
            2 * NAMES as u64
        );
    }
}
