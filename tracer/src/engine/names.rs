//! Who can be to blame: a short number for everybody who ever had a CPU, and what is known of them.
//!
//! In: identities, as they become known and change. Out: numbers that stay valid when a thread's slot is
//! another one's. Must not know: states, what took how long.

use rustc_hash::FxHashMap;

use crate::model::{Timestamp, Who, WhoId};

/// So many are kept in any case.
const MANY: usize = 1024;

#[derive(Debug)]
struct Entry {
    who: Who,
    /// When it was first told of: that may be ahead of its birth. 0, before any birth: it has had a slot.
    told: Timestamp,
}

const PLACED: Timestamp = Timestamp(0);

#[derive(Debug)]
pub struct Names {
    entries: Vec<Option<Entry>>,
    free: Vec<WhoId>,
    /// Whoever has this tid now, or had it last.
    by_tid: FxHashMap<u32, WhoId>,
    /// When there are more than these it is time to forget those nobody refers to.
    limit: usize,
}

impl Default for Names {
    fn default() -> Names {
        Names {
            entries: Vec::new(),
            free: Vec::new(),
            by_tid: FxHashMap::default(),
            limit: MANY,
        }
    }
}

impl Names {
    pub fn get(&self, id: WhoId) -> Option<&Who> {
        self.entry(id).map(|entry| &entry.who)
    }

    fn entry(&self, id: WhoId) -> Option<&Entry> {
        self.entries.get(id.0 as usize)?.as_ref()
    }

    pub fn of_tid(&self, tid: u32) -> Option<WhoId> {
        self.by_tid.get(&tid).copied()
    }

    /// Whoever has this tid: without a name, until somebody tells it.
    pub fn numbered(&mut self, tid: u32, at: Timestamp) -> WhoId {
        self.of_tid(tid).unwrap_or_else(|| {
            let who = Who {
                tid,
                ..Who::default()
            };
            self.add(who, at)
        })
    }

    /// One that has a slot now, and whose life began at `start`, where that is known. What came of it before may
    /// have been told already.
    pub fn place(&mut self, who: Who, start: Option<Timestamp>) -> WhoId {
        let of_it = |entry: &Entry| {
            entry.who.may_be(&who) && start.is_some_and(|start| entry.told >= start)
        };
        match self.of_tid(who.tid) {
            Some(id) if self.entry(id).is_some_and(of_it) => {
                self.entries[id.0 as usize] = Some(Entry { who, told: PLACED });
                id
            }
            _ => self.add(who, PLACED),
        }
    }

    fn add(&mut self, who: Who, told: Timestamp) -> WhoId {
        let entry = Some(Entry { who, told });
        let id = match self.free.pop() {
            Some(id) => {
                self.entries[id.0 as usize] = entry;
                id
            }
            None => {
                self.entries.push(entry);
                WhoId(self.entries.len() as u32 - 1)
            }
        };
        self.by_tid.insert(who.tid, id);
        id
    }

    /// Somebody of whom only this tells: who has the tid already, unless that is another process's thread.
    pub fn meet(&mut self, who: Who, at: Timestamp) -> WhoId {
        match self.of_tid(who.tid) {
            Some(id) if self.get(id).is_some_and(|known| known.may_be(&who)) => {
                self.update(id, who);
                id
            }
            _ => self.add(who, at),
        }
    }

    /// Somebody who may be known already, and better.
    pub fn introduce(&mut self, who: Who, at: Timestamp) {
        let id = self.of_tid(who.tid);
        match id.and_then(|id| Some((id, self.get(id)?))) {
            Some((id, known)) if known.is_nameless() => self.update(id, who),
            Some((_, known)) if known.pid == who.pid => {}
            _ => {
                self.add(who, at);
            }
        }
    }

