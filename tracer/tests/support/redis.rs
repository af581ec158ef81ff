//! A server whose parent process forks to save what it holds. Private: its own port and directory.

use std::net::TcpStream;
use std::process::Command;

use tempfile::TempDir;

use super::Running;
use super::machine::{background, until};
use super::nginx::free_port;

pub struct Redis {
    server: Running,
    port: String,
    _dir: TempDir,
}

impl Redis {
    #[track_caller]
    pub fn start() -> Redis {
        let dir = tempfile::tempdir().expect("a directory for redis");
        let (at, number) = (dir.path().display().to_string(), free_port());
        let port = number.to_string();
        let arguments = [
            ["--port", &port],
            ["--bind", "127.0.0.1"],
            ["--dir", &at],
            // Saves when told to.
            ["--save", ""],
            ["--appendonly", "no"],
            ["--enable-debug-command", "local"],
        ];
        let server = background("redis-server", arguments.as_flattened());
        let redis = Redis {
            server,
            port,
            _dir: dir,
        };
        until("redis listens", || {
            TcpStream::connect(("127.0.0.1", number)).is_ok()
        });
        redis
    }

    pub fn pid(&self) -> u32 {
        self.server.id()
    }

    #[track_caller]
    pub fn ask(&self, command: &[&str]) -> String {
        let mut client = Command::new("redis-cli");
        let output = client.args(["-e", "-p", &self.port]).args(command).output();
        let output = output.expect("run redis-cli");
        assert!(output.status.success(), "{command:?}: {output:?}");
        String::from_utf8_lossy(&output.stdout).trim().to_owned()
    }

    /// A number of what it tells of itself.
    #[track_caller]
    pub fn info(&self, key: &str) -> u64 {
        let all = self.ask(&["info", "everything"]);
        let line = |line: &str| {
            line.strip_prefix(key)?
                .strip_prefix(':')?
                .trim()
                .parse()
                .ok()
        };
        all.lines()
            .find_map(line)
            .unwrap_or_else(|| panic!("{key} in {all}"))
    }

    /// Clients that write, until dropped.
    #[track_caller]
    pub fn load(&self) -> Running {
        let clients = [
            ["-p", &self.port],
            ["-t", "set"],
            ["-c", "2"],
            ["-d", "1000"],
            ["-r", "100000"],
            ["-n", "1000000000"],
        ];
        background("redis-benchmark", clients.as_flattened())
    }
}
