//! Drives the toy kernel by a list of random numbers, and knows what the report must say.

use proptest::prelude::*;
use tracer_common::record::{self, Header, kind};

use crate::{
    audit::Tolerance,
    engine::tests::bytes::bytes_of,
    engine::tests::toy::{Does, Leave, Record, Toy},
    model::{Nanos, OffState, Timestamp},
    pipeline::{Pipeline, Replay, Settings},
    report::Report,
    summary::Outside,
    target::Target,
};

/// What the schedule may contain.
#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// The two errors of the kernel's own accounting.
    pub errors: bool,
    /// Hypervisor and interrupts take part of the CPU.
    pub lag: bool,
}

/// Random numbers; what they mean is up to [`Run`]. Fewer and smaller ones are simpler schedules.
pub type Step = (u8, u8, u8, u32);

#[derive(Clone, Debug)]
pub struct Schedule {
    pub cpus: usize,
    /// Before attaching, attached, first snapshot, before the window, window, last snapshot, to its end, after.
    pub phases: [Vec<Step>; 8],
}

pub fn any_schedule() -> impl Strategy<Value = Schedule> {
    let steps = |most: usize| {
        prop::collection::vec(
            (any::<u8>(), any::<u8>(), any::<u8>(), 1..2_000_000_u32),
            0..most,
        )
    };
    let phases = [
        steps(30),
        steps(10),
        steps(25),
        steps(8),
        steps(120),
        steps(25),
        steps(8),
        steps(15),
    ];
    (1..4_usize, phases).prop_map(|(cpus, phases)| Schedule { cpus, phases })
}

/// A schedule as it ran.
#[derive(Debug)]
pub struct Run {
    pub toy: Toy,
    pub begin: u64,
    pub end: u64,
    /// The last snapshot began.
    pub last_look: u64,
    options: Options,
    /// The first snapshot is complete: everybody is known.
    all_known: bool,
    keys: Vec<u64>,
    tids: u32,
}

impl Run {
    pub fn of(schedule: &Schedule, options: Options) -> Run {
        let mut toy = Toy::new(schedule.cpus);
        toy.attached = false;
        let mut run = Run {
            toy,
            begin: 0,
            end: 0,
            last_look: 0,
            options,
            all_known: false,
            keys: Vec::new(),
            tids: 100,
        };
        for process in 0..3 {
            let leader = 10 + process * 10;
            for tid in leader..=leader + process {
                run.toy.now += 1;
                let cpu = tid as usize % schedule.cpus;
                let id = run.toy.sleeper(0x1000 + u64::from(tid), tid, leader, cpu);
                run.toy.tasks[id].kernel_thread = process == 2;
            }
        }
        let [
            before,
            attached,
            first,
            settled,
            window,
            last,
            closing,
            after,
        ] = &schedule.phases;
        run.steps(before);
        run.toy.attached = true;
        run.steps(attached);
        run.look(kind::THREAD, first);
        run.all_known = true;
        run.steps(settled);
        run.toy.now += 1;
        run.begin = run.toy.now;
        run.toy.edge(kind::WINDOW_BEGIN);
        run.steps(window);
        run.toy.now += 1;
        run.last_look = run.toy.now;
        run.look(kind::THREAD_END, last);
        run.steps(closing);
        run.toy.now += 1;
        run.end = run.toy.now;
        run.toy.edge(kind::WINDOW_END);
        run.steps(after);
        run.drain();
        run.toy.close_all();
        run
    }

    /// The iterator walks over the threads while they go on.
    fn look(&mut self, kind: u16, steps: &[Step]) {
        let mut next = 0;
        let each = self.toy.tasks.len() / (steps.len() + 1) + 1;
        for step in steps {
            self.step(step);
            for _ in 0..each {
                self.look_at(&mut next, kind);
            }
        }
        while next < self.toy.tasks.len() {
            self.look_at(&mut next, kind);
        }
    }

    fn look_at(&mut self, next: &mut usize, kind: u16) {
        let id = *next;
        *next += 1;
        let Some(task) = self.toy.tasks.get(id) else {
            return;
        };
        // The iterator knows no idle threads; who is dead and reaped is gone.
        let reused = self.toy.tasks[id + 1..]
            .iter()
            .any(|other| other.key == task.key);
        if task.is_idle() || reused || (task.died.is_some() && id.is_multiple_of(2)) {
            return;
        }
        self.toy.now += 1;
        let cpu = self.toy.tasks[id].cpu;
        let runs = self.toy.running(cpu) == id;
        if runs && self.toy.now.is_multiple_of(3) && !self.toy.tasks[id].exiting {
            // Counted, and not yet told.
            self.toy.peek = Some(kind);
            let next = self.queued(cpu).first().copied().unwrap_or(cpu);
            let state = OffState::Sleep;
            self.toy.switch(
                cpu,
                Leave::Off {
                    state,
                    iowait: false,
                },
                next,
            );
        } else {
            self.toy.seen(id, kind);
        }
    }

