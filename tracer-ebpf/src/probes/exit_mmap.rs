//! Hook:       tp_btf/exit_mmap, with `--forks` only
//! Writes:     record::Teardown, when a thread that ends has given its address space back
//! Without it: how long that takes is not known

use aya_ebpf::{macros::btf_tracepoint, programs::BtfTracePointContext};
use tracer_common::{
    counters::Probe,
    record::{Teardown, kind},
};

use crate::{
    emit::emit,
    task::{Task, key_of_current},
};

#[btf_tracepoint(function = "exit_mmap")]
pub fn exit_mmap(_ctx: BtfTracePointContext) -> i32 {
    let current = Task::current();
    // Exec gives one back, too; and so does who looked at a process that ends meanwhile.
    if current.is_exiting() && !current.address_space().exists() {
        emit(
            Probe::Teardown,
            kind::TEARDOWN,
            current.tid(),
            |record: &mut Teardown| {
                record.task = key_of_current();
                record.tid = current.tid();
                record.reserved = 0;
                0
            },
        );
    }
    0
}
