//! A distribution of lengths: a log-linear histogram that holds only the range in use.
//!
//! A dense histogram of this precision takes 4 KiB and more; a thread has three of them and a host
//! ten thousand threads. Most of those switch a handful of times: seven different lengths need no memory
//! besides the histogram's own. Beyond that all powers of two between the shortest and the longest are
//! held, at two bytes a bucket: a search among those in use costs more than all else about a length.

use crate::{
    model::{Nanos, Timestamp},
    report::{Dist, DistValues},
};

/// Buckets per power of two, as bits. 32: a bucket is 3.1 % wide, its middle within 1.6 %.
const PRECISION: u32 = 5;

/// Buckets to a power of two.
const MAGNITUDE: u16 = 1 << PRECISION;

/// Different buckets that are held in place.
const FEW: usize = 7;

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Buckets,
    /// Lengths of zero. Most threads have some, far below all others.
    zeros: u32,
    clipped: u32,
    count: u64,
    sum: Nanos,
    min: Nanos,
    max: Nanos,
    max_at: Timestamp,
}

#[derive(Clone, Debug)]
enum Buckets {
    /// Bucket and count, the used ones first, in no order.
    Few { used: u8, counts: [(u16, u16); FEW] },
    /// All buckets of a range.
    Many { first: u16, counts: Vec<u16> },
    /// The same, once a count is too large for that.
    Large { first: u16, counts: Vec<u32> },
}

/// The place of a bucket in a range.
#[inline]
fn place<N>(first: u16, counts: &mut [N], bucket: u16) -> Option<&mut N> {
    counts.get_mut(usize::from(bucket.wrapping_sub(first)))
}

/// A range of so many buckets, and these of them counted.
fn filled<N: Clone + Default + TryFrom<u32>>(
    first: u16,
    length: u16,
    in_use: &[(u16, u32)],
) -> Vec<N> {
    let mut counts = vec![N::default(); length.into()];
    for &(bucket, count) in in_use {
        if let (Some(place), Ok(count)) = (place(first, &mut counts, bucket), N::try_from(count)) {
            *place = count;
        }
    }
    counts
}

fn in_range<N: Copy + Into<u32>>(first: u16, counts: &[N]) -> Vec<(u16, u32)> {
    let counts = counts.iter().map(|&count| count.into());
    (first..)
        .zip(counts)
        .filter(|(_, count)| *count > 0)
        .collect()
}

impl Default for Buckets {
    fn default() -> Buckets {
        Buckets::Few {
            used: 0,
            counts: [(0, 0); FEW],
        }
    }
}

impl Histogram {
    /// A length that ended at `at`.
    #[inline]
    pub fn record(&mut self, length: Nanos, at: Timestamp) {
        if self.count == 0 || length < self.min {
            self.min = length;
        }
        if self.count == 0 || length > self.max {
            self.max = length;
            self.max_at = at;
        }
        self.count += 1;
        self.sum += length;
        if length == Nanos::ZERO {
            self.zeros = self.zeros.saturating_add(1);
        } else {
            self.buckets.count(bucket_of(length.0));
        }
    }

    /// See [`crate::ledger::Ledger::glance`]. The longest is not far from the next.
    #[inline]
    pub fn glance(&self) -> u64 {
        let held = match &self.buckets {
            Buckets::Many { counts, .. } => {
                counts.get(counts.len() / 2).copied().unwrap_or(0).into()
            }
            Buckets::Few { .. } | Buckets::Large { .. } => 0,
        };
        self.count ^ u64::from(self.clipped) ^ held
    }

    /// A length cut by an edge of the window: counted, not measured.
    #[inline]
    pub fn clip(&mut self) {
        self.clipped = self.clipped.saturating_add(1);
    }

