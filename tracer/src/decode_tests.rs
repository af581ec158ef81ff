//! Every record kind from the bytes of its struct to its event; bytes that mean nothing.

use proptest::prelude::*;
use tracer_common::{
    counters,
    record::{self, *},
};

use super::*;
use crate::engine::tests::bytes::{Bytes, bytes_of};
use crate::model::{self, Call, Memory};

fn header<T>(kind: u16, flags: u16) -> Header {
    Header {
        at_ns: 77,
        kind,
        len: size_of::<T>() as u16,
        cpu: 3,
        flags,
    }
}

fn decoded(record: &impl Bytes) -> What {
    let event = decode(&bytes_of(record)).expect("a whole record");
    assert_eq!((event.at, event.cpu), (Timestamp(77), Cpu(3)));
    event.what
}

fn a_switch() -> record::Switch {
    record::Switch {
        header: header::<record::Switch>(kind::SWITCH, 0),
        prev: 1,
        next: 2,
        prev_tid: 3,
        next_tid: 4,
        prev_nvcsw: 5,
        prev_nivcsw: 6,
        prev_run_delay_ns: 7,
        prev_sum_exec_ns: 8,
        next_run_delay_ns: 9,
        next_wait_ns: 10,
        next_seq: 11,
        prev_state: 0,
        steal_ns: 13,
        clock_lag_ns: 14,
        syscall: 15,
        nr_running: 16,
        rq_clock_ns: 17,
        next_waking_ns: 18,
        next_waker: 19 | waker::TIMER << waker::KIND_SHIFT,
        next_waker_cpu: 20,
        next_waker_syscall: 22,
        irq_ns: 22,
        softirq_ns: 23,
        next_throttled_ns: 24,
        resched_ns: 0,
        prev_priority: pack_priority(1, 115, 26),
    }
}

fn switched(flags: u16, prev_state: u32) -> model::Switch {
    let mut record = a_switch();
    record.header.flags = flags;
    record.prev_state = prev_state;
    match decoded(&record) {
        What::Switch(switch) => switch,
        other => panic!("not a switch: {other:?}"),
    }
}

#[test]
fn a_switch_with_no_flag_measures_nothing_it_need_not() {
    assert_eq!(
        switched(0, 1),
        model::Switch {
            prev: Side {
                key: Key(1),
                tid: 3,
                own: false,
                watched: true,
            },
            next: Side {
                key: Key(2),
                tid: 4,
                own: false,
                watched: true,
            },
            counters: Counters {
                nvcsw: 5,
                nivcsw: 6,
                run_delay: Nanos(7),
                sum_exec: Nanos(8),
            },
            out: SwitchOut::Blocked {
                state: OffState::Sleep,
                iowait: false
            },
            preempt: false,
            stamped: false,
            throttled: false,
            requeued: false,
            syscall: None,
            next_kind: NextKind::Idle,
            address_space_change: false,
            gap: false,
            next_run_delay: Nanos(9),
            next_wait: None,
            next_seq: 11,
            steal: None,
            clock_lag: Nanos(14),
            nr_running: 16,
            rq_clock: Timestamp(17),
            next_waking: Some((
                Timestamp(18),
                Waker {
                    kind: WakerKind::Timer,
                    tid: 19,
                    cpu: Cpu(20),
                    syscall: Some(Syscall::Native(21)),
                }
            )),
            interrupts: Interrupts {
                irq: Nanos(22),
                softirq: Nanos(23),
            },
            next_throttled: Nanos(24),
            resched: None,
            prev_priority: Priority {
                policy: 1,
                nice: -5,
                rt_priority: 26,
            },
        }
    );
}

