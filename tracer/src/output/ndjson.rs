//! One object a line: `interval` lines as they happen, a `report` line at the end. Flushed, so that a pipe lives.

use std::io;

use super::json;
use crate::host::Host;
use crate::report::Report;

pub fn write(host: &Host, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let kind = if report.window.interval_at.is_some() {
        "interval"
    } else {
        "report"
    };
    json::write_line(kind, host, report, out)?;
    out.flush()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::output::sample;

    #[test]
    fn each_line_is_an_object_with_a_type() {
        let mut out = Vec::new();
        write(&sample::host(), &sample::interval(), &mut out).expect("write to memory");
        write(&sample::host(), &sample::not_measured(), &mut out).expect("write to memory");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        let lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("one object a line"))
            .collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0]["type"], "interval");
        assert_eq!(lines[0]["interval"]["at_ns"], 3_000_000_000_u64);
        assert_eq!(lines[0]["interval"]["duration_ns"], 1_000_000_000_u64);
        assert_eq!(lines[1]["type"], "report");
        assert!(lines[1].get("interval").is_none());
        insta::assert_snapshot!("ndjson", text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
}
