//! A toy kernel, slow and obvious: it keeps the truth about every thread and the counters that a
//! kernel keeps, and writes the records that the kernel programs write. It decides nothing.

use tracer_common::{
    counters::CpuSwitches,
    record::{self, Header, kind, next_kind, switch_flags},
};

pub use super::task::{Does, Leave, Left, Mood, Record, Task, Told};
use crate::{
    engine::Facts,
    engine::tests::bytes::{Bytes, bytes_of},
    model::{Cpu, OffState},
};

pub const YIELD: u32 = 24;
pub const FUTEX: u32 = 202;

/// `TASK_*`.
mod task_state {
    pub const INTERRUPTIBLE: u32 = 1;
    pub const UNINTERRUPTIBLE: u32 = 2;
    pub const STOPPED: u32 = 4;
    pub const DEAD: u32 = 0x80;
}

#[derive(Debug, Default)]
pub(super) struct ToyCpu {
    running: usize,
    /// The address space in use: who has none borrows it.
    active_mm: u32,
    pub(super) lag: u64,
    pub(super) steal: u64,
    pub(super) counted: CpuSwitches,
}

#[derive(Debug)]
pub struct Toy {
    pub now: u64,
    /// By number; the first ones are the idle threads.
    pub tasks: Vec<Task>,
    pub(super) cpus: Vec<ToyCpu>,
    pub records: Vec<Record>,
    /// Nothing is recorded before the probes are attached.
    pub attached: bool,
    /// How many wake-ups there were: every third finds the place of its note taken.
    wakings: u64,
    /// An iterator looks at whoever is switched out next, between the count and the tracepoint.
    pub peek: Option<u16>,
}

impl Toy {
    pub fn new(cpus: usize) -> Toy {
        let mut toy = Toy {
            now: 1_000_000,
            tasks: Vec::new(),
            cpus: Vec::new(),
            records: Vec::new(),
            attached: true,
            wakings: 0,
            peek: None,
        };
        for cpu in 0..cpus {
            let idle = toy.create(0xffff_0000 + cpu as u64, 0, 0, cpu);
            toy.tasks[idle].kernel_thread = true;
            toy.tasks[idle].mood = Mood::Alive(Does::Run);
            let counted = CpuSwitches {
                idle_since_ns: toy.now,
                ..CpuSwitches::default()
            };
            toy.cpus.push(ToyCpu {
                running: idle,
                counted,
                ..ToyCpu::default()
            });
        }
        toy
    }

    pub fn facts(&self) -> Facts {
        Facts {
            cpus: (0..self.cpus.len()).map(|cpu| Cpu(cpu as u16)).collect(),
            sched_yield: Some(YIELD),
            steal: true,
            iowait: true,
            interrupts: false,
            page_bytes: 4096,
            ..Facts::default()
        }
    }

    pub fn cpus(&self) -> usize {
        self.cpus.len()
    }

    pub fn running(&self, cpu: usize) -> usize {
        self.cpus[cpu].running
    }

    /// A thread that exists, not yet born; nobody is told.
    pub fn create(&mut self, key: u64, tid: u32, tgid: u32, cpu: usize) -> usize {
        let mut comm = [0; 16];
        for (to, from) in comm.iter_mut().zip(format!("t{tid}").bytes()) {
            *to = from;
        }
        self.tasks.push(Task {
            key,
            tid,
            tgid,
            ppid: 1,
            start: self.now,
            comm,
            kernel_thread: false,
            own: false,
            cgroup: None,
            mood: Mood::Unborn,
            cpu,
            waking: false,
            exiting: false,
            since: self.now,
            nvcsw: 0,
            nivcsw: 0,
            run_delay: 0,
            sum_exec: 0,
            last_queued: 0,
            state: 0x800,
            iowait: false,
            lag_at_switch_in: 0,
            lived: Vec::new(),
            ran: Vec::new(),
            waited: Vec::new(),
            queued: self.now,
            left: Vec::new(),
            moves: Vec::new(),
            wakes: Vec::new(),
            woken: None,
            note: None,
            sighted: false,
            born: None,
            died: None,
        });
        self.tasks.len() - 1
    }

    /// A thread that has lived and slept before anybody looks.
    pub fn sleeper(&mut self, key: u64, tid: u32, tgid: u32, cpu: usize) -> usize {
        let id = self.create(key, tid, tgid, cpu);
        self.tasks[id].state = task_state::INTERRUPTIBLE;
        self.does(id, Does::Off(OffState::Sleep, false));
        id
    }

