//! Records as the bytes that the kernel programs write: every field in its place, nothing between.

use tracer_common::{
    counters::{Cow, CpuSwitches},
    record,
};

pub(crate) trait Bytes {
    fn put(&self, bytes: &mut Vec<u8>);
}

pub(crate) fn bytes_of(record: &impl Bytes) -> Vec<u8> {
    let mut bytes = Vec::new();
    record.put(&mut bytes);
    bytes
}

macro_rules! numbers {
    ($($number:ty)*) => {$(
        impl Bytes for $number {
            fn put(&self, bytes: &mut Vec<u8>) {
                bytes.extend(self.to_ne_bytes());
            }
        }
    )*};
}

macro_rules! records {
    ($($record:ident { $($field:ident),* })*) => {$(
        impl Bytes for record::$record {
            fn put(&self, bytes: &mut Vec<u8>) {
                let before = bytes.len();
                $(
                    // Only then is the layout of the struct the order below.
                    let place = std::mem::offset_of!(record::$record, $field);
                    assert_eq!(bytes.len() - before, place);
                    self.$field.put(bytes);
                )*
                assert_eq!(bytes.len() - before, size_of::<record::$record>());
            }
        }
    )*};
}

impl Bytes for [u8; 16] {
    fn put(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self);
    }
}

numbers! { u16 u32 u64 }

impl Bytes for Cow {
    fn put(&self, bytes: &mut Vec<u8>) {
        [self.pid, self.child]
            .iter()
            .for_each(|number| number.put(bytes));
        [self.since_ns, self.faults]
            .iter()
            .for_each(|number| number.put(bytes));
    }
}

impl Bytes for CpuSwitches {
    fn put(&self, bytes: &mut Vec<u8>) {
        let counts = [
            self.voluntary,
            self.involuntary,
            self.from_idle,
            self.address_space_changes,
        ];
        for number in counts
            .into_iter()
            .chain(self.kinds)
            .chain([self.idle_ns, self.idle_since_ns])
        {
            number.put(bytes);
        }
    }
}

records! {
    Header { at_ns, kind, len, cpu, flags }
    Switch { header, prev, next, prev_tid, next_tid, prev_nvcsw, prev_nivcsw, prev_run_delay_ns, prev_sum_exec_ns, next_run_delay_ns, next_wait_ns, next_seq, prev_state, steal_ns, clock_lag_ns, syscall, nr_running, rq_clock_ns, next_waking_ns, next_waker, next_waker_cpu, next_waker_syscall, irq_ns, softirq_ns, next_throttled_ns, resched_ns, prev_priority }
    Waking { header, task, tid, waker, waker_cpu, waker_syscall, reserved }
    WakeupNew { header, task, tid, target_cpu, rq_clock_ns }
    Migrate { header, task, tid, to_cpu }
    Thread { header, task, tid, tgid, ppid, state, start_ns, nvcsw, nivcsw, run_delay_ns, sum_exec_ns, cgroup_id, clone_flags, parent, comm, policy, static_prio, rt_priority, cpu, syscall, parent_tid, steal_ns, clock_lag_ns, waking_ns }
    Cgroup { header, task, tid, whole_process, cgroup_id }
    Fork { header, parent, child, parent_tid, child_tid, rss_pages, page_table_bytes, mappings, reserved }
    Exec { header, task, tid, old_tid, comm }
    Exit { header, task, tid, exit_code, policy, static_prio, rt_priority, reserved, comm, rss_pages, peak_pages, page_table_bytes }
    Rename { header, task, tid, reserved, comm }
    Left { header, tid, tgid, comm, priority, next_tid, steal_ns, irq_ns, softirq_ns, ran_ns }
    Name { header, tid, tgid, comm, priority, reserved }
    Lost { header, probe, reserved, total }
    CpuSwitches { header, counted }
    Called { header, task, tid, pid, entered_ns, child, child_tid, reserved }
    Cow { header, cow }
    Teardown { header, task, tid, reserved }
}
