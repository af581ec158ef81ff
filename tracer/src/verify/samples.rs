//! One quantity, measured again and again: where its middle is, how far it reaches, and how well that is known.
//!
//! In: numbers in the order in which they were measured. Out: quantiles, and the interval of the median. Must not
//! know: what is measured.

use crate::diff::chance::Random;

/// In other runs like this the median lies in the interval in so many of 100.
pub const CONFIDENCE: u32 = 95;
/// The ends of the interval are the 25th of these from either side.
pub const RESAMPLES: usize = 1_000;
/// Fewer say nothing of chance.
pub const FEWEST: usize = 8;
/// Samples that follow each other resemble each other: so many of them are drawn together, of as many as there are.
const BLOCKS: usize = 40;
/// A median that is known no better than this is noise.
const NOISY: f64 = 0.10;
/// Any number: the same samples give the same interval, on every machine.
const SEED: u64 = 0x7472_6163_6572_7666;

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples(Vec<f64>);

/// What they say. Quantiles are samples, none is made up.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    pub n: u64,
    pub median: f64,
    pub p99: f64,
    /// `None`: too few samples.
    pub interval: Option<Interval>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Interval {
    pub low: f64,
    pub high: f64,
}

impl Samples {
    pub fn len(&self) -> usize {
        self.0.len()
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn iter(&self) -> impl Iterator<Item = f64> {
        self.0.iter().copied()
    }

    /// Each one less by so much, but never below nothing.
    pub fn less(&self, by: f64) -> Samples {
        self.0.iter().map(|sample| (sample - by).max(0.0)).collect()
    }

    /// Each one divided.
    pub fn by(&self, parts: f64) -> Samples {
        self.0.iter().map(|sample| sample / parts).collect()
    }

    /// `None`: there are none.
    pub fn median(&self) -> Option<f64> {
        quantile(&mut self.0.clone(), 0.5)
    }

    /// By others: each end of the interval by the other end of theirs, which is rather too wide. `None`: there are
    /// none of the ones or of the others.
    pub fn over(&self, others: &Samples) -> Option<Summary> {
        let (ours, theirs) = (self.summary()?, others.summary()?);
        Some(Summary {
            n: ours.n.min(theirs.n),
            median: ours.median / theirs.median,
            p99: ours.p99 / theirs.median,
            interval: ours
                .interval
                .zip(theirs.interval)
                .map(|(ours, theirs)| Interval {
                    low: ours.low / theirs.high,
                    high: ours.high / theirs.low,
                }),
        })
    }

    /// `None`: there are none.
    pub fn summary(&self) -> Option<Summary> {
        let mut sorted = self.0.clone();
        Some(Summary {
            n: self.0.len() as u64,
            median: quantile(&mut sorted, 0.5)?,
            p99: quantile(&mut sorted, 0.99)?,
            interval: self.interval(),
        })
    }

    /// Blocks of neighbours are drawn until there are as many samples again, and the median of those is taken.
    fn interval(&self) -> Option<Interval> {
        let count = self.0.len();
        if count < FEWEST {
            return None;
        }
        let length = count.div_ceil(BLOCKS);
        let mut random = Random::new(SEED);
        let mut drawn = Vec::with_capacity(count + length);
        let mut medians: Vec<f64> = (0..RESAMPLES)
            .filter_map(|_| {
                drawn.clear();
                while drawn.len() < count {
                    let first = random.below(count);
                    drawn.extend((first..first + length).map(|index| self.0[index % count]));
                }
                quantile(&mut drawn, 0.5)
            })
            .collect();
        let tail = f64::from(100 - CONFIDENCE) / 200.0;
        Some(Interval {
            low: quantile(&mut medians, tail)?,
            high: quantile(&mut medians, 1.0 - tail)?,
        })
    }
}

impl FromIterator<f64> for Samples {
    /// What is no number is no sample.
    fn from_iter<I: IntoIterator<Item = f64>>(samples: I) -> Samples {
        Samples(samples.into_iter().filter(|it| it.is_finite()).collect())
    }
}

impl Summary {
    /// The interval is wider than a tenth of the median, or unknown.
    pub fn is_noisy(&self) -> bool {
        self.interval
            .is_none_or(|it| it.high - it.low > NOISY * self.median.abs())
    }

