//! Where this kernel keeps what the programs read, and which optional features that allows.
//!
//! In: the kernel's BTF and the one list in [`tracer_common::settings`]. Out: values for the
//! read-only globals. Knows nothing of loading.

use tracer_common::settings::feature;

use super::btf::{Btf, Field, Param};
use super::interrupts::Told;
use super::probes::{SCHED_ENTRY, SCHED_EXIT, TLB_FLUSH};

/// What the loader writes into the globals.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fields {
    /// Global and offset in bytes. A field that is missing has no entry: its global stays 0 and unused.
    pub offsets: Vec<(&'static str, u64)>,
    /// Bits of [`feature`], but not the `CGROUP_*` ones: those depend on what is mounted.
    pub features: u64,
    /// The bit of `in_iowait` in the byte at its offset.
    pub iowait_mask: u64,
    /// `structure.field`, as the kernel sources call it.
    pub missing_required: Vec<String>,
    pub missing_optional: Vec<String>,
    pub interrupts: Told,
    /// The kernel tells when the scheduler begins and ends (6.16).
    pub switch_cost: bool,
    /// It tells of flushes of the TLB (x86).
    pub flushes: bool,
    /// Offset in `css_set` of the pointer to the cpu controller's state: for version 1 hierarchies.
    pub cpu_cgroup_subsys: Option<u64>,
}

impl Fields {
    /// The offset that global `name` gets.
    pub fn offset(&self, name: &str) -> Option<u64> {
        self.offsets
            .iter()
            .find(|(global, _)| *global == name)
            .map(|&(_, offset)| offset)
    }

    pub fn has(&self, feature: u64) -> bool {
        self.features & feature != 0
    }

    /// All that the way from a task to the id of its cgroup needs, in the unified hierarchy.
    pub fn cgroup_v2(&self) -> bool {
        self.all(&["TASK_CGROUPS", "CSS_SET_DFL_CGRP", "CGROUP_KN", "KN_ID"])
    }

    /// The same in the cpu controller's own hierarchy.
    pub fn cgroup_v1(&self) -> bool {
        self.cpu_cgroup_subsys.is_some()
            && self.all(&["TASK_CGROUPS", "CSS_CGROUP", "CGROUP_KN", "KN_ID"])
    }

    fn all(&self, names: &[&str]) -> bool {
        names.iter().all(|name| self.offset(name).is_some())
    }
}

struct Wanted {
    global: &'static str,
    strukt: &'static str,
    /// Alternatives separated by `|`.
    paths: &'static str,
    required: bool,
}

macro_rules! need {
    (required) => {
        true
    };
    (optional) => {
        false
    };
}

macro_rules! wanted {
    ($($global:ident: $strukt:literal $paths:literal $need:ident;)*) => {
        const WANTED: &[Wanted] = &[$(Wanted {
            global: stringify!($global),
            strukt: $strukt,
            paths: $paths,
            required: need!($need),
        }),*];
    };
}

tracer_common::kernel_fields!(wanted);

/// The only field that may be a bit field: the others are loaded whole.
const IOWAIT: &str = "TASK_IOWAIT";

pub fn resolve(btf: &Btf) -> Fields {
    let mut fields = Fields::default();
    for wanted in WANTED {
        let found = wanted
            .paths
            .split('|')
            .find_map(|path| btf.field(wanted.strukt, path));
        let offset = match found {
            Some(field) if wanted.global == IOWAIT => {
                let (offset, mask) = byte_and_mask(field);
                fields.iowait_mask = mask;
                Some(offset)
            }
            Some(Field {
                bit_offset,
                bit_size: None,
            }) if bit_offset % 8 == 0 => Some(u64::from(bit_offset / 8)),
            _ => None,
        };
        match offset {
            Some(offset) => fields.offsets.push((wanted.global, offset)),
            None if wanted.required => fields.missing_required.push(wanted.name()),
            None => fields.missing_optional.push(wanted.name()),
        }
    }
    switch_arguments(btf, &mut fields);
    optional_features(btf, &mut fields);
    fields
}

impl Wanted {
    fn name(&self) -> String {
        format!("{}.{}", self.strukt, self.paths.replace('|', " or "))
    }
}

/// A bit field narrower than a byte never crosses one: the kernel's compilers give it one bit.
fn byte_and_mask(field: Field) -> (u64, u64) {
    let shift = field.bit_offset % 8;
    let ones = field
        .bit_size
        .map_or(0xff, |bits| (1_u64 << bits.min(8)) - 1);
    (u64::from(field.bit_offset / 8), ones << shift & 0xff)
}

/// `sched_switch(preempt, prev, next)`, later with `prev_state`. Linux commit fa2c3254d7cf put that
/// second, 9c2136be0878 moved it to the end: in between, prev and next are elsewhere.
fn switch_arguments(btf: &Btf, fields: &mut Fields) {
    // Without the tracepoint, preflight says so by its name.
    let Some(params) = btf.tracepoint("sched_switch") else {
        return;
    };
    if params.get(1..3) != Some(&[Param::Pointer, Param::Pointer]) {
        fields
            .missing_required
            .push("sched_switch(preempt, prev, next, ...)".to_owned());
    } else if params.get(3) == Some(&Param::Integer) {
        fields.features |= feature::PREV_STATE_ARG;
    }
}

const RESCHED: &str = "sched_set_need_resched_tp";

