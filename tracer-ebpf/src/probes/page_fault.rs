//! Hook:       tp_btf/page_fault_user, page_fault_kernel, with `--forks` only
//! Writes:     record::Cow, when the time in which writes after a fork are counted is over
//! Without it: what a fork makes its parent and its child copy is not known

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::cow;

#[btf_tracepoint(function = "page_fault_user")]
pub fn page_fault_user(ctx: BtfTracePointContext) -> i32 {
    cow::fault(ctx.arg(0), ctx.arg(2));
    0
}

/// The kernel writes to the process's memory: `read` does.
#[btf_tracepoint(function = "page_fault_kernel")]
pub fn page_fault_kernel(ctx: BtfTracePointContext) -> i32 {
    cow::fault(ctx.arg(0), ctx.arg(2));
    0
}
