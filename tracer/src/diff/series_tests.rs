//! Intervals hold the truth as often as they say. All draws are the same every time.

use super::*;

/// From 0 to 1.
fn uniform(random: &mut Random) -> f64 {
    (random.next() >> 11) as f64 / (1_u64 << 53) as f64
}

/// Around 0, of variance 1: what twelve dice come to.
fn bell(random: &mut Random) -> f64 {
    (0..12).map(|_| uniform(random)).sum::<f64>() - 6.0
}

/// Slices of a load around 100; each resembles the one before by so much.
fn load(random: &mut Random, slices: usize, like_before: f64) -> Series {
    let mut now = bell(random);
    let parts = (0..slices).map(|_| {
        let fresh = (1.0 - like_before * like_before).sqrt();
        now = like_before * now + fresh * bell(random);
        (100.0 + 30.0 * now, 1.0)
    });
    let parts: Vec<_> = parts.collect();
    Series::of_slices(parts, 0.0)
}

/// Many times two recordings of the same: how often the interval holds the difference of nothing, of 1,000.
fn coverage(mut draw: impl FnMut(&mut Random) -> Series) -> usize {
    let mut random = Random::new(7);
    let held = (0..1_000).filter(|_| {
        let found = estimate(&draw(&mut random), &draw(&mut random)).expect("enough parts");
        found.low <= 0.0 && 0.0 <= found.high
    });
    held.count()
}

#[test]
fn intervals_hold_the_truth_as_often_as_they_say() {
    for (slices, like_before, expected) in [
        (200, 0.0, 930..=970),
        (200, 0.5, 920..=970),
        (200, 0.8, 880..=960),
        (40, 0.0, 930..=980),
    ] {
        let held = coverage(|random| load(random, slices, like_before));
        assert!(
            expected.contains(&held),
            "{slices} slices, {like_before}: {held} of 1000"
        );
    }
}

#[test]
fn bursts_of_nothing_most_of_the_time_are_held_too() {
    // One slice of ten, ten times the mean.
    let held = coverage(|random| {
        let parts: Vec<_> = (0..200)
            .map(|_| (if uniform(random) < 0.1 { 1_000.0 } else { 0.0 }, 1.0))
            .collect();
        Series::of_slices(parts, 0.0)
    });
    assert!((920..=975).contains(&held), "{held} of 1000");
}

#[test]
fn events_are_drawn_one_by_one_or_in_batches() {
    for events in [8, 25, 200, 5_000] {
        let held = coverage(|random| {
            let events: Vec<f64> = (0..events).map(|_| 100.0 + 30.0 * bell(random)).collect();
            Series::of_events(&events)
        });
        assert!(
            (915..=980).contains(&held),
            "{events} events: {held} of 1000"
        );
    }
    let few = Series::of_events(&[1.0; FEWEST_EVENTS - 1]);
    assert_eq!(few.mean(), Some(1.0));
    assert_eq!(estimate(&few, &few), None);
}

#[test]
fn a_difference_is_found_with_its_sign() {
    let mut random = Random::new(3);
    let before = load(&mut random, 200, 0.5);
    let mut after = load(&mut random, 200, 0.5);
    after.parts.iter_mut().for_each(|part| part.sum += 30.0);
    let found = estimate(&before, &after).expect("enough slices");
    assert!(found.low < 30.0 && 30.0 < found.high, "{found:?}");
    assert!(found.low > 0.0 && found.p < 1e-3, "{found:?}");
    let back = estimate(&after, &before).expect("enough slices");
    assert!(back.high < 0.0 && back.p < 1e-3, "{back:?}");
}

#[test]
fn against_itself_nothing_is_likely() {
    let series = load(&mut Random::new(5), 200, 0.5);
    let found = estimate(&series, &series).expect("enough slices");
    assert_eq!(found.p, 1.0);
    assert!(found.low < 0.0 && found.high > 0.0, "{found:?}");
}

#[test]
fn what_never_varies_is_certain() {
    let of = |sum| Series::of_slices((0..100).map(|_| (sum, 1.0)), 0.0);
    let found = estimate(&of(1.0), &of(2.0)).expect("enough slices");
    assert_eq!((found.low, found.high, found.p), (1.0, 1.0, 0.0));
}

#[test]
fn the_mean_is_of_all_there_is() {
    let series = Series::of_slices([(3.0, 0.5), (5.0, 1.5)], 2.0);
    assert_eq!(series.mean(), Some(5.0));
    assert_eq!(Series::of_slices([], 0.0).mean(), None);
    assert_eq!(estimate(&series, &series), None);
}
