//! Hook:       tp_btf/sys_exit, with `--forks` only: it slows every system call of the machine
//! Writes:     record::Called, when a system call that creates, replaces or waits for a process returns
//! Without it: see sys_enter; and how long zombies stay is not known

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};

use crate::{calls, registers::Registers};

#[btf_tracepoint(function = "sys_exit")]
pub fn sys_exit(ctx: BtfTracePointContext) -> i32 {
    calls::returned(Registers::new(ctx.arg(0)), ctx.arg(1));
    0
}
