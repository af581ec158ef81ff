//! How threads and processes begin and end.
//!
//! In: nothing. Out: types. Knows no bytes, no files, no clock.

use super::{Key, Timestamp};

/// What a birth makes, by the flags of `clone`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum BirthKind {
    /// A process with a copy of the address space, unless its flags say that it is shared.
    #[default]
    Fork,
    /// A process in its parent's address space, which waits until that calls exec or ends: `vfork`,
    /// `posix_spawn`.
    Vfork,
    Thread,
    /// Made by the kernel for itself: io_uring and vhost workers, kernel threads.
    Worker,
}

/// Who created a thread, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Birth {
    pub clone_flags: u64,
    pub parent: Key,
    pub parent_tid: u32,
}

/// `CLONE_*`, include/uapi/linux/sched.h.
const CLONE_VM: u64 = 0x0000_0100;
const CLONE_VFORK: u64 = 0x0000_4000;
const CLONE_THREAD: u64 = 0x0001_0000;

impl Birth {
    /// What a system call makes with these flags.
    pub fn kind(&self) -> BirthKind {
        if self.clone_flags & CLONE_THREAD != 0 {
            BirthKind::Thread
        } else if self.clone_flags & CLONE_VFORK != 0 {
            BirthKind::Vfork
        } else {
            BirthKind::Fork
        }
    }

    /// The parent's address space is the child's, too.
    pub fn shares_memory(&self) -> bool {
        self.clone_flags & CLONE_VM != 0
    }
}

/// What an address space holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub resident_pages: u64,
    /// At a fork: 0.
    pub peak_pages: u64,
    pub page_table_bytes: u64,
    /// At an exit: 0.
    pub mappings: u32,
}

/// What a system call did that has returned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Call {
    Create {
        entered: Timestamp,
        child: Key,
        child_tid: u32,
        /// The child's pid as its parent sees it, in its own namespace.
        pid: u32,
    },
    Exec {
        entered: Timestamp,
    },
    /// It may have waited for the end of this child, as the parent sees it.
    Wait {
        pid: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_say_what_is_born() {
        // What glibc asks for.
        for (clone_flags, kind, shares) in [
            // fork: CLONE_CHILD_CLEARTID | CLONE_CHILD_SETTID | SIGCHLD
            (0x0120_0011, BirthKind::Fork, false),
            // vfork: CLONE_VFORK | CLONE_VM | SIGCHLD
            (0x0000_4111, BirthKind::Vfork, true),
            // posix_spawn: CLONE_VM | CLONE_VFORK, by clone3 with CLONE_CLEAR_SIGHAND
            (0x1_0000_4100, BirthKind::Vfork, true),
            // pthread_create
            (0x003d_0f00, BirthKind::Thread, true),
            // A process that shares its parent's memory and lets it go on.
            (0x0000_0111, BirthKind::Fork, true),
        ] {
            let birth = Birth {
                clone_flags,
                ..Birth::default()
            };
            assert_eq!((birth.kind(), birth.shares_memory()), (kind, shares));
        }
    }
}