    fn errors_now(&self) -> bool {
        self.options.errors && self.all_known
    }

    fn steps(&mut self, steps: &[Step]) {
        for step in steps {
            self.step(step);
        }
    }

    /// Whoever waits at the end gets its turn: a wait that never ends is nobody's to measure.
    fn drain(&mut self) {
        for id in 0..self.toy.tasks.len() {
            self.toy.now += 1;
            if self.toy.tasks[id].waking && self.toy.tasks[id].is_off() {
                self.toy.enqueue(id, self.toy.tasks[id].cpu);
            }
        }
        for cpu in 0..self.toy.cpus() {
            for next in self.queued(cpu) {
                self.toy.now += 10;
                let state = OffState::Sleep;
                self.toy.switch(
                    cpu,
                    Leave::Off {
                        state,
                        iowait: false,
                    },
                    next,
                );
            }
            if !self.toy.tasks[self.toy.running(cpu)].is_idle() {
                self.toy.now += 10;
                let state = OffState::Sleep;
                self.toy.switch(
                    cpu,
                    Leave::Off {
                        state,
                        iowait: false,
                    },
                    cpu,
                );
            }
        }
    }

    fn queued(&self, cpu: usize) -> Vec<usize> {
        let waits = |id: &usize| {
            let task = &self.toy.tasks[*id];
            task.does() == Some(Does::Wait) && task.cpu == cpu
        };
        (0..self.toy.tasks.len()).filter(waits).collect()
    }

    /// The `n`th of those that fit.
    fn pick(&self, n: u8, fits: impl Fn(&Toy, usize) -> bool) -> Option<usize> {
        let all: Vec<usize> = (0..self.toy.tasks.len())
            .filter(|&id| !self.toy.tasks[id].is_idle() && fits(&self.toy, id))
            .collect();
        (!all.is_empty()).then(|| all[usize::from(n) % all.len()])
    }

    fn step(&mut self, &(what, who, how, ns): &Step) {
        let ns = u64::from(ns);
        self.toy.now += ns;
        let cpu = usize::from(who) % self.toy.cpus();
        let to = usize::from(how) % self.toy.cpus();
        if self.options.lag && how.is_multiple_of(5) {
            self.toy.lose_time(cpu, ns / 3);
        }
        match what % 16 {
            0..=4 => self.switch(cpu, how),
            5..=7 => {
                if let Some(id) = self.pick(who, |toy, id| {
                    toy.tasks[id].is_off() && !toy.tasks[id].waking
                }) {
                    self.toy.waking(id);
                    // Most reach a run queue at once, and all that were left on one.
                    if !how.is_multiple_of(4) || self.toy.tasks[id].last_queued != 0 {
                        let cpu = if self.toy.tasks[id].last_queued != 0 {
                            self.toy.tasks[id].cpu
                        } else {
                            to
                        };
                        self.toy.enqueue(id, cpu);
                    }
                }
            }
            8 => {
                if let Some(id) = self.pick(who, |toy, id| {
                    toy.tasks[id].is_off() && toy.tasks[id].waking
                }) {
                    self.toy.enqueue(id, to);
                }
            }
            9 => {
                let waits = |toy: &Toy, id: usize| toy.tasks[id].does() == Some(Does::Wait);
                if let Some(id) =
                    self.pick(who, |toy, id| waits(toy, id) && toy.tasks[id].cpu != to)
                {
                    self.toy.migrate(id, to);
                }
            }
            10 => {
                let sleeps = |toy: &Toy, id: usize| {
                    toy.tasks[id].is_off() && !toy.tasks[id].waking && toy.tasks[id].cpu != to
                };
                if let Some(id) = self.pick(who, sleeps).filter(|_| self.errors_now()) {
                    self.toy.migrate(id, to);
                }
            }
            // Woken when it is about to sleep: the waker looks before it has left the CPU.
            11 => {
                let runs = |toy: &Toy, id: usize| {
                    toy.tasks[id].does() == Some(Does::Run)
                        && !toy.tasks[id].waking
                        && !toy.tasks[id].exiting
                };
                if let Some(id) = self.pick(who, runs).filter(|_| self.all_known) {
                    self.toy.waking(id);
                }
            }
            12 => self.fork(who, how),
            13 => {
                if let Some(id) = self.pick(who, |toy, id| {
                    toy.tasks[id].mood == super::toy::Mood::Unborn
                }) {
                    self.toy.wake_new(id, to);
                }
            }
            14 => {
                let runs = |toy: &Toy, id: usize| {
                    toy.tasks[id].does() == Some(Does::Run) && !toy.tasks[id].exiting
                };
                if let Some(id) = self.pick(who, runs) {
                    self.toy.exit(id, u32::from(how));
                }
            }
            _ => {
                if let Some(id) = self.pick(who, |toy, id| toy.tasks[id].does() == Some(Does::Run))
                {
                    let mut comm = [0; 16];
                    (comm[0], comm[1]) = (b'n', how);
                    self.toy.rename(id, comm);
                }
            }
        }
    }

