//! One window of time, and what of a stretch lies in it.
//!
//! In: times. Out: times. Everything that is cut at the edges of a window is cut here.

use crate::model::{Nanos, Timestamp};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Window {
    /// The end of time: it has not begun.
    pub from: Timestamp,
    pub to: Timestamp,
    /// It ends before the stream does.
    pub early: bool,
}

impl Default for Window {
    /// Not yet, and for ever.
    fn default() -> Window {
        Window {
            from: Timestamp(u64::MAX),
            to: Timestamp(u64::MAX),
            early: false,
        }
    }
}

impl Window {
    pub fn has_begun(&self) -> bool {
        self.from < Timestamp(u64::MAX)
    }

    #[inline]
    pub fn contains(&self, at: Timestamp) -> bool {
        at >= self.from && at < self.to
    }

    /// Whether what is known from the stream's end lies inside; told at `at`, maybe long after.
    pub fn has_end_of_stream(&self, at: Timestamp) -> bool {
        at <= self.to || !self.early
    }

    /// The part of a stretch that lies inside. It ends before it begins where there is none.
    #[inline]
    pub fn cut(&self, from: Timestamp, to: Timestamp) -> (Timestamp, Timestamp) {
        (from.max(self.from), to.min(self.to))
    }

    /// The visible part of a stretch, and whether that is all of it.
    #[inline]
    pub fn visible(&self, from: Timestamp, to: Timestamp, open: bool) -> Option<(Nanos, bool)> {
        if from >= self.from && to <= self.to && !open {
            // A stretch of no length is one all the same, when it lies in the window.
            return (from <= to).then(|| (to.since(from), true));
        }
        let (from, to) = self.cut(from, to);
        (from < to).then(|| (to.since(from), false))
    }
}
