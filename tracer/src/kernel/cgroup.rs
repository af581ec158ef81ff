//! Control groups: which hierarchy counts, which directory a path means, the names behind the ids.
//!
//! The id that the programs read (`kernfs_node.id`) is the inode number of the directory.

use std::collections::HashMap;
use std::ffi::OsString;
use std::fs;
use std::os::unix::ffi::OsStringExt as _;
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

/// Whose ids the programs read: ids of different hierarchies have nothing to do with each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Hierarchy {
    /// Version 2.
    Unified,
    /// Version 1, the one of the cpu controller.
    Cpu,
}

/// Where a hierarchy is mounted.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    pub hierarchy: Hierarchy,
    /// Which directory of the hierarchy is mounted: `/`, but for containers.
    root: PathBuf,
    point: PathBuf,
}

/// A cgroup and all below it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subtree {
    pub hierarchy: Hierarchy,
    /// (id, path as in `/proc/PID/cgroup`); the top comes first.
    pub members: Vec<(u64, String)>,
}

#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    #[error(
        "no cgroup {path}: give a path as in /proc/PID/cgroup, or a directory below /sys/fs/cgroup"
    )]
    Missing { path: String },
    #[error("{path} is not a cgroup of version 2 or of the cpu controller: give one of those")]
    Elsewhere { path: String },
    #[error("no cgroup hierarchy is mounted: mount -t cgroup2 none /sys/fs/cgroup")]
    NotMounted,
}

/// The mounted hierarchies, the one that governs CPU time first: the cpu controller's own where it
/// exists, since beside it the unified one has no say in scheduling.
pub fn mounts() -> Vec<Mount> {
    parse_mounts(&fs::read("/proc/self/mountinfo").unwrap_or_default())
}

/// The path of a process in a hierarchy, as in `/proc/PID/cgroup`.
pub fn cgroup_of(pid: u32, hierarchy: Hierarchy) -> Option<String> {
    path_in(&fs::read(format!("/proc/{pid}/cgroup")).ok()?, hierarchy)
}

/// The cgroup that the user means by `path`, and all below it.
pub fn subtree(path: &Path) -> Result<Subtree, CgroupError> {
    let mounts = mounts();
    let (mount, top) = locate(path, &mounts)?;
    Ok(Subtree {
        hierarchy: mount.hierarchy,
        members: mount.walk(&top),
    })
}

impl Mount {
    /// Id and path of every cgroup of this hierarchy that can be seen from here.
    pub fn table(&self) -> HashMap<u64, String> {
        self.walk(&self.point).into_iter().collect()
    }

    fn walk(&self, top: &Path) -> Vec<(u64, String)> {
        let mut found = Vec::new();
        let mut pending = vec![top.to_owned()];
        while let Some(dir) = pending.pop() {
            // Gone since it was listed: its threads are dying, they are nobody's target.
            let Ok(metadata) = fs::symlink_metadata(&dir) else {
                continue;
            };
            found.push((metadata.ino(), self.name(&dir)));
            let entries = fs::read_dir(&dir).into_iter().flatten().flatten();
            pending.extend(
                entries
                    .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
                    .map(|entry| entry.path()),
            );
        }
        found
    }

    /// The path in the hierarchy of a directory below the mount point.
    fn name(&self, dir: &Path) -> String {
        match dir.strip_prefix(&self.point) {
            Ok(below) if below != Path::new("") => self.root.join(below),
            _ => self.root.clone(),
        }
        .to_string_lossy()
        .into_owned()
    }

    /// The directory of a path in the hierarchy; `None` when it is outside of what is mounted.
    fn dir(&self, path: &Path) -> Option<PathBuf> {
        let absolute = Path::new("/").join(path);
        Some(self.point.join(absolute.strip_prefix(&self.root).ok()?))
    }
}

