//! Loads the programs, attaches them, reads what they say, detaches them.
//!
//! In: what preflight found. Out: records as bytes, and counters. Never sees an event.

use std::error::Error;
use std::io::Read as _;
use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{
    EbpfLoader,
    maps::{ArrayOfMaps, MapData, PerCpuArray, PerCpuValues, RingBuf},
    programs::{BtfTracePoint, Iter, tp_btf::BtfTracePointLink},
};
use aya_log::EbpfLogger;
use tracer_common::{
    counters::{Counters, PROBES as COUNTED},
    record::{Header, Thread, thread_flags},
    settings::{feature, global},
};

use super::{
    btf::Btf,
    cgroup::Hierarchy,
    diagnostics::Diagnostics,
    fields::Fields,
    preflight::{Refusal, refused_by_kernel},
    probes::{PROBES, SNAPSHOT},
    ring::{self, Rings},
};
use crate::{engine::Facts, model::Cpu};

/// The kernel programs, built by build/main.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf"));

/// Bytes of a ring for one early wake-up: a quarter of the smallest default ring at the mean
/// size of a record, so that a burst on an idle host is read before it fills the ring.
const MEAN_RECORD: u64 = 96;

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes per CPU, a power of two of pages.
    pub buffer: u64,
    /// Whose cgroup ids are read.
    pub cgroups: Option<Hierarchy>,
    pub verbose: bool,
}

pub struct Session {
    /// Holds what was not taken out of it: programs and maps live as long as this.
    ebpf: aya::Ebpf,
    links: Vec<BtfTracePointLink>,
    rings: Rings,
    counters: PerCpuArray<MapData, CountersPod>,
    logger: Option<EbpfLogger<Diagnostics>>,
    facts: Facts,
}

/// [`Counters`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
struct CountersPod(Counters);
// SAFETY: three u64, no padding, every bit pattern is valid.
unsafe impl aya::Pod for CountersPod {}

/// Sums over all CPUs and programs.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counted {
    pub events: u64,
    pub lost: u64,
}

impl Session {
    /// Loads and attaches; from the return on, records flow. Inside a tokio runtime only.
    pub fn start(fields: &Fields, options: &Options) -> Result<Session, Refusal> {
        let cpus = aya::util::online_cpus()
            .map_err(|(path, error)| refused_by_kernel(&format!("read {path}"), &error))?;
        let possible = aya::util::nr_cpus()
            .map_err(|(path, error)| refused_by_kernel(&format!("read {path}"), &error))?;
        let btf = aya::Btf::parse_file(Btf::path(), aya::Endianness::default())
            .map_err(|error| refused_by_kernel("read the kernel's BTF", &error))?;
        let mut ebpf = load(fields, options, &btf, possible)?;

        // The programs refer to this map by its descriptor until they are loaded.
        let mut places = take::<ArrayOfMaps<MapData, RingBuf<MapData>>>(&mut ebpf, "RINGS")?;
        let rings = rings(&mut places, &cpus, options.buffer)?;
        let counters = take::<PerCpuArray<MapData, CountersPod>>(&mut ebpf, "COUNTERS")?;
        let logger = if options.verbose {
            EbpfLogger::init_with_logger(&mut ebpf, Diagnostics).ok()
        } else {
            None
        };
        let facts = Facts {
            cpus: cpus.iter().map(|&cpu| Cpu(cpu as u16)).collect(),
            sched_yield: sched_yield().filter(|_| fields.has(feature::SYSCALL)),
            steal: fields.has(feature::STEAL),
            iowait: fields.has(feature::IOWAIT),
        };
        let (name, iterator) = SNAPSHOT;
        let program: &mut Iter = program(&mut ebpf, name)?;
        program
            .load(iterator, &btf)
            .map_err(|error| refused_by_kernel("load the task iterator", &error))?;
        let links = attach(&mut ebpf, &btf)?;
        let rings =
            Rings::new(rings).map_err(|error| refused_by_kernel("watch the rings", &error))?;
        Ok(Session {
            ebpf,
            links,
            rings,
            counters,
            logger,
            facts,
        })
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn rings(&self) -> &Rings {
        &self.rings
    }

    pub fn drain(&mut self, push: impl FnMut(&[u8])) -> ring::Drained {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        self.rings.drain(push)
    }

    /// Every thread, as records of `kind` (`THREAD` or `THREAD_END`): read by an iterator, not
    /// through the rings. A thread that was being switched is read again.
    pub fn snapshot(&mut self, kind: u16) -> Result<Snapshot, Refusal> {
        let mut snapshot = Snapshot::default();
        // A thread is torn for microseconds of its life; one pass takes a millisecond and more.
        for _ in 0..PASSES {
            snapshot.merge(&self.iterate()?);
            if snapshot.torn().next().is_none() {
                break;
            }
        }
        for record in snapshot.records.chunks_exact_mut(size_of::<Thread>()) {
            record[KIND..KIND + 2].copy_from_slice(&kind.to_ne_bytes());
        }
        Ok(snapshot)
    }

    pub fn counted(&self) -> Result<Counted, Refusal> {
        let mut sum = Counted::default();
        for probe in 0..COUNTED {
            let values: PerCpuValues<CountersPod> = self
                .counters
                .get(&probe, 0)
                .map_err(|error| refused_by_kernel("read the counters", &error))?;
            for CountersPod(one) in values.iter() {
                sum.events += one.events;
                sum.lost += one.lost;
            }
        }
        Ok(sum)
    }

    /// How often a program was skipped because it already ran on that CPU; `None` on kernels that
    /// do not tell (before 5.12).
    pub fn missed(&mut self) -> Option<u64> {
        let mut sum = 0;
        for probe in PROBES {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, probe.name).ok()?;
            let fd = program.fd().ok()?.as_fd().as_raw_fd();
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:"))?;
            sum += line.trim().parse::<u64>().ok()?;
        }
        Some(sum)
    }

