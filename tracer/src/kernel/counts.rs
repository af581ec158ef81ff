//! What the kernel programs have counted beside the stream.
//!
//! In: maps and the kernel's own figures of the programs. Out: numbers, and records of them. Never sees an
//! event.

use std::os::fd::{AsFd as _, AsRawFd as _};

use aya::{
    maps::PerCpuValues,
    programs::{BtfTracePoint, ProgramError, RawTracePoint, RawTracePointRunOptions, TestRun as _},
};
use tracer_common::{
    counters::{Counters, Cow, CpuInterrupts, CpuState, CpuSwitches, Probe, Waiting},
    record::{self, Header, kind},
};

use super::{
    cost::Counted,
    interrupts,
    preflight::{Refusal, refused_by_kernel},
    probes::{LOOK, PROBES, SHOW},
    session::{Session, edge, program},
};

/// [`Counters`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct CountersPod(Counters);
// SAFETY: u64s, no padding, every bit pattern is valid.
unsafe impl aya::Pod for CountersPod {}

/// [`CpuState`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct CpuStatePod(CpuState);
// SAFETY: integers, no padding, every bit pattern is valid.
unsafe impl aya::Pod for CpuStatePod {}

/// [`CpuInterrupts`] for aya.
#[derive(Clone, Copy)]
#[repr(transparent)]
pub(super) struct CpuInterruptsPod(CpuInterrupts);
// SAFETY: integers, no padding, every bit pattern is valid.
unsafe impl aya::Pod for CpuInterruptsPod {}

/// [`Waiting`] for aya.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(super) struct WaitingPod(Waiting);
// SAFETY: u64s, no padding, every bit pattern is valid.
unsafe impl aya::Pod for WaitingPod {}

/// [`Cow`] for aya.
#[derive(Clone, Copy, Default)]
#[repr(transparent)]
pub(super) struct CowPod(Cow);
// SAFETY: integers, no padding, every bit pattern is valid.
unsafe impl aya::Pod for CowPod {}

const COW_RECORD: usize = size_of::<record::Cow>();
const HEADER: usize = size_of::<Header>();
const CPU_RECORD: usize = size_of::<record::CpuSwitches>();

impl Session {
    pub fn counted(&self) -> Result<Counted, Refusal> {
        let mut counted = Counted::default();
        for (index, sum) in (0..).zip(&mut counted.probes) {
            let values: PerCpuValues<CountersPod> = self
                .counters
                .get(&index, 0)
                .map_err(|error| refused_by_kernel("read the counters", &error))?;
            for CountersPod(one) in values.iter() {
                sum.events += one.events;
                sum.records += one.records;
                sum.noted += one.noted;
                sum.lost += one.lost;
            }
        }
        counted.probes[Probe::Switch as usize].events = self
            .cpu_switches()?
            .map(|(_, one)| one.voluntary + one.involuntary + one.from_idle)
            .sum();
        let values: PerCpuValues<CpuInterruptsPod> = self
            .interrupts
            .get(&0, 0)
            .map_err(|error| refused_by_kernel("read the counts of interrupts", &error))?;
        counted.probes[Probe::Interrupt as usize].events = values
            .iter()
            .map(|CpuInterruptsPod(one)| one.irq_runs + one.softirq_runs)
            .sum();
        Ok(counted.since(&self.before))
    }

    /// What has been counted so far is none of the trace's.
    pub(super) fn forget_counts(&mut self) {
        for cpu in 0..self.waiting.len() {
            // One CPU may have been told of a wait, and another one of its end.
            let _ = self.waiting.set(cpu, WaitingPod::default(), 0);
        }
        self.before = Counted::default();
        self.before = self.counted().unwrap_or_default();
    }

    /// What each CPU has counted.
    fn cpu_switches(&self) -> Result<impl Iterator<Item = (u16, CpuSwitches)>, Refusal> {
        let values: PerCpuValues<CpuStatePod> = self
            .switches
            .get(&0, 0)
            .map_err(|error| refused_by_kernel("read the counts of the CPUs", &error))?;
        let all: Vec<CpuSwitches> = values.iter().map(|CpuStatePod(one)| one.switches).collect();
        Ok((0..).zip(all))
    }