    /// As shown; `max_at` counts from `start`.
    pub fn summary(&self, start: Timestamp) -> Dist {
        let values = (self.count > 0).then(|| {
            let sorted = self.buckets.in_use();
            let quantile = |per_mille| self.quantile(&sorted, per_mille);
            DistValues {
                min: self.min,
                p50: quantile(500),
                p90: quantile(900),
                p99: quantile(990),
                p999: quantile(999),
                max: self.max,
                max_at: self.max_at.since(start),
            }
        });
        Dist {
            count: self.count,
            clipped: self.clipped.into(),
            sum: self.sum,
            values,
        }
    }

    /// The smallest recorded length that at least `per_mille` of all do not exceed, within 1.6 %.
    fn quantile(&self, sorted: &[(u16, u32)], per_mille: u64) -> Nanos {
        let rank = (self.count * per_mille).div_ceil(1000).max(1);
        let mut seen = u64::from(self.zeros);
        if seen >= rank {
            return Nanos::ZERO;
        }
        for &(bucket, count) in sorted {
            seen += u64::from(count);
            if seen >= rank {
                return Nanos(middle_of(bucket)).clamp(self.min, self.max);
            }
        }
        self.max
    }
}

impl Buckets {
    #[inline]
    fn count(&mut self, bucket: u16) {
        match self {
            Buckets::Many { first, counts } => match place(*first, counts, bucket) {
                Some(count) if *count < u16::MAX => *count += 1,
                _ => self.make_room(bucket),
            },
            Buckets::Large { first, counts } => match place(*first, counts, bucket) {
                Some(count) => *count = count.saturating_add(1),
                None => self.make_room(bucket),
            },
            Buckets::Few { used, counts } => {
                let in_use = counts.iter_mut().take((*used).into());
                match in_use.into_iter().find(|(other, _)| *other == bucket) {
                    Some((_, count)) if *count < u16::MAX => *count += 1,
                    None if usize::from(*used) < FEW => {
                        counts[usize::from(*used)] = (bucket, 1);
                        *used += 1;
                    }
                    _ => self.make_room(bucket),
                }
            }
        }
    }

    /// Counts a bucket outside of the range, or one whose count no longer fits.
    #[cold]
    fn make_room(&mut self, bucket: u16) {
        let in_use = self.in_use();
        let buckets = in_use.iter().map(|&(bucket, _)| bucket);
        let low = buckets
            .clone()
            .min()
            .map_or(bucket, |least| least.min(bucket));
        let high = buckets.max().map_or(bucket, |most| most.max(bucket));
        // One more on either side: what is rarer than all so far is mostly a little longer or shorter.
        let first = (low - low % MAGNITUDE).saturating_sub(MAGNITUDE);
        let length = high - high % MAGNITUDE + 2 * MAGNITUDE - first;
        let large = in_use.iter().any(|&(_, count)| count >= u16::MAX.into());
        *self = if large {
            let counts = filled(first, length, &in_use);
            Buckets::Large { first, counts }
        } else {
            let counts = filled(first, length, &in_use);
            Buckets::Many { first, counts }
        };
        self.count(bucket);
    }

    /// Sorted by bucket.
    fn in_use(&self) -> Vec<(u16, u32)> {
        match self {
            Buckets::Few { used, counts } => {
                let in_use = counts.iter().take((*used).into());
                let mut sorted: Vec<(u16, u32)> = in_use
                    .map(|&(bucket, count)| (bucket, count.into()))
                    .collect();
                sorted.sort_unstable();
                sorted
            }
            Buckets::Many { first, counts } => in_range(*first, counts),
            Buckets::Large { first, counts } => in_range(*first, counts),
        }
    }
}

/// Below 2^(PRECISION+1) a bucket is one nanosecond; above, 32 buckets share a power of two.
fn bucket_of(length: u64) -> u16 {
    let magnitude = u64::BITS - (length | 1).leading_zeros();
    let shift = magnitude.saturating_sub(PRECISION + 1);
    // The first bucket of each power of two follows the last of the one before.
    ((u64::from(shift) << PRECISION) + (length >> shift)) as u16
}

