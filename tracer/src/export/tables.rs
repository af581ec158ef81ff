//! The tables of an export: columns, and how they come from rows.
//!
//! Rows of the time line in, rows of tables out. Names of columns are those of the report where both have the same
//! thing. A thread is `thread`: its number in this recording, as tids are used again. `at_ns` counts from the window's
//! start, `time` is the same by the wall clock; both are null for what only the kernel's counters tell.

use std::borrow::Cow;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::Known;
use crate::model::{Comm, Cpu, Nanos, Syscall};
use crate::output::{syscall_name, words};
use crate::report::{self, Totals};
use crate::timeline::{self, Met, Row, Rows, State};

/// A thread in one state. Those of a thread follow each other without a gap.
#[derive(Debug, Deserialize, Serialize)]
pub struct Span<'a> {
    pub host: Cow<'a, str>,
    pub time: Option<i64>,
    pub at_ns: Option<i64>,
    pub ns: i64,
    pub thread: i64,
    pub pid: i32,
    pub tid: i32,
    pub comm: Cow<'a, str>,
    pub state: Cow<'a, str>,
    pub cpu: Option<i32>,
    pub whole: bool,
    pub syscall: Option<Cow<'a, str>>,
    pub iowait: bool,
    pub steal_ns: Option<i64>,
    pub irq_ns: i64,
    pub softirq_ns: i64,
}

/// A thread leaves a CPU.
#[derive(Debug, Deserialize, Serialize)]
pub struct Switch<'a> {
    pub host: Cow<'a, str>,
    pub time: Option<i64>,
    pub at_ns: Option<i64>,
    pub thread: i64,
    pub pid: i32,
    pub tid: i32,
    pub comm: Cow<'a, str>,
    pub cpu: Option<i32>,
    pub voluntary: i64,
    pub involuntary: i64,
    pub yielded: bool,
    pub kind: Option<Cow<'a, str>>,
    pub address_space_change: bool,
    pub next_tid: Option<i32>,
}

/// A part of a wait: who or what had the CPU meanwhile.
#[derive(Debug, Deserialize, Serialize)]
pub struct Wait<'a> {
    pub host: Cow<'a, str>,
    pub time: Option<i64>,
    pub at_ns: Option<i64>,
    pub ns: i64,
    pub thread: i64,
    pub pid: i32,
    pub tid: i32,
    pub comm: Cow<'a, str>,
    /// Counts waits: its parts have the same.
    pub wait: i64,
    pub wait_at_ns: Option<i64>,
    pub wait_ns: i64,
    pub cause: Cow<'a, str>,
    pub cpu: i32,
    pub finished: bool,
    /// As in `waited_for`; null of a wait without length.
    pub kind: Option<Cow<'a, str>>,
    pub by_pid: Option<i32>,
    pub by_tid: Option<i32>,
    pub by_comm: Option<Cow<'a, str>>,
    pub same_process: Option<bool>,
    pub woken_by: Option<Cow<'a, str>>,
    pub waker_pid: Option<i32>,
    pub waker_tid: Option<i32>,
    pub waker_comm: Option<Cow<'a, str>>,
    pub waker_syscall: Option<Cow<'a, str>>,
    pub waker_cross_cpu: Option<bool>,
    pub wake_ns: Option<i64>,
    pub resched_ns: Option<i64>,
}

/// A birth.
#[derive(Debug, Deserialize, Serialize)]
pub struct Fork<'a> {
    pub host: Cow<'a, str>,
    pub time: Option<i64>,
    pub at_ns: i64,
    pub kind: Cow<'a, str>,
    pub flags: Option<i64>,
    pub parent_pid: i32,
    pub parent_tid: i32,
    pub parent_comm: Cow<'a, str>,
    pub child_pid: i32,
    pub child_tid: i32,
    pub child_comm: Cow<'a, str>,
    pub syscall_ns: Option<i64>,
    pub fork_to_run_ns: Option<i64>,
    pub wake_ns: Option<i64>,
    pub wait_ns: Option<i64>,
    pub cross_cpu: Option<bool>,
    pub fork_to_exec_ns: Option<i64>,
    pub parent_rss_bytes: Option<i64>,
    pub parent_page_table_bytes: Option<i64>,
    pub parent_mappings: Option<i64>,
    pub cow_faults_parent: Option<i64>,
    pub cow_faults_child: Option<i64>,
    pub lifetime_ns: Option<i64>,
    pub exit_code: Option<i32>,
    pub exit_signal: Option<i32>,
}

