//! Records of a machine that never was, as its kernel would have written them: consistent from the
//! first snapshot to the last, in any number. The same seed gives the same stream.
//!
//! Slower and truer is `engine/tests/toy.rs`, which keeps every span; this one keeps only what the next
//! record needs, so that it can go on for millions of them.

use std::collections::VecDeque;

use tracer::{
    audit::Tolerance,
    engine::Facts,
    model::{Cpu, Nanos, Timestamp},
    pipeline::{Pipeline, Replay, Settings},
    report::{Report, Verdict},
    summary::Outside,
    target::Target,
};
use tracer_common::record::{self, Header, kind, next_kind, switch_flags, thread_flags};

#[path = "../../src/engine/tests/bytes.rs"]
mod bytes;

use bytes::{Bytes, bytes_of};

/// `TASK_*`, include/linux/sched.h.
const INTERRUPTIBLE: u32 = 1;
const DEAD: u32 = 0x80;

/// A drain, and how long records are held for their order: as `tracer run` does it.
const DRAIN_NS: u64 = 10_000_000;
const REORDER_NS: u64 = 50_000_000;

/// What threads do when their slice ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mix {
    /// Wakes its partner on the same CPU and sleeps: two switches and two wakings a round trip.
    Pipe,
    /// Wakes some others, on any CPU, then sleeps or is preempted.
    Messaging,
    /// As `Messaging`, and every fourth slice ends with a child process, which runs and exits.
    Forks,
}

#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub mix: Mix,
    pub cpus: usize,
    pub threads: usize,
    pub threads_per_process: usize,
    /// Between two records of one CPU, about.
    pub record_every_ns: u64,
    /// Lengths vary only as much as this many drawn numbers do, which then come again.
    pub variety: usize,
}

impl Shape {
    pub fn pipe() -> Shape {
        Shape {
            mix: Mix::Pipe,
            cpus: 2,
            threads: 32,
            threads_per_process: 2,
            record_every_ns: 1_750,
            variety: 64,
        }
    }

    pub fn messaging() -> Shape {
        Shape {
            mix: Mix::Messaging,
            threads: 400,
            threads_per_process: 20,
            record_every_ns: 2_500,
            ..Shape::pipe()
        }
    }

    pub fn large() -> Shape {
        Shape {
            mix: Mix::Messaging,
            cpus: 256,
            threads: 10_000,
            threads_per_process: 10,
            record_every_ns: 250_000,
            ..Shape::pipe()
        }
    }

