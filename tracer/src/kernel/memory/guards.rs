//! Stacks that are in one mapping: each is what lies between two guards that are in no list of mappings, but in the
//! page tables (`MADV_GUARD_INSTALL`, since 6.13).
//!
//! In: `/proc/PID/pagemap`. Out: pages in memory.

use std::{fs::File, ops::Range, os::unix::fs::FileExt as _};

/// Documentation/admin-guide/mm/pagemap.rst.
const PRESENT: u64 = 1 << 63;
/// Since 6.15.
const GUARD: u64 = 1 << 58;

/// How many pages a stack is looked for on each side of its pointer: with pages of 4 KiB a GiB.
const REACH: u64 = 1 << 18;

/// What ends the pages that a stack may have.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// That of the mapping: a stack ends there, too.
    Mapping(u64),
    /// What another stack uses: a guard must come before.
    Other(u64),
}

impl End {
    fn page(self) -> u64 {
        match self {
            End::Mapping(page) | End::Other(page) => page,
        }
    }

    /// Not farther from `at` than is read.
    fn within(self, reach: Range<u64>) -> End {
        let page = self.page().clamp(reach.start, reach.end);
        if page == self.page() {
            self
        } else {
            End::Other(page)
        }
    }
}

/// Pages in memory of the stack that uses page `at`; `None` where nothing tells it from what is beside it.
pub fn resident_pages(pagemap: &File, from: End, at: u64, to: End) -> Option<u64> {
    let reach = at.saturating_sub(REACH)..at.saturating_add(REACH);
    let (from, to) = (from.within(reach.clone()), to.within(reach));
    let count = to.page().checked_sub(from.page())?;
    let mut bytes = vec![0; usize::try_from(count.checked_mul(8)?).ok()?];
    pagemap
        .read_exact_at(&mut bytes, from.page().checked_mul(8)?)
        .ok()?;
    let words: Vec<u64> = bytes
        .chunks_exact(8)
        .map(|word| word.try_into().map_or(0, u64::from_ne_bytes))
        .collect();
    between_guards(&words, from, at, to)
}

/// `words` are those of the pages from `from` to `to`.
fn between_guards(words: &[u64], from: End, at: u64, to: End) -> Option<u64> {
    let guards = |word: &u64| word & GUARD != 0;
    let at = usize::try_from(at.checked_sub(from.page())?).ok()?;
    if words.get(at).is_none_or(guards) {
        return None;
    }
    let first = match (words[..at].iter().rposition(guards), from) {
        (Some(guard), _) => guard + 1,
        (None, End::Mapping(_)) => 0,
        (None, End::Other(_)) => return None,
    };
    let last = match (words[at..].iter().position(guards), to) {
        (Some(guard), _) => at + guard,
        (None, End::Mapping(_)) => words.len(),
        (None, End::Other(_)) => return None,
    };
    let present = words[first..last]
        .iter()
        .filter(|word| *word & PRESENT != 0);
    Some(present.count() as u64)
}

#[cfg(test)]
mod tests {
    use std::ptr;

    use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous, munmap};

    use super::*;

    /// `g` is a guard, `x` is in memory, `.` is not.
    fn count(picture: &str, from: End, at: u64, to: End) -> Option<u64> {
        let words: Vec<u64> = picture
            .bytes()
            .map(|page| match page {
                b'g' => GUARD | 1 << 62,
                b'x' => PRESENT | 3,
                _ => 0,
            })
            .collect();
        between_guards(&words, from, at, to)
    }

    #[test]
    fn a_stack_is_between_two_guards() {
        let ends = (End::Other(10), End::Other(20));
        let between = |picture, at| count(picture, ends.0, at, ends.1);
        assert_eq!(between("xxg..x.xgx", 16), Some(2));
        assert_eq!(between("xxg.....gx", 15), Some(0));
        // What was touched below the pointer counts, too.
        assert_eq!(between("xxg.xxxxgx", 17), Some(4));
        assert_eq!(between("xxg.xxxxgx", 13), Some(4));
        assert_eq!(between("gxxxxxxxxg", 11), Some(8));
    }

    #[test]
    fn without_a_guard_it_ends_with_its_mapping_only() {
        let (mapping, other) = (
            (End::Mapping(0), End::Mapping(6)),
            (End::Other(0), End::Other(6)),
        );
        assert_eq!(count("x.x.xx", mapping.0, 3, mapping.1), Some(4));
        assert_eq!(count("x.x.xx", other.0, 3, mapping.1), None);
        assert_eq!(count("x.x.xx", mapping.0, 3, other.1), None);
        assert_eq!(count("xgx.xx", other.0, 3, mapping.1), Some(3));
        assert_eq!(count("x.x.gx", mapping.0, 3, other.1), Some(2));
    }

    #[test]
    fn pages_that_make_no_sense_are_not_counted() {
        let (from, to) = (End::Other(10), End::Other(13));
        assert_eq!(count("gxg", from, 9, to), None);
        assert_eq!(count("gxg", from, 13, to), None);
        // The pointer of a thread that is gone.
        assert_eq!(count("gxg", from, 10, to), None);
        assert_eq!(count("", from, 10, to), None);
        let file = File::open("/proc/self/pagemap").expect("procfs");
        let far = u64::MAX;
        assert_eq!(
            resident_pages(&file, End::Other(far), 5, End::Other(0)),
            None
        );
        assert_eq!(
            resident_pages(&file, End::Mapping(0), far, End::Mapping(far)),
            None
        );
    }

    #[test]
    fn the_kernel_tells_guards_as_we_read_them() {
        const PAGES: usize = 24;
        // include/uapi/asm-generic/mman-common.h.
        const MADV_GUARD_INSTALL: i32 = 102;
        let page = rustix::param::page_size();
        let (access, flags) = (ProtFlags::READ | ProtFlags::WRITE, MapFlags::PRIVATE);
        // SAFETY: memory of its own, where the kernel wants it.
        let start = unsafe { mmap_anonymous(ptr::null_mut(), PAGES * page, access, flags) };
        let start = start.expect("map").cast::<u8>();
        let file = File::open("/proc/self/pagemap").expect("procfs");
        let first = (start as usize / page) as u64;
        let ends = (End::Other(first), End::Other(first + PAGES as u64));
        // SAFETY: inside that memory, which nobody else knows.
        let installed = unsafe {
            for touched in [2, 9, 11, 20] {
                start.add(touched * page).write_volatile(1);
            }
            [4, 16].map(|guard| {
                libc::madvise(start.add(guard * page).cast(), page, MADV_GUARD_INSTALL)
            })
        };
        let found = resident_pages(&file, ends.0, first + 11, ends.1);
        // Before 6.13 there are none, before 6.15 they are not told.
        if installed != [0, 0] {
            assert_eq!(found, None);
        } else if found.is_some() {
            assert_eq!(found, Some(2));
        } else {
            let release = rustix::system::uname();
            let release = release.release().to_string_lossy();
            assert!(
                release.starts_with("6.13") || release.starts_with("6.14"),
                "{release}"
            );
        }
        // SAFETY: what was mapped above.
        unsafe { munmap(start.cast(), PAGES * page) }.expect("unmap");
    }
}