    /// The same as records for the point `at_ns`.
    pub fn cpu_records(&self, at_ns: u64) -> Result<Vec<[u8; CPU_RECORD]>, Refusal> {
        let record = |(cpu, one): (u16, CpuSwitches)| {
            let mut bytes = [0; CPU_RECORD];
            bytes[..HEADER].copy_from_slice(&edge(kind::CPU_SWITCHES, at_ns));
            bytes[10..12].copy_from_slice(&(CPU_RECORD as u16).to_ne_bytes());
            bytes[12..14].copy_from_slice(&cpu.to_ne_bytes());
            let [first, second, third, fourth] = one.kinds;
            let fields = [
                one.voluntary,
                one.involuntary,
                one.from_idle,
                one.address_space_changes,
                first,
                second,
                third,
                fourth,
                one.idle_ns,
                one.idle_since_ns,
            ];
            for (place, field) in bytes[HEADER..].chunks_exact_mut(8).zip(fields) {
                place.copy_from_slice(&field.to_ne_bytes());
            }
            bytes
        };
        Ok(self.cpu_switches()?.map(record).collect())
    }

    /// What has been counted of writes after forks and has not been told, as records of the point `at_ns`.
    pub fn cow_records(&self, at_ns: u64) -> Result<Vec<[u8; COW_RECORD]>, Refusal> {
        let mut records = Vec::new();
        for place in 0..self.cows.len() {
            let CowPod(cow) = self
                .cows
                .get(&place, 0)
                .map_err(|error| refused_by_kernel("read the counts of writes", &error))?;
            if cow.pid == 0 || cow.faults == 0 {
                continue;
            }
            let mut bytes = [0; COW_RECORD];
            bytes[..HEADER].copy_from_slice(&edge(kind::COW, at_ns));
            bytes[10..12].copy_from_slice(&(COW_RECORD as u16).to_ne_bytes());
            bytes[16..20].copy_from_slice(&cow.pid.to_ne_bytes());
            bytes[20..24].copy_from_slice(&cow.child.to_ne_bytes());
            bytes[24..32].copy_from_slice(&cow.since_ns.to_ne_bytes());
            bytes[32..40].copy_from_slice(&cow.faults.to_ne_bytes());
            records.push(bytes);
        }
        Ok(records)
    }

    /// Whether each CPU idles now, unless it has switched since the probes are on. Without this (kernels
    /// before 5.10 cannot) a CPU that never switches counts as busy.
    pub(super) fn look_at_cpus(&mut self) {
        self.run_everywhere(LOOK);
    }

    /// Lets all be read that the CPUs keep of threads that are not watched, up to now. Without this (kernels
    /// before 5.10 cannot) what a wait was for that does not end is unknown.
    pub fn show_history(&mut self) {
        if self.facts().narrow {
            self.run_everywhere(SHOW);
        }
    }

    fn run_everywhere(&mut self, name: &str) {
        let cpus: Vec<u32> = self
            .facts()
            .cpus
            .iter()
            .map(|cpu| u32::from(cpu.0))
            .collect();
        let Ok(program) = program::<RawTracePoint>(&mut self.ebpf, name) else {
            return;
        };
        if program.fd().is_err() && program.load().is_err() {
            return;
        }
        for cpu in cpus {
            let options = RawTracePointRunOptions {
                cpu: Some(cpu),
                ..RawTracePointRunOptions::new()
            };
            // A CPU that went away meanwhile has nothing to tell.
            let _ = program.test_run(options);
        }
    }

    /// How often a program was skipped because it already ran on that CPU; `None` on kernels that
    /// do not tell (before 5.12).
    pub fn missed(&mut self) -> Option<u64> {
        let mut sum = 0;
        for probe in PROBES {
            let program: &mut BtfTracePoint = program(&mut self.ebpf, probe.name).ok()?;
            let fd = match program.fd() {
                Ok(fd) => fd.as_fd().as_raw_fd(),
                // What is optional and could not be loaded.
                Err(ProgramError::NotLoaded) => continue,
                Err(_) => return None,
            };
            let text = std::fs::read_to_string(format!("/proc/self/fdinfo/{fd}")).ok()?;
            let line = text
                .lines()
                .find_map(|line| line.strip_prefix("recursion_misses:"))?;
            sum += line.trim().parse::<u64>().ok()?;
        }
        Some(sum)
    }

    /// What the kernel's statistics say that the probes took so far; `None` where it keeps none.
    pub fn run_time_ns(&self) -> Option<f64> {
        self.statistics.as_ref()?;
        let mut sum = 0;
        let probes = PROBES.iter().map(|probe| probe.name);
        for name in probes.chain(interrupts::PROGRAMS) {
            match self.ebpf.program(name)?.info() {
                Ok(info) => sum += info.run_time().as_nanos(),
                Err(ProgramError::NotLoaded) => {}
                Err(_) => return None,
            }
        }
        Some(sum as f64)
    }
}
