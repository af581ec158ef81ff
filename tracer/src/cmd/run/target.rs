//! From the command line to a target: whom a pid, a pattern or a path means on this machine now.

use std::collections::HashMap;

use anyhow::ensure;

use crate::{
    cli::TargetOptions,
    cmd::{
        Failure,
        asked::{in_words, union},
    },
    kernel::{
        cgroup::{self, Hierarchy},
        procfs::{self, Identity},
        snapshot::Snapshot,
    },
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

/// Some kernels exempt threads from tracing, those of the first process: no switch of theirs is told, and no look
/// at all threads shows them. That they never ran would be untrue.
pub fn expect_visible(options: &TargetOptions, seen: &Snapshot) -> anyhow::Result<()> {
    let hidden = |id: u32| procfs::identify(id) != Identity::Gone;
    for &pid in options.pids.iter().filter(|&&pid| !seen.has_process(pid)) {
        ensure!(
            !hidden(pid),
            "trace process {pid}: this kernel exempts it from tracing"
        );
    }
    for &tid in options.tids.iter().filter(|&&tid| !seen.has_thread(tid)) {
        ensure!(
            !hidden(tid),
            "trace thread {tid}: this kernel exempts it from tracing"
        );
    }
    Ok(())
}

/// The paths behind the ids of cgroups: of those that there were at the start, and that there are now.
pub fn cgroups_now(at_start: &HashMap<u64, String>) -> HashMap<u64, String> {
    let mut paths = table(cgroup::mounts().first().map(|mount| mount.hierarchy));
    paths.extend(at_start.iter().map(|(id, path)| (*id, path.clone())));
    paths
}

/// Of what still lives.
pub fn read_cmdlines(report: &mut Report) {
    for process in &mut report.processes {
        process.cmdline = procfs::cmdline(process.pid);
    }
}

fn table(hierarchy: Option<Hierarchy>) -> HashMap<u64, String> {
    cgroup::mounts()
        .into_iter()
        .find(|mount| Some(mount.hierarchy) == hierarchy)
        .map(|mount| mount.table())
        .unwrap_or_default()
}
