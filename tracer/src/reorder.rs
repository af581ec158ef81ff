//! Holds events until their order is certain.
//!
//! In: events of many CPUs, each CPU's nearly in order (an interrupt may reserve its record between
//! another's stamp and its reservation). Out: all of them in order of time. Must not know: what
//! they mean.

use std::collections::{BinaryHeap, VecDeque};

use crate::model::{Event, Timestamp};

#[derive(Debug, Default)]
pub struct Reorder {
    /// By CPU, each sorted.
    queues: Vec<VecDeque<Event>>,
    /// Fronts of all queues that are not empty, earliest first.
    fronts: BinaryHeap<Front>,
    released: Timestamp,
    late: u64,
}

/// The front of one queue. Ordered so that the heap's greatest is the earliest.
#[derive(Debug, PartialEq, Eq)]
struct Front {
    at: Timestamp,
    queue: usize,
}

impl Ord for Front {
    fn cmp(&self, other: &Front) -> std::cmp::Ordering {
        (other.at, other.queue).cmp(&(self.at, self.queue))
    }
}

impl PartialOrd for Front {
    fn partial_cmp(&self, other: &Front) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Reorder {
    /// An event older than what was released already is dropped and counted: its place is past.
    pub fn push(&mut self, event: Event) {
        if event.at < self.released {
            self.late += 1;
            return;
        }
        let index = usize::from(event.cpu.0);
        if index >= self.queues.len() {
            self.queues.resize_with(index + 1, VecDeque::new);
        }
        let queue = &mut self.queues[index];
        let at = event.at;
        // Nearly sorted: the place is at the end, or a few steps before it.
        let place = queue
            .iter()
            .rev()
            .take_while(|queued| queued.at > at)
            .count();
        let place = queue.len() - place;
        if place == 0 {
            // The front this replaces stays in the heap and is skipped when it comes up twice.
            self.fronts.push(Front { at, queue: index });
        }
        queue.insert(place, event);
    }

    /// The earliest event, if it is before `watermark`.
    pub fn pop(&mut self, watermark: Timestamp) -> Option<Event> {
        loop {
            let front = self.fronts.peek()?;
            if front.at >= watermark {
                return None;
            }
            let Front { at, queue: index } = self.fronts.pop()?;
            let queue = &mut self.queues[index];
            // Not the front any more: an earlier event has taken its place meanwhile.
            if queue.front().is_none_or(|event| event.at != at) {
                continue;
            }
            let event = queue.pop_front()?;
            if let Some(next) = queue.front() {
                self.fronts.push(Front {
                    at: next.at,
                    queue: index,
                });
            }
            self.released = at;
            return Some(event);
        }
    }

    /// Events that came after their place had passed.
    pub fn late(&self) -> u64 {
        self.late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Cpu, What};
    use proptest::prelude::*;

    fn event(at: u64, cpu: u16) -> Event {
        Event {
            at: Timestamp(at),
            cpu: Cpu(cpu),
            what: What::WindowBegin,
        }
    }

    fn drain(reorder: &mut Reorder, watermark: u64) -> Vec<(u64, u16)> {
        std::iter::from_fn(|| reorder.pop(Timestamp(watermark)))
            .map(|event| (event.at.0, event.cpu.0))
            .collect()
    }

    #[test]
    fn nothing_at_or_after_the_watermark_is_released() {
        let mut reorder = Reorder::default();
        for (at, cpu) in [(10, 0), (30, 0), (20, 1)] {
            reorder.push(event(at, cpu));
        }
        assert_eq!(drain(&mut reorder, 20), [(10, 0)]);
        assert_eq!(drain(&mut reorder, 31), [(20, 1), (30, 0)]);
    }

    #[test]
    fn an_interrupt_that_reserved_first_is_put_back_in_order() {
        let mut reorder = Reorder::default();
        for (at, cpu) in [(12, 0), (11, 0), (13, 0), (11, 1)] {
            reorder.push(event(at, cpu));
        }
        assert_eq!(
            drain(&mut reorder, 99),
            [(11, 0), (11, 1), (12, 0), (13, 0)]
        );
        assert_eq!(reorder.late(), 0);
    }

    #[test]
    fn what_comes_too_late_is_counted_and_dropped() {
        let mut reorder = Reorder::default();
        reorder.push(event(10, 0));
        assert_eq!(drain(&mut reorder, 20), [(10, 0)]);
        reorder.push(event(9, 1));
        assert_eq!((drain(&mut reorder, 20), reorder.late()), (vec![], 1));
    }

    proptest! {
        #[test]
        fn everything_comes_out_once_and_in_order(
            mut times in prop::collection::vec((0..1000_u64, 0..4_u16), 0..200),
            cut in 0..1000_u64,
        ) {
            let mut reorder = Reorder::default();
            for &(at, cpu) in &times {
                reorder.push(event(at, cpu));
            }
            let mut got = drain(&mut reorder, cut);
            prop_assert!(got.iter().all(|&(at, _)| at < cut));
            got.extend(drain(&mut reorder, u64::MAX));
            prop_assert!(got.is_sorted_by_key(|&(at, _)| at));
            got.sort_unstable();
            times.sort_unstable();
            prop_assert_eq!(got, times);
        }
    }
}