#[test]
fn every_flag_of_a_switch_says_its_own() {
    use switch_flags as f;
    assert!(switched(f::PREEMPT, 0).preempt);
    assert!(switched(f::ADDRESS_SPACE, 0).address_space_change);
    assert!(switched(f::THROTTLED, 0).throttled);
    assert!(switched(f::PREV_OWN, 0).prev.own && !switched(f::PREV_OWN, 0).next.own);
    assert!(switched(f::NEXT_OWN, 0).next.own && !switched(f::NEXT_OWN, 0).prev.own);
    let (prev, next) = (
        switched(f::PREV_UNWATCHED, 0),
        switched(f::NEXT_UNWATCHED, 0),
    );
    assert!(!prev.prev.watched && prev.next.watched && next.prev.watched && !next.next.watched);
    assert_eq!(switched(f::NEXT_QUEUED, 0).next_wait, Some(Nanos(10)));
    assert_eq!(switched(f::STEAL, 0).steal, Some(Nanos(13)));
    assert_eq!(switched(f::SYSCALL, 0).syscall, Some(Syscall::Native(15)));
    assert_eq!(
        switched(f::SYSCALL | f::COMPAT, 0).syscall,
        Some(Syscall::Compat)
    );
    for (kind, means) in [
        (next_kind::IDLE, NextKind::Idle),
        (next_kind::KERNEL_THREAD, NextKind::KernelThread),
        (next_kind::SAME_PROCESS, NextKind::SameProcess),
        (next_kind::OTHER_PROCESS, NextKind::OtherProcess),
    ] {
        assert_eq!(switched(kind << f::NEXT_KIND_SHIFT, 0).next_kind, means);
    }
}

#[test]
fn how_a_thread_left_is_told_by_state_and_queue_together() {
    use switch_flags::{IOWAIT, PREEMPT, RUNNABLE};
    let off = |state, iowait| SwitchOut::Blocked { state, iowait };
    for (flags, state, out, stamped) in [
        (RUNNABLE | PREEMPT, 0, SwitchOut::Runnable, true),
        (RUNNABLE, 0, SwitchOut::Runnable, true),
        // A signal was pending: it had its state set, and is on the run queue.
        (RUNNABLE, 1, SwitchOut::Runnable, true),
        // Preempted on its way to sleep.
        (RUNNABLE | PREEMPT, 1, SwitchOut::Runnable, false),
        (0, 1, off(OffState::Sleep, false), false),
        (0, 2, off(OffState::Block, false), false),
        (IOWAIT, 2, off(OffState::Block, true), false),
        (0, 0x402, off(OffState::Sleep, false), false), // idle: uninterruptible without load
        (0, 0x1000, off(OffState::Block, false), false), // rtlock
        (0, 4, off(OffState::Stopped, false), false),
        (0, 8, off(OffState::Stopped, false), false),
        (0, 0x8000, off(OffState::Stopped, false), false),
        (0, 0x40, off(OffState::Sleep, false), false), // parked
        (0, 0x80, SwitchOut::Dead, false),
        (PREEMPT | RUNNABLE, 0x80, SwitchOut::Dead, false),
    ] {
        let switch = switched(flags, state);
        assert_eq!(
            (switch.out, switch.stamped),
            (out, stamped),
            "{flags:#x} {state:#x}"
        );
    }
}

