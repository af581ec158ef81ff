//! Hook:       none: run by the loader on each CPU, `BPF_PROG_TEST_RUN` of a raw tracepoint program
//! Writes:     record::Left, of whoever is there; shows all that is kept of this CPU
//! Without it: (kernels before 5.10) what a wait was for that goes on at the end is unknown

use core::ffi::c_void;

use aya_ebpf::helpers::{bpf_get_smp_processor_id, generated::bpf_get_current_task_btf};
use tracer_common::{record::who_flags, settings::feature};

use crate::{emit::now, history, interrupts, settings::has, task::Task};

/// No switch happens meanwhile: this is an interrupt, or it cannot be preempted.
#[unsafe(link_section = "raw_tp/show_history")]
#[unsafe(no_mangle)]
pub extern "C" fn show_history(_ctx: *mut c_void) -> u32 {
    if !has(feature::NARROW) {
        return 0;
    }
    // SAFETY: helpers without preconditions.
    let (current, cpu) = unsafe { (bpf_get_current_task_btf(), bpf_get_smp_processor_id()) };
    let current = Task::new(current.cast());
    history::left(
        cpu,
        now(),
        (current, current.tid()),
        current.run_queue(),
        interrupts::ended(),
        who_flags::STAYS | who_flags::GAP,
    );
    history::show(cpu, 0);
    0
}
