//! Threads that the kernel exempts from tracing: they are switched to and never away from.
//!
//! In: what others' switches say of them. Out: who they are, and their departures as counts. Must not know:
//! why they are exempt.

use super::{Engine, tasks::Identity};
use crate::model::{Slot, SpanSink, SwitchCount, Timestamp};

impl Engine {
    /// Threads that ran and whose switch-outs the kernel does not show.
    pub fn hidden(&self) -> impl Iterator<Item = Slot> {
        let is_hidden =
            |slot: &Slot, who: &Identity| who.tid != 0 && self.threads[*slot].is_hidden();
        self.tasks
            .iter()
            .filter(move |(slot, who)| who.died_at.is_none() && is_hidden(slot, who))
            .map(|(slot, _)| slot)
    }

    /// Departures of hidden threads: they count for the machine all the same.
    pub(super) fn count_hidden(
        &mut self,
        at: Timestamp,
        left: u64,
        blocked: bool,
        sink: &mut impl SpanSink,
    ) {
        let (voluntary, involuntary) = if blocked { (left, 0) } else { (0, left) };
        sink.unseen(
            at,
            SwitchCount {
                voluntary,
                involuntary,
                from_idle: 0,
            },
        );
    }
}
