//! The kernel refuses a program that can panic, and says so in the verifier's words only. The name of
//! the panic in the object is the clearer message.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use object::{Object as _, ObjectSymbol as _};

/// The newest object of each profile that was built here.
pub fn built(target_dir: &Path) -> Vec<PathBuf> {
    ["debug", "release"]
        .iter()
        .filter_map(|profile| newest(&target_dir.join(profile)))
        .collect()
}

fn newest(profile: &Path) -> Option<PathBuf> {
    let builds = fs::read_dir(profile.join("build")).ok()?.flatten();
    let objects = builds.map(|build| build.path().join("out/tracer-ebpf"));
    let dated =
        objects.filter_map(|object| Some((fs::metadata(&object).ok()?.modified().ok()?, object)));
    dated.max().map(|(_, object)| object)
}

pub fn check(path: &Path) -> anyhow::Result<Vec<String>> {
    let content = fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let object =
        object::File::parse(&*content).with_context(|| format!("read {}", path.display()))?;
    let panics = object.symbols().filter_map(|symbol| {
        let name = symbol.name().ok().filter(|name| is_panic(name))?;
        Some(format!(
            "the kernel programs can panic, which the kernel refuses: {name}"
        ))
    });
    Ok(panics.collect())
}

/// The functions of `core` that a failed check calls. Our handler itself is always there.
fn is_panic(symbol: &str) -> bool {
    symbol.contains("panicking")
}
