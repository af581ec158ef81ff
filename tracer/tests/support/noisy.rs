//! Switches as a real machine writes them: every time has noise, counters grow as the kernel's do, and the
//! records of one CPU come together, drain by drain. For the size of recordings; the reports on such a stream
//! would make no sense.

use std::collections::VecDeque;

use tracer_common::record::{self, Header, kind, next_kind, switch_flags};

use super::bytes::bytes_of;

const DRAIN_NS: u64 = 10_000_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Two threads on each CPU that wake each other and sleep.
    Pipe,
    /// Groups of twenty senders and twenty receivers, on any CPU.
    Messaging { groups: usize },
}

#[derive(Clone, Debug, Default)]
struct Task {
    key: u64,
    tid: u32,
    tgid: u32,
    nvcsw: u64,
    nivcsw: u64,
    run_delay: u64,
    sum_exec: u64,
    /// The CPU it was on.
    cpu: usize,
    asleep: bool,
    last_queued: u64,
    waking: (u64, u32, u16),
    /// Of a sender: whom it writes to next.
    turn: usize,
}

#[derive(Clone, Debug, Default)]
struct Place {
    now: u64,
    running: usize,
    exec_start: u64,
    queue: VecDeque<usize>,
    irq: u64,
    written: Vec<(u64, Vec<u8>)>,
}

#[derive(Debug)]
pub struct Machine {
    load: Load,
    tasks: Vec<Task>,
    places: Vec<Place>,
    random: u64,
    until: u64,
}

impl Machine {
    pub fn new(load: Load, cpus: usize) -> Machine {
        let mut machine = Machine {
            load,
            tasks: Vec::new(),
            places: vec![Place::default(); cpus],
            random: 0x9e37_79b9_7f4a_7c15,
            until: 1_000_000_000_000,
        };
        let threads = match load {
            Load::Pipe => 2 * cpus,
            Load::Messaging { groups } => 40 * groups,
        };
        for id in 0..cpus + threads {
            let idle = id < cpus;
            let key = machine.draw();
            let task = Task {
                key,
                tid: if idle { 0 } else { 4000 + id as u32 },
                tgid: if idle {
                    0
                } else {
                    4000 + (id - cpus) as u32 / 40
                },
                nvcsw: machine.draw() % 50_000,
                nivcsw: machine.draw() % 5_000,
                run_delay: machine.draw() % 10_000_000_000,
                sum_exec: if idle {
                    0
                } else {
                    machine.draw() % 10_000_000_000
                },
                cpu: (id % cpus.max(1)) % cpus,
                asleep: true,
                ..Task::default()
            };
            machine.tasks.push(task);
        }
        for cpu in 0..cpus {
            let now = machine.until + 17 * cpu as u64;
            machine.places[cpu] = Place {
                now,
                running: cpu,
                exec_start: now,
                ..Place::default()
            };
        }
        for id in cpus..machine.tasks.len() {
            let wakes = match load {
                Load::Pipe => id < 2 * cpus,
                Load::Messaging { .. } => (id - cpus) % 40 < 20,
            };
            if wakes {
                machine.wake(id, machine.tasks[id].cpu, 0);
            }
        }
        machine
    }

    /// The records of the next drain.
    pub fn drain(&mut self, mut each: impl FnMut(&[u8])) {
        self.until += DRAIN_NS;
        while let Some(cpu) = (0..self.places.len())
            .filter(|&cpu| self.places[cpu].now < self.until)
            .min_by_key(|&cpu| self.places[cpu].now)
        {
            self.slice(cpu);
        }
        for place in &mut self.places {
            // Switches come from other memory than the rest.
            let (switches, rest): (Vec<_>, Vec<_>) = place
                .written
                .drain(..)
                .partition(|(_, bytes)| bytes.len() == size_of::<record::Switch>());
            for (_, bytes) in rest.into_iter().chain(switches) {
                each(&bytes);
            }
        }
    }

    /// Whoever runs goes on until it leaves.
    fn slice(&mut self, cpu: usize) {
        let running = self.places[cpu].running;
        let cpus = self.places.len();
        if running < cpus {
            if self.places[cpu].queue.is_empty() {
                self.places[cpu].now += 5_000;
                return;
            }
            self.pass(cpu, 400, 60);
            return self.switch(cpu, false);
        }
        match self.load {
            Load::Pipe => {
                let partner = cpus + (running - cpus + cpus) % (2 * cpus);
                self.pass(cpu, 550, 40);
                if self.tasks[partner].asleep {
                    self.wake(partner, cpu, cpu);
                }
                self.pass(cpu, 450, 40);
                self.switch(cpu, true);
            }
            Load::Messaging { .. } => {
                let member = (running - cpus) % 40;
                let group = running - member;
                let times = if member < 20 { 1 + self.draw() % 8 } else { 1 };
                for _ in 0..times {
                    self.pass(cpu, 1_500, 250);
                    if member < 20 {
                        let turn = self.tasks[running].turn;
                        self.tasks[running].turn = (turn + 1) % 20;
                        let receiver = group + 20 + turn;
                        if self.tasks[receiver].asleep {
                            let to = match self.draw() % 8 {
                                0 => self.draw() as usize % cpus,
                                1 | 2 => cpu,
                                _ => self.tasks[receiver].cpu,
                            };
                            self.wake(receiver, to, cpu);
                        }
                    } else if self.draw().is_multiple_of(2) {
                        let sender = group + self.draw() as usize % 20;
                        if self.tasks[sender].asleep {
                            self.wake(sender, self.tasks[sender].cpu, cpu);
                        }
                    }
                }
                self.pass(cpu, 700, 120);
                // A sender sleeps when the buffers are full.
                let sleeps = member >= 20 || !self.draw().is_multiple_of(5);
                if sleeps || !self.places[cpu].queue.is_empty() {
                    self.switch(cpu, sleeps);
                }
            }
        }
    }

