//! The rings, one per CPU, and the slots: filled by the kernel programs, drained here.
//!
//! In: nothing but the readiness of the rings. Out: records as bytes. Never sees an event.

use std::os::fd::AsFd as _;

use aya::maps::{Map, MapData, MapError, RingBuf};
use aya_obj::generated::bpf_map_type::BPF_MAP_TYPE_RINGBUF;
use rustix::event::epoll;
use tokio::io::unix::AsyncFd;

use super::slots::Slots;

/// Records taken from one ring before the others get their turn.
const TURN: u64 = 65_536;

pub struct Rings {
    /// By CPU.
    rings: Vec<(u32, RingBuf<MapData>)>,
    /// Where switches go, on machines that have them.
    slots: Option<Slots>,
    /// Where switches of others are kept, if only some threads are watched.
    history: Option<Slots>,
    /// What a CPU has of memory.
    bytes: u64,
    /// Ready when a kernel program asked for a drain before its time.
    ready: AsyncFd<std::os::fd::OwnedFd>,
}

/// What one drain found.
#[derive(Clone, Copy, Debug, Default)]
pub struct Drained {
    pub records: u64,
    /// Bytes used of the memory of the CPU that used most, all of it being `bytes`.
    pub fullest: u64,
    /// Every ring was emptied; else one refilled faster than it was read.
    pub complete: bool,
}

/// One ring of `bytes`, which the kernel wants as a power of two of pages.
pub fn create(bytes: u32) -> Result<RingBuf<MapData>, MapError> {
    let definition = aya_obj::Map::new_from_params(BPF_MAP_TYPE_RINGBUF as u32, 0, 0, bytes, 0);
    let map = Map::from_map_data(MapData::create(definition, "tracer_ring", None)?)?;
    RingBuf::try_from(map)
}

impl Rings {
    /// Must be called inside a tokio runtime.
    pub fn new(
        rings: Vec<(u32, RingBuf<MapData>)>,
        slots: Option<Slots>,
        history: Option<Slots>,
        bytes: u64,
    ) -> std::io::Result<Rings> {
        let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
        for (index, (_, ring)) in (0..).zip(&rings) {
            let flags = epoll::EventFlags::IN | epoll::EventFlags::ET;
            epoll::add(&poll, ring.as_fd(), epoll::EventData::new_u64(index), flags)?;
        }
        // SAFETY: owns its descriptor, which stays open as long as it is registered.
        let ready = unsafe { AsyncFd::register(poll) }?;
        Ok(Rings {
            rings,
            slots,
            history,
            bytes,
            ready,
        })
    }

    /// Until a kernel program asks for a drain.
    pub async fn asked(&self) -> std::io::Result<()> {
        let mut guard = self.ready.readable().await?;
        let mut events = Vec::with_capacity(self.rings.len());
        let timeout = rustix::time::Timespec::default();
        epoll::wait(
            self.ready.get_ref(),
            rustix::buffer::spare_capacity(&mut events),
            Some(&timeout),
        )?;
        guard.clear_ready();
        Ok(())
    }

    /// Whether what is kept of others comes beside the rings, where it is not counted.
    pub fn has_history(&self) -> bool {
        self.history.is_some()
    }

    /// Lends every record that is there, of each CPU in order of time.
    pub fn drain(&mut self, mut push: impl FnMut(&[u8])) -> Drained {
        let mut drained = Drained {
            complete: true,
            ..Drained::default()
        };
        let Rings {
            rings,
            slots,
            history,
            ..
        } = self;
        for (cpu, ring) in rings {
            // What is told later is not older than what is told first.
            let waiting = slots.as_mut().map_or(0, |slots| slots.begin(*cpu));
            if let Some(history) = history {
                records_of_others(history, *cpu, &mut push);
            }
            let (mut records, mut bytes) = (0, 0);
            let mut item = ring.next();
            while records < TURN {
                let slot = slots.as_ref().and_then(|slots| slots.peek(*cpu));
                match (&item, slot) {
                    (None, None) => break,
                    (Some(record), slot) if slot.is_none_or(|slot| time(record) <= time(slot)) => {
                        bytes += record.len() as u64;
                        push(record);
                        drop(item);
                        item = ring.next();
                    }
                    (_, Some(slot)) => {
                        push(slot);
                        if let Some(slots) = slots {
                            slots.advance(*cpu);
                        }
                    }
                    (Some(_), None) => {}
                }
                records += 1;
            }
            // Letting go of it takes it out of the ring.
            if let Some(record) = &item {
                push(record);
            }
            drop(item);
            if let Some(slots) = slots {
                slots.end(*cpu);
                drained.fullest = drained.fullest.max(waiting * self.bytes / slots.each());
            }
            drained.records += records;
            drained.fullest = drained.fullest.max(bytes);
            drained.complete &= records < TURN;
        }
        drained
    }
}

/// Before the switches that show them: in order of time they are put afterwards.
fn records_of_others(history: &mut Slots, cpu: u32, push: &mut impl FnMut(&[u8])) {
    history.begin(cpu);
    while let Some(record) = history.peek(cpu) {
        push(record);
        history.advance(cpu);
    }
    history.end(cpu);
}

/// The time in a record's header.
fn time(record: &[u8]) -> u64 {
    record
        .first_chunk()
        .map_or(0, |bytes| u64::from_ne_bytes(*bytes))
}
