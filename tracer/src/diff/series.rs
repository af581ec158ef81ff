//! One quantity of one recording in order of time, its mean, and how well that is known.
//!
//! In: sums and weights by part. Out: means, and how the difference of two of them would have come out in other
//! recordings of the same (a bootstrap). Must not know: what is measured.

use super::chance::{Random, interval_factor, tail};

/// In other recordings the difference lies in the interval in so many of 100.
pub const CONFIDENCE: u32 = 95;
/// The ends of the interval are the 50th of these from either side: known to a tenth of the interval's length.
pub const RESAMPLES: usize = 2_000;
/// Parts are drawn in blocks of neighbours, because a part resembles the next one. So many of them make a recording:
/// fewer say little of chance, shorter ones do not cover how long a disturbance lasts.
const BLOCKS: usize = 20;
/// A block of one part is none.
pub const FEWEST: usize = 2 * BLOCKS;
/// Events that are drawn one by one: fewer say nothing of chance.
pub const FEWEST_EVENTS: usize = 8;
/// More events are parts of several neighbours.
const PARTS: usize = 200;

/// Any number: the same recordings give the same intervals, on every machine.
const SEED: u64 = 0x7472_6163_6572_6466;

/// Parts in order of time. The mean is what they sum up to, by what they weigh together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Series {
    parts: Vec<Part>,
    /// In no part.
    beside: f64,
    /// How many are drawn to make another recording like this; 0: there are too few parts.
    blocks: usize,
}

#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Part {
    sum: f64,
    weight: f64,
}

/// What two recordings differ by, as far as chance goes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Estimate {
    pub low: f64,
    pub high: f64,
    /// How likely a difference like this is between two recordings of the same.
    pub p: f64,
}

impl Series {
    /// Slices of a recording, each with its length, and what has no place in time.
    pub fn of_slices(slices: impl IntoIterator<Item = (f64, f64)>, beside: f64) -> Series {
        let slices = slices.into_iter().map(|(sum, weight)| Part { sum, weight });
        let parts: Vec<Part> = slices.collect();
        Series {
            blocks: if parts.len() < FEWEST { 0 } else { BLOCKS },
            parts,
            beside,
        }
    }

    /// Events, each of the same weight.
    pub fn of_events(events: &[f64]) -> Series {
        let together = events.len().div_ceil(PARTS).max(1);
        let part = |events: &[f64]| Part {
            sum: events.iter().sum(),
            weight: events.len() as f64,
        };
        let parts: Vec<Part> = events.chunks(together).map(part).collect();
        Series {
            blocks: match parts.len() {
                ..FEWEST_EVENTS => 0,
                few @ ..FEWEST => few,
                _ => BLOCKS,
            },
            parts,
            beside: 0.0,
        }
    }

    /// Of which only that is known.
    pub fn of_total(sum: f64, weight: f64) -> Series {
        Series::of_slices([(sum, weight)], 0.0)
    }

    /// `None`: there is nothing to have a mean of.
    pub fn mean(&self) -> Option<f64> {
        self.mean_of(&self.all())
    }

    fn all(&self) -> Part {
        let mut all = Part::default();
        self.parts.iter().for_each(|part| all.add(part));
        all
    }

    fn mean_of(&self, all: &Part) -> Option<f64> {
        (all.weight > 0.0).then(|| (all.sum + self.beside) / all.weight)
    }

    /// Means of other recordings like this: blocks of neighbours, drawn again and again.
    fn resampled(&self, random: &mut Random) -> Vec<f64> {
        let count = self.parts.len();
        let length = count / self.blocks;
        // The last part is followed by the first: else those at the ends would be drawn less.
        let around = (0..count).map(|first| {
            let mut block = Part::default();
            (first..first + length).for_each(|index| block.add(&self.parts[index % count]));
            block
        });
        let blocks: Vec<Part> = around.collect();
        let drawn = |_| {
            let mut all = Part::default();
            for _ in 0..self.blocks {
                all.add(&blocks[random.below(count)]);
            }
            self.mean_of(&all).unwrap_or(0.0)
        };
        (0..RESAMPLES).map(drawn).collect()
    }
}

impl Part {
    fn add(&mut self, other: &Part) {
        self.sum += other.sum;
        self.weight += other.weight;
    }
}

/// `None`: one of them has too few parts to tell.
pub fn estimate(before: &Series, after: &Series) -> Option<Estimate> {
    if before.blocks == 0 || after.blocks == 0 {
        return None;
    }
    let difference = after.mean()? - before.mean()?;
    let mut random = Random::new(SEED);
    let drawn = [before, after].map(|series| series.resampled(&mut random));
    let spreads = [
        Spread::of(&drawn[0], before.blocks),
        Spread::of(&drawn[1], after.blocks),
    ];
    let freedom = freedom(spreads);
    let error = spreads
        .iter()
        .map(|spread| spread.variance)
        .sum::<f64>()
        .sqrt();
    let mut differences: Vec<f64> = drawn[0].iter().zip(&drawn[1]).map(|(b, a)| a - b).collect();
    let raw = variance(&differences).sqrt();
    differences.sort_unstable_by(f64::total_cmp);
    // Few blocks say less of chance than they seem to.
    let wider = if raw > 0.0 {
        interval_factor(freedom) * error / raw
    } else {
        1.0
    };
    let outside = RESAMPLES * (100 - CONFIDENCE as usize) / 200;
    let stretched = |drawn: f64| difference + (drawn - difference) * wider;
    Some(Estimate {
        low: stretched(differences[outside - 1]),
        high: stretched(differences[RESAMPLES - outside]),
        p: match difference.abs() {
            0.0 => 1.0,
            size => tail(size / error, freedom),
        },
    })
}

/// Of a mean, as other recordings have it.
#[derive(Clone, Copy)]
struct Spread {
    variance: f64,
    freedom: f64,
}

impl Spread {
    /// A mean of blocks takes one degree of freedom.
    fn of(drawn: &[f64], blocks: usize) -> Spread {
        let (blocks, freedom) = (blocks as f64, blocks as f64 - 1.0);
        Spread {
            variance: variance(drawn) * blocks / freedom,
            freedom,
        }
    }
}

fn variance(values: &[f64]) -> f64 {
    let count = values.len() as f64;
    let mean = values.iter().sum::<f64>() / count;
    let squares = values.iter().map(|value| (value - mean).powi(2));
    squares.sum::<f64>() / count
}

/// Of the difference of two means that are not equally well known (Welch, Satterthwaite).
fn freedom(spreads: [Spread; 2]) -> f64 {
    let least = spreads[0].freedom.min(spreads[1].freedom);
    let sum: f64 = spreads.iter().map(|spread| spread.variance).sum();
    let parts = spreads.iter();
    let parts: f64 = parts
        .map(|spread| spread.variance.powi(2) / spread.freedom)
        .sum();
    if parts > 0.0 {
        sum.powi(2) / parts
    } else {
        least
    }
}

#[cfg(test)]
#[path = "series_tests.rs"]
mod tests;
