//! More and more threads or processes that do nothing, and what all of them have in memory: what each PARTIES of them
//! add, COUNT times.

use std::io::{Read as _, stdin};
use std::process::{Child, Stdio};
use std::thread;
use std::time::Duration;

use anyhow::Context as _;

use super::{WorkloadOptions, member, sched, stage, tell, wait};
use crate::kernel::procfs::{self, Space};
use crate::kernel::raw::births::{Pthread, fork_asleep};

const PARTIES: u64 = 8;
const STEPS: u64 = 8;
/// Until those that were born have gone to sleep.
const SETTLED: Duration = Duration::from_millis(5);

/// In bytes.
#[derive(Clone, Copy, Default)]
struct Taken {
    pss: i64,
    page_tables: i64,
    kernel_stacks: i64,
    reserved: i64,
}

impl Taken {
    /// By these processes; the stacks in the kernel are those of the machine.
    fn by(pids: &[u32]) -> anyhow::Result<Taken> {
        let stacks = procfs::machine_memory(b"KernelStack:").context("read /proc/meminfo")?;
        let mut taken = Taken {
            kernel_stacks: stacks.cast_signed(),
            ..Taken::default()
        };
        for &pid in pids {
            let space = Space::of(pid).with_context(|| format!("read the memory of {pid}"))?;
            taken.pss += space.pss_bytes.cast_signed();
            taken.page_tables += space.page_table_bytes.cast_signed();
            taken.reserved += space.reserved_bytes.cast_signed();
        }
        Ok(taken)
    }
}

/// `add` makes one more, and answers its pid if it is a process of its own.
fn grow(
    options: &WorkloadOptions,
    mut add: impl FnMut() -> anyhow::Result<Option<u32>>,
) -> anyhow::Result<()> {
    let parties = options.parties.unwrap_or(PARTIES).max(1);
    let mut pids = vec![std::process::id()];
    let mut steps = vec![Taken::by(&pids)?];
    for _ in 0..options.count.unwrap_or(STEPS) {
        for _ in 0..parties {
            pids.extend(add()?);
        }
        thread::sleep(SETTLED);
        steps.push(Taken::by(&pids)?);
    }
    let told = |name: &str, of: fn(&Taken) -> i64| {
        let more = steps.windows(2).map(|pair| of(&pair[1]) - of(&pair[0]));
        let each: Vec<i64> = more.map(|more| more / parties.cast_signed()).collect();
        stage::told(name, &each)
    };
    told("pss_bytes", |taken| taken.pss)?;
    told("page_table_bytes", |taken| taken.page_tables)?;
    told("kernel_stack_bytes", |taken| taken.kernel_stacks)?;
    told("reserved_bytes", |taken| taken.reserved)?;
    told("all_bytes", |taken| {
        taken.pss + taken.page_tables + taken.kernel_stacks
    })?;
    thread::sleep(options.duration.unwrap_or_default());
    Ok(())
}

/// They end with this process.
pub fn threads(options: &WorkloadOptions) -> anyhow::Result<()> {
    sched::rename(b"idle")?;
    grow(options, || {
        Pthread::asleep().context("create a thread")?;
        Ok(None)
    })
}

/// Copies of this process.
pub fn forked(options: &WorkloadOptions) -> anyhow::Result<()> {
    let mut children = Vec::new();
    let result = grow(options, || {
        let child = fork_asleep().context("fork")?;
        children.push(child);
        Ok(Some(child.as_raw_nonzero().get().cast_unsigned()))
    });
    for child in children {
        // Not waited for so far, so the number is still its own.
        rustix::process::kill_process(child, rustix::process::Signal::KILL)
            .context("end a child")?;
        rustix::process::waitpid(Some(child), rustix::process::WaitOptions::empty())
            .context("wait for a child")?;
    }
    result
}

/// Processes that have a program of their own, the same one.
pub fn started(options: &WorkloadOptions) -> anyhow::Result<()> {
    let mut children: Vec<Child> = Vec::new();
    let result = grow(options, || {
        let mut command = member("idle")?;
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = child.context("start a process")?;
        let mut ready = [0];
        let out = child.stdout.as_mut().context("listen to a process")?;
        out.read_exact(&mut ready).context("wait for a process")?;
        let pid = child.id();
        children.push(child);
        Ok(Some(pid))
    });
    // Their input ends as they are waited for.
    children.into_iter().try_for_each(wait)?;
    result
}

/// One of those: tells when it has begun, and sleeps until its input ends.
pub fn one(_: &WorkloadOptions) -> anyhow::Result<()> {
    tell("\n")?;
    let mut rest = Vec::new();
    stdin().read_to_end(&mut rest).context("wait for the end")?;
    Ok(())
}
