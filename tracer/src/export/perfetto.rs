//! A trace for Perfetto: a track for each thread and each CPU, wake-ups as flows, spikes, and how many waited.
//!
//! Slices are told where they end, in the order of the rows; readers sort by time. What only counters tell has no
//! place in time: an event at the end of a thread's track has the sums. Memory holds the threads that live.

mod details;
mod packets;
mod proto;
mod runnable;

use std::io;

use rustc_hash::FxHashMap;

use super::tables::state;
use super::{Known, Writer};
use crate::model::{Comm, Cpu, WhoId};
use crate::output::{escape, sentence, syscall_name, words};
use crate::report::Spike;
use crate::timeline::{Done, Met, PieceRow, Row, Rows, SpanRow, State, SwitchRow, WaitRow};
use details::{Details, of_run, of_switch, of_wait};
use packets::{Packets, Place};
use proto::{
    Clock, ClockSnapshot, CounterDescriptor, EXPLICIT, MONOTONIC, ProcessDescriptor, REALTIME,
    SystemInfo, ThreadDescriptor, TracePacket, TrackDescriptor, Utsname,
};
use runnable::Runnable;

// Numbers of tracks. Those of threads and processes are their own numbers, as tids and pids are used again.
const CPUS: u64 = 4;
const WAITING: u64 = 8;
const VERDICT: u64 = 12;

fn thread_track(thread: u32) -> u64 {
    u64::from(thread) << 2 | 1
}

fn process_track(process: u64) -> u64 {
    process << 2 | 2
}

fn cpu_track(cpu: Cpu) -> u64 {
    u64::from(cpu.0) << 2 | 3
}

pub struct Perfetto<'a> {
    known: &'a Known<'a>,
    packets: Packets,
    people: FxHashMap<u32, Person>,
    /// Threads by who they are as wakers.
    wakers: FxHashMap<WhoId, u32>,
    /// How many of the people are its threads.
    processes: FxHashMap<u64, u32>,
    /// Names that processes have in the end, where no two have the same pid.
    names: FxHashMap<u32, Option<Comm>>,
    /// Where the last slice ended; `None`: the track has not been described.
    cpus: Vec<Option<i64>>,
    /// By when they end, and whose they are.
    spikes: FxHashMap<(i64, u32), &'a Spike>,
    runnable: Runnable,
    flows: u64,
}

/// A thread whose rows come.
struct Person {
    met: Met,
    /// As the first row had it, and the descriptor of its track has it for ever.
    process: u64,
    pid: u32,
    tid: u32,
    /// On tracks of CPUs, and where it is woken.
    label: String,
    /// Where its last slice ended.
    until: i64,
    /// The flow of its wake-up, and when it came to the CPU.
    woken: Option<(u64, i64)>,
    unplaced: Unplaced,
}

/// What only counters tell.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
struct Unplaced {
    run: i64,
    wait: i64,
    unknown: i64,
    voluntary: i64,
    involuntary: i64,
}

