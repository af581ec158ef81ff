//! What the last look and the end of the stream say of one thread.
//!
//! In: an entry of the task iterator, the end of the window. Out: checks, holes, open spans. Must not
//! know: other threads, processes.

use super::{LastLook, State, Story, Thread};
use crate::model::{
    CheckSource, ClockGap, Counters, Doing, Mark, Nanos, Posture, Slept, Span, SpanSink,
    ThreadInfo, Timestamp, Wait, WaitBegan, WaitCause,
};

impl Thread {
    /// From the task iterator at the end. Its counters are as new as the stream, or one switch ahead.
    pub fn seen_at_end(&mut self, at: Timestamp, info: &ThreadInfo, sink: &mut impl SpanSink) {
        self.last_look.get_or_insert_default();
        if info.torn || self.state == State::Dead {
            return;
        }
        self.look_mut().sample = Some((info.steal, info.clock_lag));
        self.look_mut().posture = Some((at, info.posture));
        let Some(seq) = self.seq() else { return };
        match info.counters.seq().wrapping_sub(seq) {
            0 if self.state == State::Unborn => {}
            0 => {
                self.catch_up(at, info.counters, sink);
                let (running_since, lag) = match self.state {
                    State::Running { since, lag, .. } => (Some(since), info.clock_lag - lag),
                    _ => (None, Nanos::ZERO),
                };
                let mut counters = info.counters;
                counters.run_delay = counters.run_delay - self.credit_of_open_wait(at, counters);
                let source = CheckSource::Snapshot;
                sink.mark(
                    self.slot,
                    at,
                    &Mark::Check {
                        counters,
                        running_since,
                        lag,
                        source,
                    },
                );
            }
            // The switch was counted and its tracepoint had not fired yet; or it is lost.
            ahead if ahead < u64::from(u32::MAX) => self.look_mut().due_check = Some(info.counters),
            _ => {}
        }
    }

    /// The iterator at the end still saw it.
    pub fn is_seen_at_end(&self) -> bool {
        self.last_look.is_some()
    }

    fn look_mut(&mut self) -> &mut LastLook {
        self.last_look.get_or_insert_default()
    }

    /// The check that waits, once its time has come.
    pub(super) fn take_due(&mut self, now: impl FnOnce(&Counters) -> bool) -> Option<Counters> {
        self.last_look.as_mut()?.due_check.take_if(|due| now(due))
    }

    /// The iterator at the end did not see it: it died, and the stream does not say when.
    pub fn vanished(&mut self) {
        if let Some(since) = self.since() {
            self.state = State::Unknown { since };
        }
    }

    /// It told that it exits, and its last switch-out is missing: life ends there, or at its last
    /// sign if that came later. What is left to check is what its last record said.
    pub fn exited_unseen(&mut self, told: Timestamp, sink: &mut impl SpanSink) -> Timestamp {
        let at = self.since().map_or(told, |since| since.max(told));
        if let Some(since) = self.since() {
            self.hole(since, at, sink);
        }
        if let Some(last) = self.counters {
            let counters = Counters {
                run_delay: last.run_delay + self.credit_since,
                sum_exec: last.sum_exec + self.run_since,
                ..last
            };
            self.check(at, counters, CheckSource::LastRecord, sink);
        }
        self.state = State::Dead;
        at
    }

    /// What the kernel has credited already of a wait that goes on: it does so whenever the thread
    /// goes to another run queue.
    fn credit_of_open_wait(&self, at: Timestamp, now: Counters) -> Nanos {
        match (self.state, self.counters) {
            (State::Runnable { since, .. } | State::Off { since, .. }, Some(then)) => {
                let credit = now.run_delay - then.run_delay - self.credit_since;
                // Of a wait that is older than its first sight, nobody knows how long it is.
                let longest = if self.open_start {
                    credit
                } else {
                    at.since(since)
                };
                credit.min(longest)
            }
            _ => Nanos::ZERO,
        }
    }

    /// The iterator at the end saw it elsewhere than the stream left it: it came there unseen. For
    /// streams with losses only, since to a thread that is being switched this may happen by right.
    pub fn believe_the_end(&mut self, sink: &mut impl SpanSink) {
        let Some((seen, posture)) = self.last_look.as_ref().and_then(|look| look.posture) else {
            return;
        };
        match (self.state, posture) {
            (State::Off { since, .. } | State::Runnable { since, .. }, Posture::OnCpu)
                if since < seen =>
            {
                self.state = State::Unknown { since };
            }
            (State::Running { since, .. }, Posture::Runnable | Posture::Blocked { .. })
                if since < seen =>
            {
                self.state = State::Unknown { since };
            }
            (State::Off { since, .. }, Posture::Runnable)
                if since < seen && self.last_waking.is_none_or(|waking| waking < since) =>
            {
                self.state = State::Unknown { since };
            }
            (
                State::Unborn,
                Posture::OnCpu | Posture::Runnable | Posture::Blocked { .. } | Posture::Dead,
            ) => {
                sink.mark(self.slot, seen, &Mark::Born);
                self.base_unborn = true;
                self.state = State::Unknown { since: seen };
            }
            _ => {}
        }
    }

