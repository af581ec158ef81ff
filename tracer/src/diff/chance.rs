//! What chance alone can do.
//!
//! In: how large a difference is by its error, how many are looked at. Out: how likely that is, and which are more
//! than chance. Draws numbers that are the same on every machine. Must not know: what is compared.

use std::f64::consts::SQRT_2;

/// Of a hundred differences that are reported, so many are chance.
pub const FALSE_DISCOVERIES: f64 = 0.05;

/// A normal variable lies within so many standard deviations in 95 of 100 cases.
const NORMAL_95: f64 = 1.959_964;

/// SplitMix64 (Steele, Lea, Flood 2014): short, and good enough to draw blocks.
pub struct Random(u64);

impl Random {
    pub fn new(seed: u64) -> Random {
        Random(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Less than `limit`, which is far below 2^32: no number is preferred by what can be noticed.
    pub fn below(&mut self, limit: usize) -> usize {
        ((u128::from(self.next()) * limit as u128) >> 64) as usize
    }
}

/// How likely Student's t is at least this far from zero, on either side. Within a few per cent (Wallace 1959).
pub fn tail(t: f64, freedom: f64) -> f64 {
    let z = (8.0 * freedom + 1.0) / (8.0 * freedom + 3.0)
        * (freedom * (t * t / freedom).ln_1p()).sqrt();
    // Of a t that is no number nothing can be said.
    if z.is_nan() { 1.0 } else { erfc(z / SQRT_2) }
}

/// By how much 95 % of Student's t reach further than 95 % of a normal variable: the same formula backwards.
pub fn interval_factor(freedom: f64) -> f64 {
    let z = NORMAL_95 * (8.0 * freedom + 3.0) / (8.0 * freedom + 1.0);
    (freedom * (z * z / freedom).exp_m1()).sqrt() / NORMAL_95
}

/// The complementary error function of a number that is not negative, within 1.2e-7 of its value (Numerical Recipes in
/// C, 6.2, `erfcc`).
fn erfc(x: f64) -> f64 {
    const POWERS: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let t = 1.0 / (1.0 + 0.5 * x);
    let series = POWERS.iter().rev().fold(0.0, |sum, power| sum * t + power);
    t * (series - x * x).exp()
}

/// Which of these are more than chance, where so many are looked at (Benjamini, Hochberg 1995): the largest
/// probability that is still small enough for its place.
pub fn largest_discovery(probabilities: &[f64]) -> Option<f64> {
    let mut sorted = probabilities.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let share = FALSE_DISCOVERIES / sorted.len() as f64;
    let ranked = sorted.iter().zip(1_u32..);
    let small = ranked.filter(|(p, rank)| **p <= share * f64::from(*rank));
    small.map(|(p, _)| *p).last()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[track_caller]
    fn assert_near(value: f64, expected: f64, within: f64) {
        assert!(
            (value / expected - 1.0).abs() < within,
            "{value}, not {expected}"
        );
    }

    #[test]
    fn tails_are_those_of_the_tables() {
        // Two-sided quantiles of Student's t.
        for (t, freedom, p) in [
            (2.093, 19.0, 0.05),
            (2.861, 19.0, 0.01),
            (3.883, 19.0, 0.001),
            (2.024, 38.0, 0.05),
            (3.566, 38.0, 0.001),
        ] {
            assert_near(tail(t, freedom), p, 0.03);
        }
        assert_eq!(tail(f64::NAN, 19.0), 1.0);
        assert_eq!(tail(f64::INFINITY, 19.0), 0.0);
        assert_near(interval_factor(19.0), 2.093 / NORMAL_95, 0.005);
        assert_near(interval_factor(38.0), 2.024 / NORMAL_95, 0.005);
        assert_near(erfc(1.0), 0.157_299_2, 1e-6);
        assert_near(erfc(4.0), 1.541_726e-8, 1e-6);
    }

    #[test]
    fn the_more_are_looked_at_the_smaller_one_must_be() {
        assert_eq!(largest_discovery(&[0.04]), Some(0.04));
        assert_eq!(largest_discovery(&[0.04, 0.9]), None);
        assert_eq!(largest_discovery(&[0.9, 0.02]), Some(0.02));
        // The second is allowed twice as much, and takes the first along.
        assert_eq!(largest_discovery(&[0.04, 0.05]), Some(0.05));
        assert_eq!(largest_discovery(&[]), None);
    }

    #[test]
    fn draws_are_even() {
        let mut random = Random::new(1);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[random.below(7)] += 1;
        }
        assert!(
            counts.iter().all(|count| (9_600..10_400).contains(count)),
            "{counts:?}"
        );
    }
}
