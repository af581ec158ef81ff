//! The same sums as the ledger's, from the first certain sight of a thread to the last one of the
//! kernel's counters, and what they come to against those counters.
//!
//! The kernel's counters cannot be read at the edges of the window: a running thread's counters
//! move. So each thread is compared between two points that both sides know by number, the switch
//! sequence, and the difference is carried over to the window.

use crate::{
    model::{CheckSource, ClockGap, Counters, Nanos, Span, Timestamp, Wait, WaitBegan},
    report::{CheckedField, KernelCounters, KernelSource, KnownError, Mismatch, Totals},
};

#[derive(Clone, Debug)]
pub struct Audit {
    from: Timestamp,
    /// Of what is compared as a growth: run time and wait.
    base: (Nanos, Nanos),
    sums: Sums,
    /// Once for each thread, at its end or the stream's: not a part of what every thread holds all along.
    outcome: Option<Box<Outcome>>,
}

/// Since the baseline.
#[derive(Clone, Copy, Debug, Default)]
struct Sums {
    /// As the kernel counts: from the beginning.
    voluntary: u64,
    involuntary: u64,
    /// Net of what the kernel does not count.
    run: Nanos,
    wait: Nanos,
    /// Of a wait open at the baseline, the part the kernel credits later and that lies before.
    wait_before: Nanos,
    involuntary_waits: u64,
    /// By how much the scheduler's clock makes run time and waits longer than ours does.
    run_gap: i64,
    wait_gap: i64,
    /// Waits the kernel did not stamp, as far as it missed them.
    uncounted: Nanos,
    /// A wait open at the baseline ended in a hole.
    doubtful: bool,
    /// What the kernel credited beyond the time since the wake-up.
    counted_sleep: Nanos,
}

/// The kernel's growth less ours.
#[derive(Clone, Copy, Debug)]
struct Outcome {
    source: CheckSource,
    voluntary: i128,
    involuntary: i128,
    run: i128,
    wait: i128,
    sums: Sums,
}

/// What passes as equal: two clocks, and counters that move at ticks.
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    /// One timer tick, the step of `sum_exec_runtime`.
    pub tick: Nanos,
}

impl Audit {
    pub fn new(from: Timestamp, base: Counters) -> Audit {
        Audit {
            from,
            base: (base.sum_exec, base.run_delay),
            sums: Sums {
                voluntary: base.nvcsw,
                involuntary: base.nivcsw,
                ..Sums::default()
            },
            outcome: None,
        }
    }

    #[inline]
    pub fn ran(&mut self, span: &Span, lag: Nanos, gap: ClockGap) {
        let Some(length) = self.counted(span) else {
            return;
        };
        self.sums.run += length - share(lag, length, span.to.since(span.from));
        if span.from >= self.from {
            self.sums.run_gap = self.sums.run_gap.saturating_add(gap.0);
        }
    }

    #[inline]
    pub fn waited(&mut self, span: &Span, wait: Wait) {
        let Some(length) = self.counted(span) else {
            return;
        };
        self.sums.wait += length;
        let whole = span.to.since(span.from);
        if span.open || span.from < self.from {
            self.sums.wait_before += wait.credit - length;
        } else if wait.began == WaitBegan::Woken {
            self.sums.counted_sleep += wait.credit - whole;
        } else {
            self.sums.wait_gap = self.sums.wait_gap.saturating_add(wait.gap.0);
            if !wait.stamped {
                let theirs = Nanos(whole.0.saturating_add_signed(wait.gap.0));
                self.sums.uncounted += theirs - wait.credit;
            }
        }
        if wait.began == WaitBegan::Involuntary {
            self.sums.involuntary_waits += 1;
        }
    }

    /// The part of a span since the baseline.
    #[inline]
    fn counted(&self, span: &Span) -> Option<Nanos> {
        let from = span.from.max(self.from);
        (span.to >= from).then(|| span.to.since(from))
    }

    /// See [`crate::ledger::Ledger::glance`].
    #[inline]
    pub fn glance(&self) -> u64 {
        self.from.0 ^ self.sums.voluntary ^ self.sums.counted_sleep.0
    }

    /// `doubtful`: of the wait, what the kernel gained beyond ours may be older than the baseline.
    pub fn heal(&mut self, run: Nanos, wait: Nanos, doubtful: bool) {
        self.sums.doubtful |= doubtful;
        self.sums.run += run;
        self.sums.wait += wait;
    }

    #[inline]
    pub fn switch_out(&mut self, at: Timestamp, voluntary: u64, involuntary: u64) {
        // A baseline taken at a switch-out has counted that one.
        if at > self.from {
            self.sums.voluntary += voluntary;
            self.sums.involuntary += involuntary;
        }
    }

    /// The kernel's counters at a point that the sums have reached as well.
    pub fn check(
        &mut self,
        at: Timestamp,
        counters: Counters,
        running_since: Option<Timestamp>,
        lag: Nanos,
        source: CheckSource,
    ) {
        let mut sums = self.sums;
        if let Some(since) = running_since {
            let length = at.since(since.max(self.from));
            sums.run += length - share(lag, length, at.since(since));
        }
        let less = |kernel: u64, base: u64, ours: u64| {
            i128::from(kernel) - i128::from(base) - i128::from(ours)
        };
        let outcome = Outcome {
            source,
            voluntary: less(counters.nvcsw, 0, sums.voluntary),
            involuntary: less(counters.nivcsw, 0, sums.involuntary),
            run: less(counters.sum_exec.0, self.base.0.0, sums.run.0),
            wait: less(
                counters.run_delay.0,
                (self.base.1 + sums.wait_before).0,
                sums.wait.0,
            ),
            sums,
        };
        match &mut self.outcome {
            Some(place) => **place = outcome,
            None => self.outcome = Some(Box::new(outcome)),
        }
    }

