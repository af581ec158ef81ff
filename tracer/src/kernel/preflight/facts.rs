//! What the checks look at, read once. No judgement here, so that judging can be tested.

use std::fs;
use std::io;
use std::os::linux::fs::MetadataExt as _;
use std::path::PathBuf;

use rustix::process::{Resource, getrlimit};

use crate::kernel::btf::Btf;
use crate::kernel::cgroup::{self, Hierarchy};
use crate::kernel::fields::{self, Fields};
use crate::kernel::{host, procfs};

/// `None`: could not be read.
#[derive(Default)]
pub struct Facts {
    pub release: String,
    pub cpus: u64,
    pub btf_path: PathBuf,
    pub btf_error: Option<String>,
    pub fields: Option<Fields>,
    pub capabilities: Option<u64>,
    pub initial_user_namespace: Option<bool>,
    pub initial_pid_namespace: Option<bool>,
    pub lockdown: Option<String>,
    pub jit: Option<String>,
    /// Soft limits; `None`: unlimited.
    pub open_files: Option<u64>,
    pub memlock: Option<u64>,
    pub sched_ext: Option<String>,
    pub smt_active: Option<bool>,
    pub tracefs: Option<bool>,
    pub pmu: Option<io::Result<()>>,
    pub perf_event_paranoid: Option<String>,
    pub cgroups: Vec<Hierarchy>,
}

/// The inodes of the name spaces the kernel starts with (include/uapi/linux/nsfs.h: `USER_NS_INIT_INO`,
/// `PID_NS_INIT_INO`; the same numbers since 3.8).
const INITIAL_USER: u64 = 0xEFFF_FFFD;
const INITIAL_PID: u64 = 0xEFFF_FFFC;

impl Facts {
    pub fn read() -> (Facts, Option<Btf>) {
        let btf_path = Btf::path();
        let btf = fs::read(&btf_path)
            .map_err(|error| match error.kind() {
                io::ErrorKind::NotFound => "not exposed by this kernel".to_owned(),
                _ => error.to_string(),
            })
            .and_then(|data| Btf::parse(data).map_err(|error| error.to_string()));
        let (btf, btf_error) = match btf {
            Ok(btf) => (Some(btf), None),
            Err(error) => (None, Some(error)),
        };
        let facts = Facts {
            release: rustix::system::uname()
                .release()
                .to_string_lossy()
                .into_owned(),
            cpus: host::online_cpus(),
            btf_path,
            btf_error,
            fields: btf.as_ref().map(fields::resolve),
            capabilities: procfs::effective_capabilities(),
            initial_user_namespace: namespace("user").map(|inode| inode == INITIAL_USER),
            initial_pid_namespace: namespace("pid").map(|inode| inode == INITIAL_PID),
            lockdown: lockdown(),
            jit: host::line("/proc/sys/net/core/bpf_jit_enable"),
            open_files: getrlimit(Resource::Nofile).current,
            memlock: getrlimit(Resource::Memlock).current,
            sched_ext: host::sched_ext(),
            smt_active: host::line("/sys/devices/system/cpu/smt/active")
                .map(|active| active == "1"),
            tracefs: fs::read("/proc/self/mountinfo")
                .ok()
                .map(|mounts| has_tracefs(&mounts)),
            pmu: super::pmu::try_cycles(),
            perf_event_paranoid: host::line("/proc/sys/kernel/perf_event_paranoid"),
            cgroups: cgroup::mounts()
                .iter()
                .map(|mount| mount.hierarchy)
                .collect(),
        };
        (facts, btf)
    }
}

/// `none`, `integrity` or `confidentiality`: the one in brackets.
pub fn lockdown() -> Option<String> {
    let modes = host::line("/sys/kernel/security/lockdown")?;
    let (_, rest) = modes.split_once('[')?;
    Some(rest.split_once(']')?.0.to_owned())
}

fn namespace(kind: &str) -> Option<u64> {
    Some(fs::metadata(format!("/proc/self/ns/{kind}")).ok()?.st_ino())
}

pub fn has_tracefs(mountinfo: &[u8]) -> bool {
    let text = String::from_utf8_lossy(mountinfo);
    text.lines().any(|line| {
        line.split_once(" - ")
            .is_some_and(|(_, rest)| rest.starts_with("tracefs "))
    })
}
