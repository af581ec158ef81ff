//! What switches cost in place, from the kernel's counts into the report.
//!
//! In: counts at the window's edges. Out: [`SwitchCosts`]. Knows nothing of the traced but how long it had a CPU.

use tracer_common::counters::switch_cost;

use crate::{
    kernel::{
        preflight::Refusal,
        ruler::{Costs, Lengths},
        session::Session,
    },
    report::{SwitchCost, SwitchCosts, SwitchKind},
};

const KINDS: [(SwitchKind, u32); 6] = [
    (SwitchKind::SameSpace, switch_cost::SAME_SPACE),
    (SwitchKind::OtherSpace, switch_cost::OTHER_SPACE),
    (SwitchKind::ToKernelThread, switch_cost::TO_KERNEL),
    (SwitchKind::ToIdle, switch_cost::TO_IDLE),
    (SwitchKind::BackToSameSpace, switch_cost::BACK),
    (SwitchKind::BackToOtherSpace, switch_cost::BACK_OTHER),
];

/// Counts at the window's beginning.
pub struct Switching(Option<Costs>);

impl Switching {
    pub fn begin(session: &Session) -> Result<Switching, Refusal> {
        session.switch_costs().map(Switching)
    }

    /// What came about since.
    pub fn costs(&self, session: &Session) -> Result<SwitchCosts, Refusal> {
        let (Some(before), Some(now)) = (&self.0, session.switch_costs()?) else {
            return Ok(SwitchCosts {
                method: "this kernel does not tell when the scheduler begins and ends \
                         (sched_entry_tp and sched_exit_tp, 6.16)"
                    .to_owned(),
                ..SwitchCosts::default()
            });
        };
        let own = session.prices().as_ref().ok();
        let own_ns = own.map(|prices| prices.switch + prices.call);
        let empty_pair_ns = session.empty_pair();
        let less = own_ns.unwrap_or(0.0) + empty_pair_ns.unwrap_or(0.0);
        let kinds = KINDS.iter().filter_map(|&(kind, index)| {
            let index = index as usize;
            net(kind, &now[index].since(&before[index]), less)
        });
        let mut method = "from sched_entry_tp to sched_exit_tp, within 3 %".to_owned();
        let mut subtracted = Vec::new();
        if let Some(ns) = empty_pair_ns {
            subtracted.push(format!("{ns:.0} ns of an empty pair of programs"));
        }
        match own_ns {
            Some(ns) => subtracted.push(format!("{ns:.0} ns of the tracer's own program")),
            None => method.push_str(", the tracer's own program included"),
        }
        if !subtracted.is_empty() {
            method.push_str(&format!(", less {}", subtracted.join(" and ")));
        }
        Ok(SwitchCosts {
            method,
            empty_pair_ns,
            own_ns,
            kinds: kinds.collect(),
            cpu_percent: None,
        })
    }
}

/// `None`: there was none of this kind.
fn net(kind: SwitchKind, lengths: &Lengths, less: f64) -> Option<SwitchCost> {
    let of = |part| Some((lengths.quantile(part)? - less).max(0.0));
    Some(SwitchCost {
        kind,
        count: lengths.count,
        total_ns: (lengths.sum_ns as f64 - less * lengths.count as f64).max(0.0),
        p50_ns: of(0.5)?,
        p99_ns: of(0.99)?,
    })
}