    /// The same one, by another name or number.
    pub fn update(&mut self, id: WhoId, who: Who) {
        let Some(Some(known)) = self.entries.get_mut(id.0 as usize) else {
            return;
        };
        if known.who.tid != who.tid {
            self.by_tid.insert(who.tid, id);
        }
        known.who = who;
    }

    /// Whether it is time to forget.
    pub fn is_crowded(&self) -> bool {
        self.entries.len() - self.free.len() > self.limit
    }

    /// Forgets everybody whom `referred` does not name.
    pub fn forget_all_but(&mut self, referred: impl Iterator<Item = WhoId>) {
        let mut kept = vec![false; self.entries.len()];
        for id in referred {
            if let Some(kept) = kept.get_mut(id.0 as usize) {
                *kept = true;
            }
        }
        for ((index, entry), kept) in (0..).zip(&mut self.entries).zip(kept) {
            let Some(Entry { who, .. }) = entry.take_if(|_| !kept) else {
                continue;
            };
            let id = WhoId(index);
            self.free.push(id);
            if self.by_tid.get(&who.tid) == Some(&id) {
                self.by_tid.remove(&who.tid);
            }
        }
        let kept = self.entries.len() - self.free.len();
        self.limit = kept + MANY.max(kept / 4);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp(100);

    fn who(pid: u32, tid: u32) -> Who {
        Who {
            pid,
            tid,
            ..Who::default()
        }
    }

    #[test]
    fn a_tid_used_again_is_somebody_else() {
        let mut names = Names::default();
        let first = names.meet(who(1, 7), NOW);
        assert_eq!(names.meet(who(1, 7), NOW), first);
        let second = names.meet(who(2, 7), NOW);
        assert_ne!(first, second);
        assert_eq!(names.get(first).map(|who| who.pid), Some(1));
        assert_eq!(names.of_tid(7), Some(second));
    }

    #[test]
    fn who_had_only_a_number_gets_a_name_and_stays_the_same() {
        let mut names = Names::default();
        let first = names.numbered(7, NOW);
        assert_eq!(names.numbered(7, NOW), first);
        names.introduce(who(1, 7), NOW);
        assert_eq!(names.get(first), Some(&who(1, 7)));
        let second = names.numbered(8, NOW);
        assert_eq!(names.meet(who(1, 8), NOW), second);
        assert_eq!(names.get(second), Some(&who(1, 8)));
    }

    #[test]
    fn who_was_told_of_ahead_of_its_birth_is_the_same() {
        let mut names = Names::default();
        let told = names.meet(who(7, 7), NOW);
        assert_eq!(names.place(who(7, 7), Some(Timestamp(90))), told);
        // It has a slot now: another that is born with its numbers is somebody else.
        assert_ne!(names.place(who(7, 7), Some(Timestamp(95))), told);
    }

    #[test]
    fn who_is_born_with_the_tid_of_one_that_was_told_of_is_somebody_else() {
        let mut names = Names::default();
        let told = names.meet(who(7, 7), NOW);
        let numbered = names.numbered(8, NOW);
        assert_ne!(names.place(who(7, 7), Some(Timestamp(110))), told);
        assert_ne!(names.place(who(8, 8), Some(Timestamp(110))), numbered);
        assert_ne!(names.place(who(8, 8), None), numbered);
    }

    #[test]
    fn who_is_forgotten_makes_room_and_who_is_referred_to_stays() {
        let mut names = Names::default();
        let ids: Vec<WhoId> = (0..=MANY as u32)
            .map(|tid| names.place(who(1, tid), None))
            .collect();
        assert!(names.is_crowded());
        names.forget_all_but([ids[3]].into_iter());
        assert!(!names.is_crowded());
        assert_eq!(names.get(ids[3]), Some(&who(1, 3)));
        assert_eq!(names.get(ids[4]), None);
        assert_eq!(names.of_tid(4), None);
        let reused = names.place(who(2, 4), None);
        assert!(ids.contains(&reused));
        assert_eq!(names.get(reused), Some(&who(2, 4)));
    }
}
