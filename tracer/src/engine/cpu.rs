//! Who runs on each CPU; closes its busy and idle stretches.
//!
//! In: switches. Out: stretches, and which thread left a CPU unseen. Must not know: why.

use crate::model::{Cpu, Slot, SpanSink, Timestamp};

#[derive(Clone, Copy, Debug, Default)]
struct Place {
    since: Timestamp,
    /// `None`: not seen yet.
    running: Option<Slot>,
    idle: bool,
}

#[derive(Debug, Default)]
pub struct Cpus {
    places: Vec<Option<Place>>,
}

impl Cpus {
    /// The iterator saw `slot` on this CPU, before any switch here.
    pub fn occupied(&mut self, cpu: Cpu, at: Timestamp, slot: Slot) {
        let place = self.place(cpu);
        if place.is_none() {
            *place = Some(Place {
                since: at,
                running: Some(slot),
                idle: false,
            });
        }
    }

    /// Nobody was seen on this CPU: it idles.
    pub fn idles(&mut self, cpu: Cpu, at: Timestamp) {
        let place = self.place(cpu);
        if place.is_none() {
            *place = Some(Place {
                since: at,
                running: None,
                idle: true,
            });
        }
    }

    /// Closes the stretch of `prev`. Answers the thread that was thought to run here, if it was
    /// another one: its switch-out is missing. A side that is not watched has no slot.
    pub fn switch(
        &mut self,
        cpu: Cpu,
        at: Timestamp,
        (prev, prev_idle): (Option<Slot>, bool),
        (next, next_idle): (Option<Slot>, bool),
        sink: &mut impl SpanSink,
    ) -> Option<Slot> {
        let place = self.place(cpu);
        let before = place.replace(Place {
            since: at,
            running: next,
            idle: next_idle,
        })?;
        sink.cpu(cpu, before.since, at, prev_idle);
        before.running.filter(|&running| Some(running) != prev)
    }

    /// The open stretches up to `at`.
    pub fn open_spans(&self, at: Timestamp, sink: &mut impl SpanSink) {
        for (cpu, place) in (0..=u16::MAX).map(Cpu).zip(&self.places) {
            if let Some(place) = place {
                sink.cpu(cpu, place.since, at, place.idle);
            }
        }
    }

    fn place(&mut self, cpu: Cpu) -> &mut Option<Place> {
        let index = usize::from(cpu.0);
        if index >= self.places.len() {
            self.places.resize(index + 1, None);
        }
        &mut self.places[index]
    }
}
