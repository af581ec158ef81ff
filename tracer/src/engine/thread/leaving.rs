//! A thread leaves its CPU: what that closes, proves and makes good.
//!
//! In: a switch. Out: spans, marks, and how many switches before it were lost. Must not know: other
//! threads, processes, windows.

use super::{Departure, Oddities, State, Story, Thread, gap};
use crate::model::{
    CheckSource, ClockGap, Counters, Cpu, Doing, Interrupts, Mark, Nanos, SpanSink, Switch,
    SwitchOut, Timestamp, WaitBegan, WaitCause,
};

impl Thread {
    /// A switch-in is missing, and no switch-out: between two switch-outs with consecutive numbers
    /// lies one stay off the CPU and one on it, and the counters tell how long each was.
    fn rebuild_switch_in(
        &mut self,
        at: Timestamp,
        since: Timestamp,
        then: Counters,
        now: Counters,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> Option<Story> {
        quality.rebuilt_switch_ins += 1;
        let run = (now.sum_exec - then.sum_exec - self.run_since).min(at.since(since));
        let entered = at.before(run);
        let credit = now.run_delay - then.run_delay - self.credit_since;
        // Woken after that is a wake-up for later.
        self.last_waking = self.last_waking.filter(|&waking| waking <= entered);
        let story = self.back_on_cpu(entered, None, credit, quality, sink);
        self.open_start = false;
        self.close(
            entered,
            at,
            Doing::Run {
                steal: None,
                lag: Nanos::ZERO,
                irq: Nanos::ZERO,
                softirq: Nanos::ZERO,
                gap: ClockGap::default(),
            },
            sink,
        );
        self.run_since += run;
        story
    }

    /// Switched out. The counters make good what a hole hid.
    pub fn switch_out(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        (switch, yielded): (&Switch, bool),
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> Departure {
        let now = switch.counters;
        let passed = self.take_due(|due| due.seq() < now.seq());
        let lost_before = passed.map_or(0, |due| self.catch_up(at, due, sink));
        // A look at it between the kernel's count and this very switch has counted that already: what it did before
        // cannot be checked.
        if self.counters.is_some_and(|then| then.seq() == now.seq()) {
            self.counters = None;
        }
        let mut departure = self.depart(switch);
        departure.lost += lost_before;
        let seen_to_come = matches!(self.state, State::Running { cpu: on, .. } if on == cpu);
        self.missed |= departure.lost > 0 || !seen_to_come;
        match self.state {
            State::Running {
                since,
                cpu: on,
                steal,
                lag,
                interrupts,
                clock,
            } if on == cpu && departure.lost == 0 => {
                let lag = (switch.clock_lag - lag).min(at.since(since));
                let steal = match (switch.steal, steal) {
                    // The clock of steal may run ahead of what the scheduler took out of run time.
                    (Some(now), Some(then)) => Some((now - then).min(lag)),
                    _ => None,
                };
                self.run_since += at.since(since) - lag;
                let gap = gap((since, clock), (at, Some(switch.rq_clock)));
                let Interrupts { irq, softirq } =
                    interrupted(at.since(since), interrupts, switch.interrupts);
                let doing = Doing::Run {
                    steal,
                    lag,
                    irq,
                    softirq,
                    gap,
                };
                self.close(since, at, doing, sink);
                departure.came = Some(since);
            }
            State::Off { since, .. } | State::Runnable { since, .. }
                if departure.lost == 0
                    && self.lost_ahead == 0
                    && let Some(then) = self.counters =>
            {
                departure.wait = self.rebuild_switch_in(at, since, then, now, quality, sink);
                departure.came = departure.wait.as_ref().map(|wait| wait.to);
            }
            State::Unborn => {
                sink.mark(self.slot, at, &Mark::Born);
                sink.mark(self.slot, at, &Mark::Baseline(now));
            }
            _ => {
                if let Some(since) = self.since() {
                    self.hole(since, at, sink);
                }
            }
        }
        self.heal(at, now, sink);
        if self.counters.is_none() {
            // First sight of its counters: what it did before cannot be checked.
            sink.mark(self.slot, at, &Mark::Baseline(now));
        }
        self.counters = Some(now);
        self.lost_ahead = 0;
        self.run_since = Nanos::ZERO;
        self.credit_since = Nanos::ZERO;
        self.hole_since = Nanos::ZERO;
        self.base_in_wait = false;
        self.base_unborn = false;
        self.open_start = false;
        self.state = match switch.out {
            SwitchOut::Runnable => State::Runnable {
                since: at,
                began: WaitBegan::Involuntary,
                cause: cause(switch, yielded, &departure),
                // One that yields goes by itself, whatever was decided before.
                resched: switch.resched.filter(|_| !yielded),
                stamped: switch.stamped,
                clock: Some(switch.rq_clock),
            },
            SwitchOut::Blocked { state, iowait } => State::Off {
                since: at,
                state,
                iowait,
                syscall: switch.syscall,
            },
            SwitchOut::Dead => State::Dead,
        };
        departure
    }

    /// After the marks of a switch-out: what can be checked now.
    pub fn settle(&mut self, at: Timestamp, sink: &mut impl SpanSink) {
        let Some(now) = self.counters else { return };
        if let Some(due) = self.take_due(|due| due.seq() == now.seq()) {
            self.check(at, due, CheckSource::Snapshot, sink);
        }
        if matches!(self.state, State::Dead) {
            self.check(at, now, CheckSource::LastRecord, sink);
            sink.mark(self.slot, at, &Mark::Died);
        }
    }

    fn depart(&self, switch: &Switch) -> Departure {
        let now = switch.counters;
        let Some(then) = self.counters else {
            // The class of this very switch: only who blocks gives up the CPU of its own accord.
            let blocked = !matches!(switch.out, SwitchOut::Runnable);
            let last = self.entered_with.unwrap_or(now.seq() as u32);
            let missing = (now.seq() as u32).wrapping_sub(last);
            return Departure {
                lost: u64::from(if missing > u32::MAX / 2 {
                    0
                } else {
                    missing.saturating_sub(1)
                }),
                voluntary: u64::from(blocked),
                involuntary: u64::from(!blocked),
                came: None,
                wait: None,
            };
        };
        let voluntary = now.nvcsw.saturating_sub(then.nvcsw);
        let involuntary = now.nivcsw.saturating_sub(then.nivcsw);
        let lost = (voluntary + involuntary).saturating_sub(1 + self.lost_ahead);
        Departure {
            lost,
            voluntary,
            involuntary,
            came: None,
            wait: None,
        }
    }

    /// The counters tell how much of the holes since the last ones was run and wait.
    pub(super) fn heal(&self, at: Timestamp, now: Counters, sink: &mut impl SpanSink) {
        let Some(then) = self.counters else { return };
        if self.hole_since == Nanos::ZERO || self.base_unborn {
            return;
        }
        let run = now.sum_exec - then.sum_exec - self.run_since;
        let run = run.min(self.hole_since);
        let wait = now.run_delay - then.run_delay - self.credit_since;
        let wait = if self.base_in_wait {
            Nanos::ZERO
        } else {
            wait.min(self.hole_since - run)
        };
        let doubtful = self.base_in_wait;
        let heal = Mark::Heal {
            run,
            wait,
            doubtful,
        };
        sink.mark(self.slot, at, &heal);
    }
}

/// What interrupts took of a stretch.
fn interrupted(length: Nanos, then: Option<Interrupts>, now: Interrupts) -> Interrupts {
    let then = then.unwrap_or(now);
    let irq = (now.irq - then.irq).min(length);
    let softirq = (now.softirq - then.softirq).min(length - irq);
    Interrupts { irq, softirq }
}

/// Why a thread that can go on does not.
fn cause(switch: &Switch, yielded: bool, departure: &Departure) -> WaitCause {
    // Newer kernels (6.18 does) tell the state of one that a signal kept from its sleep as if it had never wanted
    // to: but it counts as one that left of its own accord.
    let by_itself = departure.involuntary == 0 && departure.voluntary > 0;
    if switch.throttled {
        WaitCause::Throttled
    } else if yielded {
        WaitCause::Yielded
    } else if switch.requeued || by_itself {
        WaitCause::Requeued
    } else {
        WaitCause::Preempted
    }
}
