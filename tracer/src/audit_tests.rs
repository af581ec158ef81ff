//! What passes as equal, and what explains a difference.

use super::*;
use crate::model::{Doing, Slot};

const TICK: Tolerance = Tolerance {
    tick: Nanos(4_000_000),
};
const BASE: Timestamp = Timestamp(1_000_000_000);
const MS: u64 = 1_000_000;

/// The sums of one thread, and what they come to.
struct Case {
    audit: Audit,
    now: Timestamp,
    totals: Totals,
    counters: Counters,
}

impl Case {
    fn new() -> Case {
        Case {
            audit: Audit::new(BASE, Counters::default()),
            now: BASE,
            totals: Totals::zero(),
            counters: Counters::default(),
        }
    }

    fn span(&mut self, ns: u64, doing: Doing) {
        let from = self.now;
        self.now = Timestamp(from.0 + ns);
        let span = Span {
            slot: Slot(0),
            from,
            to: self.now,
            doing,
            open: false,
        };
        match doing {
            Doing::Run { lag, gap, .. } => self.audit.ran(&span, lag, gap),
            Doing::Wait(wait) => self.audit.waited(&span, wait),
            Doing::Off { .. } | Doing::Unknown => {}
        }
    }

    fn runs(&mut self, ns: u64, kernel: u64) {
        let gap = ClockGap::default();
        let lag = Nanos::ZERO;
        self.span(
            ns,
            Doing::Run {
                steal: None,
                lag,
                irq: Nanos::ZERO,
                softirq: Nanos::ZERO,
                gap,
            },
        );
        self.totals.run += Nanos(ns);
        self.counters.sum_exec += Nanos(kernel);
    }

    fn waits(&mut self, ns: u64, wait: Wait, kernel: u64) {
        self.span(ns, Doing::Wait(wait));
        self.totals.wait += Nanos(ns);
        self.counters.run_delay += Nanos(kernel);
    }

    fn mismatches(mut self) -> Vec<(CheckedField, Option<KnownError>)> {
        let source = CheckSource::Snapshot;
        self.audit
            .check(self.now, self.counters, None, Nanos::ZERO, source);
        let found = self
            .audit
            .mismatches(1, &self.totals, self.totals.run, TICK);
        found
            .into_iter()
            .map(|one| (one.field, one.reason))
            .collect()
    }
}

fn wait(began: WaitBegan, credit: u64, stamped: bool) -> Wait {
    Wait {
        stamped,
        ..Wait::stamped(began, Nanos(credit))
    }
}

#[test]
fn nothing_checked_is_nothing_found() {
    let case = Case::new();
    assert!(case.audit.source().is_none());
    assert!(case.audit.kernel(&case.totals, Nanos::ZERO).is_none());
    assert!(
        case.audit
            .mismatches(1, &case.totals, Nanos::ZERO, TICK)
            .is_empty()
    );
}

#[test]
fn counts_of_switches_are_equal_or_wrong() {
    for (voluntary, involuntary, field) in [
        (1, 0, CheckedField::Voluntary),
        (0, 1, CheckedField::Involuntary),
    ] {
        let mut case = Case::new();
        case.counters.nvcsw = voluntary;
        case.counters.nivcsw = involuntary;
        assert_eq!(case.mismatches(), [(field, None)]);
    }
    let mut case = Case::new();
    case.counters.nvcsw = 2;
    case.audit.switch_out(Timestamp(BASE.0 + 1), 2, 0);
    // The baseline has counted this one.
    case.audit.switch_out(BASE, 1, 0);
    assert_eq!(case.mismatches(), []);
}

#[test]
fn run_time_may_differ_by_two_ticks_or_one_percent() {
    for (ours, kernel, passes) in [
        (10 * MS, 2 * MS, true),
        (10 * MS, MS, false),
        (10_000 * MS, 9_901 * MS, true),
        (10_000 * MS, 9_899 * MS, false),
        (10_000 * MS, 10_101 * MS, false),
    ] {
        let mut case = Case::new();
        case.runs(ours, kernel);
        let expected: &[_] = if passes {
            &[]
        } else {
            &[(CheckedField::Run, None)]
        };
        assert_eq!(case.mismatches(), expected, "{ours} {kernel}");
    }
}

#[test]
fn waits_may_differ_by_a_thousandth_or_fifty_microseconds_and_a_little_for_each() {
    for (ours, kernel, passes) in [
        (MS, MS - 50_000, true),
        (MS, MS - 50_201, false),
        // Of the smaller one.
        (1000 * MS, 999 * MS + 1_000, true),
        (1000 * MS, 999 * MS, false),
        (1000 * MS, 1001 * MS + 201, false),
    ] {
        let mut case = Case::new();
        let began = WaitBegan::Involuntary;
        case.waits(ours / 2, wait(began, ours / 2, true), kernel / 2);
        case.waits(ours / 2, wait(began, ours / 2, true), kernel - kernel / 2);
        let found = case.mismatches();
        assert_eq!(found.is_empty(), passes, "{ours} {kernel} {found:?}");
        assert!(found.iter().all(|(_, reason)| reason.is_none()));
    }
}

