//! Numbers for people: three digits and a unit, never wider than seven columns.

use crate::model::Nanos;

/// `850 ns`, `45.2 us`, `1.23 ms`, `12.3 s`, `2m05s`, `3h12m`, `4d07h`.
pub fn duration(nanos: Nanos) -> String {
    const LAST_WITH_DIGITS: u64 = 99_950_000_000;
    let ns = nanos.0;
    match ns {
        0 => "0".into(),
        1..=999 => format!("{ns} ns"),
        // The limits lie where three digits round up into the next unit.
        1_000..999_500 => format!("{} us", three_digits(ns, 1_000)),
        999_500..999_500_000 => format!("{} ms", three_digits(ns, 1_000_000)),
        999_500_000..LAST_WITH_DIGITS => format!("{} s", three_digits(ns, 1_000_000_000)),
        _ => long_duration(ns.saturating_add(500_000_000) / 1_000_000_000),
    }
}

/// A part in the unit and with the digits of its whole, so that the parts add up to what stands before them:
/// `0.5 ms` of `14.2 ms`. `None`: nothing of it is left at these digits.
pub fn part(part: Nanos, whole: Nanos) -> Option<String> {
    let shown = duration(whole);
    let (number, unit) = shown.split_once(' ').unwrap_or((&shown, ""));
    let digits = number.split_once('.').map_or(0, |(_, digits)| digits.len());
    let ns = match unit {
        "ns" => 1e0,
        "us" => 1e3,
        "ms" => 1e6,
        "s" => 1e9,
        // Minutes and more.
        _ => return (part.0 >= 1_000_000_000).then(|| duration(part)),
    };
    let text = format!("{:.digits$} {unit}", part.0 as f64 / ns);
    text.contains(|c: char| ('1'..='9').contains(&c))
        .then_some(text)
}

/// `24.8 ms ± 0.3`: a length and its error in the unit and with the digits of the larger. `None`: no number.
pub fn with_error(ns: f64, error: f64) -> Option<String> {
    let larger = ns.abs().max(error.abs());
    let (unit, name) = match larger {
        _ if !ns.is_finite() || !error.is_finite() => return None,
        l if l < 999.5 => (1.0, "ns"),
        l if l < 999.5e3 => (1e3, "us"),
        l if l < 999.5e6 => (1e6, "ms"),
        _ => (1e9, "s"),
    };
    let digits = match larger / unit {
        l if l < 9.995 => 2,
        l if l < 99.95 => 1,
        _ => 0,
    };
    Some(format!(
        "{:.digits$} {name} ± {:.digits$}",
        ns / unit,
        error / unit
    ))
}

/// As people write it in an option: `5 ms`, `1.5 s`.
pub fn round_duration(nanos: Nanos) -> String {
    let shown = duration(nanos);
    match shown.split_once(' ') {
        Some((number, unit)) if number.contains('.') => {
            let number = number.trim_end_matches('0').trim_end_matches('.');
            format!("{number} {unit}")
        }
        _ => shown,
    }
}

/// In a sentence: `61 %`, `0.4 %`.
pub fn share(part: u64, whole: u64) -> String {
    percent(part, whole).replace('%', " %")
}

/// `950`, `12345`, `123k`, `1.23M`: at most five columns.
pub fn count(count: u64) -> String {
    const UNITS: [(u64, char); 6] = [
        (1_000, 'k'),
        (1_000_000, 'M'),
        (1_000_000_000, 'G'),
        (1_000_000_000_000, 'T'),
        (1_000_000_000_000_000, 'P'),
        (1_000_000_000_000_000_000, 'E'),
    ];
    if count < 100_000 {
        return count.to_string();
    }
    let (unit, letter) = UNITS
        .into_iter()
        .find(|(unit, _)| u128::from(count) < u128::from(*unit) * 9_995 / 10)
        .unwrap_or(UNITS[UNITS.len() - 1]);
    format!("{}{letter}", three_digits(count, unit))
}

/// `17.3 MiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [(u64, &str); 4] = [
        (1, "B"),
        (1 << 10, "KiB"),
        (1 << 20, "MiB"),
        (1 << 30, "GiB"),
    ];
    let (unit, name) = UNITS
        .into_iter()
        .find(|(unit, _)| bytes / unit < 1_000)
        .unwrap_or(UNITS[UNITS.len() - 1]);
    if unit == 1 {
        return format!("{bytes} B");
    }
    format!("{} {name}", three_digits(bytes, unit))
}

/// `0.42%`, `12%`; `-` when there is no whole.
pub fn percent(part: u64, whole: u64) -> String {
    if whole == 0 {
        return "-".into();
    }
    percentage(part as f64 * 100.0 / whole as f64)
}

pub fn percentage(percent: f64) -> String {
    match percent {
        0.0 => "0%".into(),
        // More digits would claim a precision that no cost figure has.
        p if p.abs() < 0.01 => "<0.01%".into(),
        p if p.abs() < 0.995 => format!("{p:.2}%"),
        p if p.abs() < 9.95 => format!("{p:.1}%"),
        p => format!("{p:.0}%"),
    }
}

