//! What was asked for, as far as the command line alone tells.

use regex::bytes::Regex;

use crate::{cli::TargetOptions, cmd::Failure, output::terminal};

/// Several patterns are one: any of them.
pub fn union(patterns: &[Regex]) -> anyhow::Result<Option<Regex>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let parts: Vec<String> = patterns.iter().map(|one| format!("(?:{one})")).collect();
    let text = parts.join("|");
    Ok(Some(Regex::new(&text).map_err(|error| {
        Failure::Usage(format!("--comm: {error}"))
    })?))
}

pub fn in_words(options: &TargetOptions) -> String {
    let mut parts = Vec::new();
    parts.extend(options.pids.iter().map(|pid| format!("pid {pid}")));
    parts.extend(options.tids.iter().map(|tid| format!("tid {tid}")));
    parts.extend(
        options
            .comms
            .iter()
            .map(|comm| format!("comm {}", terminal(comm.as_str().as_bytes()))),
    );
    parts.extend(
        options
            .cgroups
            .iter()
            .map(|path| format!("cgroup {}", terminal(path.as_os_str().as_encoded_bytes()))),
    );
    if !options.command.is_empty() {
        let words: Vec<String> = options
            .command
            .iter()
            .map(|word| terminal(word.as_encoded_bytes()))
            .collect();
        parts.push(format!("command {}", words.join(" ")));
    }
    if parts.is_empty() {
        "the whole system".to_owned()
    } else {
        parts.join(", ")
    }
}
