//! Creates maps and programs as the options ask for, and has the kernel verify them.
//!
//! In: offsets, options. Out: what can be attached. Never sees an event.

use aya::{
    EbpfLoader,
    maps::{ArrayOfMaps, MapData, RingBuf},
    programs::BtfTracePoint,
};
use tracer_common::{
    counters::{CALLS, COWS, WATCH_BLOCKS},
    settings::{feature, global},
};

use super::{
    cgroup::Hierarchy,
    fields::Fields,
    layout::Layout,
    preflight::{Refusal, refused_by_kernel},
    probes::{PROBES, When},
    ring,
    session::{Narrow, Options, program},
};

/// The kernel programs, built by build/main.rs.
static OBJECT: &[u8] = aya::include_bytes_aligned!(concat!(env!("OUT_DIR"), "/tracer-ebpf"));

/// Bytes of a ring for one early wake-up: a quarter of the smallest default ring at the mean
/// size of a record, so that a burst on an idle host is read before it fills the ring.
const MEAN_RECORD: u64 = 96;

/// What programs are loaded for.
pub(super) struct Machine {
    /// Online.
    pub cpus: Vec<u32>,
    /// How many CPUs there could be.
    pub possible: usize,
    pub btf: aya::Btf,
}

impl Machine {
    /// `types` is what [`super::session::wanted_types`] asks for.
    pub fn read(types: &[u8]) -> Result<Machine, Refusal> {
        let unread = |(path, error): (&str, std::io::Error)| {
            refused_by_kernel(&format!("read {path}"), &error)
        };
        Ok(Machine {
            cpus: aya::util::online_cpus().map_err(unread)?,
            possible: aya::util::nr_cpus().map_err(unread)?,
            btf: aya::Btf::parse(types, aya::Endianness::default())
                .map_err(|error| refused_by_kernel("read the kernel's BTF", &error))?,
        })
    }
}

pub(super) fn load(
    fields: &Fields,
    options: &Options,
    layout: Layout,
    possible_cpus: usize,
) -> Result<aya::Ebpf, Refusal> {
    let own_tgid = u64::from(std::process::id());
    let key_secret = secret();
    let cgroups = match options.cgroups {
        Some(Hierarchy::Unified) if fields.cgroup_v2() => feature::CGROUP_V2,
        Some(Hierarchy::Cpu) if fields.cgroup_v1() => feature::CGROUP_V1,
        _ => 0,
    };
    let narrow = match options.narrow {
        Some(Narrow { children: true }) => feature::NARROW | feature::CHILDREN,
        Some(Narrow { children: false }) => feature::NARROW,
        None => 0,
    };
    let watch_blocks = if narrow == 0 { 1 } else { WATCH_BLOCKS };
    let slots = if layout.slots > 0 { feature::SLOTS } else { 0 };
    let without = if options.resched { 0 } else { feature::RESCHED };
    let (forks, calls, cows) = if watches_calls(fields, options) {
        (feature::FORKS, CALLS, COWS)
    } else {
        (0, 1, 1)
    };
    let features = fields.features & !without | cgroups | narrow | slots | forks;
    let (slot_mask, slot_shift) = mask_and_shift(layout.slots);
    let (history_mask, history_shift) = mask_and_shift(layout.history);
    let subsystem = fields.cpu_cgroup_subsys.unwrap_or(0);
    let every = (layout.ring_bytes / 4 / MEAN_RECORD).max(1);
    let wake_mask = every.next_power_of_two() / 2 - u64::from(every > 1);
    let log_level: u8 = if options.verbose { 4 } else { 0 };

    let mut loader = EbpfLoader::new();
    // For relocations, of which the programs have none: offsets are globals.
    loader.btf(None);
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
        .override_global(global::SLOT_MASK, &slot_mask, true)
        .override_global(global::SLOT_SHIFT, &slot_shift, true)
        .override_global(global::HISTORY_MASK, &history_mask, true)
        .override_global(global::HISTORY_SHIFT, &history_shift, true)
        .override_global(aya_log::LEVEL, &log_level, false)
        .map_max_entries("RINGS", possible_cpus as u32)
        .map_max_entries("RESCHED", possible_cpus as u32)
        .map_max_entries("WAITING", possible_cpus as u32)
        .map_max_entries("WATCHED", watch_blocks)
        .map_max_entries("QUEUED", watch_blocks)
        .map_max_entries("CALLS", calls)
        .map_max_entries("COWS", cows)
        .map_max_entries("SLOTS", layout.all(layout.slots))
        .map_max_entries("SLOT_MARKS", layout.all(1))
        .map_max_entries("HISTORY", layout.all(layout.history))
        .map_max_entries("HISTORY_MARKS", layout.all(1));
    loader
        .load(OBJECT)
        .map_err(|error| refused_by_kernel("create maps and programs", &error))
}

/// Of a power of two.
fn mask_and_shift(count: u64) -> (u64, u64) {
    let mask = count.max(1) - 1;
    (mask, u64::from(mask.count_ones()))
}

/// Whether system calls are asked for, and this kernel tells which one it is.
pub(super) fn watches_calls(fields: &Fields, options: &Options) -> bool {
    let registers = ["PT_REGS_THIRD", "PT_REGS_FOURTH"];
    options.forks
        && fields.has(feature::SYSCALL)
        && registers.iter().all(|name| fields.offset(name).is_some())
}

pub(super) fn is_loaded(ebpf: &aya::Ebpf, name: &str) -> bool {
    let program = ebpf.program(name).map(aya::programs::Program::fd);
    matches!(program, Some(Ok(_)))
}

pub(super) fn rings(
    places: &mut ArrayOfMaps<MapData, RingBuf<MapData>>,
    cpus: &[u32],
    bytes: u64,
) -> Result<Vec<(u32, RingBuf<MapData>)>, Refusal> {
    let mut rings = Vec::with_capacity(cpus.len());
    for &cpu in cpus {
        let refused = |error| refused_by_kernel(&format!("create the ring of CPU {cpu}"), &error);
        let ring = ring::create(u32::try_from(bytes).unwrap_or(1 << 30)).map_err(refused)?;
        places.set(cpu, &ring, 0).map_err(refused)?;
        rings.push((cpu, ring));
    }
    Ok(rings)
}

/// All before the first is attached, so that attaching takes no longer than it must. Which of those that tracing
/// can do without were refused, and why.
pub(super) fn load_probes(
    ebpf: &mut aya::Ebpf,
    btf: &aya::Btf,
    wanted: impl Fn(When) -> bool,
) -> Result<Vec<String>, Refusal> {
    let mut refused = Vec::new();
    for probe in PROBES.iter().filter(|probe| wanted(probe.when)) {
        let program: &mut BtfTracePoint = program(ebpf, probe.name)?;
        if let Err(error) = program.load(probe.name, btf) {
            let refusal = refused_by_kernel(&format!("load {}", probe.name), &error);
            if !probe.optional {
                return Err(refusal);
            }
            refused.extend(refusal.seen());
        }
    }
    Ok(refused)
}

/// Scrambles thread keys: they are kernel addresses, and recordings travel.
fn secret() -> u64 {
    let mut bytes = [0; 8];
    // Without random numbers the keys are addresses; nothing else depends on it.
    let _ = rustix::rand::getrandom(&mut bytes, rustix::rand::GetRandomFlags::NONBLOCK);
    u64::from_ne_bytes(bytes)
}
