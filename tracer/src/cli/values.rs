//! Durations, sizes, identities and patterns as people write them. Every refusal says what is accepted.

use std::ops::RangeInclusive;
use std::time::Duration;

use regex::bytes::Regex;

const DURATION_UNITS: &[(&str, u64)] = &[
    ("ns", 1),
    ("us", 1_000),
    ("µs", 1_000),
    ("ms", 1_000_000),
    ("s", 1_000_000_000),
    ("m", 60_000_000_000),
    ("h", 3_600_000_000_000),
];
/// A year: far from any overflow of nanosecond arithmetic, longer than anybody traces.
const LONGEST: u64 = 8_760 * 3_600_000_000_000;

const SIZE_UNITS: &[(&str, u64)] = &[
    ("", 1),
    ("B", 1),
    ("K", 1 << 10),
    ("KiB", 1 << 10),
    ("M", 1 << 20),
    ("MiB", 1 << 20),
    ("G", 1 << 30),
    ("GiB", 1 << 30),
];
/// From a page to what the kernel's ring buffer and our own limits allow.
const BUFFER: RangeInclusive<u64> = 4 << 10..=1 << 30;
const FLIGHT: RangeInclusive<u64> = 1 << 20..=64 << 30;
const MEMORY: RangeInclusive<u64> = 1..=64 << 30;

/// The kernel's largest possible pid (`PID_MAX_LIMIT` on 64-bit machines).
const LARGEST_PID: u32 = 4 << 20;

pub fn duration(text: &str) -> Result<Duration, String> {
    let ns = scaled(text, DURATION_UNITS)
        .ok_or("expected a whole number above 0 with a unit, such as 250us, 5ms, 2s, 1m (ns, us, ms, s, m, h)")?;
    match ns {
        0 => Err("expected more than 0".to_owned()),
        1..=LONGEST => Ok(Duration::from_nanos(ns)),
        _ => Err("expected at most a year (8760h)".to_owned()),
    }
}

/// Intermediate reports: below this, drawing them would be the load.
pub fn interval(text: &str) -> Result<Duration, String> {
    let interval = duration(text)?;
    if interval < Duration::from_millis(10) {
        Err("expected at least 10ms".to_owned())
    } else {
        Ok(interval)
    }
}

/// A share of the machine.
pub fn percent(text: &str) -> Result<f64, String> {
    let number = text.strip_suffix('%').unwrap_or(text);
    match number.parse() {
        Ok(percent) if percent > 0.0 && percent <= 100.0 => Ok(percent),
        _ => Err(
            "expected a share of the machine in per cent, above 0 and up to 100, such as 0.5"
                .to_owned(),
        ),
    }
}

pub fn buffer(text: &str) -> Result<u64, String> {
    size(text, BUFFER, "expected 4KiB to 1GiB")
}

/// Of memory that a pattern uses.
pub fn memory(text: &str) -> Result<u64, String> {
    size(text, MEMORY, "expected 1B to 64GiB")
}

/// Of a recording that is kept in memory.
pub fn flight(text: &str) -> Result<u64, String> {
    size(text, FLIGHT, "expected 1MiB to 64GiB")
}

fn size(text: &str, accepted: RangeInclusive<u64>, else_say: &str) -> Result<u64, String> {
    let bytes = scaled(text, SIZE_UNITS).ok_or(
        "expected a whole number of bytes, or with a unit, such as 64KiB, 64MiB (B, KiB, MiB, GiB)",
    )?;
    if accepted.contains(&bytes) {
        Ok(bytes)
    } else {
        Err(else_say.to_owned())
    }
}

pub fn pid(text: &str) -> Result<u32, String> {
    let accepted = || format!("expected a number from 1 to {LARGEST_PID}");
    match digits(text).and_then(|text| text.parse().ok()) {
        Some(pid @ 1..=LARGEST_PID) => Ok(pid),
        _ => Err(accepted()),
    }
}

pub fn regex(text: &str) -> Result<Regex, String> {
    Regex::new(text).map_err(|error| match error {
        // The parser draws the place over several lines; its last line is the reason.
        regex::Error::Syntax(drawing) => {
            let reason = drawing.lines().last().unwrap_or_default();
            format!(
                "not a regular expression: {}",
                reason.trim_start_matches("error: ")
            )
        }
        other => format!("not usable as a regular expression: {other}"),
    })
}

/// `None`: not digits and a known unit. What does not fit saturates, for the caller to refuse as too large.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let unit_at = text
        .find(|character: char| !character.is_ascii_digit())
        .unwrap_or(text.len());
    let (number, unit) = text.split_at(unit_at);
    let &(_, factor) = units.iter().find(|(name, _)| *name == unit)?;
    let number = digits(number)?.parse::<u64>().unwrap_or(u64::MAX);
    Some(number.saturating_mul(factor))
}

/// `parse` alone would accept a leading `+`.
fn digits(text: &str) -> Option<&str> {
    (!text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit())).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_have_a_unit() {
        assert_eq!(duration("250us"), Ok(Duration::from_micros(250)));
        assert_eq!(duration("5ms"), Ok(Duration::from_millis(5)));
        assert_eq!(duration("2s"), Ok(Duration::from_secs(2)));
        assert_eq!(duration("1m"), Ok(Duration::from_secs(60)));
        assert_eq!(duration("8760h"), Ok(Duration::from_secs(31_536_000)));
        for wrong in [
            "", "s", "5", "0s", "-1s", "+1s", "1.5s", "1 s", "1S", "1d", "8761h", "１s", "1s ",
            "\u{1b}s",
        ] {
            assert!(duration(wrong).is_err(), "{wrong:?}");
        }
        assert!(duration(&format!("{}h", u64::MAX)).is_err());
        assert!(duration(&"9".repeat(1000)).is_err());
        assert!(duration(&format!("{}s", "9".repeat(1000))).is_err());
    }

    #[test]
    fn intervals_are_not_too_short() {
        assert!(interval("9999us").is_err());
        assert_eq!(interval("10ms"), Ok(Duration::from_millis(10)));
    }

    #[test]
    fn sizes_are_binary() {
        assert_eq!(buffer("65536"), Ok(65_536));
        assert_eq!(buffer("64KiB"), Ok(65_536));
        assert_eq!(buffer("64K"), Ok(65_536));
        assert_eq!(buffer("64MiB"), Ok(64 << 20));
        assert_eq!(buffer("1G"), Ok(1 << 30));
        for wrong in [
            "",
            "KiB",
            "-1",
            "4095",
            "2GiB",
            "1kB",
            "1.5MiB",
            "99999999999999999999G",
        ] {
            assert!(buffer(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn pids_are_in_range() {
        assert_eq!(pid("1"), Ok(1));
        assert_eq!(pid("4194304"), Ok(4_194_304));
        for wrong in ["", "0", "+1", "4194305", "99999999999", "1x"] {
            assert!(pid(wrong).is_err(), "{wrong:?}");
        }
    }

    #[test]
    fn a_broken_pattern_has_a_reason_on_one_line() {
        let reason = regex("a(b").expect_err("not closed");
        assert_eq!(reason, "not a regular expression: unclosed group");
        let reason = regex("(a{1000}){1000}{1000}").expect_err("too large");
        assert!(!reason.contains('\n'), "{reason}");
    }
}