#[test]
fn a_sleep_that_the_kernel_counted_as_wait_is_explained() {
    let mut case = Case::new();
    // Woken 2 ms ago, stamped 60 ms ago.
    case.waits(2 * MS, wait(WaitBegan::Woken, 60 * MS, true), 60 * MS);
    assert_eq!(
        case.mismatches(),
        [(CheckedField::Wait, Some(KnownError::KernelCountedSleep))]
    );
}

#[test]
fn a_wait_that_the_kernel_missed_is_explained() {
    let mut case = Case::new();
    case.waits(20 * MS, wait(WaitBegan::Involuntary, 5 * MS, false), 5 * MS);
    assert_eq!(
        case.mismatches(),
        [(CheckedField::Wait, Some(KnownError::KernelMissedWait))]
    );
}

#[test]
fn a_difference_beyond_the_known_error_is_not_explained_by_it() {
    let mut case = Case::new();
    case.waits(2 * MS, wait(WaitBegan::Woken, 60 * MS, true), 80 * MS);
    assert_eq!(case.mismatches(), [(CheckedField::Wait, None)]);
    let mut case = Case::new();
    case.waits(20 * MS, wait(WaitBegan::Involuntary, 5 * MS, false), MS);
    assert_eq!(case.mismatches(), [(CheckedField::Wait, None)]);
}

#[test]
fn what_the_baseline_cuts_is_compared_from_there_on() {
    let mut case = Case::new();
    // Half of this run and of the wait after it lie before; the kernel credits the wait as a whole.
    case.now = Timestamp(BASE.0 - 10 * MS);
    let gap = ClockGap::default();
    let lag = Nanos::ZERO;
    case.span(
        20 * MS,
        Doing::Run {
            steal: None,
            lag,
            irq: Nanos::ZERO,
            softirq: Nanos::ZERO,
            gap,
        },
    );
    case.counters.sum_exec = Nanos(10 * MS);
    case.totals.run = Nanos(10 * MS);
    assert_eq!(case.mismatches(), []);
    let mut case = Case::new();
    case.now = Timestamp(BASE.0 - 30 * MS);
    case.span(
        40 * MS,
        Doing::Wait(wait(WaitBegan::Involuntary, 40 * MS, true)),
    );
    case.counters.run_delay = Nanos(40 * MS);
    case.totals.wait = Nanos(10 * MS);
    assert_eq!(case.mismatches(), []);
}

#[test]
fn the_kernels_numbers_are_cut_like_ours() {
    let mut case = Case::new();
    case.runs(100 * MS, 99 * MS);
    case.waits(
        50 * MS,
        wait(WaitBegan::Involuntary, 50 * MS, true),
        50 * MS,
    );
    case.audit.check(
        case.now,
        case.counters,
        None,
        Nanos::ZERO,
        CheckSource::LastRecord,
    );
    // The window saw 80 of the 100, and 40 of the 50.
    let totals = Totals {
        run: Nanos(80 * MS),
        wait: Nanos(40 * MS),
        ..Totals::zero()
    };
    let kernel = case.audit.kernel(&totals, totals.run).expect("checked");
    assert_eq!((kernel.run.0, kernel.wait.0), (79 * MS, 40 * MS));
    assert_eq!(kernel.source, KernelSource::LastRecord);
}

#[test]
fn a_share_never_overflows() {
    assert_eq!(share(Nanos(10), Nanos(1), Nanos(3)), Nanos(3));
    assert_eq!(share(Nanos(10), Nanos(5), Nanos(3)), Nanos(10));
    assert_eq!(
        share(Nanos(u64::MAX), Nanos(u64::MAX - 1), Nanos(u64::MAX)),
        Nanos(u64::MAX - 1)
    );
}

/// As a recording may say it that nobody recorded.
#[test]
fn counters_of_no_kernel_do_not_overflow() {
    let mut case = Case::new();
    let endless = Counters {
        run_delay: Nanos(u64::MAX),
        ..Counters::default()
    };
    case.audit = Audit::new(BASE, endless);
    case.counters = endless;
    // Its wait began before the baseline.
    case.now = Timestamp(BASE.0 - MS);
    case.span(2 * MS, Doing::Wait(wait(WaitBegan::Woken, 5 * MS, true)));
    let found = case.mismatches();
    assert_eq!(found, [(CheckedField::Wait, None)]);
}