/// A thread over the whole window, as in the report.
#[derive(Debug, Deserialize, Serialize)]
pub struct Thread<'a> {
    pub host: Cow<'a, str>,
    pub time: Option<i64>,
    pub thread: i64,
    pub pid: i32,
    pub tid: i32,
    pub comm: Cow<'a, str>,
    pub process_comm: Cow<'a, str>,
    pub ppid: i32,
    pub cgroup: Option<Cow<'a, str>>,
    pub own: bool,
    pub kernel_thread: bool,
    pub started_ns: Option<i64>,
    pub born_in_window: bool,
    pub exit_at_ns: Option<i64>,
    pub exit_code: Option<i32>,
    pub exit_signal: Option<i32>,
    pub policy: Cow<'a, str>,
    pub nice: i32,
    pub rt_priority: i32,
    pub cpu_last: i32,
    pub lifetime_ns: i64,
    pub run_ns: i64,
    pub run_steal_ns: Option<i64>,
    pub run_irq_ns: Option<i64>,
    pub run_softirq_ns: Option<i64>,
    pub wait_ns: i64,
    pub wait_uncounted_ns: i64,
    pub sleep_ns: i64,
    pub block_ns: i64,
    pub iowait_ns: Option<i64>,
    pub stopped_ns: i64,
    pub unknown_ns: i64,
    pub wake_ns: Option<i64>,
    pub voluntary: i64,
    pub involuntary: i64,
    pub involuntary_yields: Option<i64>,
    pub same_process: i64,
    pub other_process: i64,
    pub kernel_threads: i64,
    pub idle: i64,
    pub address_space_changes: i64,
    pub migrations: i64,
    pub wait_p99_ns: Option<i64>,
    pub wait_max_ns: Option<i64>,
    pub latency_p99_ns: Option<i64>,
    pub latency_max_ns: Option<i64>,
}

