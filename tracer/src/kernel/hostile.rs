//! What processes and the kernel write, through every reader of it: for fuzzing, and for what that found.
//!
//! In: any bytes. Out: nothing, and no panic.

use std::time::{Duration, Instant};

use super::{cgroup, host, memory, preflight, procfs};

/// Any bytes as each of the files in `/proc` and `/sys` that are read.
pub fn text(bytes: &[u8]) {
    let lossy = String::from_utf8_lossy(bytes);
    let clean = |text: &str| assert!(!text.chars().any(char::is_control), "{text:?}");

    let halves = bytes.split_at(bytes.len() / 2);
    let statuses = [bytes.to_vec(), halves.0.to_vec(), halves.1.to_vec()];
    for pid in [1, 42] {
        let inside = procfs::named_inside(pid, statuses.clone().into_iter());
        clean(&procfs::explain(pid, &inside));
    }
    for key in [&b"Tgid:"[..], b"VmHWM:", b"VmRSS:", b"ctxt"] {
        procfs::number(bytes, key);
    }
    procfs::priority(bytes);
    let arguments = procfs::join_arguments(bytes).unwrap_or_default();
    assert!(arguments.len() <= 3 * bytes.len());

    let mounts = cgroup::parse_mounts(bytes);
    assert!(mounts.len() <= bytes.len());
    for hierarchy in [cgroup::Hierarchy::Unified, cgroup::Hierarchy::Cpu] {
        cgroup::path_in(bytes, hierarchy);
    }
    preflight::has_tracefs(bytes);

    host::count_cpus(&lossy);
    host::chosen(&lossy);
    host::built_in_mode(&lossy, Some(&lossy));
    clean(&host::hypervisor_name(bytes));
    let (before, after) = lossy.split_once('\0').unwrap_or((&lossy, &lossy));
    let samples = [before, after].map(host::StealSample::parse);
    if let [Some(before), Some(after)] = samples {
        let percent = after.percent_since(&before);
        assert!(percent.is_none_or(|percent| (0.0..=100.0).contains(&percent)));
    }

    memory::start_ticks(bytes);
    memory::mappings(bytes, Instant::now() + Duration::from_secs(60));
}

#[cfg(test)]
mod tests {
    use std::fs;

    #[test]
    fn no_text_makes_anybody_panic() {
        let corpus = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/corpus/text");
        let files: Vec<_> = fs::read_dir(corpus)
            .expect("the corpus is kept")
            .flatten()
            .collect();
        for file in &files {
            super::text(&fs::read(file.path()).expect("a file"));
        }
        assert!(files.len() > 100, "{} files in {corpus}", files.len());
    }
}