    fn wake(&mut self, id: usize, to: usize, by: usize) {
        let now = self.places[by].now;
        let waker = self.tasks[self.places[by].running].tid;
        let queued = now + 90 + self.noise(12);
        if self.tasks[id].cpu != to {
            let migrate = record::Migrate {
                header: header(now + 40, kind::MIGRATE, size_of::<record::Migrate>(), by, 0),
                task: self.tasks[id].key,
                tid: self.tasks[id].tid,
                to_cpu: to as u32,
            };
            self.places[by].written.push((now, bytes_of(&migrate)));
        }
        let task = &mut self.tasks[id];
        task.waking = (now, waker, by as u16);
        task.last_queued = queued;
        task.asleep = false;
        task.cpu = to;
        self.places[to].queue.push_back(id);
    }

    fn switch(&mut self, cpu: usize, sleeps: bool) {
        let cpus = self.places.len();
        let prev = self.places[cpu].running;
        // Nearly first in, first out.
        let length = self.places[cpu].queue.len().min(3) as u64;
        let place = if length > 1 && self.draw().is_multiple_of(4) {
            self.draw() % length
        } else {
            0
        };
        let next = self.places[cpu].queue.remove(place as usize).unwrap_or(cpu);
        let at = self.places[cpu].now;
        let resched = if sleeps || prev < cpus {
            0
        } else {
            300 + self.noise(50)
        };
        let clock = (at - resched - 110 - self.noise(15)).max(self.places[cpu].exec_start);
        let idle = prev < cpus;
        let ran = clock - self.places[cpu].exec_start;
        let task = &mut self.tasks[prev];
        task.nvcsw += u64::from(sleeps);
        task.nivcsw += u64::from(!sleeps);
        task.sum_exec += if idle { 0 } else { ran };
        let (from, into) = (self.tasks[prev].clone(), self.tasks[next].clone());
        let queued = into.last_queued != 0;
        let kind_of_next = match into {
            _ if next < cpus => next_kind::IDLE,
            _ if into.tgid == from.tgid => next_kind::SAME_PROCESS,
            _ => next_kind::OTHER_PROCESS,
        };
        let mut flags = kind_of_next << switch_flags::NEXT_KIND_SHIFT | switch_flags::STEAL;
        for (bit, set) in [
            (switch_flags::RUNNABLE, !sleeps),
            (switch_flags::PREEMPT, !sleeps && from.tid % 2 == 0),
            (switch_flags::ADDRESS_SPACE, into.tgid != from.tgid),
            (switch_flags::NEXT_QUEUED, queued),
            (switch_flags::SYSCALL, sleeps),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let wait = if queued {
            clock.saturating_sub(into.last_queued)
        } else {
            0
        };
        let record = record::Switch {
            header: header(at, kind::SWITCH, size_of::<record::Switch>(), cpu, flags),
            prev: from.key,
            next: into.key,
            prev_tid: from.tid,
            next_tid: into.tid,
            prev_nvcsw: from.nvcsw,
            prev_nivcsw: from.nivcsw,
            prev_run_delay_ns: from.run_delay,
            prev_sum_exec_ns: from.sum_exec,
            next_run_delay_ns: into.run_delay,
            next_wait_ns: wait,
            next_seq: (into.nvcsw + into.nivcsw) as u32,
            prev_state: u32::from(sleeps),
            syscall: from.tid % 2,
            nr_running: self.places[cpu].queue.len() as u32 + 1,
            rq_clock_ns: clock,
            next_waking_ns: into.waking.0,
            next_waker: into.waking.1,
            next_waker_cpu: into.waking.2,
            next_waker_syscall: u16::from(into.waking.0 != 0) * 2,
            irq_ns: self.places[cpu].irq,
            resched_ns: resched as u32,
            ..record::Switch::default()
        };
        self.places[cpu].written.push((at, bytes_of(&record)));
        let task = &mut self.tasks[prev];
        task.asleep = sleeps;
        if !sleeps && !idle {
            task.last_queued = clock;
            self.places[cpu].queue.push_back(prev);
        }
        let task = &mut self.tasks[next];
        task.run_delay += wait;
        task.last_queued = 0;
        task.waking = (0, 0, 0);
        self.places[cpu].running = next;
        self.places[cpu].exec_start = clock;
    }

    /// About so long, and now and then an interrupt.
    fn pass(&mut self, cpu: usize, mean: u64, deviation: u64) {
        let mut took = (mean + self.noise(deviation))
            .saturating_sub(2 * deviation)
            .max(1);
        if self.draw().is_multiple_of(400) {
            let interrupt = 2_000 + self.draw() % 8_000;
            self.places[cpu].irq += interrupt;
            took += interrupt;
        }
        self.places[cpu].now += took;
    }

    /// Four times its deviation in the mean, bell-shaped.
    fn noise(&mut self, deviation: u64) -> u64 {
        // Twelve even numbers add up to a deviation of their range.
        (0..12).map(|_| self.draw() % (deviation + 1)).sum::<u64>() * 2 / 3
    }

    fn draw(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 3
    }
}

fn header(at_ns: u64, kind: u16, len: usize, cpu: usize, flags: u16) -> Header {
    Header {
        at_ns,
        kind,
        len: len as u16,
        cpu: cpu as u16,
        flags,
    }
}
