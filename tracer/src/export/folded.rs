//! Stacks of names for flame graphs: `process;thread;what;more nanoseconds`, biggest first within a thread.
//!
//! Two kinds of time: off the CPU by state and system call, and waits by who or what had the CPU. They add up to the
//! report's. Made of the report alone; threads that it folded into their process are one thread `(ended)`.

use std::io;

use super::{Known, Writer};
use crate::model::Nanos;
use crate::output::{escape, syscall_name, words};
use crate::report::{Process, Thread, Totals, WaitedFor};
use crate::timeline::Rows;

pub struct Folded<'a> {
    known: &'a Known<'a>,
}

impl<'a> Folded<'a> {
    pub fn new(known: &'a Known<'a>) -> Folded<'a> {
        Folded { known }
    }

    fn thread(&self, process: &str, thread: &Thread, out: &mut dyn io::Write) -> io::Result<()> {
        let stack = format!("{process};{} {}", frame(thread.comm.bytes()), thread.tid);
        for row in &thread.off_cpu {
            let state = words::off_state(row.state);
            let call = row.syscall.map_or("(no system call)".into(), |call| {
                syscall_name(&self.known.host.arch, call)
            });
            line(out, &format!("{stack};off-cpu;{state};{call}"), row.ns)?;
        }
        for row in &thread.waited_for {
            line(out, &format!("{stack};waited-for;{}", charged(row)), row.ns)?;
        }
        Ok(())
    }
}

impl Writer for Folded<'_> {
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        for process in &self.known.report.processes {
            let name = format!("{} {}", frame(process.comm.bytes()), process.pid);
            for thread in &process.threads {
                self.thread(&name, thread, out)?;
            }
            ended(&name, process, out)?;
        }
        Ok(())
    }

    fn rows(&mut self, _: &Rows, _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }

    fn end(&mut self, _: &mut dyn io::Write) -> io::Result<()> {
        Ok(())
    }
}

/// Threads of which only sums are left.
fn ended(process: &str, of: &Process, out: &mut dyn io::Write) -> io::Result<()> {
    let Totals {
        sleep,
        block,
        stopped,
        wait,
        ..
    } = of.folded.totals;
    for (what, ns) in [
        ("off-cpu;sleep;(any)", sleep),
        ("off-cpu;block;(any)", block),
        ("off-cpu;stopped;(any)", stopped),
        ("waited-for;(any)", wait),
    ] {
        line(out, &format!("{process};(ended);{what}"), ns)?;
    }
    Ok(())
}

fn charged(row: &WaitedFor) -> String {
    let kind = words::charge(row.kind);
    match row.who {
        Some(who) => format!("{kind};{} {}", frame(who.comm.bytes()), who.tid),
        None => kind.to_owned(),
    }
}

fn line(out: &mut dyn io::Write, stack: &str, ns: Nanos) -> io::Result<()> {
    if ns == Nanos::ZERO {
        return Ok(());
    }
    writeln!(out, "{stack} {}", ns.0)
}

/// A name as one frame: the separator would make it two.
fn frame(name: &[u8]) -> String {
    escape::terminal(name).replace(';', "\\x3b")
}