    /// From the return on nothing is added to the rings; what is in them can still be drained.
    pub fn detach(&mut self) {
        self.links.clear();
    }

    fn iterate(&mut self) -> Result<Vec<u8>, Refusal> {
        let refused =
            |error: &(dyn Error + 'static)| refused_by_kernel("iterate over all threads", error);
        let program: &mut Iter = program(&mut self.ebpf, SNAPSHOT.0)?;
        let link = program.attach().map_err(|error| refused(&error))?;
        let link = program.take_link(link).map_err(|error| refused(&error))?;
        let mut file = link.into_file().map_err(|error| refused(&error))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)
            .map_err(|error| refused(&error))?;
        Ok(bytes)
    }
}

/// Passes of the iterator before a torn entry is taken as it is, and not used as evidence.
const PASSES: usize = 5;

const KIND: usize = std::mem::offset_of!(Header, kind);
const FLAGS: usize = std::mem::offset_of!(Header, flags);
const TASK: usize = std::mem::offset_of!(Thread, task);

/// `record::Thread`s, one after another.
#[derive(Default)]
pub struct Snapshot {
    records: Vec<u8>,
}

impl Snapshot {
    pub fn records(&self) -> impl Iterator<Item = &[u8]> {
        self.records.chunks_exact(size_of::<Thread>())
    }

    /// The first pass is taken whole; later ones replace torn entries.
    fn merge(&mut self, pass: &[u8]) {
        if self.records.is_empty() {
            self.records = pass.to_vec();
            return;
        }
        let task = |record: &[u8]| <[u8; 8]>::try_from(&record[TASK..TASK + 8]).ok();
        let torn: Vec<usize> = self.torn().collect();
        for index in torn {
            let at = index * size_of::<Thread>();
            let old = &self.records[at..at + size_of::<Thread>()];
            let new = pass
                .chunks_exact(size_of::<Thread>())
                .find(|new| task(new) == task(old));
            if let Some(new) = new {
                self.records[at..at + size_of::<Thread>()].copy_from_slice(new);
            }
        }
    }

    fn torn(&self) -> impl Iterator<Item = usize> {
        let is_torn = |record: &[u8]| {
            u16::from_ne_bytes([record[FLAGS], record[FLAGS + 1]]) & thread_flags::TORN != 0
        };
        (0..)
            .zip(self.records())
            .filter(move |(_, record)| is_torn(record))
            .map(|(index, _)| index)
    }
}

/// An edge of the window, as a record of the stream.
pub fn edge(kind: u16, at_ns: u64) -> [u8; size_of::<Header>()] {
    let mut bytes = [0; size_of::<Header>()];
    bytes[..8].copy_from_slice(&at_ns.to_ne_bytes());
    bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
    bytes[10..12].copy_from_slice(&(size_of::<Header>() as u16).to_ne_bytes());
    bytes
}