    pub fn source(&self) -> Option<CheckSource> {
        Some(self.outcome.as_ref()?.source)
    }

    /// The kernel's counters over the window: `net_run` is the window's run time less what the
    /// kernel does not count.
    pub fn kernel(&self, totals: &Totals, net_run: Nanos) -> Option<KernelCounters> {
        let outcome = self.outcome.as_ref()?;
        let moved = |ours: u64, by: i128| u64::try_from(i128::from(ours) + by).unwrap_or(0);
        Some(KernelCounters {
            source: match outcome.source {
                CheckSource::Snapshot => KernelSource::Snapshot,
                CheckSource::LastRecord => KernelSource::LastRecord,
            },
            voluntary: moved(totals.voluntary, outcome.voluntary),
            involuntary: moved(totals.involuntary, outcome.involuntary),
            run: Nanos(moved(net_run.0, outcome.run)),
            wait: Nanos(moved(totals.wait.0, outcome.wait)),
        })
    }

    /// Where the kernel's counters and ours differ by more than two clocks and ticks explain.
    pub fn mismatches(
        &self,
        tid: u32,
        totals: &Totals,
        net_run: Nanos,
        tolerance: Tolerance,
    ) -> Vec<Mismatch> {
        let (Some(outcome), Some(kernel)) = (&self.outcome, self.kernel(totals, net_run)) else {
            return Vec::new();
        };
        let mut mismatches = Vec::new();
        let mut differ = |field, ours, kernel, reason| {
            mismatches.push(Mismatch {
                tid,
                field,
                ours,
                kernel,
                reason,
            });
        };
        if outcome.voluntary != 0 {
            differ(
                CheckedField::Voluntary,
                totals.voluntary,
                kernel.voluntary,
                None,
            );
        }
        if outcome.involuntary != 0 {
            differ(
                CheckedField::Involuntary,
                totals.involuntary,
                kernel.involuntary,
                None,
            );
        }
        // What is listed goes by the numbers that readers see; what is explained, by those compared.
        let sums = outcome.sums;
        let run_slack = |run: Nanos| (run.0 / 100).max(2 * tolerance.tick.0);
        if outcome.run.unsigned_abs() > u128::from(run_slack(sums.run.min(net_run))) {
            let known = [(i128::from(sums.run_gap), KnownError::KernelStaleClock)];
            let reason = explain(outcome.run, run_slack(sums.run), &known);
            differ(CheckedField::Run, net_run.0, kernel.run.0, reason);
        }
        let wait_slack =
            |wait: Nanos, begun: u64| (wait.0 / 1000).max(50_000).saturating_add(100 * begun);
        // A thousandth of the smaller number: whichever of the two a reader takes, what is beyond it is listed.
        // Who leaves voluntarily and is runnable all the same (a signal was pending) begins a wait, too,
        // but not involuntarily: readers know only how the kernel counted.
        let begun = sums.involuntary_waits.min(totals.involuntary);
        let shown = wait_slack(sums.wait.min(totals.wait).min(kernel.wait), begun);
        if outcome.wait.unsigned_abs() > u128::from(shown) {
            let known = [
                (
                    i128::from(sums.counted_sleep.0),
                    KnownError::KernelCountedSleep,
                ),
                (-i128::from(sums.uncounted.0), KnownError::KernelMissedWait),
                (i128::from(sums.wait_gap), KnownError::KernelStaleClock),
            ];
            let of_kernel = i128::from(sums.wait.0) + outcome.wait;
            let of_kernel = Nanos(u64::try_from(of_kernel).unwrap_or(0));
            let slack = wait_slack(sums.wait.min(of_kernel), sums.involuntary_waits);
            let older = sums.doubtful && outcome.wait > 0;
            let reason = explain(outcome.wait, slack, &known)
                .or(older.then_some(KnownError::BeganBeforeAHole));
            differ(CheckedField::Wait, totals.wait.0, kernel.wait.0, reason);
        }
        mismatches
    }
}

/// Whether the known errors, each measured, add up to the difference; the largest one names it.
fn explain(difference: i128, slack: u64, known: &[(i128, KnownError)]) -> Option<KnownError> {
    let explained: i128 = known.iter().map(|(amount, _)| amount).sum();
    let rest = (difference - explained).unsigned_abs();
    let largest = known
        .iter()
        .max_by_key(|(amount, _)| amount.unsigned_abs())?;
    (rest <= u128::from(slack)).then_some(largest.1)
}

/// The share of `amount` that falls on `part` of `whole`.
#[inline]
pub fn share(amount: Nanos, part: Nanos, whole: Nanos) -> Nanos {
    if part >= whole || amount == Nanos::ZERO {
        amount
    } else {
        divided(amount, part, whole)
    }
}

/// Only where an edge of the window cuts.
#[cold]
fn divided(amount: Nanos, part: Nanos, whole: Nanos) -> Nanos {
    let scaled = u128::from(amount.0) * u128::from(part.0) / u128::from(whole.0.max(1));
    Nanos(u64::try_from(scaled).unwrap_or(u64::MAX))
}

#[cfg(test)]
#[path = "audit_tests.rs"]
mod tests;