/// As a directory below a mount point first, then as a path in each hierarchy.
fn locate<'a>(path: &Path, mounts: &'a [Mount]) -> Result<(&'a Mount, PathBuf), CgroupError> {
    if mounts.is_empty() {
        return Err(CgroupError::NotMounted);
    }
    // Resolves `..` and the link from `cpu` to `cpu,cpuacct`.
    let holding = |dir: &Path| {
        let dir = fs::canonicalize(dir).ok().filter(|dir| dir.is_dir())?;
        // A version 1 mount may lie below the point of another: the innermost is meant.
        let mount = mounts.iter().filter(|mount| dir.starts_with(&mount.point));
        Some((
            mount.max_by_key(|mount| mount.point.as_os_str().len())?,
            dir,
        ))
    };
    let named = || mounts.iter().filter_map(|mount| holding(&mount.dir(path)?));
    let direct = if path.is_absolute() {
        holding(path)
    } else {
        holding(&Path::new("/sys/fs/cgroup").join(path))
    };
    direct.or_else(|| named().next()).ok_or_else(|| {
        let shown = crate::output::terminal(path.as_os_str().as_encoded_bytes());
        if path.is_absolute() && path.is_dir() {
            CgroupError::Elsewhere { path: shown }
        } else {
            CgroupError::Missing { path: shown }
        }
    })
}

/// The lines of mountinfo: `36 35 98:0 ROOT POINT options [optional fields] - TYPE SOURCE SUPER_OPTIONS`.
pub(super) fn parse_mounts(mountinfo: &[u8]) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = mountinfo
        .split(|&byte| byte == b'\n')
        .filter_map(parse_mount)
        .collect();
    mounts.sort_by_key(|mount| mount.hierarchy == Hierarchy::Unified);
    mounts
}

