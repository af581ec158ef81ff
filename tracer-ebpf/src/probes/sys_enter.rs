//! Hook:       tp_btf/sys_enter, with `--forks` only: it slows every system call of the machine
//! Writes:     when system calls that create or replace a process began
//! Without it: what fork, clone and exec cost whoever calls them is not known

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::calls;

#[btf_tracepoint(function = "sys_enter")]
pub fn sys_enter(ctx: BtfTracePointContext) -> i32 {
    calls::entered(ctx.arg(1));
    0
}
