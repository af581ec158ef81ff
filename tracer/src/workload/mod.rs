//! Known patterns of threads and processes: for the demo, for `verify`, and for the tests, which know what
//! must be seen of each. Runs as `tracer workload NAME`; a pattern of several processes runs this binary again.

mod births;
mod churn;
mod compute;
mod create;
mod demo;
mod ends;
mod identity;
mod idle;
mod ladder;
mod load;
mod memory;
mod pingpong;
mod planted;
mod python;
mod relay;
mod sched;
mod stage;
mod uring;

use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::time::{ClockId, Timespec, clock_gettime};

pub use sched::allowed_cpus;

use crate::cli::WorkloadArguments;

/// What to run and for how long. A pattern that counts ends at its count or at the duration, whichever comes first.
#[derive(Clone, Debug)]
pub struct WorkloadOptions {
    pub name: String,
    /// None, as for `count`: the pattern's own.
    pub duration: Option<Duration>,
    pub count: Option<u64>,
    /// Bytes.
    pub size: Option<u64>,
    pub parties: Option<u64>,
    pub cpus: Option<u64>,
    /// Ends when standard input does.
    pub tied: bool,
    /// Waits there before it begins.
    pub staged: bool,
    /// Ends when this parent does.
    pub child_of: Option<u32>,
}

impl From<WorkloadArguments> for WorkloadOptions {
    fn from(arguments: WorkloadArguments) -> WorkloadOptions {
        WorkloadOptions {
            name: arguments.name,
            duration: arguments.duration,
            count: arguments.count,
            size: arguments.size,
            parties: arguments.parties,
            cpus: arguments.cpus,
            tied: arguments.tied,
            staged: arguments.staged,
            child_of: arguments.child_of,
        }
    }
}

/// This machine does not allow the pattern: exit status 77, as test suites use it for "skipped".
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct NotPermitted(pub String);

/// The exit status that says so.
pub const NOT_PERMITTED: u8 = 77;

struct Workload {
    name: &'static str,
    about: &'static str,
    run: fn(&WorkloadOptions) -> anyhow::Result<()>,
}