    pub fn forks() -> Shape {
        Shape {
            mix: Mix::Forks,
            threads: 40,
            threads_per_process: 4,
            ..Shape::messaging()
        }
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Does {
    Run,
    Wait,
    Sleep,
}

#[derive(Clone, Copy, Debug)]
struct Task {
    key: u64,
    tid: u32,
    tgid: u32,
    cpu: usize,
    does: Does,
    /// Runs once and exits.
    brief: bool,
    /// Of what it does.
    since: u64,
    start: u64,
    nvcsw: u64,
    nivcsw: u64,
    run_delay: u64,
    sum_exec: u64,
    /// When it was woken, told by its switch-in; 0: it was not.
    waking: u64,
}

#[derive(Clone, Debug)]
struct Place {
    running: usize,
    queue: VecDeque<usize>,
    active_mm: u32,
    /// Its ring: whole records, and where each begins.
    ring: Vec<u8>,
    starts: Vec<usize>,
}

/// A machine and the stream it writes.
#[derive(Debug)]
pub struct Machine {
    shape: Shape,
    now: u64,
    /// The first ones are the idle threads.
    tasks: Vec<Task>,
    places: Vec<Place>,
    /// Tasks that have died: their places are used again, and their keys.
    dead: Vec<usize>,
    tids: u32,
    random: u64,
    lengths: Vec<u64>,
    drawn: usize,
    /// The CPU whose slice ended last.
    turn: usize,
    written: u64,
}

impl Machine {
    pub fn new(shape: Shape) -> Machine {
        let mut machine = Machine {
            shape,
            now: 1_000_000_000,
            tasks: Vec::new(),
            places: Vec::new(),
            dead: Vec::new(),
            tids: 1000,
            random: 0x9e37_79b9_7f4a_7c15,
            lengths: Vec::new(),
            drawn: 0,
            turn: 0,
            written: 0,
        };
        for cpu in 0..shape.cpus {
            let idle = machine.create(0, 0, cpu);
            machine.tasks[idle].does = Does::Run;
            machine.places.push(Place {
                running: idle,
                queue: VecDeque::new(),
                active_mm: 0,
                ring: Vec::new(),
                starts: Vec::new(),
            });
        }
        for thread in 0..shape.threads {
            machine.tids += 1;
            let tid = machine.tids;
            let leader = tid - (thread % shape.threads_per_process) as u32;
            // Partners are neighbours.
            machine.create(tid, leader, thread / 2 % shape.cpus);
        }
        for _ in 0..shape.variety {
            let magnitude = machine.draw(5);
            let step = shape.record_every_ns;
            let length = step / 2 + machine.draw(step / 4 + 1) + ((step / 16) << magnitude);
            machine.lengths.push(length / shape.cpus as u64 + 1);
        }
        machine
    }

    pub fn settings(&self, max_threads: usize, intervals: bool) -> Settings {
        Settings {
            facts: Facts {
                cpus: (0..self.shape.cpus).map(|cpu| Cpu(cpu as u16)).collect(),
                sched_yield: Some(24),
                steal: true,
                iowait: true,
                page_bytes: 4096,
                ..Facts::default()
            },
            target: Target {
                children: true,
                ..Target::default()
            },
            tolerance: Tolerance {
                tick: Nanos(4_000_000),
            },
            max_threads,
            max_forks: max_threads,
            intervals,
            slower: None,
            replay: Replay::default(),
        }
    }

    /// Everybody as the iterator sees them, then the window's beginning.
    pub fn begin(&mut self, pipeline: &mut Pipeline) {
        self.look(kind::THREAD, pipeline);
        self.edge(kind::WINDOW_BEGIN, pipeline);
    }

    /// Everybody once more, the window's end, and all records that are still in the rings.
    pub fn end(&mut self, pipeline: &mut Pipeline) -> Report {
        self.look(kind::THREAD_END, pipeline);
        self.now += 1;
        let end = self.now;
        self.edge(kind::WINDOW_END, pipeline);
        // Whoever waits finds the end of its wait.
        for cpu in 0..self.shape.cpus {
            while let Some(next) = self.places[cpu].queue.pop_front() {
                self.now += 100;
                self.switch(cpu, next, Leave::Sleeps);
            }
        }
        self.push(pipeline);
        let report = pipeline.finish(
            Timestamp(end),
            &Outside {
                lost_records: Some(0),
                missed_events: Some(0),
                ..Outside::default()
            },
        );
        assert_eq!(
            report.quality.verdict,
            Verdict::Valid,
            "{:?}",
            report.quality
        );
        assert_eq!(report.quality.lost_switches, 0);
        report
    }

    /// What passes until the next drain, into the rings. Answers how many records.
    pub fn run(&mut self) -> u64 {
        let before = self.written;
        if before == 0 {
            for id in (self.shape.cpus..self.tasks.len()).step_by(2) {
                self.wake(id, 0);
            }
        }
        let until = self.now + DRAIN_NS;
        while self.now < until {
            self.turn = (self.turn + 1) % self.shape.cpus;
            self.step(self.turn);
        }
        self.written - before
    }

    /// Drains the rings, one after another, and releases what is certain.
    #[inline(never)]
    pub fn drain(&mut self, pipeline: &mut Pipeline) {
        self.push(pipeline);
        pipeline.advance(self.certain());
    }

    /// What [`Machine::drain`] releases.
    pub fn certain(&self) -> Timestamp {
        Timestamp(self.now.saturating_sub(DRAIN_NS + REORDER_NS))
    }

    fn push(&mut self, pipeline: &mut Pipeline) {
        for place in &mut self.places {
            for (index, &start) in place.starts.iter().enumerate() {
                let end = place
                    .starts
                    .get(index + 1)
                    .unwrap_or(&place.ring.len())
                    .to_owned();
                pipeline.push(&place.ring[start..end]);
            }
            place.starts.clear();
            place.ring.clear();
        }
    }

    fn look(&mut self, kind: u16, pipeline: &mut Pipeline) {
        for id in self.shape.cpus..self.tasks.len() {
            if !self.dead.contains(&id) {
                self.now += 10;
                pipeline.push(&bytes_of(&self.describe(id, kind)));
            }
        }
    }

    fn edge(&mut self, kind: u16, pipeline: &mut Pipeline) {
        self.now += 1;
        let header = self.header(0, kind, size_of::<Header>(), 0);
        pipeline.push(&bytes_of(&header));
    }

    /// The slice of whoever runs on this CPU ends.
    fn step(&mut self, cpu: usize) {
        self.pass();
        let running = self.places[cpu].running;
        if running < self.shape.cpus {
            if self.places[cpu].queue.is_empty() {
                let sleeper = self.sleeper(cpu);
                self.wake(sleeper, cpu);
                self.pass();
            }
            return self.leave(cpu, Leave::Preempted);
        }
        if self.tasks[running].brief {
            self.exit(running, cpu);
            self.pass();
            return self.leave(cpu, Leave::Dies);
        }
        match self.shape.mix {
            Mix::Pipe => {
                let partner = self.shape.cpus + ((running - self.shape.cpus) ^ 1);
                if self.tasks[partner].does == Does::Sleep {
                    self.wake(partner, cpu);
                    self.pass();
                }
                self.leave(cpu, Leave::Sleeps);
            }
            Mix::Messaging | Mix::Forks => {
                // Enough to do for everybody, and somebody sleeps at any time.
                let wakes = if self.places[cpu].queue.len() < 4 {
                    self.draw(3)
                } else {
                    0
                };
                for _ in 0..wakes {
                    let sleeper = self.sleeper(cpu);
                    if self.tasks[sleeper].does == Does::Sleep {
                        self.wake(sleeper, cpu);
                        self.pass();
                    }
                }
                if self.shape.mix == Mix::Forks && self.draw(4) == 0 {
                    self.fork(running, cpu);
                    self.pass();
                }
                let leave = match self.draw(8) {
                    0 | 1 => Leave::Preempted,
                    2 => Leave::Yields,
                    _ => Leave::Sleeps,
                };
                if leave == Leave::Sleeps || !self.places[cpu].queue.is_empty() {
                    self.leave(cpu, leave);
                }
            }
        }
    }

    fn leave(&mut self, cpu: usize, leave: Leave) {
        let next = self.places[cpu].queue.pop_front().unwrap_or(cpu);
        if next != self.places[cpu].running {
            self.switch(cpu, next, leave);
        }
    }

    /// Anybody that sleeps, or is not far from one that does; on this CPU if it is a pipe.
    fn sleeper(&mut self, cpu: usize) -> usize {
        let cpus = self.shape.cpus;
        let first = self.draw(self.shape.threads as u64) as usize;
        let mut all =
            (0..self.shape.threads).map(|step| cpus + (first + step) % self.shape.threads);
        let pipe = self.shape.mix == Mix::Pipe;
        all.find(|&id| self.tasks[id].does == Does::Sleep && (!pipe || self.tasks[id].cpu == cpu))
            .unwrap_or(cpus + first)
    }

    /// `sched_waking` by whoever runs on `by`, and the run queue at once: three times of four the one it was on.
    fn wake(&mut self, id: usize, by: usize) {
        // An event of the kernel's, though no record: the switch-in takes it along.
        self.written += 1;
        self.tasks[id].waking = self.now;
        let task = self.tasks[id];
        let elsewhere = self.shape.mix != Mix::Pipe && self.draw(4) == 0;
        let to = if elsewhere {
            self.draw(self.shape.cpus as u64) as usize
        } else {
            task.cpu
        };
        if to != task.cpu {
            self.now += 50;
            let record = record::Migrate {
                header: self.header(by, kind::MIGRATE, size_of::<record::Migrate>(), 0),
                task: task.key,
                tid: task.tid,
                to_cpu: to as u32,
            };
            self.write(by, &record);
        }
        self.enqueue(id, to);
    }

    fn enqueue(&mut self, id: usize, to: usize) {
        self.now += 50;
        let task = &mut self.tasks[id];
        (task.does, task.since, task.cpu) = (Does::Wait, self.now, to);
        self.places[to].queue.push_back(id);
    }

    fn switch(&mut self, cpu: usize, next: usize, leave: Leave) {
        let prev = self.places[cpu].running;
        let idle = prev < self.shape.cpus;
        let now = self.now;
        let voluntary = !idle && matches!(leave, Leave::Sleeps | Leave::Dies);
        let task = &mut self.tasks[prev];
        task.nvcsw += u64::from(voluntary);
        task.nivcsw += u64::from(!voluntary);
        task.sum_exec += now - task.since;
        let (from, into) = (self.tasks[prev], self.tasks[next]);
        let mm = into.tgid;
        let address_space = mm != 0 && mm != self.places[cpu].active_mm;
        let kind_of_next = match into {
            _ if next < self.shape.cpus => next_kind::IDLE,
            _ if into.tgid == from.tgid => next_kind::SAME_PROCESS,
            _ => next_kind::OTHER_PROCESS,
        };
        let queued = into.does == Does::Wait;
        let next_wait = if queued { now - into.since } else { 0 };
        let mut flags = kind_of_next << switch_flags::NEXT_KIND_SHIFT | switch_flags::STEAL;
        for (bit, set) in [
            (switch_flags::RUNNABLE, idle || !voluntary),
            (switch_flags::PREEMPT, !idle && leave == Leave::Preempted),
            (switch_flags::ADDRESS_SPACE, address_space),
            (switch_flags::NEXT_QUEUED, queued),
            (switch_flags::SYSCALL, !idle && leave != Leave::Preempted),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let record = record::Switch {
            header: self.header(cpu, kind::SWITCH, size_of::<record::Switch>(), flags),
            prev: from.key,
            next: into.key,
            prev_tid: from.tid,
            next_tid: into.tid,
            prev_nvcsw: from.nvcsw,
            prev_nivcsw: from.nivcsw,
            prev_run_delay_ns: from.run_delay,
            prev_sum_exec_ns: from.sum_exec,
            next_run_delay_ns: into.run_delay,
            next_wait_ns: next_wait,
            next_seq: (into.nvcsw + into.nivcsw) as u32,
            prev_state: match leave {
                _ if idle => 0,
                Leave::Preempted | Leave::Yields => 0,
                Leave::Sleeps => INTERRUPTIBLE,
                Leave::Dies => DEAD,
            },
            syscall: if leave == Leave::Yields {
                24
            } else {
                (from.tid % 3) * 7
            },
            nr_running: 1,
            rq_clock_ns: now,
            next_waking_ns: into.waking,
            ..record::Switch::default()
        };
        self.write(cpu, &record);
        let task = &mut self.tasks[prev];
        task.since = now;
        match leave {
            _ if idle => task.does = Does::Sleep,
            Leave::Preempted | Leave::Yields => {
                task.does = Does::Wait;
                self.places[cpu].queue.push_back(prev);
            }
            Leave::Sleeps => task.does = Does::Sleep,
            Leave::Dies => self.dead.push(prev),
        }
        let into = &mut self.tasks[next];
        into.run_delay += next_wait;
        into.waking = 0;
        (into.does, into.since, into.cpu) = (Does::Run, now, cpu);
        self.places[cpu].running = next;
        if mm != 0 {
            self.places[cpu].active_mm = mm;
        }
    }

    /// A child process: born, and on the run queue.
    fn fork(&mut self, parent: usize, cpu: usize) {
        self.tids = if self.tids == u32::MAX {
            1000
        } else {
            self.tids + 1
        };
        let tid = self.tids;
        let id = match self.dead.pop() {
            Some(id) => {
                let key = self.tasks[id].key;
                self.tasks[id] = Task {
                    key,
                    ..self.fresh(id, tid, tid, cpu)
                };
                id
            }
            None => self.create(tid, tid, cpu),
        };
        self.tasks[id].brief = true;
        let parent = self.tasks[parent];
        let born = record::Thread {
            parent: parent.key,
            parent_tid: parent.tid,
            ppid: parent.tgid,
            ..self.describe(id, kind::NEWTASK)
        };
        self.write(cpu, &born);
        self.now += 500;
        let woken = record::WakeupNew {
            header: self.header(cpu, kind::WAKEUP_NEW, size_of::<record::WakeupNew>(), 0),
            task: self.tasks[id].key,
            tid,
            target_cpu: cpu as u32,
            rq_clock_ns: self.now,
        };
        self.write(cpu, &woken);
        (self.tasks[id].does, self.tasks[id].since) = (Does::Wait, self.now);
        self.places[cpu].queue.push_back(id);
    }

    fn exit(&mut self, id: usize, cpu: usize) {
        let record = record::Exit {
            header: self.header(cpu, kind::EXIT, size_of::<record::Exit>(), 0),
            task: self.tasks[id].key,
            tid: self.tasks[id].tid,
            static_prio: 120,
            comm: comm(id),
            ..record::Exit::default()
        };
        self.write(cpu, &record);
    }

    fn create(&mut self, tid: u32, tgid: u32, cpu: usize) -> usize {
        let id = self.tasks.len();
        self.tasks.push(self.fresh(id, tid, tgid, cpu));
        id
    }

    fn fresh(&self, id: usize, tid: u32, tgid: u32, cpu: usize) -> Task {
        Task {
            // As scrambled addresses: far apart, in no order.
            key: (id as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15),
            tid,
            tgid,
            cpu,
            does: Does::Sleep,
            brief: false,
            since: self.now,
            start: self.now,
            nvcsw: 0,
            nivcsw: 0,
            run_delay: 0,
            sum_exec: 0,
            waking: 0,
        }
    }

    fn describe(&self, id: usize, kind: u16) -> record::Thread {
        let task = self.tasks[id];
        let runs = task.does == Does::Run;
        let mut flags = thread_flags::STEAL | thread_flags::CGROUP;
        for (bit, set) in [
            (thread_flags::ON_CPU, runs),
            (thread_flags::QUEUED, task.does == Does::Wait),
            (thread_flags::UNBORN, kind == kind::NEWTASK),
        ] {
            flags |= if set { bit } else { 0 };
        }
        record::Thread {
            header: self.header(task.cpu, kind, size_of::<record::Thread>(), flags),
            task: task.key,
            tid: task.tid,
            tgid: task.tgid,
            ppid: 1,
            state: if task.does == Does::Sleep {
                INTERRUPTIBLE
            } else {
                0
            },
            start_ns: task.start,
            nvcsw: task.nvcsw,
            nivcsw: task.nivcsw,
            run_delay_ns: task.run_delay,
            sum_exec_ns: task.sum_exec + if runs { self.now - task.since } else { 0 },
            cgroup_id: 1,
            comm: comm(id),
            static_prio: 120,
            cpu: task.cpu as u32,
            ..record::Thread::default()
        }
    }

    fn header(&self, cpu: usize, kind: u16, len: usize, flags: u16) -> Header {
        Header {
            at_ns: self.now,
            kind,
            len: len as u16,
            cpu: cpu as u16,
            flags,
        }
    }

    /// Now and then an interrupt reserves between the stamp of a record and its reservation: the record
    /// before comes after this one.
    fn write(&mut self, cpu: usize, record: &impl Bytes) {
        self.written += 1;
        let overtakes = self.written.is_multiple_of(100);
        let place = &mut self.places[cpu];
        let start = place.ring.len();
        record.put(&mut place.ring);
        match place.starts.last() {
            Some(&last) if overtakes => {
                let length = place.ring.len() - start;
                place.ring[last..].rotate_right(length);
                place.starts.push(last + length);
            }
            _ => place.starts.push(start),
        }
    }

    fn pass(&mut self) {
        self.drawn = (self.drawn + 1) % self.lengths.len();
        self.now += self.lengths[self.drawn];
    }

    /// Below `end`: xorshift, enough for a load.
    fn draw(&mut self, end: u64) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        (self.random >> 11) % end
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Leave {
    Preempted,
    Yields,
    Sleeps,
    Dies,
}

fn comm(id: usize) -> [u8; 16] {
    let mut comm = [0; 16];
    for (to, from) in comm.iter_mut().take(15).zip(format!("load-{id}").bytes()) {
        *to = from;
    }
    comm
}
