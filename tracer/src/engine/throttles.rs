//! How long groups were throttled on each CPU: the kernel tells only sums, and only when somebody of the group
//! comes to the CPU.
//!
//! In: these sums. Out: how much of a wait was throttled. Must not know: threads, spans.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::model::{Cpu, Nanos, Timestamp};

/// A group is throttled at the most once a period, and a wait hardly lasts longer than so many.
const KEPT: usize = 64;

#[derive(Debug, Default)]
struct Group {
    sum: Nanos,
    /// Before that, nobody knows.
    known: Timestamp,
    /// By how much the sum had grown when it was seen.
    growth: VecDeque<(Timestamp, Nanos)>,
}

#[derive(Debug, Default)]
pub struct Throttles {
    groups: FxHashMap<(Cpu, u64), Group>,
}

impl Throttles {
    /// The sum of a group on this CPU; `before` is what it was when the same thread was seen there last. Most
    /// groups are never throttled, and cost nothing.
    #[inline]
    pub fn seen(&mut self, cpu: Cpu, group: u64, at: Timestamp, sum: Nanos, before: Option<Nanos>) {
        if sum > Nanos::ZERO {
            self.grown(cpu, group, at, sum, before);
        }
    }

    fn grown(&mut self, cpu: Cpu, group: u64, at: Timestamp, sum: Nanos, before: Option<Nanos>) {
        let group = self.groups.entry((cpu, group)).or_insert_with(|| Group {
            sum: before.unwrap_or(sum),
            known: if before.is_some() { Timestamp(0) } else { at },
            growth: VecDeque::new(),
        });
        let growth = sum - group.sum;
        if growth == Nanos::ZERO {
            return;
        }
        group.sum = sum;
        if group.growth.len() == KEPT {
            group.growth.pop_front();
        }
        group.growth.push_back((at, growth));
    }

    /// Whether no group was ever seen throttled.
    pub fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// How long the group was throttled there since `from`, as far as is known now. What was seen later may have
    /// been before: never more than fits in between. `None`: `from` is before the first sight of the sum.
    pub fn since(&self, cpu: Cpu, group: u64, from: Timestamp) -> Option<Nanos> {
        let Some(group) = self.groups.get(&(cpu, group)) else {
            return Some(Nanos::ZERO);
        };
        if from < group.known {
            return None;
        }
        let mut from = from;
        let mut sum = Nanos::ZERO;
        for &(seen, growth) in &group.growth {
            if seen > from {
                sum += growth.min(seen.since(from));
                from = seen;
            }
        }
        Some(sum)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CPU: Cpu = Cpu(0);
    const MS: u64 = 1_000_000;

    #[test]
    fn what_grew_since_is_what_was_throttled_since() {
        let mut throttles = Throttles::default();
        let mut see = |ms: u64, sum: u64| {
            throttles.seen(
                CPU,
                7,
                Timestamp(ms * MS),
                Nanos(sum * MS),
                Some(Nanos::ZERO),
            );
        };
        see(10, 0);
        see(100, 80);
        see(105, 80);
        see(200, 160);
        let since = |ms| throttles.since(CPU, 7, Timestamp(ms * MS));
        assert_eq!(since(15), Some(Nanos(160 * MS)));
        assert_eq!(since(105), Some(Nanos(80 * MS)));
        assert_eq!(since(150), Some(Nanos(50 * MS)));
        assert_eq!(since(200), Some(Nanos::ZERO));
        let other = |cpu, group| throttles.since(cpu, group, Timestamp(0));
        assert_eq!(other(Cpu(1), 7), Some(Nanos::ZERO));
        assert_eq!(other(CPU, 8), Some(Nanos::ZERO));
    }

    #[test]
    fn what_was_throttled_before_the_first_sight_is_not_counted() {
        let mut throttles = Throttles::default();
        throttles.seen(CPU, 7, Timestamp(MS), Nanos(500 * MS), None);
        throttles.seen(
            CPU,
            7,
            Timestamp(90 * MS),
            Nanos(580 * MS),
            Some(Nanos(500 * MS)),
        );
        assert_eq!(throttles.since(CPU, 7, Timestamp(0)), None);
        assert_eq!(throttles.since(CPU, 7, Timestamp(MS)), Some(Nanos(80 * MS)));
    }
}