    /// `task_newtask`, called by `parent`.
    pub fn newtask(&mut self, parent: usize, child: usize) {
        self.tasks[child].ppid = self.tasks[parent].tgid;
        self.tasks[child].start = self.now;
        let mut thread = self.describe(child, kind::NEWTASK);
        thread.parent = self.tasks[parent].key;
        thread.parent_tid = self.tasks[parent].tid;
        self.emit(Told::Newtask(child), &thread);
    }

    /// `sched_wakeup_new`.
    pub fn wake_new(&mut self, id: usize, cpu: usize) {
        let task = &mut self.tasks[id];
        (task.cpu, task.state, task.last_queued) = (cpu, 0, self.now);
        task.born = Some(self.now);
        let record = record::WakeupNew {
            header: self.header(0, kind::WAKEUP_NEW, size_of::<record::WakeupNew>(), 0),
            task: self.tasks[id].key,
            tid: self.tasks[id].tid,
            target_cpu: cpu as u32,
            rq_clock_ns: self.now,
        };
        self.emit(Told::Born(id), &record);
        self.does(id, Does::Wait);
    }

    /// `sched_waking`: whoever it is, asleep or just about to.
    pub fn waking(&mut self, id: usize) {
        let task = &mut self.tasks[id];
        task.waking = true;
        task.woken = task.is_off().then_some(self.now);
        self.wakings += 1;
        if self.attached && !self.wakings.is_multiple_of(3) {
            task.note = Some(self.now);
            return;
        }
        let record = record::Waking {
            header: self.header(0, kind::WAKING, size_of::<record::Waking>(), 0),
            task: self.tasks[id].key,
            tid: self.tasks[id].tid,
            ..record::Waking::default()
        };
        self.emit(Told::Other, &record);
    }

    /// The woken one reaches a run queue.
    pub fn enqueue(&mut self, id: usize, cpu: usize) {
        if self.tasks[id].cpu != cpu {
            self.tell_move(id, cpu);
        }
        let now = self.now;
        let task = &mut self.tasks[id];
        if task.last_queued == 0 {
            task.last_queued = now;
        }
        task.waking = false;
        task.state = 0;
        if let Some(woken) = task.woken.take() {
            task.wakes.push((woken, now));
        }
        self.does(id, Does::Wait);
    }

    /// A queued thread goes to another run queue. A sleeper that was left on its run queue (delayed
    /// dequeue) may go, too, and is then stamped as if it waited: the error of kernels since 6.12.
    pub fn migrate(&mut self, id: usize, cpu: usize) {
        self.tell_move(id, cpu);
        let task = &mut self.tasks[id];
        if task.last_queued != 0 {
            task.run_delay += self.now - task.last_queued;
        }
        task.last_queued = self.now;
    }

