//! Gives up, before a recording is read, what reading it and writing what is asked for do not take.
//!
//! In: the files. Out: nothing. Whoever wrote the recording may be anybody.

use std::path::Path;

use anyhow::Context as _;
use rustix::fs::{Access, AtFlags, CWD, accessat};
use rustix::thread::CapabilitySet;

use crate::kernel::capabilities::{FILES, keep_only, uses};

/// All privileges, unless one of these files takes them: a recording of somebody else, a directory that is not ours.
pub fn confine(read: &[&Path], written: Option<&Path>) -> anyhow::Result<()> {
    let enough = || {
        read.iter().all(|path| allows(path, Access::READ_OK)) && written.is_none_or(may_be_written)
    };
    uses(FILES, enough)
        .and_then(|needed| match needed {
            true => keep_only(FILES),
            false => keep_only(CapabilitySet::empty()),
        })
        .context("give up privileges")
}

/// A file takes the place of another in its directory, and is its owner's again; a directory takes files.
fn may_be_written(path: &Path) -> bool {
    let parent = path.parent().filter(|parent| *parent != Path::new(""));
    let directory = match path.is_dir() {
        true => path,
        false => parent.unwrap_or(Path::new(".")),
    };
    (path.is_dir() || !path.exists() || allows(path, Access::WRITE_OK))
        && allows(directory, Access::WRITE_OK)
}

fn allows(path: &Path, how: Access) -> bool {
    accessat(CWD, path, how, AtFlags::EACCESS).is_ok()
}
