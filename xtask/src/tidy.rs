//! The house rules that no compiler knows, as checks. Each names what it found and why it is refused.

mod kinds;
mod object;
mod rules;
mod source;

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, bail};

use source::Source;

/// Where the sources are: crates, not what is built from them.
const CRATES: [&str; 4] = ["tracer", "tracer-common", "tracer-ebpf", "xtask"];

pub fn run() -> anyhow::Result<()> {
    let root = crate::workspace();
    let mut sources = Vec::new();
    for name in CRATES {
        read_sources(root, &root.join(name), &mut sources)?;
    }
    let mut broken: Vec<String> = sources.iter().flat_map(rules::check).collect();
    for source in &sources {
        if source.path == "tracer-common/src/record.rs" {
            broken.extend(kinds::check(source));
        }
    }
    for object in object::built(&crate::build::target_dir()) {
        broken.extend(object::check(&object)?);
    }
    if !broken.is_empty() {
        bail!(
            "{} broken house rules\n  {}",
            broken.len(),
            broken.join("\n  ")
        );
    }
    println!("{} source files keep the house rules", sources.len());
    Ok(())
}

fn read_sources(root: &Path, directory: &Path, into: &mut Vec<Source>) -> anyhow::Result<()> {
    let entries =
        fs::read_dir(directory).with_context(|| format!("list {}", directory.display()))?;
    let mut paths: Vec<PathBuf> = entries
        .map(|entry| entry.map(|entry| entry.path()))
        .collect::<Result<_, _>>()?;
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.ends_with("target") {
            read_sources(root, &path, into)?;
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let text =
                fs::read_to_string(&path).with_context(|| format!("read {}", path.display()))?;
            let path = path.strip_prefix(root).unwrap_or(&path);
            into.push(Source::new(&path.to_string_lossy(), &text));
        }
    }
    Ok(())
}