    /// Whether the median is above; `None`: it cannot be told.
    pub fn is_above(&self, limit: f64) -> Option<bool> {
        let [low, high] = self
            .interval
            .map_or([self.median; 2], |it| [it.low, it.high]);
        match (low > limit, high < limit) {
            (true, _) => Some(true),
            (_, true) => Some(false),
            _ => None,
        }
    }
}

impl Interval {
    pub fn contains(self, value: f64) -> bool {
        (self.low..=self.high).contains(&value)
    }
}

/// The smallest sample that so large a part of them does not exceed. Leaves them in another order.
fn quantile(samples: &mut [f64], part: f64) -> Option<f64> {
    let rank = (samples.len() as f64 * part).ceil() as usize;
    let index = rank.clamp(1, samples.len().max(1)) - 1;
    if samples.is_empty() {
        return None;
    }
    Some(*samples.select_nth_unstable_by(index, f64::total_cmp).1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn samples(of: impl IntoIterator<Item = u32>) -> Samples {
        of.into_iter().map(f64::from).collect()
    }

    #[test]
    fn quantiles_are_samples() {
        let summary = samples((1..=100).rev()).summary().expect("samples");
        assert_eq!((summary.n, summary.median, summary.p99), (100, 50.0, 99.0));
        let summary = samples([7]).summary().expect("a sample");
        assert_eq!((summary.median, summary.p99), (7.0, 7.0));
        assert_eq!(summary.interval, None);
        assert!(summary.is_noisy(), "of one sample nothing is known");
        assert_eq!(Samples::default().summary(), None);
    }

    #[test]
    fn what_is_no_number_is_no_sample() {
        let samples: Samples = [1.0, f64::NAN, f64::INFINITY].into_iter().collect();
        assert_eq!(samples.len(), 1);
    }

    #[test]
    fn the_interval_holds_the_median_of_what_was_drawn_from() {
        // As many draws of a known distribution: its median is 500, and 95 of 100 intervals should hold it.
        let mut random = Random::new(1);
        let held = (0..400)
            .filter(|_| {
                let drawn: Samples = (0..200).map(|_| random.below(1_001) as f64).collect();
                let summary = drawn.summary().expect("samples");
                summary.interval.is_some_and(|it| it.contains(500.0))
            })
            .count();
        assert!((360..=396).contains(&held), "{held} of 400");
    }

    #[test]
    fn samples_that_drift_are_known_worse_than_samples_that_do_not() {
        let wide = |samples: Samples| {
            let interval = samples.summary().and_then(|it| it.interval);
            interval.map_or(0.0, |it| it.high - it.low)
        };
        let drifting = wide(samples((0..400).map(|n| n / 100)));
        let mixed = wide(samples((0..400).map(|n| n % 4)));
        assert!(drifting >= mixed, "{drifting} {mixed}");
        assert_eq!(wide(samples([5; 50])), 0.0);
    }

    #[test]
    fn a_ratio_is_known_no_better_than_either_side() {
        let [ones, twos] = [
            samples([90, 100, 110].repeat(10)),
            samples([180, 200, 220].repeat(10)),
        ];
        let ratio = twos.over(&ones).expect("samples");
        let interval = ratio.interval.expect("enough of them");
        assert_eq!((ratio.n, ratio.median), (30, 2.0));
        assert!(interval.low < 2.0 && interval.high > 2.0, "{interval:?}");
        assert_eq!(ratio.is_above(2.0), None);
        assert_eq!(ratio.is_above(interval.low / 2.0), Some(true));
        assert_eq!(ratio.is_above(interval.high * 2.0), Some(false));
        assert_eq!(twos.over(&Samples::default()), None);
    }

    #[test]
    fn noise_is_an_interval_wider_than_a_tenth() {
        assert!(!samples([100; 20]).summary().expect("samples").is_noisy());
        let halves = samples((0..40).map(|n| 100 + 100 * (n % 2)));
        assert!(halves.summary().expect("samples").is_noisy());
    }
}
