//! Measures what the scheduler itself does, with as few programs as that takes and none of the tracer's.
//!
//! In: whose switches count. Out: lengths and counts. Never sees an event.

use aya::{
    maps::{MapData, PerCpuArray},
    programs::tp_btf::BtfTracePointLink,
};
use tracer_common::{
    counters::{SpaceChanges, SwitchCost, switch_cost},
    lengths::{LENGTHS, shortest},
};

use super::{
    fields::Fields,
    layout::Layout,
    load::{Machine, load},
    preflight::{Refusal, refused_by_kernel},
    probes::{EMPTY_PAIR, SCHED_ENTRY, SCHED_EXIT, SPACE_CHANGES, TLB_FLUSH},
    session::{Narrow, Options, attach_one, load_watch, set_watched, take},
};

/// [`SwitchCost`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct SwitchCostPod(SwitchCost);
// SAFETY: u64s, no padding, every bit pattern is valid.
unsafe impl aya::Pod for SwitchCostPod {}

/// [`SpaceChanges`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct SpaceChangesPod(SpaceChanges);
// SAFETY: u64s, no padding, every bit pattern is valid.
unsafe impl aya::Pod for SpaceChangesPod {}

/// No record is ever written.
const BUFFER: u64 = 4 << 10;

pub struct Ruler {
    ebpf: aya::Ebpf,
    btf: aya::Btf,
    links: Vec<BtfTracePointLink>,
    costs: CostMaps,
    changes: PerCpuArray<MapData, SpaceChangesPod>,
}

/// Where the programs count what switches cost.
pub struct CostMaps {
    sums: PerCpuArray<MapData, SwitchCostPod>,
    lengths: PerCpuArray<MapData, u64>,
}

/// Switches of one kind, and how long they took.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Lengths {
    pub count: u64,
    pub sum_ns: u64,
    /// How many are in each bucket of [`tracer_common::lengths`].
    buckets: Vec<u64>,
}

/// By `switch_cost`.
pub type Costs = [Lengths; switch_cost::KINDS as usize];

impl Ruler {
    /// Nothing is measured yet. `types` as for a session.
    pub fn load(fields: &Fields, types: &[u8]) -> Result<Ruler, Refusal> {
        let Machine {
            cpus,
            possible,
            btf,
        } = Machine::read(types)?;
        let options = Options {
            buffer: BUFFER,
            cgroups: None,
            narrow: Some(Narrow { children: false }),
            resched: false,
            forks: false,
            switch_cost: true,
            calibrate: false,
            statistics: false,
            verbose: false,
        };
        let layout = Layout::of(BUFFER, &cpus, true);
        let mut ebpf = load(fields, &options, layout, possible)?;
        load_watch(&mut ebpf)?;
        let changes = take(&mut ebpf, "SPACE_CHANGES")?;
        Ok(Ruler {
            costs: CostMaps::take(&mut ebpf)?,
            btf,
            links: Vec::new(),
            changes,
            ebpf,
        })
    }

    /// The switches of these threads count.
    pub fn watch(&mut self, tids: &[u32]) -> Result<(), Refusal> {
        set_watched(&mut self.ebpf, tids, true)
    }

    /// From now on switches are measured.
    pub fn measure_switches(&mut self) -> Result<(), Refusal> {
        self.attach((SCHED_EXIT, SCHED_EXIT))?;
        self.attach((SCHED_ENTRY, SCHED_ENTRY))
    }

    /// From now on that is measured which lies between the clocks of two programs and is not the kernel's: each call
    /// of the scheduler has both programs at its entry.
    pub fn measure_nothing(&mut self) -> Result<(), Refusal> {
        self.attach((SCHED_ENTRY, SCHED_ENTRY))?;
        self.attach(EMPTY_PAIR)
    }

    /// From now on changes of the address space are counted.
    pub fn count_flushes(&mut self) -> Result<(), Refusal> {
        self.attach((TLB_FLUSH, TLB_FLUSH))?;
        self.attach(SPACE_CHANGES)
    }

    fn attach(&mut self, probe: (&str, &str)) -> Result<(), Refusal> {
        self.links
            .push(attach_one(&mut self.ebpf, &self.btf, probe)?);
        Ok(())
    }

    /// From the return on nothing is measured; what was stays.
    pub fn stop(&mut self) {
        self.links.clear();
    }

    /// Since it was loaded.
    pub fn costs(&self) -> Result<Costs, Refusal> {
        self.costs.read()
    }