const WORKLOADS: &[Workload] = &[
    Workload {
        name: "demo",
        about: "a bit of everything, for 5 s",
        run: demo::run,
    },
    Workload {
        name: "hog",
        about: "threads that only compute, COUNT per CPU, pinned",
        run: load::hog,
    },
    Workload {
        name: "sleepers",
        about: "COUNT threads that sleep and hardly run",
        run: load::sleepers,
    },
    Workload {
        name: "pingpong-threads",
        about: "two threads on one CPU wake each other COUNT times",
        run: pingpong::threads,
    },
    Workload {
        name: "pingpong-processes",
        about: "the same between two processes, through pipes",
        run: pingpong::processes,
    },
    Workload {
        name: "yielder",
        about: "COUNT times sched_yield beside a hog on one CPU",
        run: load::yielder,
    },
    Workload {
        name: "delayed-dequeue",
        about: "a sleeper moved between CPUs beside a hog",
        run: load::delayed_dequeue,
    },
    Workload {
        name: "short-threads",
        about: "COUNT threads that end at once",
        run: churn::short_threads,
    },
    Workload {
        name: "short-processes",
        about: "COUNT processes that end at once",
        run: churn::short_processes,
    },
    Workload {
        name: "tree",
        about: "children whose threads have children",
        run: churn::tree,
    },
    Workload {
        name: "rename",
        about: "threads that take COUNT names each",
        run: identity::rename,
    },
    Workload {
        name: "hostile-names",
        about: "threads with names that attack a terminal",
        run: identity::hostile_names,
    },
    Workload {
        name: "exec-nonleader",
        about: "a thread that is not the leader execs",
        run: identity::exec_nonleader,
    },
    Workload {
        name: "io-uring",
        about: "COUNT reads by a worker thread of the kernel",
        run: uring::run,
    },
    Workload {
        name: "burns",
        about: "one thread that only computes",
        run: planted::burns,
    },
    Workload {
        name: "bursts",
        about: "one thread, computes 1 ms and sleeps 1 ms",
        run: planted::bursts,
    },
    Workload {
        name: "pulses",
        about: "COUNT times one thread computes for DURATION and sleeps nine times as long",
        run: planted::pulses,
    },
    Workload {
        name: "packets",
        about: "one thread that sends datagrams nobody reads",
        run: planted::packets,
    },
    Workload {
        name: "ladder",
        about: "COUNT forks with nothing, 100 MiB and 1 GiB resident, each timed",
        run: ladder::run,
    },
    Workload {
        name: "kinds",
        about: "births by each call that there is, COUNT times the base number of each",
        run: births::kinds,
    },
    Workload {
        name: "births",
        about: "COUNT births in a row, every tenth a process and the others threads",
        run: births::in_a_row,
    },
    Workload {
        name: "forks",
        about: "COUNT forks in a row of children that end at once, and how long they took",
        run: births::forks,
    },
    Workload {
        name: "ends",
        about: "children that are waited for late, or not at all for DURATION",
        run: ends::run,
    },
    Workload {
        name: "crashes",
        about: "a process of COUNT threads that reads where it must not",
        run: ends::crashes,
    },
    Workload {
        name: "stacks",
        about: "COUNT threads that sleep, each with more of its stack in use",
        run: memory::stacks,
    },
    Workload {
        name: "create",
        about: "COUNT births by each call, one after the other on one CPU, each timed; their parent has SIZE in memory",
        run: create::run,
    },
    Workload {
        name: "hops",
        about: "one thread moves itself between two CPUs COUNT times, each time by a thread of the kernel",
        run: relay::hops,
    },
    Workload {
        name: "relay-threads-futex",
        about: "PARTIES threads on one CPU pass a word on in a ring, COUNT rounds, each timed",
        run: relay::threads_futex,
    },
    Workload {
        name: "relay-threads-pipe",
        about: "the same through pipes",
        run: relay::threads_pipe,
    },
    Workload {
        name: "relay-processes-futex",
        about: "the same by processes, in memory that they share",
        run: relay::processes_futex,
    },
    Workload {
        name: "relay-processes-pipe",
        about: "the same by processes, through pipes",
        run: relay::processes_pipe,
    },
    Workload {
        name: "relay-processes-spin",
        about: "two processes look at a word in memory that they share until it changes, COUNT rounds, each timed",
        run: relay::processes_spin,
    },
    Workload {
        name: "relay-processes-socket",
        about: "two processes pass a byte on, through a pair of sockets",
        run: relay::processes_socket,
    },
    Workload {
        name: "relay-processes-tcp",
        about: "the same over loopback",
        run: relay::processes_tcp,
    },
    Workload {
        name: "relay-processes-queue",
        about: "the same through POSIX message queues",
        run: relay::processes_queue,
    },
    Workload {
        name: "compute-threads",
        about: "PARTIES threads that compute for DURATION, and how much they get done",
        run: compute::threads,
    },
    Workload {
        name: "compute-processes",
        about: "the same by processes",
        run: compute::processes,
    },
    Workload {
        name: "compute-naps",
        about: "the same by threads that sleep half of the time",
        run: compute::naps,
    },
    Workload {
        name: "compute-mutex",
        about: "the same by threads that add to one sum, under a lock",
        run: compute::mutex,
    },
    Workload {
        name: "compute-messages",
        about: "the same by threads that send what they have to one that adds",
        run: compute::messages,
    },
    Workload {
        name: "compute-locked",
        about: "the same by threads of which one computes at a time",
        run: compute::locked,
    },
    Workload {
        name: "python",
        about: "PARTIES threads of Python that count, and processes: COUNT rounds of DURATION",
        run: python::run,
    },
    Workload {
        name: "idle-threads",
        about: "COUNT times PARTIES more threads that do nothing, and what memory they take",
        run: idle::threads,
    },
    Workload {
        name: "idle-forked",
        about: "the same by copies of one process",
        run: idle::forked,
    },
    Workload {
        name: "idle-started",
        about: "the same by processes that are started",
        run: idle::started,
    },
    Workload {
        name: "crashes-apart",
        about: "COUNT times a thread crashes in a process of PARTIES threads, beside another process",
        run: ends::apart,
    },
    // What the others run again.
    Workload {
        name: "relay-member-spin",
        about: "one of the processes of a relay; its input is the memory",
        run: relay::member_spin,
    },
    Workload {
        name: "relay-member-queue",
        about: "one of those processes; its input and output are message queues",
        run: relay::member_queue,
    },
    Workload {
        name: "compute-member",
        about: "one of the processes that compute; its input is the memory",
        run: compute::process,
    },
    Workload {
        name: "idle",
        about: "sleeps until its input ends",
        run: idle::one,
    },
    Workload {
        name: "crash-thread",
        about: "a process of PARTIES threads, one of which reads where it must not",
        run: ends::crash_thread,
    },
    Workload {
        name: "create-alone",
        about: "create in a process of one thread",
        run: create::alone,
    },
    Workload {
        name: "relay-member-futex",
        about: "one of those processes; its input is the memory",
        run: relay::member_futex,
    },
    Workload {
        name: "relay-member-pipe",
        about: "one of those processes; passes its input on to its output",
        run: relay::member_pipe,
    },
    Workload {
        name: "echo",
        about: "returns each byte of its input",
        run: pingpong::echo,
    },
    Workload {
        name: "tree-child",
        about: "a thread that has children",
        run: churn::tree_child,
    },
    Workload {
        name: "nothing",
        about: "ends at once",
        run: |_| Ok(()),
    },
];

