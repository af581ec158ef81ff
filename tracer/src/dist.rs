//! A distribution of lengths, sparse: a log-linear histogram that holds only what is in use.
//!
//! A dense histogram of this precision takes 8 KiB and more; a thread has three of them and a host
//! ten thousand threads. Most of those switch a handful of times: six different lengths need no memory
//! besides the histogram's own.

use crate::{
    model::{Nanos, Timestamp},
    report::{Dist, DistValues},
};

/// Buckets per power of two, as bits. 32: a bucket is 3.1 % wide, its middle within 1.6 %.
const PRECISION: u32 = 5;

/// Different buckets that are held in place.
const FEW: usize = 6;

#[derive(Clone, Debug, Default)]
pub struct Histogram {
    buckets: Buckets,
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
    /// Sorted by bucket.
    Many(Vec<(u16, u32)>),
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
        self.buckets.count(bucket_of(length.0));
    }

    /// A length cut by an edge of the window: counted, not measured.
    #[inline]
    pub fn clip(&mut self) {
        self.clipped = self.clipped.saturating_add(1);
    }

    /// As shown; `max_at` counts from `start`.
    pub fn summary(&self, start: Timestamp) -> Dist {
        let values = (self.count > 0).then(|| {
            let sorted = self.buckets.sorted();
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
        let mut seen = 0;
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
            Buckets::Few { used, counts } => {
                let in_use = &mut counts[..usize::from(*used).min(FEW)];
                let found = in_use.iter_mut().find(|(other, _)| *other == bucket);
                match found {
                    Some((_, count)) if *count < u16::MAX => *count += 1,
                    None if usize::from(*used) < FEW => {
                        counts[usize::from(*used)] = (bucket, 1);
                        *used += 1;
                    }
                    _ => self.turn_to_many(bucket),
                }
            }
            Buckets::Many(counts) => {
                match counts.binary_search_by_key(&bucket, |&(bucket, _)| bucket) {
                    Ok(place) => counts[place].1 = counts[place].1.saturating_add(1),
                    Err(place) => add_bucket(counts, place, bucket),
                }
            }
        }
    }

    #[cold]
    fn turn_to_many(&mut self, bucket: u16) {
        *self = Buckets::Many(self.sorted());
        self.count(bucket);
    }

    fn sorted(&self) -> Vec<(u16, u32)> {
        match self {
            Buckets::Few { used, counts } => {
                let in_use = counts.iter().take(usize::from(*used));
                let mut sorted: Vec<_> = in_use
                    .map(|&(bucket, count)| (bucket, u32::from(count)))
                    .collect();
                sorted.sort_unstable();
                sorted
            }
            Buckets::Many(counts) => counts.clone(),
        }
    }
}

/// Grows by a half: there are thirty thousand of these, and doubling is meant for one.
#[cold]
fn add_bucket(counts: &mut Vec<(u16, u32)>, place: usize, bucket: u16) {
    if counts.len() == counts.capacity() {
        counts.reserve_exact(counts.len() / 2 + 1);
    }
    counts.insert(place, (bucket, 1));
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
    fn six_lengths_need_no_memory_of_their_own() {
        let mut histogram = Histogram::default();
        for length in [1, 1 << 10, 1 << 20, 1 << 30, 5, 6, 5, 1] {
            histogram.record(Nanos(length), Timestamp(0));
        }
        assert!(matches!(histogram.buckets, Buckets::Few { used: 6, .. }));
        assert!(size_of::<Histogram>() <= 80);
    }

    #[test]
    fn a_count_may_be_larger_than_its_place() {
        let mut histogram = Histogram::default();
        for _ in 0..70_000 {
            histogram.record(Nanos(3), Timestamp(0));
        }
        histogram.record(Nanos(5), Timestamp(0));
        assert_eq!(histogram.buckets.sorted(), [(3, 70_000), (5, 1)]);
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