fn parse_mount(line: &[u8]) -> Option<Mount> {
    let mut words = line.split(|&byte| byte == b' ');
    let (root, point) = (words.nth(3)?, words.next()?);
    words.find(|word| *word == b"-")?;
    let (kind, _source, options) = (words.next()?, words.next()?, words.next()?);
    let hierarchy = match kind {
        b"cgroup2" => Hierarchy::Unified,
        b"cgroup"
            if options
                .split(|&byte| byte == b',')
                .any(|option| option == b"cpu") =>
        {
            Hierarchy::Cpu
        }
        _ => return None,
    };
    Some(Mount {
        hierarchy,
        root: unescape(root),
        point: unescape(point),
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> PathBuf {
    let mut bytes = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, tail)) = rest.split_first() {
        let octal = (first == b'\\')
            .then(|| tail.get(..3))
            .flatten()
            .and_then(|digits| {
                digits.iter().try_fold(0_u8, |value, digit| {
                    value
                        .checked_mul(8)?
                        .checked_add(digit.checked_sub(b'0').filter(|digit| *digit < 8)?)
                })
            });
        bytes.push(octal.unwrap_or(first));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    PathBuf::from(OsString::from_vec(bytes))
}

/// The lines of `/proc/PID/cgroup`: `ID:CONTROLLERS:PATH`, version 2 being `0::PATH`. A path may hold colons.
pub(super) fn path_in(text: &[u8], hierarchy: Hierarchy) -> Option<String> {
    text.split(|&byte| byte == b'\n').find_map(|line| {
        let mut parts = line.splitn(3, |&byte| byte == b':');
        let (id, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let ours = match hierarchy {
            Hierarchy::Unified => id == b"0" && controllers.is_empty(),
            Hierarchy::Cpu => controllers
                .split(|&byte| byte == b',')
                .any(|name| name == b"cpu"),
        };
        ours.then(|| String::from_utf8_lossy(path).into_owned())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"23 1 0:20 / /proc rw - proc proc rw\n\
        41 31 0:38 / /sys/fs/cgroup/unified rw,relatime - cgroup2 cgroup2 rw\n\
        33 31 0:30 / /sys/fs/cgroup/cpuacct rw,relatime - cgroup cgroup rw,cpuacct\n\
        32 31 0:29 / /sys/fs/cgroup/cpu\\040x rw,relatime shared:9 master:3 - cgroup cgroup rw,cpu,cpuacct\n";

    #[test]
    fn the_cpu_controllers_own_hierarchy_comes_first() {
        let mounts = parse_mounts(HYBRID);
        let shown: Vec<_> = mounts
            .iter()
            .map(|mount| (mount.hierarchy, mount.point.to_str()))
            .collect();
        assert_eq!(
            shown,
            [
                (Hierarchy::Cpu, Some("/sys/fs/cgroup/cpu x")),
                (Hierarchy::Unified, Some("/sys/fs/cgroup/unified")),
            ]
        );
    }

    #[test]
    fn damaged_lines_are_no_mounts() {
        for length in 0..HYBRID.len() {
            assert!(parse_mounts(&HYBRID[..length]).len() <= 2);
        }
        assert_eq!(unescape(b"\\"), Path::new("\\"));
        assert_eq!(unescape(b"\\77"), Path::new("\\77"));
        assert_eq!(unescape(b"\\777a"), Path::new("\\777a"));
        assert_eq!(unescape(b"\\134\\0400"), Path::new("\\ 0"));
    }

    #[test]
    fn a_process_has_a_path_in_each_hierarchy() {
        let text = b"12:cpu,cpuacct:/a:b\n1:name=systemd:/s\n0::/u\n\nbroken\n";
        assert_eq!(path_in(text, Hierarchy::Cpu), Some("/a:b".to_owned()));
        assert_eq!(path_in(text, Hierarchy::Unified), Some("/u".to_owned()));
        assert_eq!(path_in(b"3:cpuset:/x\n", Hierarchy::Cpu), None);
    }

    /// Directories in place of a mounted hierarchy.
    fn sample() -> (tempfile::TempDir, Mount) {
        let dir = tempfile::tempdir().expect("a directory for the test");
        let point = dir.path().canonicalize().expect("it exists");
        fs::create_dir_all(point.join("a/b")).expect("inside our own directory");
        (
            dir,
            Mount {
                hierarchy: Hierarchy::Unified,
                root: "/".into(),
                point,
            },
        )
    }

    #[test]
    fn a_path_means_a_directory_or_a_place_in_the_hierarchy() {
        let (_dir, mount) = sample();
        let mounts = [mount];
        let point = &mounts[0].point;
        let found = |path: &Path| locate(path, &mounts).ok().map(|(_, dir)| dir);
        assert_eq!(found(Path::new("/a/b")), Some(point.join("a/b")));
        assert_eq!(found(Path::new("a")), Some(point.join("a")));
        assert_eq!(found(&point.join("a")), Some(point.join("a")));
        assert_eq!(found(Path::new("/")), Some(point.clone()));
        assert_eq!(found(Path::new("/a/../../..")), None);
        assert_eq!(found(Path::new("/absent")), None);
        assert!(matches!(
            locate(Path::new("/a"), &[]),
            Err(CgroupError::NotMounted)
        ));
    }

    #[test]
    fn a_subtree_is_the_top_and_all_below_it() {
        let (_dir, mut mount) = sample();
        let names = |mount: &Mount, top: &Path| {
            mount
                .walk(top)
                .into_iter()
                .map(|(_, name)| name)
                .collect::<Vec<_>>()
        };
        assert_eq!(names(&mount, &mount.point.join("a")), ["/a", "/a/b"]);
        assert_eq!(names(&mount, &mount.point), ["/", "/a", "/a/b"]);
        mount.root = "/docker/1".into();
        assert_eq!(
            names(&mount, &mount.point)[..2],
            ["/docker/1", "/docker/1/a"]
        );
        assert_eq!(
            mount.dir(Path::new("/docker/1/a")),
            Some(mount.point.join("a"))
        );
        assert_eq!(mount.dir(Path::new("/elsewhere")), None);
    }
}
