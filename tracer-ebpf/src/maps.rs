//! Every map, with the reason for its type and size.

use aya_ebpf::{
    btf_maps::{Array, ArrayOfMaps, HashMap, PerCpuArray, RingBuf},
    macros::btf_map,
};
use tracer_common::{
    counters::{
        Call, Counters, Cow, CpuInterrupts, CpuState, Entered, PROBES, Resched, SlotMarks,
        SpaceChanges, SwitchCost, WAKE_NOTES, Waiting, WakeNote, WatchBlock, switch_cost,
    },
    lengths::LENGTHS,
    record::{Left, Switch},
};

/// The ring of one CPU. Rings keep order and need no lock against other CPUs; the loader creates
/// each with the size the user asked for, this one is only the template.
pub type Ring = RingBuf<u64, 4096>;

/// One ring per CPU, by CPU number; the loader sets the length. A CPU without a ring (brought up
/// after the start) loses its records, and they are counted.
#[btf_map]
pub static RINGS: ArrayOfMaps<Ring, 1> = ArrayOfMaps::new();

/// `BPF_F_MMAPABLE`, include/uapi/linux/bpf.h.
const MMAPABLE: usize = 1 << 10;

/// The slots of all CPUs, one CPU's after another's; the loader sets the length. Writing a switch here
/// takes a fraction of what a reservation in a ring does, and the collector reads it in place.
#[btf_map]
pub static SLOTS: Array<Switch, 1, MMAPABLE> = Array::new();

/// By CPU.
#[btf_map]
pub static SLOT_MARKS: Array<SlotMarks, 1, MMAPABLE> = Array::new();

/// As [`SLOTS`]: see `history`.
#[btf_map]
pub static HISTORY: Array<Left, 1, MMAPABLE> = Array::new();

/// By CPU.
#[btf_map]
pub static HISTORY_MARKS: Array<SlotMarks, 1, MMAPABLE> = Array::new();

/// By CPU; the loader sets the length.
#[btf_map]
pub static WAITING: Array<Waiting, 1> = Array::new();

/// A byte a thread, as [`WATCHED`]: see `history`.
#[btf_map]
pub static QUEUED: Bytes = Array::new();

/// Indexed by `counters::Probe`. Per CPU: a probe does not interrupt itself, so additions are exact.
#[btf_map]
pub static COUNTERS: PerCpuArray<Counters, { PROBES as usize }> = PerCpuArray::new();

/// One set a CPU, for the switch probe alone.
#[btf_map]
pub static SWITCHES: PerCpuArray<CpuState, 1> = PerCpuArray::new();

/// One set a CPU, for the probes of interrupts.
#[btf_map]
pub static INTERRUPTS: PerCpuArray<CpuInterrupts, 1> = PerCpuArray::new();

/// By CPU; the loader sets the length. Not per CPU: another one may decide, and reaching into its memory
/// takes a helper of newer kernels where this takes two instructions. The CPU's run queue is locked
/// whenever its place is written or read.
#[btf_map]
pub static RESCHED: Array<Resched, 1> = Array::new();

/// From a wake-up to the switch-in: by the woken thread's number, as it may run on any CPU. An array
/// and not a hash or task storage: two instructions, no lock, nothing to allocate, any kernel.
#[btf_map]
pub static WAKINGS: Array<WakeNote, { WAKE_NOTES as usize }> = Array::new();

/// From the entry of a system call to its return: by the address of the thread, whose number `exec` may change.
/// A hash: an entry that another one overwrote would be a fork without its cost, and those that go on at the
/// same time are few. The loader sets the length where system calls are watched.
#[btf_map]
pub static CALLS: HashMap<u64, Call, 1> = HashMap::new();

/// An array as [`WAKINGS`]: each write fault of the machine looks here. The loader sets the length where
/// they are watched.
#[btf_map]
pub static COWS: Array<Cow, 1> = Array::new();

/// By tid.
pub type Bytes = Array<WatchBlock, 1>;

/// See `watch`. The loader sets the length where only some threads are watched.
#[btf_map]
pub static WATCHED: Bytes = Array::new();

/// Between the entry of the scheduler and its end, which no other entry interrupts on this CPU.
#[btf_map]
pub static ENTERED: PerCpuArray<Entered, 1> = PerCpuArray::new();

/// Indexed by `counters::switch_cost`.
#[btf_map]
pub static SWITCH_COSTS: PerCpuArray<SwitchCost, { switch_cost::KINDS as usize }> =
    PerCpuArray::new();

/// How many of each length, one kind's after another's. A value a length: an index into a larger one is a bound more
/// that the verifier must be shown.
#[btf_map]
pub static SWITCH_LENGTHS: PerCpuArray<u64, { (switch_cost::KINDS * LENGTHS) as usize }> =
    PerCpuArray::new();

/// One set a CPU, for the probe of address spaces.
#[btf_map]
pub static SPACE_CHANGES: PerCpuArray<SpaceChanges, 1> = PerCpuArray::new();

/// Where the snapshot turns a pointer into a number.
#[btf_map]
pub static SCRATCH: PerCpuArray<u64, 1> = PerCpuArray::new();