/// A program at this tracepoint ends an RCU reader; where those can be preempted, that may ask for a switch, which is
/// this tracepoint again, without an end: the kernel's stack overflows. Linux commit 53bc5c556b82 repairs it, and
/// nothing tells from here whether a kernel has that.
pub fn resched_recurses(btf: &Btf) -> bool {
    // Only with CONFIG_PREEMPT_RCU.
    btf.field("task_struct", "rcu_read_lock_nesting").is_some()
}

fn optional_features(btf: &Btf, fields: &mut Fields) {
    let (x86_64, arm64) = (cfg!(target_arch = "x86_64"), cfg!(target_arch = "aarch64"));
    let pt_regs = btf
        .enumerator("bpf_func_id", "BPF_FUNC_task_pt_regs")
        .is_some();
    fields.interrupts = Told::by(btf);
    let told = |name| btf.tracepoint(name).is_some();
    fields.switch_cost = told(SCHED_ENTRY) && told(SCHED_EXIT);
    fields.flushes = told(TLB_FLUSH);
    let on = [
        (feature::INTERRUPTS, fields.interrupts.enough()),
        (
            feature::RESCHED,
            fields.offset("TASK_THREAD_FLAGS").is_some()
                && btf.tracepoint(RESCHED).is_some()
                && !resched_recurses(btf),
        ),
        (
            feature::THROTTLED,
            fields.offset("TASK_THROTTLED").is_some(),
        ),
        (
            feature::MEMORY,
            fields.all(&[
                "MM_FILE_PAGES",
                "MM_ANON_PAGES",
                "MM_SHMEM_PAGES",
                "MM_PEAK_PAGES",
                "MM_PAGE_TABLES",
                "MM_MAPPINGS",
            ]),
        ),
        (
            feature::COPIED_COUNTS,
            // As newer kernels have it, each element is a structure with a name.
            btf.field("mm_struct", "rss_stat.count[0]").is_some(),
        ),
        (
            feature::STACKS,
            fields.all(&["TASK_STACK", "VM_PAGES", "PT_REGS_SP"]),
        ),
        // `sched_process_exit(task, group_dead)`, include/trace/events/sched.h of 6.16.
        (
            feature::GROUP_DEAD,
            btf.tracepoint("sched_process_exit")
                .is_some_and(|params| params.get(1) == Some(&Param::Integer)),
        ),
        (feature::STEAL, fields.offset("RQ_STEAL").is_some()),
        (
            feature::THROTTLED_TIME,
            fields.offset("CFS_RQ_THROTTLED").is_some(),
        ),
        (
            feature::IOWAIT,
            fields.offset(IOWAIT).is_some() && fields.iowait_mask != 0,
        ),
        (
            feature::SYSCALL,
            (x86_64 || arm64) && pt_regs && fields.offset("PT_REGS_CALL").is_some(),
        ),
        (
            feature::COMPAT,
            x86_64 && fields.offset("TASK_THREAD_STATUS").is_some()
                || arm64 && pt_regs && fields.offset("PT_REGS_STATE").is_some(),
        ),
    ];
    for (bit, _) in on.into_iter().filter(|&(_, on)| on) {
        fields.features |= bit;
    }
    let cpu = btf
        .enumerator("cgroup_subsys_id", "cpu_cgrp_id")
        .and_then(|id| u64::try_from(id).ok());
    fields.cpu_cgroup_subsys = fields
        .offset("CSS_SET_SUBSYS")
        .zip(cpu)
        .and_then(|(array, id)| array.checked_add(id.checked_mul(size_of::<u64>() as u64)?));
}

#[cfg(test)]
mod tests {
    use super::super::btf::tests::{real_kernel, small_kernel};
    use super::*;

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let fields = resolve(&Btf::parse(small_kernel()).expect("whole"));
        assert_eq!(fields.offset("TASK_PID"), Some(0));
        assert_eq!(fields.offset("TASK_RUN_DELAY"), Some(40));
        assert_eq!(
            (fields.offset(IOWAIT), fields.iowait_mask),
            (Some(4), 0b100)
        );
        assert!(
            fields
                .missing_required
                .contains(&"task_struct.__state or state".to_owned())
        );
        assert!(fields.missing_required.contains(&"rq.clock".to_owned()));
        assert!(
            fields
                .missing_optional
                .contains(&"task_struct.throttled".to_owned())
        );
        assert_eq!(fields.features, feature::PREV_STATE_ARG | feature::IOWAIT);
        assert!(!fields.cgroup_v2() && !fields.cgroup_v1());
    }

    #[test]
    fn a_bit_field_becomes_a_byte_and_a_mask() {
        let mask = |bit_offset, bit_size| {
            byte_and_mask(Field {
                bit_offset,
                bit_size,
            })
        };
        assert_eq!(mask(67, Some(1)), (8, 0b1000));
        assert_eq!(mask(64, None), (8, 0xff));
        assert_eq!(mask(71, Some(255)), (8, 0x80));
    }

    #[test]
    fn the_kernel_of_this_machine_has_what_is_required() {
        let Some(btf) = real_kernel() else { return };
        let fields = resolve(&btf);
        assert_eq!(fields.missing_required, Vec::<String>::new());
        assert!(fields.iowait_mask.is_power_of_two());
        assert!(!(fields.has(feature::RESCHED) && resched_recurses(&btf)));
    }
}