#[test]
fn wakings_births_moves_and_names_keep_what_they_carry() {
    let comm = *b"evil\x1b[2J\n\xff\xfe\0\0\0\0\0";
    assert_eq!(
        decoded(&Waking {
            header: header::<Waking>(kind::WAKING, 0),
            task: 1,
            tid: 2,
            waker: 3,
            waker_cpu: 4,
            waker_syscall: 0,
            reserved: 0,
        }),
        What::Waking {
            task: Key(1),
            tid: 2,
            waker: Waker {
                kind: WakerKind::Thread,
                tid: 3,
                cpu: Cpu(4),
                syscall: None,
            },
        }
    );
    assert_eq!(
        decoded(&WakeupNew {
            header: header::<WakeupNew>(kind::WAKEUP_NEW, 0),
            task: 1,
            tid: 2,
            target_cpu: 3,
            rq_clock_ns: 4,
        }),
        What::WakeupNew {
            task: Key(1),
            tid: 2,
            on: Cpu(3),
            rq_clock: Timestamp(4)
        }
    );
    assert_eq!(
        decoded(&Migrate {
            header: header::<Migrate>(kind::MIGRATE, 0),
            task: 1,
            tid: 2,
            to_cpu: 5,
        }),
        What::Migrate {
            task: Key(1),
            tid: 2,
            to: Cpu(5)
        }
    );
    assert_eq!(
        decoded(&Cgroup {
            header: header::<Cgroup>(kind::CGROUP, 0),
            task: 1,
            tid: 2,
            whole_process: 1,
            cgroup_id: 3,
        }),
        What::Moved {
            task: Key(1),
            tid: 2,
            whole_process: true,
            cgroup: 3
        }
    );
    assert_eq!(
        decoded(&Fork {
            header: header::<Fork>(kind::FORK, memory_flags::MEMORY),
            parent: 1,
            child: 2,
            parent_tid: 3,
            child_tid: 4,
            rss_pages: 5,
            page_table_bytes: 6,
            mappings: 7,
            reserved: 0,
        }),
        What::Fork {
            child: Key(2),
            child_tid: 4,
            parent_tid: 3,
            memory: Some(Memory {
                resident_pages: 5,
                page_table_bytes: 6,
                mappings: 7,
                peak_pages: 0
            })
        }
    );
    let called = |flags| {
        decoded(&Called {
            header: header::<Called>(kind::CALLED, flags),
            task: 1,
            tid: 2,
            pid: 3,
            entered_ns: 4,
            child: 5,
            child_tid: 6,
            reserved: 0,
        })
    };
    for (flags, call) in [
        (
            call::CREATE,
            Call::Create {
                entered: Timestamp(4),
                child: Key(5),
                child_tid: 6,
                pid: 3,
            },
        ),
        (
            call::EXEC,
            Call::Exec {
                entered: Timestamp(4),
            },
        ),
        (call::WAIT, Call::Wait { pid: 3 }),
    ] {
        let task = Key(1);
        assert_eq!(called(flags), What::Called { task, tid: 2, call });
    }
    assert_eq!(
        decoded(&record::Cow {
            header: header::<record::Cow>(kind::COW, 0),
            cow: counters::Cow {
                pid: 1,
                child: 2,
                since_ns: 3,
                faults: 4
            },
        }),
        What::Cow {
            pid: 1,
            child: 2,
            since: Timestamp(3),
            faults: 4
        }
    );
    assert_eq!(
        decoded(&Teardown {
            header: header::<Teardown>(kind::TEARDOWN, 0),
            task: 1,
            tid: 2,
            reserved: 0,
        }),
        What::Teardown {
            task: Key(1),
            tid: 2
        }
    );
    assert_eq!(
        decoded(&Exec {
            header: header::<Exec>(kind::EXEC, 0),
            task: 1,
            tid: 2,
            old_tid: 3,
            comm,
        }),
        What::Exec {
            task: Key(1),
            tid: 2,
            old_tid: 3,
            comm: Comm(comm)
        }
    );
    assert_eq!(
        decoded(&Rename {
            header: header::<Rename>(kind::RENAME, 0),
            task: 1,
            tid: 2,
            reserved: 0,
            comm,
        }),
        What::Rename {
            task: Key(1),
            tid: 2,
            comm: Comm(comm)
        }
    );
    assert_eq!(
        decoded(&Exit {
            header: header::<Exit>(kind::EXIT, memory_flags::MEMORY),
            task: 1,
            tid: 2,
            exit_code: 0x0309,
            policy: 1,
            static_prio: 100,
            rt_priority: 50,
            reserved: 0,
            comm,
            rss_pages: 7,
            peak_pages: 8,
            page_table_bytes: 9,
        }),
        What::Exit {
            task: Key(1),
            tid: 2,
            exit_code: 0x0309,
            priority: Priority {
                policy: 1,
                nice: -20,
                rt_priority: 50
            },
            comm: Comm(comm),
            memory: Some(Memory {
                resident_pages: 7,
                peak_pages: 8,
                page_table_bytes: 9,
                mappings: 0
            }),
        }
    );
    assert_eq!(
        decoded(&Lost {
            header: header::<Lost>(kind::LOST, 0),
            probe: 4,
            reserved: 0,
            total: u64::MAX,
        }),
        What::Lost {
            probe: 4,
            total: u64::MAX
        }
    );
    assert_eq!(
        decoded(&header::<Header>(kind::WINDOW_BEGIN, 0)),
        What::WindowBegin
    );
    assert_eq!(
        decoded(&header::<Header>(kind::WINDOW_END, 0)),
        What::WindowEnd
    );
}

fn a_thread(kind: u16, flags: u16, state: u32) -> record::Thread {
    record::Thread {
        header: header::<record::Thread>(kind, flags),
        task: 1,
        tid: 2,
        tgid: 3,
        ppid: 4,
        state,
        start_ns: 5,
        nvcsw: 6,
        nivcsw: 7,
        run_delay_ns: 8,
        sum_exec_ns: 9,
        cgroup_id: 10,
        clone_flags: 11,
        parent: 12,
        comm: *b"worker\0\0\0\0\0\0\0\0\0\0",
        policy: 0,
        static_prio: 139,
        rt_priority: 0,
        cpu: 6,
        syscall: 13,
        parent_tid: 14,
        steal_ns: 15,
        clock_lag_ns: 16,
        waking_ns: 0,
    }
}

