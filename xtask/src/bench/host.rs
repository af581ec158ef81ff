//! The machine the figures come from.

use std::fmt::Write as _;
use std::fs;

use serde_json::{Value, json};

use crate::command::ask;

/// Packages whose version a figure depends on.
const PEERS: [&str; 3] = ["libbpf-tools", "linux-perf", "stress-ng"];

/// Switches of the kernel that change what its programs cost, as they usually are.
const SWITCHES: [(&str, &str); 2] = [
    ("/proc/sys/kernel/bpf_stats_enabled", "0"),
    ("/proc/sys/net/core/bpf_jit_enable", "1"),
];

/// Where things run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cpus {
    pub tool: u32,
    pub load: u32,
    pub count: usize,
}

impl Cpus {
    /// Of those that this process may use: loads on the last one, tools on the first.
    pub fn here() -> Option<Cpus> {
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let list = status
            .lines()
            .find_map(|line| line.strip_prefix("Cpus_allowed_list:"))?;
        Cpus::of(&cpu_list(list.trim())?)
    }

    fn of(allowed: &[u32]) -> Option<Cpus> {
        Some(Cpus {
            tool: *allowed.first()?,
            load: *allowed.last()?,
            count: allowed.len(),
        })
    }
}

/// Reads `0-2,5`.
fn cpu_list(list: &str) -> Option<Vec<u32>> {
    let mut cpus = Vec::new();
    for part in list.split(',') {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        cpus.extend(first.parse::<u32>().ok()?..=last.parse().ok()?);
    }
    Some(cpus)
}

pub struct Host {
    date: String,
    kernel: String,
    cpu: String,
    cpus: Cpus,
    /// The processor says that it is a virtual one. `None` where it cannot say.
    hypervisor: Option<bool>,
    load_before: String,
    /// What makes every program of the kernel slower than usual.
    unusual: Vec<String>,
    tracer: String,
    peers: Vec<(&'static str, String)>,
}

impl Host {
    pub fn read(cpus: Cpus, tracer: &std::path::Path) -> Host {
        let info = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let version = ask(&tracer.to_string_lossy(), &["--version"]).unwrap_or_default();
        let root = crate::workspace().to_string_lossy();
        let commit = ask("git", &["-C", &root, "describe", "--always", "--dirty"]);
        Host {
            date: ask("date", &["-u", "+%F"])
                .unwrap_or_default()
                .trim()
                .to_owned(),
            kernel: read("/proc/sys/kernel/osrelease"),
            cpu: field(&info, "model name").unwrap_or("unknown").to_owned(),
            cpus,
            hypervisor: field(&info, "flags").map(has_hypervisor),
            load_before: read("/proc/loadavg")
                .split(' ')
                .next()
                .unwrap_or_default()
                .to_owned(),
            unusual: SWITCHES
                .iter()
                .filter_map(|&(switch, usual)| unusual(switch, usual, &read(switch)))
                .collect(),
            tracer: format!("{} {}", version.trim(), commit.unwrap_or_default().trim()),
            peers: PEERS
                .iter()
                .map(|&package| (package, installed_version(package)))
                .collect(),
        }
    }

    pub fn json(&self) -> Value {
        json!({
            "date": self.date,
            "kernel": self.kernel,
            "arch": std::env::consts::ARCH,
            "cpu": self.cpu,
            "cpus": self.cpus.count,
            "load_cpu": self.cpus.load,
            "tool_cpu": self.cpus.tool,
            "hypervisor": self.hypervisor,
            "load_average_before": self.load_before.parse::<f64>().ok(),
            "unusual": self.unusual,
            "tracer": self.tracer,
            "peers": self.peers.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
        })
    }

    /// Two lines for a document.
    pub fn text(&self) -> String {
        let kind = match self.hypervisor {
            Some(true) => "virtual machine",
            Some(false) => "no hypervisor",
            None => "hypervisor unknown",
        };
        let mut text = format!(
            "{}: {}, Linux {}, {} CPUs ({}, {kind}); load average before: {}.\n",
            self.date, self.tracer, self.kernel, self.cpus.count, self.cpu, self.load_before
        );
        let peers: Vec<String> = self
            .peers
            .iter()
            .map(|(name, version)| format!("{name} {version}"))
            .collect();
        // Writing to a string cannot fail.
        let _ = writeln!(
            text,
            "Loads are pinned to CPU {}, tools to CPU {}. {}.",
            self.cpus.load,
            self.cpus.tool,
            peers.join(", ")
        );
        for unusual in &self.unusual {
            let _ = writeln!(text, "Unusual: {unusual}.");
        }
        if self.cpus.tool == self.cpus.load {
            text.push_str("There is one CPU only: tools and loads share it.\n");
        }
        text
    }
}

fn installed_version(package: &str) -> String {
    let version = ask(
        "dpkg-query",
        &["--show", "--showformat=${Version}", package],
    );
    version.unwrap_or_else(|| "of unknown version".to_owned())
}

fn read(path: &str) -> String {
    fs::read_to_string(path)
        .unwrap_or_default()
        .trim()
        .to_owned()
}

/// What cannot be read says nothing.
fn unusual(switch: &str, usual: &str, value: &str) -> Option<String> {
    (!value.is_empty() && value != usual).then(|| format!("{switch} is {value}"))
}

fn field<'a>(info: &'a str, name: &str) -> Option<&'a str> {
    info.lines().find_map(|line| {
        let (key, value) = line.split_once(':')?;
        (key.trim() == name).then_some(value.trim())
    })
}

fn has_hypervisor(flags: &str) -> bool {
    flags.split(' ').any(|flag| flag == "hypervisor")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn loads_have_the_last_cpu_and_tools_the_first() {
        let cpus = cpu_list("0-2,5,7-8").expect("a list");
        assert_eq!(cpus, [0, 1, 2, 5, 7, 8]);
        let chosen = Cpus::of(&cpus).expect("CPUs");
        assert_eq!((chosen.tool, chosen.load, chosen.count), (0, 8, 6));
        assert_eq!(cpu_list("0-"), None);
        assert_eq!(cpu_list(""), None);
        assert_eq!(Cpus::of(&[]), None);
    }

    #[test]
    fn an_unusual_kernel_is_told() {
        assert_eq!(unusual("/a", "0", "0"), None);
        assert_eq!(unusual("/a", "0", ""), None);
        assert_eq!(unusual("/a", "0", "1").as_deref(), Some("/a is 1"));
    }

    #[test]
    fn the_processor_says_whether_it_is_virtual() {
        let info = "processor\t: 0\nmodel name\t: A CPU\nflags\t\t: fpu hypervisor sse\n";
        assert_eq!(field(info, "model name"), Some("A CPU"));
        assert_eq!(field(info, "flags").map(has_hypervisor), Some(true));
        assert!(!has_hypervisor("fpu sse"));
        assert_eq!(field(info, "Features"), None);
    }
}