pub fn run(options: &WorkloadOptions) -> anyhow::Result<()> {
    match WORKLOADS
        .iter()
        .find(|workload| workload.name == options.name)
    {
        Some(workload) => {
            if options.tied {
                stage::tie()?;
            }
            if let Some(parent) = options.child_of {
                stage::follow(parent)?;
            }
            (workload.run)(options).with_context(|| format!("run workload {}", workload.name))
        }
        None => bail!("no workload {:?}; there are: {}", options.name, list()),
    }
}

/// One line, for the help and the error.
pub fn list() -> String {
    let named = |workload: &Workload| format!("{} ({})", workload.name, workload.about);
    WORKLOADS.iter().map(named).collect::<Vec<_>>().join(", ")
}

/// When a pattern ends.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn of(options: &WorkloadOptions, default: Duration) -> Deadline {
        Deadline(Instant::now() + options.duration.unwrap_or(default))
    }

    fn is_over(self) -> bool {
        Instant::now() >= self.0
    }

    fn left(self) -> Duration {
        self.0.saturating_duration_since(Instant::now())
    }

    /// Sleeps, but not beyond the end.
    fn sleep(self, duration: Duration) {
        thread::sleep(duration.min(self.left()));
    }
}

/// Long enough that a test of a count never meets it by chance.
const LONG: Duration = Duration::from_secs(60);

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> anyhow::Result<JoinHandle<T>> {
    thread::Builder::new()
        .name(name.into())
        .spawn(body)
        .with_context(|| format!("start thread {name}"))
}

fn join<T>(handle: JoinHandle<T>) -> anyhow::Result<T> {
    handle
        .join()
        .map_err(|_| anyhow::anyhow!("a thread of the workload panicked"))
}

/// This binary again, with another pattern.
fn again(name: &str, duration: Option<Duration>) -> anyhow::Result<Command> {
    let exe = std::env::current_exe().context("find the tracer's own binary")?;
    let mut command = Command::new(exe);
    command.args(["workload", name]).stdin(Stdio::null());
    if let Some(duration) = duration {
        command.args(["--duration", &format!("{}us", duration.as_micros())]);
    }
    Ok(command)
}

/// The same as a part of this pattern, which ends when the thread ends that starts it: start it from the first one.
fn member(name: &str) -> anyhow::Result<Command> {
    let mut command = again(name, None)?;
    command.args(["--child-of", &std::process::id().to_string()]);
    Ok(command)
}

fn wait(mut child: Child) -> anyhow::Result<()> {
    let status = child.wait().context("wait for a child")?;
    if !status.success() {
        bail!("a child of the workload ended with {status}");
    }
    Ok(())
}

/// Computes for about this long.
fn burn(duration: Duration) {
    let end = Instant::now() + duration;
    while Instant::now() < end {
        std::hint::spin_loop();
    }
}

/// The clock of the reports.
fn monotonic() -> u64 {
    let Timespec { tv_sec, tv_nsec } = clock_gettime(ClockId::Monotonic);
    tv_sec as u64 * 1_000_000_000 + tv_nsec as u64
}

/// On standard output.
fn tell(text: &str) -> anyhow::Result<()> {
    let mut left = text.as_bytes();
    while !left.is_empty() {
        let written = rustix::io::write(std::io::stdout(), left).context("tell what was done")?;
        left = &left[written..];
    }
    Ok(())
}
