//! The rules about one source file.

use super::source::{Source, paths};

/// Turns bytes and times into reports: no clock, no file, no output, on any system.
const CORE: [&str; 18] = [
    "model", "decode", "reorder", "engine", "ledger", "audit", "dist", "report", "summary",
    "pipeline", "target", "host", "table", "folded", "insights", "spikes", "counts", "diff",
];

/// Move bytes, whatever they mean.
const MOVERS: [&str; 2] = ["kernel", "recording"];

/// What the core must not name: a path with all below it, or a word anywhere.
const NOT_IN_CORE: [&str; 20] = [
    "std::fs",
    "std::net",
    "std::thread",
    "std::process",
    "Instant",
    "SystemTime",
    "tokio",
    "aya",
    "aya_obj",
    "libc",
    "rustix",
    "println",
    "print",
    "eprintln",
    "eprint",
    "crate::kernel",
    "crate::recording",
    "crate::output",
    "crate::cmd",
    "crate::cli",
];

/// Without tests. Whoever reads a file should be able to keep it in mind.
const LONGEST: usize = 500;

const PROBE_HEADER: [&str; 3] = ["//! Hook:", "//! Writes:", "//! Without it:"];

pub fn check(source: &Source) -> Vec<String> {
    let rules = [layers, length, probe_header, unsafe_code];
    rules.iter().flat_map(|rule| rule(source)).collect()
}

fn layers(source: &Source) -> Vec<String> {
    let (banned, why): (&[&str], _) = if source.is_in("tracer/src", &CORE) {
        (
            &NOT_IN_CORE,
            "the core takes bytes and times and returns data",
        )
    } else if source.is_in("tracer/src", &MOVERS) {
        (
            &["Event"],
            "kernel and recording move bytes and never see an event",
        )
    } else {
        return Vec::new();
    };
    let named = paths(&source.shipped);
    let refused = named.iter().filter_map(|(line, path)| {
        let ban = banned.iter().find(|ban| names(path, ban))?;
        Some(format!("{}:{line}: names {ban}: {why}", source.path))
    });
    refused.collect()
}

/// A path is banned with all below it, a single word wherever it stands.
fn names(path: &str, ban: &str) -> bool {
    if ban.contains("::") {
        path.strip_prefix(ban)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    } else {
        path.split("::").any(|word| word == ban)
    }
}

fn length(source: &Source) -> Vec<String> {
    let lines = source.length();
    if lines <= LONGEST {
        return Vec::new();
    }
    vec![format!(
        "{}: has {lines} lines without tests, {LONGEST} is the most",
        source.path
    )]
}

/// A probe file begins with its contract.
fn probe_header(source: &Source) -> Vec<String> {
    let name = source.path.strip_prefix("tracer-ebpf/src/probes/");
    if name.is_none_or(|name| name == "mod.rs") {
        return Vec::new();
    }
    // Between these may be more of the same sentence.
    let mut header = source
        .text
        .lines()
        .take_while(|line| line.starts_with("//!"));
    let first = source.text.starts_with(PROBE_HEADER[0]);
    if first
        && PROBE_HEADER
            .iter()
            .all(|start| header.any(|line| line.starts_with(start)))
    {
        return Vec::new();
    }
    vec![format!(
        "{}: does not begin with {}",
        source.path,
        PROBE_HEADER.join(" .. ")
    )]
}

/// `unsafe` is where the kernel is met, bytes become records, or a child is prepared: nowhere else.
fn unsafe_code(source: &Source) -> Vec<String> {
    let allowed = source.path.starts_with("tracer-ebpf/")
        || source.is_in("tracer/src", &["kernel", "decode", "command"]);
    if allowed {
        return Vec::new();
    }
    let named = paths(&source.code);
    let refused = named.iter().filter(|(_, path)| path == "unsafe");
    refused
        .map(|(line, _)| format!("{}:{line}: unsafe code does not belong here", source.path))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What the rules say about a file of this content, without its path.
    fn complaints(path: &str, text: &str) -> Vec<String> {
        check(&Source::new(path, text))
            .into_iter()
            .map(|complaint| complaint.replacen(path, "", 1))
            .collect()
    }

    const CORE_SAYS: &str = "the core takes bytes and times and returns data";

    #[test]
    fn the_core_names_no_edge() {
        let text = "use std::{collections::BTreeMap, fs};\nfn now() { std::time::Instant::now() }";
        assert_eq!(
            complaints("tracer/src/engine/cpu.rs", text),
            [
                format!(":1: names std::fs: {CORE_SAYS}"),
                format!(":2: names Instant: {CORE_SAYS}")
            ]
        );
        assert!(complaints("tracer/src/cmd/run.rs", text).is_empty());
        assert!(complaints("tracer/src/engine/tests.rs", text).is_empty());
    }

    #[test]
    fn words_in_prose_and_longer_words_are_harmless() {
        let text = "//! Never `tokio`, no std::fs.\nfn instant() -> InstantLike { \"println!\" }";
        assert!(complaints("tracer/src/model.rs", text).is_empty());
    }

    #[test]
    fn movers_never_see_an_event() {
        let text = "use crate::model::{Event, Timestamp};";
        let refused = [":1: names Event: kernel and recording move bytes and never see an event"];
        assert_eq!(complaints("tracer/src/recording/reader.rs", text), refused);
        assert!(complaints("tracer/src/decode.rs", text).is_empty());
    }

    #[test]
    fn a_long_file_is_refused_and_a_long_test_is_not() {
        let code = "fn a() {}\n".repeat(500);
        let tests = format!("#[cfg(test)]\nmod tests {{\n{code}}}\n");
        assert!(complaints("tracer/src/a.rs", &format!("{code}{tests}")).is_empty());
        let long = complaints("tracer/src/a.rs", &format!("{code}fn b() {{}}\n"));
        assert_eq!(long, [": has 501 lines without tests, 500 is the most"]);
    }

    #[test]
    fn a_probe_begins_with_its_contract() {
        let contract = "//! Hook:   a\n//! Writes: b,\n//!         c\n//! Without it: d\n";
        assert!(complaints("tracer-ebpf/src/probes/switch.rs", contract).is_empty());
        assert!(complaints("tracer-ebpf/src/probes/mod.rs", "mod switch;").is_empty());
        let late = format!("use a;\n{contract}");
        assert_eq!(
            complaints("tracer-ebpf/src/probes/switch.rs", &late).len(),
            1
        );
        let short = "//! Hook: a\n//! Without it: d\n";
        assert_eq!(
            complaints("tracer-ebpf/src/probes/switch.rs", short).len(),
            1
        );
    }

    #[test]
    fn unsafe_code_stays_at_its_places() {
        let text = "fn a() {\n    unsafe { b() }\n}";
        let refused = [":2: unsafe code does not belong here"];
        assert_eq!(complaints("tracer/src/output/text.rs", text), refused);
        assert_eq!(complaints("tracer/tests/kernel_run.rs", text), refused);
        assert!(complaints("tracer/src/kernel/ring.rs", text).is_empty());
        assert!(complaints("tracer/src/lib.rs", "#![deny(unsafe_op_in_unsafe_fn)]").is_empty());
    }
}