impl<'a> Perfetto<'a> {
    pub fn new(known: &'a Known<'a>) -> Perfetto<'a> {
        let report = known.report;
        let mut names = FxHashMap::default();
        for process in &report.processes {
            let name = names.entry(process.pid);
            name.and_modify(|name| *name = None)
                .or_insert(Some(process.comm));
        }
        let spikes = report.spikes.iter().flat_map(|spikes| &spikes.spikes);
        Perfetto {
            known,
            packets: Packets::new(report.window.start),
            people: FxHashMap::default(),
            wakers: FxHashMap::default(),
            processes: FxHashMap::default(),
            names,
            cpus: Vec::new(),
            spikes: spikes
                .map(|spike| ((spike.at_ns, spike.victim.tid), spike))
                .collect(),
            runnable: Runnable::new(report.window.duration.0 as i64),
            flows: 0,
        }
    }

    fn met(&mut self, met: &Met) {
        let comm = escape::json(met.comm.bytes());
        let label = format!("{comm} {}", met.tid);
        self.wakers.insert(met.id, met.thread);
        if !self.people.contains_key(&met.thread) {
            self.join(met);
            self.people.insert(
                met.thread,
                Person {
                    met: *met,
                    process: met.process,
                    pid: met.pid,
                    tid: met.tid,
                    label: String::new(),
                    until: 0,
                    woken: None,
                    unplaced: Unplaced::default(),
                },
            );
        }
        let Some(person) = self.people.get_mut(&met.thread) else {
            return;
        };
        if (person.met.pid, person.met.tid) != (met.pid, met.tid) {
            let mut args = self.packets.args();
            args.int("pid", met.pid.into());
            args.int("tid", met.tid.into());
            let place = Place {
                track: thread_track(met.thread),
                at_ns: person.until,
                category: "identity",
                name: "renumbered",
            };
            let args = args.take();
            self.packets.instant(place, args, None);
        }
        if person.label.is_empty() || person.met.comm != met.comm {
            self.packets.describe(TrackDescriptor {
                uuid: Some(thread_track(met.thread)),
                parent_uuid: Some(process_track(person.process)),
                thread: Some(ThreadDescriptor {
                    pid: Some(person.pid as i32),
                    tid: Some(person.tid.into()),
                    thread_name: Some(comm.into_owned()),
                }),
                ..TrackDescriptor::default()
            });
        }
        (person.met, person.label) = (*met, label);
    }

    /// One more thread of its process, which is described with the first one.
    fn join(&mut self, met: &Met) {
        let threads = self.processes.entry(met.process).or_default();
        *threads += 1;
        if *threads > 1 {
            return;
        }
        let name = self.names.get(&met.pid).copied().flatten();
        let name = name.unwrap_or(met.process_comm);
        self.packets.describe(TrackDescriptor {
            uuid: Some(process_track(met.process)),
            process: Some(ProcessDescriptor {
                pid: Some(met.pid as i32),
                process_name: Some(escape::json(name.bytes()).into_owned()),
            }),
            ..TrackDescriptor::default()
        });
    }

    fn leave(&mut self, process: u64) {
        if let Some(threads) = self.processes.get_mut(&process) {
            *threads -= 1;
            if *threads == 0 {
                self.processes.remove(&process);
            }
        }
    }

    fn span(&mut self, row: &SpanRow, details: &mut Details<'_>, pieces: &[PieceRow]) {
        let Some(person) = self.people.get_mut(&row.thread) else {
            return;
        };
        let Some(at) = row.at_ns else {
            person.unplaced.add(row);
            return;
        };
        let end = at + row.ns;
        let mut args = self.packets.args();
        match row.state {
            State::Run => {
                of_run(row, &mut args);
                if let Some(switch) = details.switches.remove(&(row.thread, end)) {
                    of_switch(switch, &mut args);
                }
            }
            State::Wait => {
                self.runnable.waited(at, end);
                if let Some(wait) = details.waits.get(&(row.thread, at, end)) {
                    let pieces = &pieces[wait.pieces.clone()];
                    of_wait(wait, pieces, &person.met, self.known, &mut args);
                }
            }
            State::Off(_) | State::Unknown => {
                if let Some(call) = row.syscall {
                    args.text("syscall", &syscall_name(&self.known.host.arch, call));
                }
                args.flag("iowait", row.iowait);
            }
        }
        args.flag("cut", !row.whole);
        let args = args.take();
        let runs = row.state == State::Run;
        let woken = person.woken.take_if(|&mut (_, came)| runs && came == at);
        let track = thread_track(row.thread);
        let place = Place {
            track,
            at_ns: at,
            category: "thread",
            name: state(row.state),
        };
        self.packets.begin(place, args, woken.map(|(flow, _)| flow));
        self.packets.end(track, end);
        person.until = end;
        if let Some(cpu) = row.cpu.filter(|_| runs) {
            let label = person.label.clone();
            self.ran(cpu, at, end, &label);
        }
    }

    /// The same on the track of the CPU. What overlaps was put together from counters after a loss, and is told of
    /// the thread only.
    fn ran(&mut self, cpu: Cpu, from: i64, to: i64, who: &str) {
        let place = usize::from(cpu.0);
        if place >= self.cpus.len() {
            self.cpus.resize(place + 1, None);
        }
        let track = cpu_track(cpu);
        if self.cpus[place].is_none() {
            self.packets.describe(TrackDescriptor {
                uuid: Some(track),
                parent_uuid: Some(CPUS),
                name: Some(format!("CPU {}", cpu.0)),
                sibling_order_rank: Some(cpu.0.into()),
                ..TrackDescriptor::default()
            });
        }
        let free = self.cpus[place].unwrap_or(0);
        self.cpus[place] = Some(free.max(to));
        if from < free {
            return;
        }
        let place = Place {
            track,
            at_ns: from,
            category: "cpu",
            name: who,
        };
        self.packets.begin(place, Vec::new(), None);
        self.packets.end(track, to);
    }

    fn wait(&mut self, row: &WaitRow) {
        let Some(at) = row.at_ns else {
            return;
        };
        let end = at + row.ns.0 as i64;
        if let Some(flow) = self.wakes(row, at)
            && let Some(person) = self.people.get_mut(&row.thread)
        {
            person.woken = Some((flow, end));
        }
        let tid = self.people.get(&row.thread).map(|person| person.met.tid);
        if let Some(spike) = tid.and_then(|tid| self.spikes.remove(&(end, tid))) {
            self.spike(spike, row.thread);
        }
    }

    /// The wake-up on the waker's track, where it has one, at the time of its decision.
    fn wakes(&mut self, row: &WaitRow, at: i64) -> Option<u64> {
        let waker = row.woken.filter(|waker| !waker.itself)?;
        // What began before the window is cut, and when it was decided is not known.
        let decided = at - waker.wake.0 as i64;
        if !row.finished || at == 0 || decided < 0 {
            return None;
        }
        let thread = *self.wakers.get(&waker.id?)?;
        let woken = self.people.get(&row.thread)?;
        self.flows += 1;
        let mut args = self.packets.args();
        args.text("woken", &woken.label);
        let place = Place {
            track: thread_track(thread),
            at_ns: decided,
            category: "wakeup",
            name: "wakes",
        };
        let args = args.take();
        self.packets.instant(place, args, Some(self.flows));
        Some(self.flows)
    }

    fn spike(&mut self, spike: &Spike, thread: u32) {
        let mut args = self.packets.args();
        args.text("text", &sentence::spike(spike));
        args.int("latency_ns", spike.latency.0 as i64);
        args.text("cause", words::wait_cause(spike.cause));
        let place = Place {
            track: thread_track(thread),
            at_ns: spike.at_ns,
            category: "spike",
            name: "spike",
        };
        let args = args.take();
        self.packets.instant(place, args, None);
    }

    /// A switch-out whose run is not there, or not to its end.
    fn switch(&mut self, row: &SwitchRow, details: &mut Details<'_>) {
        let Some(person) = self.people.get_mut(&row.thread) else {
            return;
        };
        let Some(at_ns) = row.at_ns else {
            person.unplaced.voluntary += row.voluntary as i64;
            person.unplaced.involuntary += row.involuntary as i64;
            return;
        };
        if details.switches.remove(&(row.thread, at_ns)).is_none() {
            return;
        }
        let mut args = self.packets.args();
        of_switch(row, &mut args);
        let place = Place {
            track: thread_track(row.thread),
            at_ns,
            category: "thread",
            name: "leaves",
        };
        let args = args.take();
        self.packets.instant(place, args, None);
    }

    fn done(&mut self, done: &Done) {
        let met = &done.met;
        let Some(person) = self.people.remove(&met.thread) else {
            return;
        };
        if self.wakers.get(&met.id) == Some(&met.thread) {
            self.wakers.remove(&met.id);
        }
        self.leave(person.process);
        let unplaced = person.unplaced;
        if unplaced == Unplaced::default() {
            return;
        }
        let mut args = self.packets.args();
        args.count("run_ns", unplaced.run);
        args.count("wait_ns", unplaced.wait);
        args.count("unknown_ns", unplaced.unknown);
        args.count("voluntary", unplaced.voluntary);
        args.count("involuntary", unplaced.involuntary);
        let place = Place {
            track: thread_track(met.thread),
            at_ns: person.until,
            category: "thread",
            name: "known from counters alone",
        };
        let args = args.take();
        self.packets.instant(place, args, None);
    }

    fn clocks(&self) -> ClockSnapshot {
        let clock = |id, timestamp| Clock {
            clock_id: Some(id),
            timestamp: Some(timestamp),
        };
        ClockSnapshot {
            clocks: vec![
                clock(MONOTONIC, self.known.report.window.start.0),
                clock(REALTIME, self.known.started_unix_ns.max(0) as u64),
            ],
            primary_trace_clock: Some(MONOTONIC),
        }
    }

    fn machine(&self) -> SystemInfo {
        let host = self.known.host;
        SystemInfo {
            utsname: Some(Utsname {
                sysname: Some("Linux".into()),
                release: Some(host.kernel.clone()),
                machine: Some(host.arch.clone()),
            }),
            tracing_service_version: Some(concat!("tracer ", env!("CARGO_PKG_VERSION")).into()),
            num_cpus: Some(host.cpus as u32),
            machine_name: Some(host.hostname.clone()),
        }
    }

    /// What the report says of itself, where the window ends.
    fn verdict(&mut self) {
        let quality = &self.known.report.quality;
        let mut args = self.packets.args();
        args.texts("reasons", quality.reasons.iter().map(String::as_str));
        args.int("lost_records", quality.lost_records as i64);
        args.int("lost_switches", quality.lost_switches as i64);
        let place = Place {
            track: VERDICT,
            at_ns: self.known.report.window.duration.0 as i64,
            category: "verdict",
            name: words::verdict(quality.verdict),
        };
        let args = args.take();
        self.packets.instant(place, args, None);
    }
}

