//! The machine a report speaks of. Filled by `kernel::host`, carried by recordings, shown by every format.

/// `None`: could not be told.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Host {
    pub hostname: String,
    pub boot_id: String,
    pub kernel: String,
    pub arch: String,
    pub cpus: u64,
    pub preempt_mode: Option<String>,
    pub hz: Option<u64>,
    pub clocksource: Option<String>,
    pub hypervisor: Option<String>,
    pub steal_percent: Option<f64>,
    pub sched_ext: Option<String>,
}