    pub fn switch(&mut self, cpu: usize, leave: Leave, next: usize) {
        let prev = self.cpus[cpu].running;
        let now = self.now;
        let next_kind = self.kind_of(prev, next);
        let was_idle = self.tasks[prev].is_idle();
        let voluntary = !was_idle
            && matches!(
                leave,
                Leave::SignalPending | Leave::Off { .. } | Leave::Dies
            );
        let lag = self.cpus[cpu].lag;
        {
            let task = &mut self.tasks[prev];
            if voluntary {
                task.nvcsw += 1;
            } else {
                task.nivcsw += 1;
            }
            task.sum_exec += (now - task.since) - (lag - task.lag_at_switch_in);
            // From here to its next run, so that an iterator adds nothing of its own.
            task.lag_at_switch_in = lag;
        }
        if let Some(kind) = self.peek.take() {
            let sum_exec = self.tasks[prev].sum_exec;
            let mut seen = self.describe(prev, kind);
            seen.sum_exec_ns = sum_exec;
            self.tell_seen(prev, &seen);
            self.now += 1;
        }
        let mut flags = next_kind << switch_flags::NEXT_KIND_SHIFT;
        let (state, runnable, preempt) = match leave {
            _ if was_idle => (0, true, false),
            Leave::Preempted => (0, true, true),
            Leave::PreemptedGoingToSleep => (task_state::INTERRUPTIBLE, true, true),
            Leave::Yields => (0, true, false),
            // Newer kernels tell the state that it was set back to.
            Leave::SignalPending if self.tasks[prev].nvcsw.is_multiple_of(2) => (0, true, false),
            Leave::SignalPending => (task_state::INTERRUPTIBLE, true, false),
            Leave::Off { state, .. } => (bits_of(state), false, false),
            Leave::Dies => (task_state::DEAD, false, false),
        };
        let iowait = matches!(leave, Leave::Off { iowait: true, .. });
        let active_mm = self.cpus[cpu].active_mm;
        let (task, into) = (&self.tasks[prev], &self.tasks[next]);
        let mm = if into.kernel_thread { 0 } else { into.tgid };
        let address_space = mm != 0 && mm != active_mm;
        let queued = into.last_queued != 0;
        for (bit, set) in [
            (switch_flags::RUNNABLE, runnable),
            (switch_flags::PREEMPT, preempt),
            (switch_flags::IOWAIT, iowait),
            (switch_flags::ADDRESS_SPACE, address_space),
            (switch_flags::NEXT_QUEUED, queued),
            (switch_flags::STEAL, true),
            (switch_flags::SYSCALL, !preempt),
            (switch_flags::PREV_OWN, task.own),
            (switch_flags::NEXT_OWN, into.own),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let next_wait = if queued {
            self.now - into.last_queued
        } else {
            0
        };
        let record = record::Switch {
            header: self.header(cpu, kind::SWITCH, size_of::<record::Switch>(), flags),
            prev: task.key,
            next: into.key,
            prev_tid: task.tid,
            next_tid: into.tid,
            prev_nvcsw: task.nvcsw,
            prev_nivcsw: task.nivcsw,
            prev_run_delay_ns: task.run_delay,
            prev_sum_exec_ns: task.sum_exec + (self.now - now),
            next_run_delay_ns: into.run_delay,
            next_wait_ns: next_wait,
            next_seq: into.seq() as u32,
            prev_state: state,
            steal_ns: self.cpus[cpu].steal,
            clock_lag_ns: lag,
            syscall: if leave == Leave::Yields { YIELD } else { FUTEX },
            nr_running: 1,
            rq_clock_ns: self.now,
            next_waking_ns: into.note.filter(|_| self.attached).unwrap_or(0),
            ..record::Switch::default()
        };
        let told = Told::Switch {
            prev,
            next,
            prev_seq: task.seq(),
            next_seq: into.seq(),
        };
        self.emit(told, &record);
        self.count(cpu, was_idle, voluntary, (next_kind, address_space));

        let yielded = !was_idle && leave == Leave::Yields;
        let at = self.now;
        let attached = self.attached;
        let task = &mut self.tasks[prev];
        task.sighted |= attached;
        task.sum_exec += at - now;
        task.left.push(Left {
            at,
            voluntary,
            yielded,
            next_kind,
            address_space,
        });
        if was_idle {
            self.does(prev, Does::Off(OffState::Sleep, false));
        } else {
            task.state = if leave == Leave::SignalPending {
                0
            } else {
                state
            };
            task.iowait = iowait;
            match leave {
                Leave::Preempted | Leave::Yields | Leave::SignalPending => {
                    task.last_queued = at;
                    task.waking = false;
                    self.does(prev, Does::Wait);
                }
                Leave::PreemptedGoingToSleep => {
                    task.waking = false;
                    self.does(prev, Does::Wait);
                }
                Leave::Off { state, iowait } => self.does(prev, Does::Off(state, iowait)),
                Leave::Dies => {
                    self.close(prev);
                    self.tasks[prev].mood = Mood::Dead;
                    self.tasks[prev].died = Some(at);
                }
            }
        }
        let into = &mut self.tasks[next];
        into.run_delay += next_wait;
        (into.last_queued, into.state, into.cpu) = (0, 0, cpu);
        into.note = None;
        into.lag_at_switch_in = lag;
        self.does(next, Does::Run);
        self.cpus[cpu].running = next;
        if mm != 0 {
            self.cpus[cpu].active_mm = mm;
        }
    }

    /// As the kernel counts beside the stream, whatever becomes of that.
    fn count(&mut self, cpu: usize, was_idle: bool, voluntary: bool, to: (u16, bool)) {
        let (now, (next_kind, address_space)) = (self.now, to);
        let counted = &mut self.cpus[cpu].counted;
        if was_idle {
            counted.from_idle += 1;
            counted.idle_ns += now - counted.idle_since_ns;
            counted.idle_since_ns = 0;
        } else {
            counted.voluntary += u64::from(voluntary);
            counted.involuntary += u64::from(!voluntary);
            counted.kinds[usize::from(next_kind)] += 1;
        }
        counted.address_space_changes += u64::from(address_space);
        if next_kind == next_kind::IDLE {
            counted.idle_since_ns = now;
        }
    }

    /// The hypervisor and interrupts take this much of what passes on a CPU.
    pub fn lose_time(&mut self, cpu: usize, ns: u64) {
        self.cpus[cpu].lag += ns;
        self.cpus[cpu].steal += ns / 2;
    }

    pub fn exit(&mut self, id: usize, exit_code: u32) {
        let task = &mut self.tasks[id];
        task.exiting = true;
        let record = record::Exit {
            task: task.key,
            tid: task.tid,
            exit_code,
            static_prio: 120,
            comm: task.comm,
            header: self.header(0, kind::EXIT, size_of::<record::Exit>(), 0),
            ..record::Exit::default()
        };
        self.emit(Told::Other, &record);
    }

    pub fn rename(&mut self, id: usize, comm: [u8; 16]) {
        let task = &mut self.tasks[id];
        task.comm = comm;
        let record = record::Rename {
            task: task.key,
            tid: task.tid,
            comm,
            header: self.header(0, kind::RENAME, size_of::<record::Rename>(), 0),
            ..record::Rename::default()
        };
        self.emit(Told::Other, &record);
    }

    pub fn moved(&mut self, id: usize, whole_process: bool, cgroup_id: u64) {
        let record = record::Cgroup {
            header: self.header(0, kind::CGROUP, size_of::<record::Cgroup>(), 0),
            task: self.tasks[id].key,
            tid: self.tasks[id].tid,
            whole_process: whole_process.into(),
            cgroup_id,
        };
        self.emit(Told::Other, &record);
    }

    /// The tids of two threads change places, before anybody is told.
    pub fn swap_tids(&mut self, leader: usize, other: usize) {
        let tid = self.tasks[leader].tid;
        self.tasks[leader].tid = self.tasks[other].tid;
        self.tasks[other].tid = tid;
    }

    pub fn exec(&mut self, id: usize, old_tid: u32, comm: [u8; 16]) {
        let task = &mut self.tasks[id];
        task.comm = comm;
        let record = record::Exec {
            task: task.key,
            tid: task.tid,
            old_tid,
            comm,
            header: self.header(0, kind::EXEC, size_of::<record::Exec>(), 0),
        };
        self.emit(Told::Other, &record);
    }

    pub fn lost(&mut self, cpu: usize, total: u64) {
        let record = record::Lost {
            header: self.header(cpu, kind::LOST, size_of::<record::Lost>(), 0),
            probe: 0,
            reserved: 0,
            total,
        };
        self.emit(Told::Other, &record);
    }

    fn tell_move(&mut self, id: usize, cpu: usize) {
        let task = &mut self.tasks[id];
        task.moves.push(self.now);
        if task.does() == Some(Does::Wait) {
            task.waited.push((task.queued, self.now, task.cpu));
            task.queued = self.now;
        }
        task.cpu = cpu;
        let record = record::Migrate {
            task: task.key,
            tid: task.tid,
            to_cpu: cpu as u32,
            header: self.header(0, kind::MIGRATE, size_of::<record::Migrate>(), 0),
        };
        self.emit(Told::Other, &record);
    }

    fn kind_of(&self, prev: usize, next: usize) -> u16 {
        let (prev, next) = (&self.tasks[prev], &self.tasks[next]);
        if next.is_idle() {
            next_kind::IDLE
        } else if next.kernel_thread {
            next_kind::KERNEL_THREAD
        } else if next.tgid == prev.tgid {
            next_kind::SAME_PROCESS
        } else {
            next_kind::OTHER_PROCESS
        }
    }

    pub(super) fn header(&self, cpu: usize, kind: u16, len: usize, flags: u16) -> Header {
        Header {
            at_ns: self.now,
            kind,
            len: len as u16,
            cpu: cpu as u16,
            flags,
        }
    }

    pub(super) fn emit(&mut self, told: Told, record: &impl Bytes) {
        if self.attached || matches!(told, Told::Seen { .. } | Told::Edge) {
            self.records.push(Record {
                at: self.now,
                told,
                bytes: bytes_of(record),
            });
        }
    }

    fn does(&mut self, id: usize, does: Does) {
        self.close(id);
        self.tasks[id].mood = Mood::Alive(does);
    }

    /// What it did until now is history.
    fn close(&mut self, id: usize) {
        let task = &mut self.tasks[id];
        if let Mood::Alive(did) = task.mood {
            task.lived.push((task.since, self.now, did));
            match did {
                Does::Run => task.ran.push((task.since, self.now, task.cpu)),
                Does::Wait => task.waited.push((task.queued, self.now, task.cpu)),
                Does::Off(..) => {}
            }
        }
        (task.since, task.queued) = (self.now, self.now);
    }

    /// What everybody does now is history, too.
    pub fn close_all(&mut self) {
        for id in 0..self.tasks.len() {
            self.close(id);
        }
    }
}

fn bits_of(state: OffState) -> u32 {
    match state {
        OffState::Sleep => task_state::INTERRUPTIBLE,
        OffState::Block => task_state::UNINTERRUPTIBLE,
        OffState::Stopped => task_state::STOPPED,
    }
}
