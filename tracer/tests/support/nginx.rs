//! A web server with threads and processes, and load on it. Private: its own port and directory.

use std::collections::BTreeSet;
use std::fs;
use std::net::{TcpListener, TcpStream};

use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::Running;
use super::machine::{background, children, until};

pub const WORKERS: usize = 2;
/// For each worker that has read a file.
pub const POOL: usize = 3;

pub struct Nginx {
    master: Running,
    port: u16,
    _dir: TempDir,
}

impl Nginx {
    #[track_caller]
    pub fn start() -> Nginx {
        let dir = tempfile::tempdir().expect("a directory for nginx");
        let at = |name: &str| dir.path().join(name).display().to_string();
        let port = free_port();
        fs::write(at("page.html"), "a page\n".repeat(2_000)).expect("write a page");
        let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
            .map(|what| format!("{what}_temp_path {};", at(what)));
        let config = format!(
            "daemon off; user root; worker_processes {WORKERS}; pid {}; error_log {};
             thread_pool pool threads={POOL};
             events {{ worker_connections 64; }}
             http {{
                 access_log off; aio threads=pool; sendfile off; {}
                 server {{ listen 127.0.0.1:{port} reuseport; root {}; }}
             }}",
            at("pid"),
            at("error.log"),
            temporary.join(" "),
            dir.path().display(),
        );
        fs::write(at("nginx.conf"), config).expect("write the configuration");
        let arguments = [
            "-p",
            &at(""),
            "-c",
            &at("nginx.conf"),
            "-e",
            &at("error.log"),
        ];
        let master = background("nginx", &arguments);
        let nginx = Nginx {
            master,
            port,
            _dir: dir,
        };
        until("nginx listens and has its workers", || {
            TcpStream::connect(("127.0.0.1", port)).is_ok() && nginx.workers().len() == WORKERS
        });
        nginx
    }

    pub fn pid(&self) -> u32 {
        self.master.id()
    }

    pub fn workers(&self) -> BTreeSet<u32> {
        children(self.pid())
    }

    /// As many clients as it takes to keep it busy, until dropped.
    #[track_caller]
    pub fn load(&self) -> Running {
        let url = format!("http://127.0.0.1:{}/page.html", self.port);
        background("wrk", &["-t1", "-c8", "-d120", &url])
    }

    /// New workers take over from the old ones, which end.
    #[track_caller]
    pub fn reload(&self) {
        let old = self.workers();
        let pid = Pid::from_raw(self.pid() as i32).expect("a pid");
        kill_process(pid, Signal::HUP).expect("tell nginx");
        until("all workers are new", || {
            let now = self.workers();
            now.len() == WORKERS && now.is_disjoint(&old)
        });
    }
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("find a port");
    listener.local_addr().expect("it has one").port()
}
