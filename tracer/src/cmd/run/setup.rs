//! What options, machine and terminal come to before anything is traced.

use std::{io::Write as _, time::Duration};

use crate::{
    cli::{CostMethod, RunOptions},
    cmd::style_of,
    kernel::{
        cgroup::Hierarchy,
        session::{self, Narrow},
    },
    model::Timestamp,
    output::{Format, Style},
    target::Target,
};

/// On a host with more runnable threads than CPUs the rings would fill while we wait for our turn.
/// We use little, but we need it in time; without CAP_SYS_NICE it stays as it is.
pub fn raise_priority() {
    let _ = rustix::process::setpriority_process(None, -20);
}

/// An eighth of a per cent of the memory for each CPU: from 1 MiB to 8 MiB.
pub fn default_buffer() -> u64 {
    let info = rustix::system::sysinfo();
    let memory = info.totalram as u64 * u64::from(info.mem_unit);
    (memory / 800 / crate::kernel::host::online_cpus()).clamp(1 << 20, 8 << 20)
}

pub fn session_options(
    options: &RunOptions,
    target: &Target,
    cgroups: Option<Hierarchy>,
    buffer: u64,
) -> session::Options {
    session::Options {
        buffer,
        cgroups,
        // A name or a cgroup may become a thread's later: only numbers can be told apart beforehand.
        narrow: target.can_end().then_some(Narrow {
            children: target.children,
        }),
        // Of the whole machine it would cost as much as all wake-ups.
        resched: target.can_end() || options.slower.is_some(),
        forks: options.forks,
        switch_cost: options.switch_cost,
        calibrate: options.cost == CostMethod::Calibrated,
        statistics: options.cost == CostMethod::Exact,
        verbose: options.verbose,
    }
}

/// Asked for, or each second where somebody watches.
pub fn interval(options: &RunOptions) -> Option<Duration> {
    let watched = options.format == Format::Table
        && options.output.is_none()
        && rustix::termios::isatty(std::io::stdout());
    options
        .interval
        .or(watched.then_some(Duration::from_secs(1)))
}

pub fn style(options: &RunOptions) -> Style {
    Style {
        cmdline: options.cmdline,
        ..style_of(options.output.as_deref())
    }
}

/// When intermediate reports are due.
pub struct Intervals {
    pub every: Duration,
    pub next: Timestamp,
    /// The next end of one at which the CPUs' counts are due.
    pub next_count: Timestamp,
}

pub fn began_plus(began: Timestamp, every: Duration) -> Timestamp {
    Timestamp(
        began
            .0
            .saturating_add(u64::try_from(every.as_nanos()).unwrap_or(u64::MAX)),
    )
}

/// Beside the report: for `-v`, warnings, what became of a recording.
pub fn tell(what: &str) {
    // Nobody is left to be told when stderr is gone.
    let _ = writeln!(std::io::stderr().lock(), "{what}");
}
