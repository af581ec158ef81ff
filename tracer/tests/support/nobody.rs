//! The binary where anybody may run it, by somebody who may nothing, or next to nothing.

use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use tempfile::TempDir;

use super::machine::is_root;
use super::{Outcome, Running, binary};

pub struct Nobody(TempDir);

impl Nobody {
    #[track_caller]
    pub fn new() -> Nobody {
        let dir = tempfile::tempdir().expect("a directory for the binary");
        let open = || Permissions::from_mode(0o755);
        fs::set_permissions(dir.path(), open()).expect("let all in");
        let copy = dir.path().join("tracer");
        fs::copy(binary().get_program(), &copy).expect("copy the binary");
        fs::set_permissions(copy, open()).expect("let all run it");
        Nobody(dir)
    }

    pub fn binary(&self) -> PathBuf {
        self.0.path().join("tracer")
    }

    /// Without any right.
    pub fn command(&self, args: &[&str]) -> Command {
        self.with(&[], args)
    }

    #[track_caller]
    pub fn runs(&self, args: &[&str]) -> Outcome {
        Running::start(&mut self.command(args)).finish()
    }

    /// Who may load and attach programs, and nothing beyond: by what the shell hands down, not by the file.
    pub fn with_two_capabilities(&self, args: &[&str]) -> Command {
        let sets = ["--inh-caps", "--ambient-caps", "--bounding-set"];
        let two = sets.map(|set| [set, "-all,+bpf,+perfmon"]);
        self.with(&two.concat(), args)
    }

    fn with(&self, rights: &[&str], args: &[&str]) -> Command {
        let mut command = as_nobody(&self.binary(), rights);
        command.args(args).current_dir("/");
        command
    }
}

/// As another user where we are root; who is not is nobody enough.
pub fn as_nobody(program: &Path, rights: &[&str]) -> Command {
    if !is_root() {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(["--reuid", "nobody", "--regid", "65534", "--clear-groups"]);
    command.args(rights).arg(program);
    command
}
