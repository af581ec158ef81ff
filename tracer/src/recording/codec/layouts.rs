//! Where the fields of a record are, and how each is foretold. Part of the format: a layout that changes, or
//! another one, is a new version.

use std::mem::{offset_of, size_of};

use tracer_common::record::{self, Header, kind};

/// A record whose kind and length are these has these fields and nothing else.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    pub kind: u16,
    pub bytes: usize,
    /// Behind the header.
    pub fields: &'static [Field],
}

impl Layout {
    /// Nothing is shared with records of other kinds.
    pub fn stands_alone(&self) -> bool {
        let mut fields = self.fields.iter();
        fields.all(|field| matches!(field.like, Like::Last | Like::Time))
    }
}

#[derive(Clone, Copy, Debug)]
pub struct Field {
    pub offset: usize,
    /// 2, 4, or words of 8.
    pub bytes: usize,
    pub like: Like,
}

/// What a field is foretold by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Like {
    /// The last record of this kind.
    Last,
    /// A key, in the table of threads.
    Key,
    /// The tid of the key before.
    Tid,
    /// As far from the record's time as in the last record of this kind.
    Time,
}

macro_rules! like {
    () => {
        Like::Last
    };
    ($like:ident) => {
        Like::$like
    };
}

/// The fields, each behind the one that it is like.
macro_rules! layouts {
    ($($kind:ident: $record:ident { $($($field:ident).+: $bytes:literal $($like:ident)?),* })*) => {
        pub const LAYOUTS: &[Layout] = &[$(Layout {
            kind: kind::$kind,
            bytes: size_of::<record::$record>(),
            fields: &[$(Field {
                offset: offset_of!(record::$record, $($field).+),
                bytes: $bytes,
                like: like!($($like)?),
            }),*],
        }),*];

        $(const _: () = {
            assert!(size_of::<Header>() $(+ $bytes)* == size_of::<record::$record>());
        };)*
    };
}

layouts! {
    WAKING: Waking { task: 8 Key, tid: 4 Tid, waker: 4, waker_cpu: 2, waker_syscall: 2, reserved: 4 }
    WAKEUP_NEW: WakeupNew { task: 8 Key, tid: 4 Tid, target_cpu: 4, rq_clock_ns: 8 Time }
    MIGRATE: Migrate { task: 8 Key, tid: 4 Tid, to_cpu: 4 }
    NEWTASK: Thread {
        task: 8 Key, tid: 4 Tid, tgid: 4, ppid: 4, state: 4, start_ns: 8 Time, nvcsw: 8, nivcsw: 8,
        run_delay_ns: 8, sum_exec_ns: 8, cgroup_id: 8, clone_flags: 8, parent: 8 Key, parent_tid: 4 Tid,
        comm: 16, policy: 4, static_prio: 4, rt_priority: 4, cpu: 4, syscall: 4, steal_ns: 8,
        clock_lag_ns: 8, waking_ns: 8
    }
    THREAD: Thread {
        task: 8 Key, tid: 4 Tid, tgid: 4, ppid: 4, state: 4, start_ns: 8, nvcsw: 8, nivcsw: 8,
        run_delay_ns: 8, sum_exec_ns: 8, cgroup_id: 8, clone_flags: 8, parent: 8, parent_tid: 4,
        comm: 16, policy: 4, static_prio: 4, rt_priority: 4, cpu: 4, syscall: 4, steal_ns: 8,
        clock_lag_ns: 8, waking_ns: 8
    }
    THREAD_END: Thread {
        task: 8 Key, tid: 4 Tid, tgid: 4, ppid: 4, state: 4, start_ns: 8, nvcsw: 8, nivcsw: 8,
        run_delay_ns: 8, sum_exec_ns: 8, cgroup_id: 8, clone_flags: 8, parent: 8, parent_tid: 4,
        comm: 16, policy: 4, static_prio: 4, rt_priority: 4, cpu: 4, syscall: 4, steal_ns: 8,
        clock_lag_ns: 8, waking_ns: 8
    }
    FORK: Fork {
        parent: 8 Key, parent_tid: 4 Tid, child: 8 Key, child_tid: 4 Tid, rss_pages: 8,
        page_table_bytes: 8, mappings: 4, reserved: 4
    }
    EXEC: Exec { task: 8 Key, tid: 4 Tid, old_tid: 4, comm: 16 }
    EXIT: Exit {
        task: 8 Key, tid: 4 Tid, exit_code: 4, policy: 4, static_prio: 4, rt_priority: 4, reserved: 4,
        comm: 16, rss_pages: 8, peak_pages: 8, page_table_bytes: 8
    }
    RENAME: Rename { task: 8 Key, tid: 4 Tid, reserved: 4, comm: 16 }
    LOST: Lost { probe: 4, reserved: 4, total: 8 }
    CGROUP: Cgroup { task: 8 Key, tid: 4 Tid, whole_process: 4, cgroup_id: 8 }
    CPU_SWITCHES: CpuSwitches { counted: 80 }
    LEFT: Left {
        tid: 4, tgid: 4, comm: 16, priority: 4, next_tid: 4, steal_ns: 8, irq_ns: 8, softirq_ns: 8, ran_ns: 8
    }
    NAME: Name { tid: 4, tgid: 4, comm: 16, priority: 4, reserved: 4 }
    CALLED: Called {
        task: 8 Key, tid: 4 Tid, pid: 4, entered_ns: 8 Time, child: 8 Key, child_tid: 4 Tid, reserved: 4
    }
    COW: Cow { cow: 24 }
    TEARDOWN: Teardown { task: 8 Key, tid: 4 Tid, reserved: 4 }
    WINDOW_BEGIN: Header {}
    WINDOW_END: Header {}
}

/// `bytes` are at least as many as a header has.
#[inline]
pub fn load_header(bytes: &[u8]) -> Header {
    Header {
        at_ns: load(bytes, offset_of!(Header, at_ns), 8),
        kind: load(bytes, offset_of!(Header, kind), 2) as u16,
        len: load(bytes, offset_of!(Header, len), 2) as u16,
        cpu: load(bytes, offset_of!(Header, cpu), 2) as u16,
        flags: load(bytes, offset_of!(Header, flags), 2) as u16,
    }
}

#[inline]
pub fn store_header(header: &Header, bytes: &mut [u8]) {
    store(bytes, offset_of!(Header, at_ns), 8, header.at_ns);
    store(bytes, offset_of!(Header, kind), 2, header.kind.into());
    store(bytes, offset_of!(Header, len), 2, header.len.into());
    store(bytes, offset_of!(Header, cpu), 2, header.cpu.into());
    store(bytes, offset_of!(Header, flags), 2, header.flags.into());
}

/// A field of 2, 4 or 8 bytes.
#[inline]
pub fn load(bytes: &[u8], offset: usize, width: usize) -> u64 {
    let field = &bytes[offset..offset + width];
    match *field {
        [a, b] => u16::from_ne_bytes([a, b]).into(),
        [a, b, c, d] => u32::from_ne_bytes([a, b, c, d]).into(),
        [a, b, c, d, e, f, g, h] => u64::from_ne_bytes([a, b, c, d, e, f, g, h]),
        _ => unreachable!("fields have 2, 4 or 8 bytes"),
    }
}

#[inline]
pub fn store(bytes: &mut [u8], offset: usize, width: usize, number: u64) {
    let field = &mut bytes[offset..offset + width];
    match width {
        2 => field.copy_from_slice(&(number as u16).to_ne_bytes()),
        4 => field.copy_from_slice(&(number as u32).to_ne_bytes()),
        _ => field.copy_from_slice(&number.to_ne_bytes()),
    }
}