fn long_duration(seconds: u64) -> String {
    let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
    match hours {
        0 => format!("{minutes}m{:02}s", seconds % 60),
        1..100 => format!("{hours}h{:02}m", minutes % 60),
        _ if days < 1_000 => format!("{days}d{:02}h", hours % 24),
        _ => format!("{days}d"),
    }
}

fn three_digits(value: u64, unit: u64) -> String {
    let scaled = value as f64 / unit as f64;
    match scaled {
        s if s < 9.995 => format!("{s:.2}"),
        s if s < 99.95 => format!("{s:.1}"),
        s => format!("{s:.0}"),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn durations_keep_three_digits() {
        let shown = [
            0,
            1,
            999,
            1_000,
            45_200,
            999_499,
            999_500,
            1_234_567,
            12_345_678,
            999_499_999,
            999_500_000,
            12_345_678_901,
            99_949_999_999,
            99_950_000_000,
            3_599_600_000_000,
            360_000_000_000_000,
            u64::MAX,
        ]
        .map(|ns| duration(Nanos(ns)));
        assert_eq!(
            shown,
            [
                "0", "1 ns", "999 ns", "1.00 us", "45.2 us", "999 us", "1.00 ms", "1.23 ms",
                "12.3 ms", "999 ms", "1.00 s", "12.3 s", "99.9 s", "1m40s", "1h00m", "4d04h",
                "213503d"
            ]
        );
    }

    #[test]
    fn parts_look_like_their_whole() {
        let of = |whole: u64, parts: &[u64]| -> Vec<String> {
            let shown = parts.iter().map(|&ns| part(Nanos(ns), Nanos(whole)));
            shown.map(|text| text.unwrap_or("-".into())).collect()
        };
        assert_eq!(
            of(14_200_000, &[9_100_000, 3_000_000, 50_000, 49_000, 0]),
            ["9.1 ms", "3.0 ms", "0.1 ms", "-", "-"]
        );
        assert_eq!(of(5_000_000, &[4_200_000, 4_000]), ["4.20 ms", "-"]);
        assert_eq!(of(1_500_000_000, &[900_000_000]), ["0.90 s"]);
        assert_eq!(of(850, &[400]), ["400 ns"]);
        assert_eq!(
            of(130_000_000_000, &[99_000_000_000, 1_000_000]),
            ["99.0 s", "-"]
        );
    }

    #[test]
    fn an_error_looks_like_its_value() {
        let shown = [
            (6_100_000.0, 210_000.0),
            (24_800_000.0, 310_000.0),
            (120.0, 4.0),
            // Nothing is known of it.
            (12_000.0, 8_000_000.0),
            (-300_000.0, 400_000.0),
            (f64::NAN, 1.0),
        ]
        .map(|(ns, error)| with_error(ns, error).unwrap_or("-".into()));
        assert_eq!(
            shown,
            [
                "6.10 ms ± 0.21",
                "24.8 ms ± 0.3",
                "120 ns ± 4",
                "0.01 ms ± 8.00",
                "-300 us ± 400",
                "-"
            ]
        );
    }

    #[test]
    fn round_durations_lose_their_zeros() {
        let shown = [5_000_000, 1_500_000_000, 10_000_000, 120_000_000_000, 250]
            .map(|ns| round_duration(Nanos(ns)));
        assert_eq!(shown, ["5 ms", "1.5 s", "10 ms", "2m00s", "250 ns"]);
        assert_eq!(share(61, 100), "61 %");
    }

    #[test]
    fn counts_are_exact_while_they_fit() {
        let shown = [
            0,
            99_999,
            100_000,
            999_499,
            999_500,
            1_234_567,
            999_600_000,
            u64::MAX,
        ]
        .map(count);
        assert_eq!(
            shown,
            [
                "0", "99999", "100k", "999k", "1.00M", "1.23M", "1.00G", "18.4E"
            ]
        );
    }

    #[test]
    fn bytes_use_binary_units() {
        assert_eq!(
            [0, 999, 1_000, 18_140_000, 5 << 40].map(bytes),
            ["0 B", "999 B", "0.98 KiB", "17.3 MiB", "5120 GiB"]
        );
    }

    #[test]
    fn percentages_do_not_claim_more_than_is_known() {
        assert_eq!(percent(1, 0), "-");
        assert_eq!(
            [0.0, 0.004, 0.42, 1.25, 12.3, 100.0].map(percentage),
            ["0%", "<0.01%", "0.42%", "1.2%", "12%", "100%"]
        );
    }

    proptest! {
        #[test]
        fn every_number_fits_its_column(value: u64) {
            prop_assert!(duration(Nanos(value)).len() <= 7);
            prop_assert!(count(value).len() <= 5);
        }
    }
}