/// A row of one of the tables.
#[derive(Debug, Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum TableRow<'a> {
    Span(Span<'a>),
    Switch(Switch<'a>),
    Wait(Box<Wait<'a>>),
    Thread(Box<Thread<'a>>),
}

/// How a format spells names, which are any bytes.
type Spell = fn(&[u8]) -> Cow<'_, str>;

/// Names as each row has them.
pub struct Tables<'a> {
    known: &'a Known<'a>,
    spell: Spell,
    people: FxHashMap<u32, Met>,
    waits: i64,
}

impl<'a> Tables<'a> {
    pub fn new(known: &'a Known<'a>, spell: Spell) -> Tables<'a> {
        Tables {
            known,
            spell,
            people: FxHashMap::default(),
            waits: 0,
        }
    }

    /// Births, which are known before the first row.
    pub fn forks(&self) -> impl Iterator<Item = Fork<'a>> {
        let births = self.known.report.births.iter();
        births
            .flat_map(|births| &births.forks)
            .map(|fork| self.fork(fork))
    }

    /// All that these rows come to.
    pub fn each<E>(
        &mut self,
        rows: &Rows,
        mut take: impl FnMut(TableRow<'_>) -> Result<(), E>,
    ) -> Result<(), E> {
        for row in &rows.rows {
            match row {
                Row::Met(met) => {
                    self.people.insert(met.thread, *met);
                }
                Row::Span(row) => {
                    if let Some(who) = self.people.get(&row.thread) {
                        take(TableRow::Span(self.span(row, who)))?;
                    }
                }
                Row::Switch(row) => {
                    if let Some(who) = self.people.get(&row.thread) {
                        take(TableRow::Switch(self.switch(row, who)))?;
                    }
                }
                Row::Wait(row) => {
                    self.waits += 1;
                    if let Some(who) = self.people.get(&row.thread) {
                        let pieces = &rows.pieces[row.pieces.clone()];
                        if pieces.is_empty() {
                            take(TableRow::Wait(Box::new(self.wait(row, who, None))))?;
                        }
                        for piece in pieces {
                            take(TableRow::Wait(Box::new(self.wait(row, who, Some(piece)))))?;
                        }
                    }
                }
                Row::Done(done) => {
                    take(TableRow::Thread(Box::new(self.thread(done))))?;
                    self.people.remove(&done.met.thread);
                }
            }
        }
        Ok(())
    }

    fn name<'b>(&self, comm: &'b Comm) -> Cow<'b, str> {
        (self.spell)(comm.bytes())
    }

    fn host(&self) -> Cow<'a, str> {
        (self.spell)(self.known.host.hostname.as_bytes())
    }

    fn time(&self, at_ns: Option<i64>) -> Option<i64> {
        Some(self.known.started_unix_ns.saturating_add(at_ns?))
    }

    fn call(&self, syscall: Option<Syscall>) -> Option<Cow<'a, str>> {
        syscall.map(|call| syscall_name(&self.known.host.arch, call))
    }

    fn span<'b>(&self, row: &timeline::SpanRow, who: &'b Met) -> Span<'b>
    where
        'a: 'b,
    {
        Span {
            host: self.host(),
            time: self.time(row.at_ns),
            at_ns: row.at_ns,
            ns: row.ns,
            thread: i64::from(who.thread),
            pid: number(who.pid),
            tid: number(who.tid),
            comm: self.name(&who.comm),
            state: state(row.state).into(),
            cpu: row.cpu.map(cpu),
            whole: row.whole,
            syscall: self.call(row.syscall),
            iowait: row.iowait,
            steal_ns: row.steal.map(nanos),
            irq_ns: nanos(row.irq),
            softirq_ns: nanos(row.softirq),
        }
    }

    fn switch<'b>(&self, row: &timeline::SwitchRow, who: &'b Met) -> Switch<'b>
    where
        'a: 'b,
    {
        Switch {
            host: self.host(),
            time: self.time(row.at_ns),
            at_ns: row.at_ns,
            thread: i64::from(who.thread),
            pid: number(who.pid),
            tid: number(who.tid),
            comm: self.name(&who.comm),
            cpu: row.cpu.map(cpu),
            voluntary: row.voluntary as i64,
            involuntary: row.involuntary as i64,
            yielded: row.yielded,
            kind: row.kind.map(|kind| words::next_kind(kind).into()),
            address_space_change: row.address_space_change,
            next_tid: row.next_tid.map(number),
        }
    }

    fn wait<'b>(
        &self,
        row: &'b timeline::WaitRow,
        who: &'b Met,
        piece: Option<&'b timeline::PieceRow>,
    ) -> Wait<'b>
    where
        'a: 'b,
    {
        let charged = piece.map(|piece| &piece.charged);
        let by = charged.and_then(|charged| charged.who.as_ref());
        let woken = row.woken.as_ref();
        let waker = woken.and_then(|woken| woken.who.as_ref());
        let at_ns = piece.map_or(row.at_ns, |piece| piece.at_ns);
        Wait {
            host: self.host(),
            time: self.time(at_ns),
            at_ns,
            ns: charged.map_or(0, |charged| nanos(charged.ns)),
            thread: i64::from(who.thread),
            pid: number(who.pid),
            tid: number(who.tid),
            comm: self.name(&who.comm),
            wait: self.waits,
            wait_at_ns: row.at_ns,
            wait_ns: nanos(row.ns),
            cause: words::wait_cause(row.cause).into(),
            cpu: cpu(row.cpu),
            finished: row.finished,
            kind: charged.map(|charged| words::charge(charged.kind).into()),
            by_pid: by.map(|who| number(who.pid)),
            by_tid: by.map(|who| number(who.tid)),
            by_comm: by.map(|who| self.name(&who.comm)),
            same_process: charged.and_then(|charged| charged.same_process),
            woken_by: woken.map(|woken| words::woken_by(woken.kind, woken.itself).into()),
            waker_pid: waker.map(|who| number(who.pid)),
            waker_tid: waker.map(|who| number(who.tid)),
            waker_comm: waker.map(|who| self.name(&who.comm)),
            waker_syscall: woken.and_then(|woken| self.call(woken.syscall)),
            waker_cross_cpu: woken.map(|woken| woken.cross_cpu),
            wake_ns: woken.map(|woken| nanos(woken.wake)),
            resched_ns: row.resched.map(nanos),
        }
    }

    fn fork(&self, row: &'a report::Fork) -> Fork<'a> {
        let bytes = |count: Option<u64>| count.map(|count| count as i64);
        Fork {
            host: self.host(),
            time: self.time(Some(row.at_ns)),
            at_ns: row.at_ns,
            kind: words::birth(row.kind).into(),
            flags: bytes(row.flags),
            parent_pid: number(row.parent.pid),
            parent_tid: number(row.parent.tid),
            parent_comm: self.name(&row.parent.comm),
            child_pid: number(row.child_pid),
            child_tid: number(row.child_tid),
            child_comm: self.name(&row.child_comm),
            syscall_ns: row.syscall.map(nanos),
            fork_to_run_ns: row.fork_to_run.map(nanos),
            wake_ns: row.wake.map(nanos),
            wait_ns: row.wait.map(nanos),
            cross_cpu: row.cross_cpu,
            fork_to_exec_ns: row.fork_to_exec.map(nanos),
            parent_rss_bytes: bytes(row.parent_rss_bytes),
            parent_page_table_bytes: bytes(row.parent_page_table_bytes),
            parent_mappings: bytes(row.parent_mappings),
            cow_faults_parent: row.cow_faults.map(|faults| faults.parent as i64),
            cow_faults_child: row.cow_faults.map(|faults| faults.child as i64),
            lifetime_ns: row.lifetime.map(nanos),
            exit_code: row.exit.map(|exit| i32::from(exit.code)),
            exit_signal: row.exit.map(|exit| i32::from(exit.signal)),
        }
    }

    fn thread<'b>(&self, done: &'b timeline::Done) -> Thread<'b>
    where
        'a: 'b,
    {
        let timeline::Done {
            met,
            ppid,
            cgroup_id,
            row,
        } = done;
        let Totals {
            lifetime,
            run,
            run_steal,
            run_irq,
            run_softirq,
            wait,
            wait_uncounted,
            sleep,
            block,
            iowait,
            stopped,
            unknown,
            wake,
            voluntary,
            involuntary,
            involuntary_yields,
            kinds,
            address_space_changes,
            migrations,
        } = row.totals;
        let cgroup = cgroup_id.and_then(|id| self.known.cgroups.get(&id));
        let waits = row.wait.values;
        let latencies = row.latency.and_then(|latency| latency.values);
        Thread {
            host: self.host(),
            time: self.time(Some(0)),
            thread: i64::from(met.thread),
            pid: number(met.pid),
            tid: number(row.tid),
            comm: self.name(&row.comm),
            process_comm: self.name(&met.process_comm),
            ppid: number(*ppid),
            cgroup: cgroup.map(|path| (self.spell)(path.as_bytes())),
            own: row.own,
            kernel_thread: met.kernel_thread,
            started_ns: row.started_ns,
            born_in_window: row.born_in_window,
            exit_at_ns: row.exit.map(|exit| exit.at_ns),
            exit_code: row.exit.map(|exit| i32::from(exit.code)),
            exit_signal: row.exit.map(|exit| i32::from(exit.signal)),
            policy: words::policy(row.priority.policy),
            nice: row.priority.nice,
            rt_priority: row.priority.rt_priority as i32,
            cpu_last: i32::from(row.cpu_last),
            lifetime_ns: nanos(lifetime),
            run_ns: nanos(run),
            run_steal_ns: run_steal.map(nanos),
            run_irq_ns: run_irq.map(nanos),
            run_softirq_ns: run_softirq.map(nanos),
            wait_ns: nanos(wait),
            wait_uncounted_ns: nanos(wait_uncounted),
            sleep_ns: nanos(sleep),
            block_ns: nanos(block),
            iowait_ns: iowait.map(nanos),
            stopped_ns: nanos(stopped),
            unknown_ns: nanos(unknown),
            wake_ns: wake.map(nanos),
            voluntary: voluntary as i64,
            involuntary: involuntary as i64,
            involuntary_yields: involuntary_yields.map(|count| count as i64),
            same_process: kinds.same_process as i64,
            other_process: kinds.other_process as i64,
            kernel_threads: kinds.kernel_thread as i64,
            idle: kinds.idle as i64,
            address_space_changes: address_space_changes as i64,
            migrations: migrations as i64,
            wait_p99_ns: waits.map(|values| nanos(values.p99)),
            wait_max_ns: waits.map(|values| nanos(values.max)),
            latency_p99_ns: latencies.map(|values| nanos(values.p99)),
            latency_max_ns: latencies.map(|values| nanos(values.max)),
        }
    }
}

pub fn state(state: State) -> &'static str {
    match state {
        State::Run => "run",
        State::Wait => "wait",
        State::Off(state) => words::off_state(state),
        State::Unknown => "unknown",
    }
}

/// No number of a task is larger.
fn number(id: u32) -> i32 {
    id as i32
}

fn cpu(cpu: Cpu) -> i32 {
    i32::from(cpu.0)
}

/// No window is longer than 292 years.
fn nanos(nanos: Nanos) -> i64 {
    nanos.signed()
}