    fn switch(&mut self, cpu: usize, how: u8) {
        let prev = self.toy.running(cpu);
        let waiting = self.queued(cpu);
        let next = (!waiting.is_empty()).then(|| waiting[usize::from(how) % waiting.len()]);
        if self.toy.tasks[prev].is_idle() {
            if let Some(next) = next {
                self.toy.switch(cpu, Leave::Preempted, next);
            }
            return;
        }
        let off = |state, iowait| Leave::Off { state, iowait };
        let woken_meanwhile = self.toy.tasks[prev].waking;
        let leave = match how % 10 {
            _ if self.toy.tasks[prev].exiting && !how.is_multiple_of(3) => Leave::Dies,
            0 | 1 => Leave::Preempted,
            2 => Leave::Yields,
            3 => Leave::SignalPending,
            4 if self.errors_now() && !woken_meanwhile => Leave::PreemptedGoingToSleep,
            5 => off(OffState::Block, false),
            6 => off(OffState::Block, true),
            7 => off(OffState::Stopped, false),
            _ => off(OffState::Sleep, false),
        };
        match (leave, next) {
            (Leave::Off { .. } | Leave::Dies, next) => {
                self.toy.switch(cpu, leave, next.unwrap_or(cpu))
            }
            (_, Some(next)) => self.toy.switch(cpu, leave, next),
            // Nobody to give way to: it goes on.
            (_, None) => {}
        }
    }

    fn fork(&mut self, who: u8, how: u8) {
        let runs = |toy: &Toy, id: usize| {
            toy.tasks[id].does() == Some(Does::Run) && !toy.tasks[id].kernel_thread
        };
        let Some(parent) = self.pick(who, runs) else {
            return;
        };
        // A key is free once its owner's last switch-out has passed; tids come back, too.
        for task in &self.toy.tasks {
            if task.died.is_some()
                && !self
                    .toy
                    .tasks
                    .iter()
                    .any(|other| other.key == task.key && other.died.is_none())
            {
                self.keys.push(task.key);
            }
        }
        self.tids += 1;
        let fresh = 0x2000 + u64::from(self.tids);
        let key = self
            .keys
            .pop()
            .filter(|_| !how.is_multiple_of(3))
            .unwrap_or(fresh);
        self.keys.clear();
        let tid = self.tids;
        let tgid = if how.is_multiple_of(2) {
            tid
        } else {
            self.toy.tasks[parent].tgid
        };
        let child = self.toy.create(key, tid, tgid, self.toy.tasks[parent].cpu);
        self.toy.newtask(parent, child);
        if !how.is_multiple_of(4) {
            self.toy.now += 1;
            self.toy.wake_new(child, usize::from(how) % self.toy.cpus());
        }
    }

    /// The whole pipeline over these records.
    pub fn report(&self, records: &[&Record], lost: u64) -> Report {
        let mut pipeline = Pipeline::new(Settings {
            // Otherwise the counters are exact, but for a look between the count and the tracepoint.
            tolerance: Tolerance {
                tick: Nanos(if self.options.lag { 4_000_000 } else { 1 }),
            },
            ..settings(&self.toy)
        });
        // As they come: one ring after another, and the snapshots apart from the rings.
        for cpu in 0..=self.toy.cpus() {
            for record in records {
                let ring = usize::from(u16::from_ne_bytes([record.bytes[12], record.bytes[13]]));
                if ring == cpu {
                    pipeline.push(&record.bytes);
                }
            }
        }
        if lost > 0 {
            pipeline.push(&lost_record(self.end, lost));
        }
        let outside = Outside {
            lost_records: Some(lost),
            ..Outside::default()
        };
        pipeline.finish(Timestamp(self.end), &outside)
    }
}

pub fn settings(toy: &Toy) -> Settings {
    Settings {
        facts: toy.facts(),
        target: Target {
            children: true,
            ..Target::default()
        },
        tolerance: Tolerance {
            tick: Nanos(4_000_000),
        },
        max_threads: 10_000,
        max_forks: 10_000,
        intervals: false,
        slower: None,
        replay: Replay::default(),
    }
}

/// The ring says afterwards what it had no room for.
fn lost_record(at_ns: u64, total: u64) -> Vec<u8> {
    bytes_of(&record::Lost {
        header: Header {
            at_ns,
            kind: kind::LOST,
            len: size_of::<record::Lost>() as u16,
            cpu: 0,
            flags: 0,
        },
        probe: 0,
        reserved: 0,
        total,
    })
}
