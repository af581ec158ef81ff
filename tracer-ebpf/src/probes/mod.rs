//! One hook a file.

mod calibrate;
mod cgroup;
mod exec;
mod exit;
mod fork;
mod migrate;
mod newtask;
mod rename;
mod show;
mod snapshot;
mod switch;
mod wakeup_new;
mod waking;