    /// The kernel's counters prove switch-outs that the stream does not have: they count even so.
    /// Answers how many of them were not known to be lost.
    pub(super) fn catch_up(
        &mut self,
        at: Timestamp,
        to: Counters,
        sink: &mut impl SpanSink,
    ) -> u64 {
        let Some(then) = &mut self.counters else {
            return 0;
        };
        let missing = to.seq().saturating_sub(then.seq());
        if missing == 0 {
            return 0;
        }
        let lost = missing.saturating_sub(self.lost_ahead);
        self.lost_ahead = self.lost_ahead.saturating_sub(missing);
        let voluntary = to.nvcsw.saturating_sub(then.nvcsw);
        let involuntary = to.nivcsw.saturating_sub(then.nivcsw);
        (then.nvcsw, then.nivcsw) = (to.nvcsw, to.nivcsw);
        let mark = Mark::LostAtEnd {
            voluntary,
            involuntary,
        };
        sink.mark(self.slot, at, &mark);
        lost
    }

    /// The stream ends at `at`: the open state becomes a span. Answers the switch-outs that the
    /// iterator saw and the stream did not, and the wait that goes on.
    pub fn finish(&mut self, at: Timestamp, sink: &mut impl SpanSink) -> (u64, Option<Story>) {
        let due = self.take_due(|_| true);
        let (Some(due), Some(since)) = (due, self.since()) else {
            return (0, self.open_spans(at, sink));
        };
        if self.seq().is_some_and(|seq| due.seq() <= seq) {
            // It came back since, which told of the same switches.
            self.catch_up(at, due, sink);
            return (0, self.open_spans(at, sink));
        }
        self.hole(since, at, sink);
        self.heal(at, due, sink);
        let lost = self.catch_up(at, due, sink);
        self.check(at, due, CheckSource::Snapshot, sink);
        self.state = State::Unknown { since: at };
        (lost, None)
    }

    /// The open state up to `at`, as far as it can be told before it closes. Answers the wait that goes on.
    pub fn open_spans(&self, at: Timestamp, sink: &mut impl SpanSink) -> Option<Story> {
        let span = |from, to, doing| Span {
            slot: self.slot,
            from,
            to,
            doing,
            open: true,
        };
        match self.state {
            State::Unborn | State::Dead => None,
            State::Running {
                since, steal, lag, ..
            } => {
                let sample = self.last_look.as_ref().and_then(|look| look.sample);
                let (steal_now, lag_now) = sample.unwrap_or((None, lag));
                let lag = lag_now - lag;
                let steal = steal_now
                    .zip(steal)
                    .map(|(now, then)| (now - then).min(lag));
                sink.span(&span(
                    since,
                    at,
                    Doing::Run {
                        steal,
                        lag,
                        irq: Nanos::ZERO,
                        softirq: Nanos::ZERO,
                        gap: ClockGap::default(),
                    },
                ));
                None
            }
            State::Runnable {
                since,
                began,
                cause,
                resched,
                ..
            } => {
                let wait = Wait::stamped(began, at.since(since));
                sink.span(&span(since, at, Doing::Wait(wait)));
                Some(Story {
                    open: true,
                    resched,
                    ..Story::of(since, at, cause)
                })
            }
            State::Off {
                since,
                state,
                iowait,
                syscall,
            } => {
                // Woken and not yet running: how much of it is wake, nobody knows yet.
                let woken = self
                    .last_waking
                    .filter(|&waking| waking >= since && waking < at);
                let until = woken.unwrap_or(at);
                sink.span(&span(
                    since,
                    until,
                    Doing::Off {
                        state,
                        iowait,
                        syscall,
                        wake: None,
                    },
                ));
                let waking = woken?;
                let wait = Wait::stamped(WaitBegan::Woken, at.since(until));
                sink.span(&span(until, at, Doing::Wait(wait)));
                Some(Story {
                    open: true,
                    waking: Some((waking, self.waker)),
                    slept: Some(Slept {
                        state,
                        syscall,
                        from: since,
                    }),
                    ..Story::of(until, at, WaitCause::Woken)
                })
            }
            State::Unknown { since } => {
                sink.span(&span(since, at, Doing::Unknown));
                None
            }
        }
    }
}
