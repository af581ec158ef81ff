//! One object a line: `interval` and `spike` lines as they happen, a `report` line at the end. Flushed, so that a pipe lives.

use std::io;

use super::json;
use crate::host::Host;
use crate::report::{Report, Spike};

pub fn write(host: &Host, report: &Report, out: &mut dyn io::Write) -> io::Result<()> {
    let kind = if report.window.interval_at.is_some() {
        "interval"
    } else {
        "report"
    };
    json::write_line(kind, host, report, out)?;
    out.flush()
}

pub fn write_spike(spike: &Spike, out: &mut dyn io::Write) -> io::Result<()> {
    json::write_spike(spike, out)?;
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
        assert!(lines[1].get("spikes").is_none(), "nobody asked for them");
        insta::assert_snapshot!("ndjson", text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }
    #[test]
    fn a_spike_is_told_as_the_report_will_tell_it() {
        let mut out = Vec::new();
        let report = sample::valid();
        let spikes = &report.spikes.as_ref().expect("asked for").spikes;
        for spike in spikes {
            write_spike(spike, &mut out).expect("write to memory");
        }
        write(&sample::host(), &report, &mut out).expect("write to memory");
        let text = String::from_utf8(out).expect("JSON is UTF-8");
        let mut lines: Vec<serde_json::Value> = text
            .lines()
            .map(|line| serde_json::from_str(line).expect("one object a line"))
            .collect();
        let report = lines.pop().expect("the report");
        assert_eq!(lines.len(), 2);
        for line in &mut lines {
            let kind = line.as_object_mut().and_then(|line| line.remove("type"));
            assert_eq!(kind, Some("spike".into()));
        }
        assert_eq!(report["spikes"], serde_json::Value::from(lines));
    }
}
