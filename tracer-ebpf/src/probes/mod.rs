//! One hook a file.

mod exec;
mod exit;
mod fork;
mod migrate;
mod newtask;
mod rename;
mod snapshot;
mod switch;
mod waking;
mod wakeup_new;
