//! What options, machine and terminal come to before anything is traced.

use std::time::Duration;

use crate::{
    cli::RunOptions,
    cmd::style_of,
    model::Timestamp,
    output::{Format, Style},
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
