//! Loads the programs, attaches them, reads what they say, detaches them.
//!
//! In: what preflight found. Out: records as bytes, and counters. Never sees an event.

use std::os::fd::OwnedFd;

use aya::{
    maps::{Array, ArrayOfMaps, MapData, PerCpuArray, RingBuf},
    programs::{
        BtfTracePoint, Iter, RawTracePoint, RawTracePointRunOptions, TestRun as _,
        raw_trace_point::RawTracePointLink, tp_btf::BtfTracePointLink,
    },
};
use aya_log::EbpfLogger;
use tracer_common::{
    counters::switch_cost,
    record::{Header, kind},
    settings::feature,
};

use super::{
    btf::Wanted,
    cgroup::Hierarchy,
    cost::{self, Counted, Prices},
    counts::{CountersPod, CowPod, CpuInterruptsPod, CpuStatePod, WaitingPod},
    diagnostics::Diagnostics,
    fields::Fields,
    interrupts,
    layout::Layout,
    load::{Machine, is_loaded, load, load_probes, rings, watches_calls},
    preflight::{Refusal, refused_by_kernel, refused_option},
    probes::{
        EMPTY, EMPTY_PAIR, PAGE_FAULT, PROBES, SCHED_ENTRY, SCHED_EXIT, SNAPSHOT, STACKS,
        SYS_ENTER, SYS_EXIT, TLB_FLUSH, WATCH, When,
    },
    raw,
    ring::{Drained, Rings},
    ruler::{CostMaps, Costs},
};
use crate::{engine::Facts, model::Cpu};

#[derive(Clone, Copy, Debug)]
pub struct Options {
    /// Bytes per CPU, a power of two of pages.
    pub buffer: u64,
    /// Whose cgroup ids are read.
    pub cgroups: Option<Hierarchy>,
    /// Only what concerns watched threads is told.
    pub narrow: Option<Narrow>,
    /// Measure how long a thread still runs once it is to go: a call of a program at each decision.
    pub resched: bool,
    /// Measure what births and ends cost: two calls of a program at each system call.
    pub forks: bool,
    /// Measure what switches cost in place: two calls of a program at each of them.
    pub switch_cost: bool,
    /// Find out what the programs cost by running them.
    pub calibrate: bool,
    /// Let the kernel keep statistics of what the programs cost.
    pub statistics: bool,
    pub verbose: bool,
}

/// What births inherit where only some threads are watched: threads of a process always do.
#[derive(Clone, Copy, Debug)]
pub struct Narrow {
    /// Child processes, too.
    pub children: bool,
}

pub struct Session {
    /// Holds what was not taken out of it: programs and maps live as long as this.
    pub(super) ebpf: aya::Ebpf,
    links: Vec<BtfTracePointLink>,
    interrupt_links: Vec<RawTracePointLink>,
    rings: Rings,
    pub(super) counters: PerCpuArray<MapData, CountersPod>,
    pub(super) switches: PerCpuArray<MapData, CpuStatePod>,
    pub(super) interrupts: PerCpuArray<MapData, CpuInterruptsPod>,
    pub(super) waiting: Array<MapData, WaitingPod>,
    /// Records taken out of the rings, announcements of losses aside.
    received: u64,
    /// What was counted while nobody was traced.
    pub(super) before: Counted,
    /// Of each ring.
    ring_bytes: u64,
    logger: Option<EbpfLogger<Diagnostics>>,
    facts: Facts,
    refused: Vec<String>,
    prices: Result<Prices, String>,
    slower_calls: Option<f64>,
    /// Where switches are measured in place.
    switch_costs: Option<CostMaps>,
    /// What two programs measure there with nothing between them.
    empty_pair: Option<f64>,
    pub(super) cows: Array<MapData, CowPod>,
    /// The kernel keeps them as long as this is open.
    pub(super) statistics: Option<OwnedFd>,
}

