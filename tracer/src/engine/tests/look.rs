//! What the task iterator reads of the toy kernel's threads.

use tracer_common::record::{self, Header, thread_flags};

use super::toy::{Does, Mood, Told, Toy};

impl Toy {
    /// One entry of the task iterator.
    pub fn seen(&mut self, id: usize, kind: u16) {
        let record = self.describe(id, kind);
        self.tell_seen(id, &record);
    }

    pub fn tell_seen(&mut self, id: usize, record: &record::Thread) {
        let task = &mut self.tasks[id];
        if !task.sighted {
            // Whoever woke it did so before anybody knew that it sleeps.
            task.woken = None;
            task.sighted = true;
        }
        let seq = record.nvcsw + record.nivcsw;
        self.emit(Told::Seen { task: id, seq }, record);
    }

    pub fn edge(&mut self, kind: u16) {
        let header = self.header(0, kind, size_of::<Header>(), 0);
        self.emit(Told::Edge, &header);
        for cpu in 0..self.cpus.len() {
            let record = record::CpuSwitches {
                header: self.header(
                    cpu,
                    record::kind::CPU_SWITCHES,
                    size_of::<record::CpuSwitches>(),
                    0,
                ),
                counted: self.cpus[cpu].counted,
            };
            self.emit(Told::Edge, &record);
        }
    }

    /// As the iterator reads it now.
    pub fn describe(&self, id: usize, kind: u16) -> record::Thread {
        let task = &self.tasks[id];
        let running = task.mood == Mood::Alive(Does::Run);
        let mut flags = 0;
        for (bit, set) in [
            (thread_flags::KERNEL_THREAD, task.kernel_thread),
            (thread_flags::ON_CPU, running),
            (thread_flags::DEAD, task.mood == Mood::Dead),
            (thread_flags::QUEUED, task.last_queued != 0),
            (thread_flags::IOWAIT, task.iowait),
            (thread_flags::OWN, task.own),
            (thread_flags::CGROUP, task.cgroup.is_some()),
            (thread_flags::UNBORN, task.mood == Mood::Unborn),
            (thread_flags::STEAL, true),
        ] {
            flags |= if set { bit } else { 0 };
        }
        let cpu = &self.cpus[task.cpu];
        let now = if running {
            (self.now - task.since).saturating_sub(cpu.lag - task.lag_at_switch_in)
        } else {
            0
        };
        record::Thread {
            header: self.header(task.cpu, kind, size_of::<record::Thread>(), flags),
            task: task.key,
            tid: task.tid,
            tgid: task.tgid,
            ppid: task.ppid,
            state: task.state,
            start_ns: task.start,
            nvcsw: task.nvcsw,
            nivcsw: task.nivcsw,
            run_delay_ns: task.run_delay,
            sum_exec_ns: task.sum_exec + now,
            cgroup_id: task.cgroup.unwrap_or(0),
            comm: task.comm,
            static_prio: 120,
            cpu: task.cpu as u32,
            steal_ns: cpu.steal,
            clock_lag_ns: cpu.lag,
            waking_ns: task.note.filter(|_| self.attached).unwrap_or(0),
            ..record::Thread::default()
        }
    }
}
