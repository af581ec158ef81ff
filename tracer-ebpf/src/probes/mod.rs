//! One hook a file.

mod calibrate;
mod cgroup;
mod exec;
mod exit;
mod exit_mmap;
mod fork;
mod interrupt;
mod migrate;
mod newtask;
mod page_fault;
mod rename;
mod resched;
mod schedule;
mod show;
mod snapshot;
mod stacks;
mod switch;
mod sys_enter;
mod sys_exit;
mod tlb_flush;
mod wakeup_new;
mod waking;