impl Session {
    /// Loads; nothing is attached yet. Inside a tokio runtime only.
    /// `types` is what [`wanted_types`] asks for.
    pub fn load(fields: &Fields, types: &[u8], options: &Options) -> Result<Session, Refusal> {
        let Machine {
            cpus,
            possible,
            btf,
        } = Machine::read(types)?;
        let layout = Layout::of(options.buffer, &cpus, options.narrow.is_some());
        let mut ebpf = load(fields, options, layout, possible)?;

        // The programs refer to this map by its descriptor until they are loaded.
        let mut places = take::<ArrayOfMaps<MapData, RingBuf<MapData>>>(&mut ebpf, "RINGS")?;
        let rings = rings(&mut places, &cpus, layout.ring_bytes)?;
        let [slots, history] = layout.map(&mut ebpf)?;
        let counters = take::<PerCpuArray<MapData, CountersPod>>(&mut ebpf, "COUNTERS")?;
        let switches = take::<PerCpuArray<MapData, CpuStatePod>>(&mut ebpf, "SWITCHES")?;
        let interrupts = take::<PerCpuArray<MapData, CpuInterruptsPod>>(&mut ebpf, "INTERRUPTS")?;
        let waiting = take::<Array<MapData, WaitingPod>>(&mut ebpf, "WAITING")?;
        let cows = take::<Array<MapData, CowPod>>(&mut ebpf, "COWS")?;
        let logger = if options.verbose {
            EbpfLogger::init_with_logger(&mut ebpf, Diagnostics).ok()
        } else {
            None
        };
        let mut facts = Facts {
            cpus: cpus.iter().map(|&cpu| Cpu(cpu as u16)).collect(),
            sched_yield: sched_yield().filter(|_| fields.has(feature::SYSCALL)),
            steal: fields.has(feature::STEAL),
            iowait: fields.has(feature::IOWAIT),
            interrupts: fields.has(feature::INTERRUPTS),
            narrow: options.narrow.is_some(),
            page_bytes: rustix::param::page_size() as u64,
            ..Facts::default()
        };
        let (name, iterator) = SNAPSHOT;
        let program: &mut Iter = program(&mut ebpf, name)?;
        program
            .load(iterator, &btf)
            .map_err(|error| refused_by_kernel("load the task iterator", &error))?;
        let refused = load_probes(&mut ebpf, &btf, |when| match when {
            When::Always => true,
            When::Resched => options.resched && fields.has(feature::RESCHED),
            When::Forks => watches_calls(fields, options),
            When::SwitchCost => options.switch_cost,
        })?;
        facts.calls = is_loaded(&ebpf, SYS_ENTER) && is_loaded(&ebpf, SYS_EXIT);
        facts.cow = is_loaded(&ebpf, PAGE_FAULT);
        let in_place = is_loaded(&ebpf, SCHED_ENTRY) && is_loaded(&ebpf, SCHED_EXIT);
        let switch_costs = in_place.then(|| CostMaps::take(&mut ebpf)).transpose()?;
        if facts.interrupts {
            interrupts::load(&mut ebpf)?;
        }
        if options.narrow.is_some() {
            load_watch(&mut ebpf)?;
            let (name, iterator) = STACKS;
            let program: &mut Iter = self::program(&mut ebpf, name)?;
            program
                .load(iterator, &btf)
                .map_err(|error| refused_by_kernel(&format!("load {name}"), &error))?;
        }
        let statistics = options
            .statistics
            .then(|| aya::sys::enable_stats(aya::sys::Stats::RunTime))
            .transpose()
            .map_err(|error| {
                let remedy = "it takes CAP_SYS_ADMIN: run as root, or without --cost exact";
                refused_option("keep run-time statistics", &error, remedy)
            })?;
        let rings = Rings::new(rings, slots, history, options.buffer)
            .map_err(|error| refused_by_kernel("watch the rings", &error))?;
        let mut session = Session {
            ebpf,
            links: Vec::new(),
            interrupt_links: Vec::new(),
            rings,
            counters,
            switches,
            interrupts,
            waiting,
            received: 0,
            before: Counted::default(),
            ring_bytes: layout.ring_bytes,
            prices: Err("not asked for".to_owned()),
            slower_calls: None,
            switch_costs,
            empty_pair: None,
            cows,
            statistics,
            logger,
            facts,
            refused,
        };
        if session.switch_costs.is_some() {
            session.empty_pair = session.measure_nothing(&btf)?;
            session.forget_counts();
        }
        if options.calibrate {
            session.prices = session.calibrate(&btf);
            // Also of one that failed in the middle.
            session.throw_away();
            session.forget_counts();
        }
        raw::give_back_memory();
        Ok(session)
    }

    /// What a run of each program takes, or why that is not known.
    pub fn prices(&self) -> &Result<Prices, String> {
        &self.prices
    }

