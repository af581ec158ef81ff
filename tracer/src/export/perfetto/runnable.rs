//! How many threads waited for a CPU, over time.
//!
//! In: waits. Out: means over bins, whose sum times their lengths is the sum of the waits.

/// As many as a screen is wide, and none so short that its mean is noise.
const BINS: i64 = 2_000;
const SHORTEST: i64 = 100_000;

#[derive(Debug)]
pub struct Runnable {
    window: i64,
    bin: i64,
    /// Nanoseconds waited in each.
    waited: Vec<i64>,
}

impl Runnable {
    /// Over a window of this many nanoseconds.
    pub fn new(window: i64) -> Runnable {
        let bin = SHORTEST.max(window.div_euclid(BINS) + 1);
        Runnable {
            window,
            bin,
            waited: vec![0; (window / bin + 1) as usize],
        }
    }

    pub fn waited(&mut self, from: i64, to: i64) {
        let to = to.min(self.window);
        let mut from = from.max(0);
        while from < to {
            let bin = from / self.bin;
            let end = to.min((bin + 1).saturating_mul(self.bin));
            self.waited[bin as usize] += end - from;
            from = end;
        }
    }

    /// When each bin begins, and how many threads waited in it on average.
    pub fn means(&self) -> impl Iterator<Item = (i64, f64)> {
        let bins = (0..).map(|n| n * self.bin).zip(&self.waited);
        bins.filter_map(|(from, waited)| {
            let length = self.bin.min(self.window - from);
            (length > 0).then(|| (from, *waited as f64 / length as f64))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn means(runnable: &Runnable) -> Vec<(i64, f64)> {
        runnable.means().collect()
    }

    #[test]
    fn a_wait_counts_in_every_bin_it_crosses() {
        let mut runnable = Runnable::new(250_000);
        runnable.waited(50_000, 150_000);
        runnable.waited(100_000, 250_000);
        runnable.waited(90_000, 90_000);
        assert_eq!(means(&runnable), [(0, 0.5), (100_000, 1.5), (200_000, 1.0)]);
    }

    #[test]
    fn a_long_window_has_no_more_bins_than_a_short_one() {
        let mut runnable = Runnable::new(3_600_000_000_000);
        runnable.waited(0, 3_600_000_000_000);
        let means = means(&runnable);
        assert!(means.len() as i64 <= BINS);
        assert!(means.iter().all(|&(_, mean)| mean == 1.0), "{means:?}");
    }

    #[test]
    fn a_window_of_no_length_has_none() {
        let mut runnable = Runnable::new(0);
        runnable.waited(0, 0);
        assert_eq!(means(&runnable), []);
    }
}
