//! One hook a file.

mod calibrate;
mod cgroup;
mod exec;
mod exit;
mod fork;
mod interrupt;
mod migrate;
mod newtask;
mod rename;
mod resched;
mod show;
mod snapshot;
mod switch;
mod wakeup_new;
mod waking;
