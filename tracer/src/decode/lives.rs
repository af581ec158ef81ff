//! Records of how threads and processes begin and end.
//!
//! In: a whole record without its header. Out: what it tells.

use bytes::Buf;
use tracer_common::record::{call, memory_flags};

use super::{comm, priority};
use crate::model::{Call, Key, Memory, Timestamp, What};

pub(super) fn fork(flags: u16, buf: &mut &[u8]) -> What {
    let _parent = buf.get_u64_ne();
    let child = Key(buf.get_u64_ne());
    let parent_tid = buf.get_u32_ne();
    let child_tid = buf.get_u32_ne();
    let memory = Memory {
        resident_pages: buf.get_u64_ne(),
        page_table_bytes: buf.get_u64_ne(),
        mappings: buf.get_u32_ne(),
        peak_pages: 0,
    };
    What::Fork {
        child,
        child_tid,
        parent_tid,
        memory: (flags & memory_flags::MEMORY != 0).then_some(memory),
    }
}

pub(super) fn exit(flags: u16, buf: &mut &[u8]) -> What {
    let task = Key(buf.get_u64_ne());
    let tid = buf.get_u32_ne();
    let exit_code = buf.get_u32_ne();
    let priority = priority(buf);
    let _reserved = buf.get_u32_ne();
    let comm = comm(buf);
    let memory = Memory {
        resident_pages: buf.get_u64_ne(),
        peak_pages: buf.get_u64_ne(),
        page_table_bytes: buf.get_u64_ne(),
        mappings: 0,
    };
    What::Exit {
        task,
        tid,
        exit_code,
        priority,
        comm,
        memory: (flags & memory_flags::MEMORY != 0).then_some(memory),
    }
}

/// `None`: a call of a kind that this build does not know.
pub(super) fn called(flags: u16, buf: &mut &[u8]) -> Option<What> {
    let task = Key(buf.get_u64_ne());
    let tid = buf.get_u32_ne();
    let pid = buf.get_u32_ne();
    let entered = Timestamp(buf.get_u64_ne());
    let child = Key(buf.get_u64_ne());
    let child_tid = buf.get_u32_ne();
    let call = match flags {
        call::CREATE => Call::Create {
            entered,
            child,
            child_tid,
            pid,
        },
        call::EXEC => Call::Exec { entered },
        call::WAIT => Call::Wait { pid },
        _ => return None,
    };
    Some(What::Called { task, tid, call })
}

pub(super) fn cow(buf: &mut &[u8]) -> What {
    What::Cow {
        pid: buf.get_u32_ne(),
        child: buf.get_u32_ne(),
        since: Timestamp(buf.get_u64_ne()),
        faults: buf.get_u64_ne(),
    }
}
