//! How threads and processes begin, change and end, beside [`super::Thread`].

use super::Header;

/// Flags of [`Fork`] and [`Exit`].
pub mod memory_flags {
    /// What the address space holds was read.
    pub const MEMORY: u16 = 1 << 0;
}

/// `sched_process_fork`: `task_newtask` without this one after it is a worker the kernel made.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Fork {
    pub header: Header,
    pub parent: u64,
    pub child: u64,
    pub parent_tid: u32,
    pub child_tid: u32,
    /// Of the parent's address space, all three.
    pub rss_pages: u64,
    pub page_table_bytes: u64,
    pub mappings: u32,
    pub reserved: u32,
}

/// `sched_process_exec`. A thread that is not the leader takes over the leader's tid.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exec {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    /// Its tid before; equal to `tid` when the leader itself called exec.
    pub old_tid: u32,
    pub comm: [u8; 16],
}

/// `sched_process_exit`: the thread is on its way out; its last switch-out follows.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Exit {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    /// As `wait4` encodes it: code << 8 | signal.
    pub exit_code: u32,
    pub policy: u32,
    pub static_prio: u32,
    pub rt_priority: u32,
    pub reserved: u32,
    pub comm: [u8; 16],
    /// Of its address space, all three.
    pub rss_pages: u64,
    pub peak_pages: u64,
    pub page_table_bytes: u64,
}

/// What [`Called`] tells of, in its header's flags.
pub mod call {
    /// It has created `child`.
    pub const CREATE: u16 = 0;
    /// It runs another program.
    pub const EXEC: u16 = 1;
    /// It may have waited for a child that has ended.
    pub const WAIT: u16 = 2;
}

/// A system call of `task` has returned at `header.at_ns`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Called {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    /// The pid of the child as its parent sees it, in its own namespace; of [`call::EXEC`]: 0.
    pub pid: u32,
    /// When it began; of [`call::WAIT`]: 0.
    pub entered_ns: u64,
    /// Of [`call::CREATE`] only, both.
    pub child: u64,
    pub child_tid: u32,
    pub reserved: u32,
}

/// So many writes to shared pages there were since a fork: within [`crate::counters::COW_NS`], or until the next
/// fork or exec. A later one of the same fork has the same number or a higher one.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cow {
    pub header: Header,
    pub cow: crate::counters::Cow,
}

/// `exit_mmap`: the address space of a thread that is on its way out, whose last user it was, is given back.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Teardown {
    pub header: Header,
    pub task: u64,
    pub tid: u32,
    pub reserved: u32,
}

/// What the stacks of one thread take: from an iterator of its own, not a record of the stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Stack {
    pub tid: u32,
    /// 0: not known.
    pub kernel_pages: u32,
    /// Where its stack in user space was when it came into the kernel last; 0: it has none.
    pub user_pointer: u64,
}

const _: () = {
    assert!(size_of::<Fork>() == 64);
    assert!(size_of::<Exec>() == 48);
    assert!(size_of::<Exit>() == 88);
    assert!(size_of::<Called>() == 56);
    assert!(size_of::<Cow>() == 40);
    assert!(size_of::<Teardown>() == 32);
    assert!(size_of::<Stack>() == 16);
};
