//! How the memory of a CPU is divided among switches, the history of others, and all other records.
//!
//! In: a size, CPUs. Out: numbers of records, and the maps where they are. Never sees an event.

use aya::maps::Map;
use tracer_common::record::{Left, Switch};

use super::{
    preflight::{Refusal, refused_by_kernel},
    slots::Slots,
};

/// How the memory of a CPU is used.
#[derive(Clone, Copy, Debug)]
pub struct Layout {
    /// 0: none, switches go to the rings.
    pub slots: u64,
    /// Entries in the history of a CPU; 0: none.
    pub history: u64,
    /// CPUs with slots, by number.
    cpus: u64,
    pub ring_bytes: u64,
}

impl Layout {
    /// What is no switch is told rarely: births, ends, moves to other CPUs.
    pub fn of(buffer: u64, cpus: &[u32], narrow: bool) -> Layout {
        let cpus = cpus.iter().max().map_or(0, |&last| u64::from(last) + 1);
        let eighth = buffer / 8;
        let ring_bytes = eighth.max(SMALLEST_RING);
        let history_bytes = if narrow { eighth } else { 0 };
        let room = |bytes: u64, size: usize| {
            // As many as fit, a power of two.
            (bytes / size as u64 + 1).next_power_of_two() / 2
        };
        let slots = room(buffer - eighth - history_bytes, size_of::<Switch>());
        let history = room(history_bytes, size_of::<Left>());
        // Indices and lengths of a map are 32 bits.
        let fits = slots * cpus * (size_of::<Switch>() as u64) < u64::from(u32::MAX);
        if cfg!(target_arch = "x86_64") && fits {
            Layout {
                slots,
                history,
                cpus,
                ring_bytes,
            }
        } else {
            Layout {
                slots: 0,
                history: 0,
                cpus: 0,
                ring_bytes: buffer,
            }
        }
    }

    /// Of a map of `each` for every CPU.
    pub fn all(self, each: u64) -> u32 {
        u32::try_from(each * self.cpus).unwrap_or(1).max(1)
    }

    /// Where switches go, and where those of others are kept.
    pub fn map(self, ebpf: &mut aya::Ebpf) -> Result<[Option<Slots>; 2], Refusal> {
        Ok([
            self.map_some(
                ebpf,
                ["SLOTS", "SLOT_MARKS"],
                size_of::<Switch>(),
                self.slots,
            )?,
            self.map_some(
                ebpf,
                ["HISTORY", "HISTORY_MARKS"],
                size_of::<Left>(),
                self.history,
            )?,
        ])
    }

    fn map_some(
        self,
        ebpf: &mut aya::Ebpf,
        names: [&str; 2],
        size: usize,
        each: u64,
    ) -> Result<Option<Slots>, Refusal> {
        if each == 0 {
            return Ok(None);
        }
        let refused = |error| refused_by_kernel(&format!("map {}", names[0]), &error);
        let mut array = |name| match ebpf.take_map(name) {
            Some(Map::Array(map)) => Ok(map),
            _ => Err(refused(std::io::Error::from(std::io::ErrorKind::NotFound))),
        };
        let maps = [array(names[0])?, array(names[1])?];
        Slots::map(maps, size, self.cpus, each)
            .map(Some)
            .map_err(refused)
    }
}

/// A page.
const SMALLEST_RING: u64 = 4096;
