//! Hook:       tp_btf/sched_waking
//! Writes:     record::Waking, once per wake-up that found its thread asleep
//! Without it: a sleep that the kernel counted as wait cannot be told apart; preflight refuses

use aya_ebpf::{
    helpers::bpf_get_current_pid_tgid, macros::btf_tracepoint, programs::BtfTracePointContext,
};
use tracer_common::{
    counters::Probe,
    record::{Waking, kind, waking_flags},
};

use crate::{emit::emit, settings::OWN_TGID, task::Task};

#[btf_tracepoint(function = "sched_waking")]
pub fn sched_waking(ctx: BtfTracePointContext) -> i32 {
    let task = Task::new(ctx.arg(0));
    let current = bpf_get_current_pid_tgid();
    emit(Probe::Waking, kind::WAKING, |record: &mut Waking| {
        task.write_key(&mut record.task);
        record.tid = task.tid();
        record.current_tid = current as u32;
        let mut flags = 0;
        if current as u32 == 0 {
            flags |= waking_flags::FROM_IDLE;
        }
        if current >> 32 == OWN_TGID.load() {
            flags |= waking_flags::OWN;
        }
        flags
    });
    0
}