fn load(
    fields: &Fields,
    options: &Options,
    btf: &aya::Btf,
    possible_cpus: usize,
) -> Result<aya::Ebpf, Refusal> {
    let own_tgid = u64::from(std::process::id());
    let key_secret = secret();
    let cgroups = match options.cgroups {
        Some(Hierarchy::Unified) if fields.cgroup_v2() => feature::CGROUP_V2,
        Some(Hierarchy::Cpu) if fields.cgroup_v1() => feature::CGROUP_V1,
        _ => 0,
    };
    let features = fields.features | cgroups;
    let subsystem = fields.cpu_cgroup_subsys.unwrap_or(0);
    let every = (options.buffer / 4 / MEAN_RECORD).max(1);
    let wake_mask = every.next_power_of_two() / 2 - u64::from(every > 1);
    let log_level: u8 = if options.verbose { 4 } else { 0 };

    let mut loader = EbpfLoader::new();
    loader.btf(Some(btf));
    for (name, offset) in &fields.offsets {
        loader.override_global(name, offset, true);
    }
    loader
        .override_global("CSS_SET_SUBSYS", &subsystem, true)
        .override_global(global::FEATURES, &features, true)
        .override_global(global::OWN_TGID, &own_tgid, true)
        .override_global(global::KEY_SECRET, &key_secret, true)
        .override_global(global::IOWAIT_MASK, &fields.iowait_mask, true)
        .override_global(global::WAKE_MASK, &wake_mask, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries("RINGS", possible_cpus as u32);
    loader
        .load(OBJECT)
        .map_err(|error| refused_by_kernel("create maps and programs", &error))
}

fn rings(
    places: &mut ArrayOfMaps<MapData, RingBuf<MapData>>,
    cpus: &[u32],
    bytes: u64,
) -> Result<Vec<RingBuf<MapData>>, Refusal> {
    let mut rings = Vec::with_capacity(cpus.len());
    for &cpu in cpus {
        let refused = |error| refused_by_kernel(&format!("create the ring of CPU {cpu}"), &error);
        let ring = ring::create(u32::try_from(bytes).unwrap_or(1 << 30)).map_err(refused)?;
        places.set(cpu, &ring, 0).map_err(refused)?;
        rings.push(ring);
    }
    Ok(rings)
}

/// A pass over all programs: load first, so that attaching takes no longer than it must.
fn attach(ebpf: &mut aya::Ebpf, btf: &aya::Btf) -> Result<Vec<BtfTracePointLink>, Refusal> {
    let mut loaded = Vec::with_capacity(PROBES.len());
    for probe in PROBES {
        let program: &mut BtfTracePoint = program(ebpf, probe.name)?;
        match program.load(probe.name, btf) {
            Ok(()) => loaded.push(probe.name),
            Err(_) if probe.optional => {}
            Err(error) => return Err(refused_by_kernel(&format!("load {}", probe.name), &error)),
        }
    }
    loaded
        .into_iter()
        .map(|name| {
            let refused = |error| refused_by_kernel(&format!("attach {name}"), &error);
            let program: &mut BtfTracePoint = program(ebpf, name)?;
            let link = program.attach().map_err(refused)?;
            program.take_link(link).map_err(refused)
        })
        .collect()
}

fn program<'a, P>(ebpf: &'a mut aya::Ebpf, name: &str) -> Result<&'a mut P, Refusal>
where
    &'a mut P: TryFrom<&'a mut aya::programs::Program, Error = aya::programs::ProgramError>,
{
    let program = ebpf
        .program_mut(name)
        .expect("every program is in the object we embed");
    program
        .try_into()
        .map_err(|error| refused_by_kernel(&format!("use {name}"), &error))
}

fn take<M>(ebpf: &mut aya::Ebpf, name: &str) -> Result<M, Refusal>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf
        .take_map(name)
        .expect("every map is in the object we embed");
    map.try_into()
        .map_err(|error| refused_by_kernel(&format!("use {name}"), &error))
}

/// Scrambles thread keys: they are kernel addresses, and recordings travel.
fn secret() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers the keys are addresses; nothing else depends on it.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes)
}

/// include/uapi/asm-generic/unistd.h; x86-64 has its own table.
fn sched_yield() -> Option<u32> {
    if cfg!(target_arch = "x86_64") {
        Some(24)
    } else if cfg!(target_arch = "aarch64") {
        Some(124)
    } else {
        None
    }
}