fn middle_of(bucket: u16) -> u64 {
    let bucket = u64::from(bucket);
    let shift = (bucket >> PRECISION).saturating_sub(1);
    let low = (bucket - (shift << PRECISION)) << shift;
    low + ((1 << shift) - 1) / 2
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn buckets_rise_without_a_gap() {
        let mut last = 0;
        for length in 0..100_000 {
            let bucket = bucket_of(length);
            assert!(bucket == last || bucket == last + 1, "at {length}");
            last = bucket;
        }
        assert!(bucket_of(u64::MAX) < u16::MAX);
    }

    /// A count of each of many threads: the sizes are part of the promise of memory.
    #[test]
    fn seven_lengths_need_no_memory_of_their_own() {
        let mut histogram = Histogram::default();
        for length in [0, 1, 1 << 10, 1 << 20, 1 << 30, 5, 6, 7, 5, 1, 0] {
            histogram.record(Nanos(length), Timestamp(0));
        }
        assert!(matches!(histogram.buckets, Buckets::Few { used: 7, .. }));
        assert!(size_of::<Histogram>() <= 80);
    }

    #[test]
    fn a_count_may_be_larger_than_its_place() {
        let mut histogram = Histogram::default();
        for length in (0..70_000).map(|n| if n % 1000 == 0 { n } else { 3 }) {
            histogram.record(Nanos(length), Timestamp(0));
        }
        histogram.record(Nanos(1 << 40), Timestamp(0));
        let in_use = histogram.buckets.in_use();
        assert_eq!(in_use.first(), Some(&(3, 69_930)));
        let all: u32 = in_use.iter().map(|&(_, count)| count).sum();
        assert_eq!((histogram.zeros, all), (1, 70_000));
    }

    #[test]
    fn many_counts_that_outgrow_their_places_are_kept() {
        let mut histogram = Histogram::default();
        for length in (0..600_000).map(|n| n % 6 + 1) {
            histogram.record(Nanos(length), Timestamp(0));
        }
        let in_use = histogram.buckets.in_use();
        assert_eq!(in_use, [1, 2, 3, 4, 5, 6].map(|bucket| (bucket, 100_000)));
    }

    #[test]
    fn an_empty_one_has_no_values() {
        let mut histogram = Histogram::default();
        histogram.clip();
        let dist = histogram.summary(Timestamp(0));
        assert_eq!((dist.count, dist.clipped, dist.values), (0, 1, None));
    }

    proptest! {
        #[test]
        fn the_middle_of_a_bucket_is_within_its_promise(length in 0..u64::MAX / 2) {
            let middle = middle_of(bucket_of(length));
            prop_assert!(middle.abs_diff(length) as f64 <= 0.016 * length as f64);
        }

        #[test]
        fn quantiles_agree_with_the_sorted_list(mut lengths in prop::collection::vec(0..50_000_000_u64, 1..400)) {
            let mut histogram = Histogram::default();
            for &length in &lengths {
                histogram.record(Nanos(length), Timestamp(length));
            }
            lengths.sort_unstable();
            let dist = histogram.summary(Timestamp(0));
            let values = dist.values.expect("not empty");
            prop_assert_eq!(dist.sum.0, lengths.iter().sum::<u64>());
            prop_assert_eq!(values.min.0, lengths[0]);
            prop_assert_eq!(values.max.0, lengths[lengths.len() - 1]);
            prop_assert_eq!(values.max_at.0, values.max.0);
            for (per_mille, got) in [(500, values.p50), (900, values.p90), (990, values.p99), (999, values.p999)] {
                let exact = lengths[(lengths.len() * per_mille).div_ceil(1000) - 1];
                prop_assert!(got.0.abs_diff(exact) as f64 <= 0.016 * exact as f64, "p{} {} {}", per_mille, got.0, exact);
            }
        }
    }
}
