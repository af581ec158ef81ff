//! What tracing costs while it runs: the kernel programs and this process, and whether that is too much.
//!
//! In: counters of the session. Out: [`Cost`], and when to stop. Knows nothing of the traced.

use std::collections::VecDeque;

use crate::{
    cli::CostMethod,
    kernel::{cost::Prices, preflight::Refusal, procfs, session::Session},
    model::{Nanos, Timestamp},
    report::Cost,
};

/// `--max-overhead` goes by this much of the past ...
const SPAN: Nanos = Nanos(1_000_000_000);
/// ... looked at this often ...
const EVERY: Nanos = Nanos(100_000_000);
/// ... and not before so much of it has been seen: the first drain has more to do than those after it.
const AT_LEAST: Nanos = Nanos(400_000_000);

/// Nanoseconds since tracing began.
#[derive(Clone, Copy, Debug, Default)]
struct Sample {
    at: Timestamp,
    /// `None`: not known.
    kernel_ns: Option<f64>,
    collector: Nanos,
}

pub struct Meter {
    method: CostMethod,
    cpus: u64,
    began: Sample,
    /// Of the last [`SPAN`], oldest first.
    recent: VecDeque<Sample>,
    /// Per cent of the machine.
    limit: Option<f64>,
}

impl Meter {
    pub fn begin(
        session: &Session,
        method: CostMethod,
        limit: Option<f64>,
        at: Timestamp,
    ) -> Result<Meter, Refusal> {
        let mut meter = Meter {
            method,
            cpus: session.facts().cpus.len().max(1) as u64,
            began: Sample::default(),
            recent: VecDeque::new(),
            limit,
        };
        meter.began = meter.sample(session, at)?;
        meter.recent.push_back(meter.began);
        Ok(meter)
    }

    /// Whether the kernel part of the cost is known.
    pub fn knows_all(&self) -> bool {
        self.began.kernel_ns.is_some()
    }

    /// Whether more of the machine was used of late than the user allows.
    pub fn exceeds(&mut self, session: &Session, now: Timestamp) -> Result<bool, Refusal> {
        let Some(limit) = self.limit else {
            return Ok(false);
        };
        let last = self.recent.back().copied().unwrap_or_default();
        if now.since(last.at) < EVERY {
            return Ok(false);
        }
        let sample = self.sample(session, now)?;
        self.recent.push_back(sample);
        while self.recent.len() > 2 && now.since(self.recent[1].at) >= SPAN {
            self.recent.pop_front();
        }
        let oldest = self.recent.front().copied().unwrap_or(sample);
        Ok(now.since(oldest.at) >= AT_LEAST && self.machine_percent(oldest, sample) > limit)
    }

    /// Over the whole trace.
    pub fn cost(&self, session: &Session, now: Timestamp) -> Result<Cost, Refusal> {
        let sample = self.sample(session, now)?;
        let events = session.counted()?.events();
        let known = sample.kernel_ns.zip(self.began.kernel_ns);
        let kernel_ns = known.map(|(now, began)| now - began);
        let machine = kernel_ns.map(|_| self.machine_percent(self.began, sample));
        Ok(Cost {
            kernel_events: events,
            kernel_ns_per_event: sample
                .kernel_ns
                .filter(|_| events > 0)
                .map(|ns| ns / events as f64),
            method: self.explain(session),
            collector_cpu: procfs::own_cpu(),
            collector_max_rss_bytes: procfs::own_peak_rss_bytes().unwrap_or(0),
            cpu_percent_of_one: machine.map(|percent| percent * self.cpus as f64),
            cpu_percent_of_machine: machine,
            syscall_ns: session.slower_calls(),
        })
    }

    /// Where the kernel part is not known, the collector's alone.
    fn machine_percent(&self, from: Sample, to: Sample) -> f64 {
        let kernel = match (from.kernel_ns, to.kernel_ns) {
            (Some(from), Some(to)) => to - from,
            _ => 0.0,
        };
        let collector = (to.collector - from.collector).0 as f64;
        let available = to.at.since(from.at).0.max(1) as f64 * self.cpus as f64;
        (kernel + collector) / available * 100.0
    }

    fn sample(&self, session: &Session, at: Timestamp) -> Result<Sample, Refusal> {
        let kernel_ns = match self.method {
            CostMethod::Exact => session.run_time_ns(),
            CostMethod::Calibrated => match session.prices() {
                Ok(prices) => Some(prices.total_ns(&session.counted()?)),
                Err(_) => None,
            },
        };
        Ok(Sample {
            at,
            kernel_ns,
            collector: procfs::own_cpu(),
        })
    }

    fn explain(&self, session: &Session) -> String {
        match (self.method, session.prices()) {
            (CostMethod::Exact, _) => {
                "the kernel's run-time statistics of each program, which cost more \
                than most programs and are in the figure; collector: its own CPU time"
                    .to_owned()
            }
            (CostMethod::Calibrated, Ok(prices)) => format!(
                "programs: counted runs, times what a run took in a loop at the start ({}); \
                 collector: its own CPU time since tracing began",
                in_words(prices)
            ),
            (CostMethod::Calibrated, Err(why)) => {
                format!(
                    "the collector's own CPU time; that of the kernel programs is not known: {why}"
                )
            }
        }
    }
}

fn in_words(prices: &Prices) -> String {
    let Prices {
        call,
        switch,
        waking,
        interrupt,
        switch_passed,
        waking_passed,
        ..
    } = prices;
    let passed = if switch_passed + waking_passed > 0.0 {
        format!(", of others {switch_passed:.0} and {waking_passed:.0} ns")
    } else {
        String::new()
    };
    format!(
        "switch {switch:.0} ns, wake-up {waking:.0} ns{passed}, begin or end of an interrupt \
         {interrupt:.0} ns, each call {call:.0} ns"
    )
}
