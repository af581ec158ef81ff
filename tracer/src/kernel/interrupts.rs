//! Which tracepoints the programs that measure interrupts are attached to.
//!
//! In: the kernel's BTF, and loaded programs. Out: whether this kernel has what is needed; links.

use aya::programs::{RawTracePoint, raw_trace_point::RawTracePointLink};

use super::{
    btf::Btf,
    preflight::{Refusal, refused_by_kernel},
    session::program,
};

/// Interrupts that two tracepoints tell of, `NAME_entry` and `NAME_exit`, and the programs for them.
struct Kind {
    name: &'static str,
    enter: &'static str,
    leave: &'static str,
    /// Without it nothing is measured: what is left would look like all there is.
    essential: bool,
}

const fn essential(name: &'static str, enter: &'static str, leave: &'static str) -> Kind {
    Kind {
        name,
        enter,
        leave,
        essential: true,
    }
}

/// A vector of x86 that does work of its own. Elsewhere these are interrupts like others.
#[cfg(target_arch = "x86_64")]
const fn vector(name: &'static str) -> Kind {
    Kind {
        name,
        enter: "irq_enter",
        leave: "irq_leave",
        essential: false,
    }
}

/// No `reschedule`: its handler does nothing, and measuring it would take longer.
#[cfg(target_arch = "x86_64")]
const KINDS: &[Kind] = &[
    essential("softirq", "softirq_enter", "softirq_leave"),
    essential("irq_handler", "irq_enter", "irq_leave"),
    essential("local_timer", "irq_enter_timer", "irq_leave"),
    vector("call_function_single"),
    vector("call_function"),
    vector("irq_work"),
];
#[cfg(not(target_arch = "x86_64"))]
const KINDS: &[Kind] = &[
    essential("softirq", "softirq_enter", "softirq_leave"),
    essential("irq_handler", "irq_enter", "irq_leave"),
];

/// The programs, each attached to one tracepoint or more.
pub const PROGRAMS: [&str; 5] = [
    "irq_enter",
    "irq_enter_timer",
    "irq_leave",
    "softirq_enter",
    "softirq_leave",
];

/// What a kernel has to tell of interrupts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Told {
    /// Softirqs run in threads, which can be preempted in the middle of one (PREEMPT_RT).
    pub threaded: bool,
    /// Tracepoints that are essential.
    pub missing: Vec<String>,
    /// Others.
    pub untold: Vec<String>,
}

impl Told {
    pub fn by(btf: &Btf) -> Told {
        let lacks = |kind: &&Kind| btf.tracepoint(&format!("{}_entry", kind.name)).is_none();
        let mut told = Told {
            threaded: btf.field("task_struct", "softirq_disable_cnt").is_some(),
            ..Told::default()
        };
        for kind in KINDS.iter().filter(lacks) {
            let names = if kind.essential {
                &mut told.missing
            } else {
                &mut told.untold
            };
            names.push(format!("{}_entry", kind.name));
        }
        told
    }

    pub fn enough(&self) -> bool {
        !self.threaded && self.missing.is_empty()
    }
}

pub fn load(ebpf: &mut aya::Ebpf) -> Result<(), Refusal> {
    for name in PROGRAMS {
        let program: &mut RawTracePoint = program(ebpf, name)?;
        program
            .load()
            .map_err(|error| refused_by_kernel(&format!("load {name}"), &error))?;
    }
    Ok(())
}

/// Ends before beginnings: an interrupt that has begun ends, as far as the programs see.
pub fn attach(ebpf: &mut aya::Ebpf) -> Result<Vec<RawTracePointLink>, Refusal> {
    let mut links = Vec::with_capacity(2 * KINDS.len());
    for kind in KINDS {
        for (name, tracepoint) in [
            (kind.leave, format!("{}_exit", kind.name)),
            (kind.enter, format!("{}_entry", kind.name)),
        ] {
            let refused =
                |error| refused_by_kernel(&format!("attach {name} to {tracepoint}"), &error);
            let program: &mut RawTracePoint = program(ebpf, name)?;
            match program.attach(&tracepoint) {
                Ok(link) => links.push(program.take_link(link).map_err(refused)?),
                Err(_) if !kind.essential => {}
                Err(error) => return Err(refused(error)),
            }
        }
    }
    Ok(links)
}

#[cfg(test)]
mod tests {
    use super::super::btf::tests::{real_kernel, small_kernel};
    use super::*;

    #[test]
    fn a_kernel_that_tells_of_no_interrupts_is_found_out() {
        let told = Told::by(&Btf::parse(small_kernel()).expect("whole"));
        assert!(!told.enough());
        let softirq = "softirq_entry".to_owned();
        assert!(told.missing.contains(&softirq) && !told.untold.contains(&softirq));
    }

    #[test]
    fn softirqs_that_can_be_preempted_are_not_measured() {
        let told = Told {
            threaded: true,
            ..Told::default()
        };
        assert!(Told::default().enough() && !told.enough());
    }

    #[test]
    fn the_kernel_of_this_machine_tells() {
        let Some(btf) = real_kernel() else { return };
        let told = Told::by(&btf);
        assert!(told.enough() || told.threaded, "{told:?}");
    }

    #[test]
    fn every_program_is_attached_somewhere() {
        let used: Vec<&str> = KINDS
            .iter()
            .flat_map(|kind| [kind.enter, kind.leave])
            .collect();
        let timer = if cfg!(target_arch = "x86_64") {
            ""
        } else {
            "irq_enter_timer"
        };
        for program in PROGRAMS {
            assert!(used.contains(&program) || program == timer, "{program}");
        }
        assert!(used.iter().all(|program| PROGRAMS.contains(program)));
    }
}