impl Writer for Perfetto<'_> {
    fn begin(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        self.packets.put(TracePacket {
            clock_snapshot: Some(Box::new(self.clocks())),
            ..TracePacket::default()
        });
        self.packets.put(TracePacket {
            system_info: Some(Box::new(self.machine())),
            ..TracePacket::default()
        });
        let track = |uuid, name: &str| TrackDescriptor {
            uuid: Some(uuid),
            name: Some(name.to_owned()),
            ..TrackDescriptor::default()
        };
        self.packets.describe(TrackDescriptor {
            child_ordering: Some(EXPLICIT),
            ..track(CPUS, "CPUs")
        });
        self.packets.describe(TrackDescriptor {
            counter: Some(CounterDescriptor {
                unit_name: Some("threads".into()),
            }),
            ..track(WAITING, "Waiting threads")
        });
        self.packets.describe(track(VERDICT, "Verdict"));
        self.packets.write(out)
    }

    fn rows(&mut self, rows: &Rows, out: &mut dyn io::Write) -> io::Result<()> {
        let mut details = Details::of(rows);
        for row in &rows.rows {
            match row {
                Row::Met(met) => self.met(met),
                Row::Span(row) => self.span(row, &mut details, &rows.pieces),
                Row::Wait(row) => self.wait(row),
                Row::Switch(row) => self.switch(row, &mut details),
                Row::Done(done) => self.done(done),
            }
            self.packets.write(out)?;
        }
        Ok(())
    }

    fn end(&mut self, out: &mut dyn io::Write) -> io::Result<()> {
        for (at_ns, mean) in self.runnable.means() {
            self.packets.counter(WAITING, at_ns, mean);
        }
        self.verdict();
        self.packets.write(out)
    }
}

impl Unplaced {
    fn add(&mut self, row: &SpanRow) {
        match row.state {
            State::Run => self.run += row.ns,
            State::Wait => self.wait += row.ns,
            State::Off(_) | State::Unknown => self.unknown += row.ns,
        }
    }
}