    /// Since it was loaded, of all CPUs.
    pub fn changes(&self) -> Result<SpaceChanges, Refusal> {
        let cpus = self
            .changes
            .get(&0, 0)
            .map_err(|error| refused_by_kernel("read what was counted", &error))?;
        let mut all = SpaceChanges::default();
        for SpaceChangesPod(cpu) in cpus.iter() {
            all.changes += cpu.changes;
            all.flushed += cpu.flushed;
            all.kept += cpu.kept;
        }
        Ok(all)
    }
}

impl CostMaps {
    pub(super) fn take(ebpf: &mut aya::Ebpf) -> Result<CostMaps, Refusal> {
        Ok(CostMaps {
            sums: take(ebpf, "SWITCH_COSTS")?,
            lengths: take(ebpf, "SWITCH_LENGTHS")?,
        })
    }

    pub(super) fn read(&self) -> Result<Costs, Refusal> {
        let refused = |error| refused_by_kernel("read what was measured", &error);
        let mut costs = Costs::default();
        for (kind, cost) in (0..).zip(&mut costs) {
            for SwitchCostPod(cpu) in self.sums.get(&kind, 0).map_err(refused)?.iter() {
                cost.count += cpu.count;
                cost.sum_ns += cpu.sum_ns;
            }
            if cost.count == 0 {
                continue;
            }
            cost.buckets = (0..LENGTHS)
                .map(|bucket| {
                    let cpus = self.lengths.get(&(kind * LENGTHS + bucket), 0);
                    Ok(cpus.map_err(refused)?.iter().sum())
                })
                .collect::<Result<_, Refusal>>()?;
        }
        Ok(costs)
    }
}

impl Lengths {
    pub fn sum<'a>(parts: impl Iterator<Item = &'a Lengths>) -> Lengths {
        parts.fold(Lengths::default(), |mut all, part| {
            all.count += part.count;
            all.sum_ns += part.sum_ns;
            all.buckets
                .resize(all.buckets.len().max(part.buckets.len()), 0);
            all.buckets
                .iter_mut()
                .zip(&part.buckets)
                .for_each(|(all, part)| *all += part);
            all
        })
    }

    /// What was measured after `before`.
    pub fn since(&self, before: &Lengths) -> Lengths {
        let earlier = before.buckets.iter().copied().chain(std::iter::repeat(0));
        let buckets = self.buckets.iter().zip(earlier);
        Lengths {
            count: self.count - before.count,
            sum_ns: self.sum_ns - before.sum_ns,
            buckets: buckets.map(|(now, before)| now - before).collect(),
        }
    }

    /// In nanoseconds, within the width of a bucket, as if the lengths in it were spread evenly.
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let all: u64 = self.buckets.iter().sum();
        let rank = all as f64 * part;
        let mut below = 0.0;
        for (bucket, &count) in (0..).zip(&self.buckets) {
            let count = count as f64;
            if count > 0.0 && below + count >= rank {
                let (from, to) = (
                    shortest(bucket) as f64,
                    shortest((bucket + 1).min(LENGTHS - 1)) as f64,
                );
                return Some(from + (to - from) * ((rank - below) / count).clamp(0.0, 1.0));
            }
            below += count;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tracer_common::lengths::bucket;

    fn lengths(of: &[u64]) -> Lengths {
        let mut buckets = vec![0; LENGTHS as usize];
        for &ns in of {
            buckets[bucket(ns) as usize] += 1;
        }
        Lengths {
            count: of.len() as u64,
            sum_ns: of.iter().sum(),
            buckets,
        }
    }

    #[test]
    fn quantiles_are_known_within_a_bucket() {
        let all = lengths(&(1..=10_000).collect::<Vec<_>>());
        for (part, exact) in [(0.5, 5_000.0), (0.99, 9_900.0), (0.01, 100.0)] {
            let quantile = all.quantile(part).expect("lengths");
            assert!(
                (quantile / exact - 1.0).abs() < 0.03,
                "{quantile} for {exact}"
            );
        }
        assert_eq!(Lengths::default().quantile(0.5), None);
    }

    #[test]
    fn what_was_before_does_not_count() {
        let before = lengths(&[100, 200]);
        let now = lengths(&[100, 200, 300]);
        assert_eq!(now.since(&before), lengths(&[300]));
        assert_eq!(now.since(&Lengths::default()), now);
    }
}
