//! What a thread knows of its waits.
//!
//! In: nothing. Out: a type. Must not know: what a wait was for.

use crate::model::{Nanos, Slept, Timestamp, WaitCause, Waker};

/// What this thread knows of a wait that its spans told: what it was for, others know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Story {
    pub from: Timestamp,
    pub to: Timestamp,
    pub open: bool,
    pub cause: WaitCause,
    pub resched: Option<Nanos>,
    pub waking: Option<(Timestamp, Option<Waker>)>,
    pub slept: Option<Slept>,
}

impl Story {
    pub(super) fn of(from: Timestamp, to: Timestamp, cause: WaitCause) -> Story {
        Story {
            from,
            to,
            open: false,
            cause,
            resched: None,
            waking: None,
            slept: None,
        }
    }
}
