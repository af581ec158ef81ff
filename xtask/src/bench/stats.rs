//! Numbers of several rounds in, what can be said of them out. Pure.

/// How values are spread.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Spread {
    pub count: usize,
    pub min: f64,
    pub lower_quartile: f64,
    pub median: f64,
    pub upper_quartile: f64,
    pub max: f64,
}

impl Spread {
    /// `None` of nothing.
    pub fn of(values: &[f64]) -> Option<Spread> {
        let mut sorted = values.to_vec();
        sorted.sort_by(f64::total_cmp);
        Some(Spread {
            count: sorted.len(),
            min: *sorted.first()?,
            lower_quartile: quantile(&sorted, 0.25),
            median: quantile(&sorted, 0.5),
            upper_quartile: quantile(&sorted, 0.75),
            max: *sorted.last()?,
        })
    }

    pub fn map(self, f: impl Fn(f64) -> f64) -> Spread {
        Spread {
            count: self.count,
            min: f(self.min),
            lower_quartile: f(self.lower_quartile),
            median: f(self.median),
            upper_quartile: f(self.upper_quartile),
            max: f(self.max),
        }
    }
}

/// Between the two nearest values in proportion (type 7 of Hyndman and Fan, what R and numpy do).
fn quantile(sorted: &[f64], q: f64) -> f64 {
    let place = (sorted.len() - 1) as f64 * q;
    let (below, above) = (place.floor() as usize, place.ceil() as usize);
    sorted[below] + (sorted[above] - sorted[below]) * place.fract()
}

/// What a tool adds to a run between two runs without it: a drift of the machine cancels out.
pub fn added(before: f64, with: f64, after: f64) -> f64 {
    with - f64::midpoint(before, after)
}

/// A part of what the yardstick adds. `None` where that is lost in the noise and divides nothing.
pub fn ratio(added: f64, yardstick: f64) -> Option<f64> {
    (yardstick > 0.0).then(|| added / yardstick)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_spread_is_told_by_five_numbers() {
        let spread = Spread::of(&[4.0, 1.0, 3.0, 2.0]).expect("values");
        assert_eq!((spread.min, spread.max, spread.count), (1.0, 4.0, 4));
        assert_eq!(spread.median, 2.5);
        assert_eq!((spread.lower_quartile, spread.upper_quartile), (1.75, 3.25));
        assert_eq!(Spread::of(&[7.0]).expect("a value").median, 7.0);
        assert_eq!(Spread::of(&[]), None);
    }

    #[test]
    fn a_drift_of_the_machine_cancels_out() {
        assert_eq!(added(10.0, 16.0, 12.0), 5.0);
        assert_eq!(added(10.0, 10.0, 12.0), -1.0);
    }

    #[test]
    fn nothing_is_a_part_of_noise() {
        assert_eq!(ratio(1.0, 4.0), Some(0.25));
        assert_eq!(ratio(-1.0, 4.0), Some(-0.25));
        assert_eq!(ratio(1.0, 0.0), None);
        assert_eq!(ratio(1.0, -4.0), None);
    }
}