    /// By how many nanoseconds each system call of the machine is slower; `None`: they are not watched.
    pub fn slower_calls(&self) -> Option<f64> {
        self.slower_calls
    }

    /// Probes that tracing does without, as the kernel refused them.
    pub fn refused(&self) -> &[String] {
        &self.refused
    }

    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    pub fn rings(&self) -> &Rings {
        &self.rings
    }

    /// From the return on, records flow.
    pub fn attach(&mut self) -> Result<(), Refusal> {
        if self.facts.interrupts {
            self.interrupt_links = interrupts::attach(&mut self.ebpf)?;
        }
        let before = self.facts.calls.then(cost::system_call);
        let yields = self.switch_costs.is_some().then(cost::sched_yield);
        self.links = attach(&mut self.ebpf)?;
        if let (Some(before), Ok(prices)) = (yields, &mut self.prices) {
            prices.schedule = (cost::sched_yield() - before).max(0.0) / 2.0;
        }
        if let Some(before) = before {
            let slower = (cost::system_call() - before).max(0.0);
            self.slower_calls = Some(slower);
            if let Ok(prices) = &mut self.prices {
                // A system call is two runs.
                prices.syscall = slower / 2.0;
            }
        }
        self.look_at_cpus();
        Ok(())
    }

    /// What lies between the clocks of two programs at the entry of the scheduler: the median.
    fn measure_nothing(&mut self, btf: &aya::Btf) -> Result<Option<f64>, Refusal> {
        let own = rustix::thread::gettid()
            .as_raw_nonzero()
            .get()
            .cast_unsigned();
        self.watch(&[own])?;
        let mut links = Vec::new();
        for (name, tracepoint) in [(SCHED_ENTRY, SCHED_ENTRY), EMPTY_PAIR] {
            links.push(attach_one(&mut self.ebpf, btf, (name, tracepoint))?);
        }
        cost::sched_yield();
        drop(links);
        self.unwatch(&[own])?;
        let costs = self.switch_costs()?;
        Ok(costs.and_then(|costs| costs[switch_cost::EMPTY as usize].quantile(0.5)))
    }

    /// What switches took in place, since it was loaded; `None`: that is not measured.
    pub fn switch_costs(&self) -> Result<Option<Costs>, Refusal> {
        self.switch_costs.as_ref().map(CostMaps::read).transpose()
    }

    /// What is part of each of them and not the kernel's, in nanoseconds; `None`: not known.
    pub fn empty_pair(&self) -> Option<f64> {
        self.empty_pair
    }

    /// Attaches programs that do nothing where all but everything happens, instead of ours.
    pub fn attach_empty(&mut self, types: &[u8]) -> Result<(), Refusal> {
        let btf = aya::Btf::parse(types, aya::Endianness::default())
            .map_err(|error| refused_by_kernel("read the kernel's BTF", &error))?;
        for empty in EMPTY {
            self.links.push(attach_one(&mut self.ebpf, &btf, empty)?);
        }
        Ok(())
    }

    /// From now on these threads are watched, and what they create; where all are, they are anyway.
    pub fn watch(&mut self, tids: &[u32]) -> Result<(), Refusal> {
        self.set_watched(tids, true)
    }

    pub(super) fn unwatch(&mut self, tids: &[u32]) -> Result<(), Refusal> {
        self.set_watched(tids, false)
    }

    fn set_watched(&mut self, tids: &[u32], watched: bool) -> Result<(), Refusal> {
        if !self.facts.narrow {
            return Ok(());
        }
        set_watched(&mut self.ebpf, tids, watched)
    }

    pub fn drain(&mut self, mut push: impl FnMut(&[u8])) -> Drained {
        if let Some(logger) = &mut self.logger {
            logger.flush();
        }
        let received = &mut self.received;
        let history = self.rings.has_history();
        self.rings.drain(|record| {
            let kind = record.get(KIND..KIND + 2);
            if kind == Some(&kind::CALL.to_ne_bytes()) {
                return;
            }
            // An announcement is no record, and what is kept beside the rings was not counted as one.
            let is = |other: u16| kind == Some(&other.to_ne_bytes());
            *received += u64::from(!(is(kind::LOST) || history && is(kind::LEFT)));
            push(record);
        })
    }

    /// Records taken out of the rings, announcements of losses aside.
    pub fn received(&self) -> u64 {
        self.received
    }

