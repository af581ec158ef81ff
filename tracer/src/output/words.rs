//! The words of the contract for what the report names by case. Every format uses these.

use std::borrow::Cow;

use crate::diff::Metric;
use crate::model::{BirthKind, NextKind, OffState, WaitCause, WakerKind};
use crate::report::{
    ChargeKind, CheckedField, EndReason, KernelSource, KnownError, MemorySource, Model, SwitchKind,
    Verdict,
};
use crate::verify;

pub fn verdict(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Valid => "valid",
        Verdict::Degraded => "degraded",
        Verdict::Invalid => "invalid",
    }
}

pub fn end_reason(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Duration => "duration",
        EndReason::Signal => "signal",
        EndReason::TargetExit => "target_exit",
        EndReason::MaxOverhead => "max_overhead",
        EndReason::RecordingEnd => "recording_end",
        EndReason::Error => "error",
    }
}

pub fn model(model: Model) -> &'static str {
    match model {
        Model::Single => "single",
        Model::Threads => "threads",
        Model::Processes => "processes",
        Model::Hybrid => "hybrid",
    }
}

/// Named as the keys of a thread, so that a reader finds both sides.
pub fn checked_field(field: CheckedField) -> &'static str {
    match field {
        CheckedField::Voluntary => "voluntary",
        CheckedField::Involuntary => "involuntary",
        CheckedField::Run => "run_ns",
        CheckedField::Wait => "wait_ns",
    }
}

pub fn known_error(error: KnownError) -> &'static str {
    match error {
        KnownError::KernelCountedSleep => "kernel_counted_sleep",
        KnownError::KernelMissedWait => "kernel_missed_wait",
        KnownError::KernelStaleClock => "kernel_stale_clock",
        KnownError::BeganBeforeAHole => "began_before_a_hole",
    }
}

pub fn kernel_source(source: KernelSource) -> &'static str {
    match source {
        KernelSource::Snapshot => "snapshot",
        KernelSource::LastRecord => "last_record",
    }
}

pub fn off_state(state: OffState) -> &'static str {
    match state {
        OffState::Sleep => "sleep",
        OffState::Block => "block",
        OffState::Stopped => "stopped",
    }
}

pub fn charge(kind: ChargeKind) -> &'static str {
    match kind {
        ChargeKind::Thread => "thread",
        ChargeKind::KernelThread => "kernel_thread",
        ChargeKind::Irq => "irq",
        ChargeKind::Softirq => "softirq",
        ChargeKind::Steal => "steal",
        ChargeKind::Throttled => "throttled",
        ChargeKind::Idle => "idle",
        ChargeKind::OtherCpu => "other_cpu",
        ChargeKind::Unknown => "unknown",
    }
}

/// A thread that woke itself did so whatever it is told by.
pub fn woken_by(kind: WakerKind, itself: bool) -> &'static str {
    if itself { "self" } else { waker(kind) }
}

/// Not of a thread that woke itself.
pub fn waker(kind: WakerKind) -> &'static str {
    match kind {
        WakerKind::Thread => "thread",
        WakerKind::Irq => "irq",
        WakerKind::Softirq => "softirq",
        WakerKind::Timer => "timer",
        WakerKind::Unknown => "unknown",
    }
}

pub fn wait_cause(cause: WaitCause) -> &'static str {
    match cause {
        WaitCause::Preempted => "preempted",
        WaitCause::Yielded => "yielded",
        WaitCause::Throttled => "throttled",
        WaitCause::Requeued => "requeued",
        WaitCause::Woken => "woken",
        WaitCause::New => "new",
    }
}

/// Named as the keys of `kinds`.
pub fn next_kind(kind: NextKind) -> &'static str {
    match kind {
        NextKind::Idle => "idle",
        NextKind::KernelThread => "kernel_thread",
        NextKind::SameProcess => "same_process",
        NextKind::OtherProcess => "other_process",
    }
}

pub fn birth(kind: BirthKind) -> &'static str {
    match kind {
        BirthKind::Fork => "fork",
        BirthKind::Vfork => "vfork",
        BirthKind::Thread => "thread",
        BirthKind::Worker => "worker",
    }
}

/// What is compared, with its unit.
pub fn metric(metric: Metric) -> &'static str {
    match metric {
        Metric::Wait => "wait_ns_per_s",
        Metric::WaitedFor(_) => "waited_for_ns_per_s",
        Metric::Run => "run_ns_per_s",
        Metric::Block => "block_ns_per_s",
        Metric::Voluntary => "voluntary_per_s",
        Metric::Involuntary => "involuntary_per_s",
        Metric::Births => "births_per_s",
        Metric::Stall => "stall_ns",
    }
}

pub fn memory_source(source: MemorySource) -> &'static str {
    match source {
        MemorySource::Procfs => "procfs",
        MemorySource::Exit => "exit",
    }
}

/// As `chrt` prints it. Numbers: include/uapi/linux/sched.h.
pub fn policy(policy: u32) -> Cow<'static, str> {
    match policy {
        0 => "SCHED_OTHER".into(),
        1 => "SCHED_FIFO".into(),
        2 => "SCHED_RR".into(),
        3 => "SCHED_BATCH".into(),
        5 => "SCHED_IDLE".into(),
        6 => "SCHED_DEADLINE".into(),
        7 => "SCHED_EXT".into(),
        other => format!("SCHED_{other}").into(),
    }
}

pub fn claim_verdict(verdict: verify::Verdict) -> &'static str {
    match verdict {
        verify::Verdict::Confirmed => "confirmed",
        verify::Verdict::Refuted => "refuted",
        verify::Verdict::Depends => "depends",
        verify::Verdict::NotAvailable => "n/a",
    }
}

pub fn effort(effort: verify::Effort) -> &'static str {
    match effort {
        verify::Effort::Quick => "quick",
        verify::Effort::Normal => "normal",
        verify::Effort::Thorough => "thorough",
    }
}

pub fn unit(unit: verify::Unit) -> &'static str {
    match unit {
        verify::Unit::Nanoseconds => "ns",
        verify::Unit::Bytes => "bytes",
        verify::Unit::Share => "share",
        verify::Unit::Ratio => "ratio",
        verify::Unit::Count => "count",
        verify::Unit::PerSecond => "per_second",
    }
}

pub fn switch_kind(kind: SwitchKind) -> &'static str {
    match kind {
        SwitchKind::SameSpace => "same_space",
        SwitchKind::OtherSpace => "other_space",
        SwitchKind::ToKernelThread => "to_kernel_thread",
        SwitchKind::ToIdle => "to_idle",
        SwitchKind::BackToSameSpace => "back_to_same_space",
        SwitchKind::BackToOtherSpace => "back_to_other_space",
    }
}
