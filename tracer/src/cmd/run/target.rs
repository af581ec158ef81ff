//! From the command line to a target: whom a pid, a pattern or a path means on this machine now.

use std::collections::HashMap;

use regex::bytes::Regex;

use crate::{
    cli::TargetOptions,
    cmd::Failure,
    kernel::{
        cgroup::{self, Hierarchy},
        procfs::{self, Identity},
    },
    output::terminal,
    report::Report,
    target::Target,
};

pub struct Resolved {
    pub target: Target,
    /// Whose cgroup ids the kernel programs read.
    pub hierarchy: Option<Hierarchy>,
    /// The paths behind the ids, as they were at the start.
    pub cgroups: HashMap<u64, String>,
}

pub fn resolve(options: &TargetOptions) -> anyhow::Result<Resolved> {
    for &pid in &options.pids {
        if procfs::identify(pid) != Identity::Process {
            anyhow::bail!("trace process {pid}: {}", procfs::explain_missing_pid(pid));
        }
    }
    for &tid in &options.tids {
        if procfs::identify(tid) == Identity::Gone {
            anyhow::bail!("trace thread {tid}: {}", procfs::explain_missing_tid(tid));
        }
    }
    let mut hierarchy = None;
    let mut ids = None;
    for path in &options.cgroups {
        let subtree = cgroup::subtree(path)
            .map_err(|error| anyhow::anyhow!("trace cgroup {}: {error}", path.display()))?;
        if hierarchy.is_some_and(|other| other != subtree.hierarchy) {
            let text =
                "--cgroup: all paths must be of one hierarchy, version 2 or the cpu controller's";
            return Err(Failure::Usage(text.to_owned()).into());
        }
        hierarchy = Some(subtree.hierarchy);
        ids.get_or_insert_with(rustc_hash::FxHashSet::default)
            .extend(subtree.members.iter().map(|(id, _)| *id));
    }
    let mounts = cgroup::mounts();
    let hierarchy = hierarchy.or_else(|| mounts.first().map(|mount| mount.hierarchy));
    let cgroups = table(hierarchy);
    Ok(Resolved {
        target: Target {
            pids: options.pids.clone(),
            tids: options.tids.clone(),
            comm: union(&options.comms)?,
            cgroups: ids,
            children: !options.no_children,
            description: in_words(options),
        },
        hierarchy,
        cgroups,
    })
}

/// What only procfs and the cgroup file system know of what is in a report.
pub fn describe(report: &mut Report, at_start: &HashMap<u64, String>, cmdline: bool) {
    let now = table(cgroup::mounts().first().map(|mount| mount.hierarchy));
    let path = |id: Option<u64>| at_start.get(&id?).or_else(|| now.get(&id?)).cloned();
    if let Some(spikes) = &mut report.spikes {
        for spike in &mut spikes.spikes {
            spike.cgroup = path(spike.cgroup_id);
        }
        for cause in &mut spikes.causes {
            cause.cgroup = path(cause.cgroup_id);
        }
    }
    for process in &mut report.processes {
        process.cgroup = path(process.cgroup_id);
        if cmdline {
            process.cmdline = procfs::cmdline(process.pid);
        }
    }
}

fn table(hierarchy: Option<Hierarchy>) -> HashMap<u64, String> {
    cgroup::mounts()
        .into_iter()
        .find(|mount| Some(mount.hierarchy) == hierarchy)
        .map(|mount| mount.table())
        .unwrap_or_default()
}

/// Several patterns are one: any of them.
fn union(patterns: &[Regex]) -> anyhow::Result<Option<Regex>> {
    if patterns.is_empty() {
        return Ok(None);
    }
    let parts: Vec<String> = patterns.iter().map(|one| format!("(?:{one})")).collect();
    let text = parts.join("|");
    Ok(Some(Regex::new(&text).map_err(|error| {
        Failure::Usage(format!("--comm: {error}"))
    })?))
}

fn in_words(options: &TargetOptions) -> String {
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