#[test]
fn a_thread_is_described_alike_at_birth_and_by_the_iterator() {
    let expected = ThreadInfo {
        key: Key(1),
        tid: 2,
        tgid: 3,
        ppid: 4,
        start: Timestamp(5),
        comm: Comm::from("worker"),
        counters: Counters {
            nvcsw: 6,
            nivcsw: 7,
            run_delay: Nanos(8),
            sum_exec: Nanos(9),
        },
        cgroup: Some(10),
        priority: Priority {
            policy: 0,
            nice: 19,
            rt_priority: 0,
        },
        cpu: Cpu(6),
        kernel_thread: false,
        io_worker: false,
        own: false,
        posture: Posture::Runnable,
        queued: true,
        syscall: Some(Syscall::Native(13)),
        torn: false,
        steal: Some(Nanos(15)),
        clock_lag: Nanos(16),
        watched: true,
        waking: None,
    };
    use thread_flags as f;
    let flags = f::CGROUP | f::QUEUED | f::SYSCALL | f::STEAL;
    let info = expected;
    assert_eq!(decoded(&a_thread(kind::THREAD, flags, 0)), What::Seen(info));
    assert_eq!(
        decoded(&a_thread(kind::THREAD_END, flags, 0)),
        What::SeenAtEnd(info)
    );
    assert_eq!(
        decoded(&a_thread(kind::NEWTASK, flags, 0)),
        What::Newtask {
            child: info,
            birth: Birth {
                clone_flags: 11,
                parent: Key(12),
                parent_tid: 14
            },
        }
    );
}

#[test]
fn a_thread_is_where_its_flags_and_its_state_put_it() {
    use thread_flags as f;
    for (flags, state, posture) in [
        (f::DEAD | f::ON_CPU, 0x80, Posture::Dead),
        (f::UNBORN, 0x800, Posture::Unborn),
        (f::ON_CPU, 1, Posture::OnCpu),
        (0, 0, Posture::Runnable),
        // Still on its run queue for the kernel, and asleep (delayed dequeue).
        (
            f::QUEUED,
            1,
            Posture::Blocked {
                state: OffState::Sleep,
                iowait: false,
            },
        ),
        (
            f::IOWAIT,
            2,
            Posture::Blocked {
                state: OffState::Block,
                iowait: true,
            },
        ),
    ] {
        let What::Seen(info) = decoded(&a_thread(kind::THREAD, flags, state)) else {
            panic!("not an entry of the iterator");
        };
        assert_eq!(info.posture, posture);
    }
    let What::Seen(info) = decoded(&a_thread(kind::THREAD, f::TORN | f::OWN, 0)) else {
        panic!("not an entry of the iterator");
    };
    assert!(info.torn && info.own);
    assert_eq!((info.cgroup, info.syscall, info.steal), (None, None, None));
}

#[test]
fn what_is_cut_short_or_unknown_is_nothing() {
    let whole = bytes_of(&a_switch());
    for cut in 0..whole.len() {
        assert_eq!(decode(&whole[..cut]), None, "cut at {cut}");
    }
    // Its own length says less than the kind needs.
    let mut short = a_switch();
    short.header.len -= 1;
    assert_eq!(decode(&bytes_of(&short)), None);
    short.header.len = 3;
    assert_eq!(decode(&bytes_of(&short)), None);
    for kind in [0, 15, u16::MAX] {
        assert_eq!(decode(&bytes_of(&header::<Header>(kind, 0))), None);
    }
}

#[test]
fn a_longer_record_of_a_newer_tracer_is_read_as_far_as_it_is_known() {
    let mut record = a_switch();
    record.header.len += 8;
    let mut bytes = bytes_of(&record);
    bytes.extend([0xee; 8]);
    let event = decode(&bytes).expect("longer is no error");
    assert_eq!(event.what, decoded(&a_switch()));
    // Bytes behind its own end belong to nobody.
    let mut bytes = bytes_of(&a_switch());
    bytes.extend([0xee; 3]);
    assert_eq!(decode(&bytes), decode(&bytes_of(&a_switch())));
}

proptest! {
    #[test]
    fn any_bytes_are_survived(mut bytes in prop::collection::vec(any::<u8>(), 0..200), kind in 0..20_u16, len in 0..210_u16) {
        let _ = decode(&bytes);
        if bytes.len() >= size_of::<Header>() {
            bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
            bytes[10..12].copy_from_slice(&len.to_ne_bytes());
            let _ = decode(&bytes);
        }
    }
}