    /// How many records of `size` fit into a ring, with room to spare: what found no room would be told as a loss.
    pub(super) fn room_for(&self, size: usize) -> u64 {
        self.ring_bytes / 2 / (size as u64 + 8)
    }

    pub(super) fn throw_away(&mut self) {
        while !self.rings.drain(|_| ()).complete {}
    }

    /// From the return on nothing is added to the rings; what is in them can still be drained.
    pub fn detach(&mut self) {
        self.links.clear();
        self.interrupt_links.clear();
    }
}

/// The kernel's types that programs are loaded for.
pub fn wanted_types() -> Vec<Wanted> {
    let names = PROBES.iter().map(|probe| probe.name).chain([TLB_FLUSH]);
    let tracepoints = names.map(|name| Wanted::Typedef(format!("btf_trace_{name}")));
    let iterator = Wanted::Function(format!("bpf_iter_{}", SNAPSHOT.1));
    tracepoints.chain([iterator]).collect()
}

/// [`load_watch`] has been called.
pub(super) fn set_watched(
    ebpf: &mut aya::Ebpf,
    tids: &[u32],
    watched: bool,
) -> Result<(), Refusal> {
    let program: &mut RawTracePoint = program(ebpf, WATCH)?;
    let mut options = RawTracePointRunOptions::new();
    for some in tids.chunks(options.args.len() - 1) {
        options.args = [0; 12];
        options.args[0] = watched.into();
        for (place, &tid) in options.args.iter_mut().skip(1).zip(some) {
            *place = tid.into();
        }
        let run = program.test_run(RawTracePointRunOptions {
            args: options.args,
            cpu: None,
        });
        run.map_err(|error| refused_by_kernel("choose the threads to watch", &error))?;
    }
    Ok(())
}

pub(super) fn load_watch(ebpf: &mut aya::Ebpf) -> Result<(), Refusal> {
    let program: &mut RawTracePoint = program(ebpf, WATCH)?;
    program
        .load()
        .map_err(|error| refused_by_kernel(&format!("load {WATCH}"), &error))
}

const HEADER: usize = size_of::<Header>();
const KIND: usize = std::mem::offset_of!(Header, kind);

/// An edge of the window, as a record of the stream.
pub fn edge(kind: u16, at_ns: u64) -> [u8; HEADER] {
    let mut bytes = [0; HEADER];
    bytes[..8].copy_from_slice(&at_ns.to_ne_bytes());
    bytes[8..10].copy_from_slice(&kind.to_ne_bytes());
    bytes[10..12].copy_from_slice(&(HEADER as u16).to_ne_bytes());
    bytes
}

fn attach(ebpf: &mut aya::Ebpf) -> Result<Vec<BtfTracePointLink>, Refusal> {
    let mut links = Vec::with_capacity(PROBES.len());
    for probe in PROBES {
        let refused = |error| refused_by_kernel(&format!("attach {}", probe.name), &error);
        let program: &mut BtfTracePoint = program(ebpf, probe.name)?;
        // What is optional, and was not asked for or could not be loaded.
        if program.fd().is_err() {
            continue;
        }
        let link = program.attach().map_err(refused)?;
        links.push(program.take_link(link).map_err(refused)?);
    }
    Ok(links)
}

/// A program by its name and its tracepoint's, loaded if it is not.
pub(super) fn attach_one(
    ebpf: &mut aya::Ebpf,
    btf: &aya::Btf,
    (name, tracepoint): (&str, &str),
) -> Result<BtfTracePointLink, Refusal> {
    let refused = |error| refused_by_kernel(&format!("attach {name}"), &error);
    let program: &mut BtfTracePoint = program(ebpf, name)?;
    if program.fd().is_err() {
        program.load(tracepoint, btf).map_err(refused)?;
    }
    let link = program.attach().map_err(refused)?;
    program.take_link(link).map_err(refused)
}

pub(super) fn program<'a, P>(ebpf: &'a mut aya::Ebpf, name: &str) -> Result<&'a mut P, Refusal>
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

pub(super) fn take<M>(ebpf: &mut aya::Ebpf, name: &str) -> Result<M, Refusal>
where
    M: TryFrom<aya::maps::Map, Error = aya::maps::MapError>,
{
    let map = ebpf
        .take_map(name)
        .expect("every map is in the object we embed");
    map.try_into()
        .map_err(|error| refused_by_kernel(&format!("use {name}"), &error))
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
