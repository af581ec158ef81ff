//! One thread's states on the time line; closes spans.
//!
//! In: what a switch, a wake-up or a birth says of this thread. Out: spans and marks, in order.
//! Must not know: other threads, processes, windows.

use crate::model::{
    CheckSource, ClockGap, Counters, Cpu, Doing, Mark, Nanos, OffState, Posture, Slot, Span,
    SpanSink, Switch, SwitchOut, Syscall, ThreadInfo, Timestamp, Wait, WaitBegan,
};

/// A state holds exactly what that state knows; not-yet-seen is a state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Created, not yet on a run queue: not alive.
    Unborn,
    Running {
        since: Timestamp,
        cpu: Cpu,
        /// This CPU's cumulative steal and lag at `since`.
        steal: Option<Nanos>,
        lag: Nanos,
        /// The scheduler's time at `since`; `None` when that was no switch.
        clock: Option<Timestamp>,
    },
    /// On a run queue.
    Runnable {
        since: Timestamp,
        began: WaitBegan,
        stamped: bool,
        /// The scheduler's time at `since`; `None` when that was no switch.
        clock: Option<Timestamp>,
    },
    /// Left blocked. How much of this is wait is known when it runs again.
    Off {
        since: Timestamp,
        state: OffState,
        iowait: bool,
        syscall: Option<Syscall>,
    },
    /// Lost from sight by a hole, since its last certain event.
    Unknown {
        since: Timestamp,
    },
    Dead,
}

/// What the engine knows of a thread's past.
#[derive(Clone, Debug)]
pub struct Thread {
    pub slot: Slot,
    pub state: State,
    /// At the last switch-out, or as the iterator or the birth record told. `None` before that.
    counters: Option<Counters>,
    /// Switch-outs that a later switch-in proved lost, not yet told by `counters`.
    lost_ahead: u64,
    last_waking: Option<Timestamp>,
    last_switch_in: Option<Timestamp>,
    /// `next_seq` of the last switch-in.
    entered_with: Option<u32>,
    /// Since `counters` were taken: net run time, waits as the kernel credits them, and holes.
    run_since: Nanos,
    credit_since: Nanos,
    hole_since: Nanos,
    /// `counters` were taken while it waited: a part of its next credit is older.
    base_in_wait: bool,
    /// `counters` are older than its life as we know it.
    base_unborn: bool,
    /// A check that waits for the switch with this number.
    due_check: Option<Counters>,
    /// The state at the first sight is older than that sight.
    open_start: bool,
    /// What the iterator at the end saw of the CPU this thread runs on: steal and lag.
    end_sample: Option<(Option<Nanos>, Nanos)>,
    /// The iterator at the end still saw it.
    pub seen_at_end: bool,
    /// What it was doing then.
    end_posture: Option<(Timestamp, Posture)>,
}

/// What a switch-out said about this thread's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// Switch-outs of this thread that are missing before this one.
    pub lost: u64,
    pub voluntary: u64,
    pub involuntary: u64,
}

impl Thread {
    /// A thread of which nothing is known but that it exists since `at`.
    pub fn unknown(slot: Slot, at: Timestamp) -> Thread {
        Thread {
            slot,
            state: State::Unknown { since: at },
            counters: None,
            lost_ahead: 0,
            last_waking: None,
            last_switch_in: None,
            entered_with: None,
            run_since: Nanos::ZERO,
            credit_since: Nanos::ZERO,
            hole_since: Nanos::ZERO,
            base_in_wait: false,
            base_unborn: false,
            due_check: None,
            open_start: false,
            end_sample: None,
            seen_at_end: false,
            end_posture: None,
        }
    }

    /// A thread at its creation.
    pub fn unborn(slot: Slot, at: Timestamp, counters: Counters) -> Thread {
        Thread {
            state: State::Unborn,
            counters: Some(counters),
            ..Thread::unknown(slot, at)
        }
    }

    /// The number of its last switch-out, as far as the stream told.
    fn seq(&self) -> Option<u64> {
        Some(self.counters?.seq().wrapping_add(self.lost_ahead))
    }

    /// Whether a switch-out with these counters is this thread's next one.
    pub fn leaves_with(&self, next: &Counters) -> bool {
        self.seq()
            .is_some_and(|seq| next.seq() == seq.wrapping_add(1))
    }

    /// Whether a switch-in after this switch-out follows this thread's last one.
    pub fn enters_with(&self, seq: u32) -> bool {
        self.seq().is_some_and(|last| last as u32 == seq)
    }

    /// The kernel shows no switch-out of this thread, neither here nor to other tracers: a policy
    /// may exempt processes from tracing.
    pub fn is_hidden(&self) -> bool {
        self.counters.is_none()
    }

    /// Of a hidden thread that is about to be switched in: how often it left since the last time,
    /// and whether it was woken since, which tells that it had left blocked.
    pub fn unseen_departures(&self, next_seq: u32) -> (u64, bool) {
        let left = self
            .entered_with
            .map_or(0, |last| u64::from(next_seq.wrapping_sub(last)));
        (
            if left > 1 << 16 { 0 } else { left },
            self.last_waking > self.last_switch_in,
        )
    }

    /// Whether this thread was seen to enter a CPU and not to leave it, though it did.
    pub fn left_at_last(&self) -> bool {
        self.entered_with.is_some() && matches!(self.state, State::Unknown { .. })
    }

    /// Where a hole that ends now began.
    fn since(&self) -> Option<Timestamp> {
        match self.state {
            State::Unborn | State::Dead => None,
            State::Running { since, .. }
            | State::Runnable { since, .. }
            | State::Off { since, .. }
            | State::Unknown { since } => Some(since),
        }
    }

    /// From the task iterator at the start. What the stream told before is newer than or equal to it.
    pub fn seen(&mut self, at: Timestamp, info: &ThreadInfo, sink: &mut impl SpanSink) {
        let untouched = matches!(self.state, State::Unknown { .. }) && self.counters.is_none();
        // While the probes are being attached, one CPU tells its switches before another does.
        let told = self.seq().map(|seq| seq as u32).or(self.entered_with);
        let missed_some = !info.torn && told.is_some_and(|seq| seq != info.counters.seq() as u32);
        if missed_some {
            self.counters = None;
            self.lost_ahead = 0;
        }
        if untouched || missed_some {
            let older = self.since().filter(|&since| since < at);
            if let Some(since) = older {
                self.hole(since, at, sink);
            }
            self.state = match info.posture {
                // Who has lived is not unborn again.
                Posture::Unborn | Posture::Dead if older.is_some() => State::Unknown { since: at },
                Posture::Unborn => State::Unborn,
                Posture::Dead => State::Dead,
                Posture::OnCpu => State::Running {
                    since: at,
                    cpu: info.cpu,
                    steal: info.steal,
                    lag: info.clock_lag,
                    clock: None,
                },
                Posture::Runnable => State::Runnable {
                    since: at,
                    began: WaitBegan::Woken,
                    stamped: info.queued,
                    clock: None,
                },
                Posture::Blocked { state, iowait } => State::Off {
                    since: at,
                    state,
                    iowait,
                    syscall: info.syscall,
                },
            };
            self.open_start = true;
        }
        if self.counters.is_none() && !info.torn {
            self.counters = Some(info.counters);
            self.base_in_wait = info.posture == Posture::Runnable;
            // What the stream told before is in these counters.
            self.run_since = Nanos::ZERO;
            self.credit_since = Nanos::ZERO;
            self.hole_since = Nanos::ZERO;
            if !matches!(info.posture, Posture::Unborn) {
                sink.mark(self.slot, at, &Mark::Baseline(info.counters));
            }
        }
    }

    /// Woken for the first time.
    pub fn born(&mut self, at: Timestamp, clock: Timestamp, sink: &mut impl SpanSink) {
        match self.state {
            State::Unborn => {}
            // Its creation was lost, and this is its first sight: all counters begin at zero.
            State::Unknown { since } if since == at && self.counters.is_none() => {
                self.counters = Some(Counters::default());
            }
            // An iterator saw it on its run queue before this was told.
            _ => return,
        }
        sink.mark(self.slot, at, &Mark::Born);
        if let Some(counters) = self.counters {
            sink.mark(self.slot, at, &Mark::Baseline(counters));
        }
        self.open_start = false;
        self.state = State::Runnable {
            since: at,
            began: WaitBegan::New,
            stamped: true,
            clock: Some(clock),
        };
    }

    /// Moved to another CPU. Between two run queues it is on none, and its wait is not stamped.
    pub fn migrated(&mut self) {
        if let State::Runnable { stamped, .. } = &mut self.state {
            *stamped = false;
        }
    }

    pub fn waking(&mut self, at: Timestamp) {
        self.last_waking = Some(at);
    }

    /// Switched in. Answers whether the hole before it proves lost switch-outs, and how many.
    pub fn switch_in(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> u64 {
        let lost = match self.seq() {
            Some(seq) => u64::from(switch.next_seq.wrapping_sub(seq as u32)),
            None => 0,
        };
        // Half the range ahead is behind: not a continuation, and nothing that can be counted.
        let lost = if lost > u64::from(u32::MAX / 2) {
            0
        } else {
            lost
        };
        self.lost_ahead += lost;
        let ended_wait = switch.next_wait.unwrap_or_default();
        let credit = match self.counters {
            Some(counters) => {
                switch.next_run_delay + ended_wait - (counters.run_delay + self.credit_since)
            }
            None => ended_wait,
        };
        match self.state {
            State::Runnable { .. } | State::Off { .. } if lost == 0 => {
                self.back_on_cpu(at, Some(switch.rq_clock), credit, quality, sink);
            }
            State::Unborn => {
                // Its first wake-up was lost, and maybe more.
                self.base_unborn = lost > 0;
                let queued = at.before(ended_wait);
                sink.mark(self.slot, queued, &Mark::Born);
                if let Some(counters) = self.counters {
                    sink.mark(self.slot, queued, &Mark::Baseline(counters));
                }
                self.wait(queued, at, Wait::stamped(WaitBegan::New, credit), sink);
            }
            State::Running { since, .. }
            | State::Runnable { since, .. }
            | State::Off { since, .. }
            | State::Unknown { since } => {
                // The last queued stretch is known even so; the rest is a hole.
                let tail = ended_wait.min(at.since(since));
                let queued = at.before(tail);
                self.hole(since, queued, sink);
                self.wait(
                    queued,
                    at,
                    Wait::stamped(WaitBegan::Woken, ended_wait),
                    sink,
                );
            }
            State::Dead => {}
        }
        self.open_start = false;
        self.end_sample = None;
        self.last_switch_in = Some(at);
        self.entered_with = Some(switch.next_seq);
        self.state = State::Running {
            since: at,
            cpu,
            steal: switch.steal,
            lag: switch.clock_lag,
            clock: Some(switch.rq_clock),
        };
        lost
    }

    /// Closes the time off the CPU. `credit` is what the kernel's counter gained for its wait.
    fn back_on_cpu(
        &mut self,
        at: Timestamp,
        clock: Option<Timestamp>,
        credit: Nanos,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) {
        match self.state {
            State::Runnable {
                since,
                began,
                stamped,
                clock: left,
            } => {
                let gap = gap((since, left), (at, clock));
                let wait = Wait {
                    began,
                    credit,
                    stamped,
                    gap,
                };
                self.wait(since, at, wait, sink);
            }
            State::Off {
                since,
                state,
                iowait,
                syscall,
            } => {
                let woken = self.last_waking.filter(|&waking| waking >= since);
                if woken.is_none() && !self.woken_before_it_left() && !self.open_start {
                    quality.switch_ins_without_waking += 1;
                }
                let asleep_until_at_least = woken.unwrap_or(since);
                let wait = credit.min(at.since(asleep_until_at_least));
                let queued = at.before(wait);
                let wake = woken.map(|waking| queued.since(waking));
                self.close(
                    since,
                    queued,
                    Doing::Off {
                        state,
                        iowait,
                        syscall,
                        wake,
                    },
                    sink,
                );
                // It went to sleep out of sight, and still its wait began in sight.
                self.open_start &= woken.is_none() && credit > wait;
                self.wait(queued, at, Wait::stamped(WaitBegan::Woken, credit), sink);
                if let Some(waking) = woken {
                    sink.mark(self.slot, at, &Mark::Latency { from: waking });
                }
            }
            State::Unborn | State::Running { .. } | State::Unknown { .. } | State::Dead => {}
        }
    }

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
    ) {
        quality.rebuilt_switch_ins += 1;
        let run = (now.sum_exec - then.sum_exec - self.run_since).min(at.since(since));
        let entered = at.before(run);
        let credit = now.run_delay - then.run_delay - self.credit_since;
        // Woken after that is a wake-up for later.
        self.last_waking = self.last_waking.filter(|&waking| waking <= entered);
        self.back_on_cpu(entered, None, credit, quality, sink);
        self.open_start = false;
        self.close(
            entered,
            at,
            Doing::Run {
                steal: None,
                lag: Nanos::ZERO,
                gap: ClockGap::default(),
            },
            sink,
        );
        self.run_since += run;
    }

    /// Switched out. The counters make good what a hole hid.
    pub fn switch_out(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> Departure {
        let now = switch.counters;
        let passed = self.due_check.take_if(|due| due.seq() < now.seq());
        let lost_before = passed.map_or(0, |due| self.catch_up(at, due, sink));
        let mut departure = self.depart(switch);
        departure.lost += lost_before;
        match self.state {
            State::Running {
                since,
                cpu: on,
                steal,
                lag,
                clock,
            } if on == cpu && departure.lost == 0 => {
                let lag = (switch.clock_lag - lag).min(at.since(since));
                let steal = match (switch.steal, steal) {
                    (Some(now), Some(then)) => Some((now - then).min(at.since(since))),
                    _ => None,
                };
                self.run_since += at.since(since) - lag;
                let gap = gap((since, clock), (at, Some(switch.rq_clock)));
                self.close(since, at, Doing::Run { steal, lag, gap }, sink);
            }
            State::Off { since, .. } | State::Runnable { since, .. }
                if departure.lost == 0
                    && self.lost_ahead == 0
                    && let Some(then) = self.counters =>
            {
                self.rebuild_switch_in(at, since, then, now, quality, sink);
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
        if let Some(due) = self.due_check.take_if(|due| due.seq() == now.seq()) {
            self.check(at, due, CheckSource::Snapshot, sink);
        }
        if self.state == State::Dead {
            self.check(at, now, CheckSource::LastRecord, sink);
            sink.mark(self.slot, at, &Mark::Died);
        }
    }

    /// From the task iterator at the end. Its counters are as new as the stream, or one switch ahead.
    pub fn seen_at_end(&mut self, at: Timestamp, info: &ThreadInfo, sink: &mut impl SpanSink) {
        self.seen_at_end = true;
        if info.torn || self.state == State::Dead {
            return;
        }
        self.end_sample = Some((info.steal, info.clock_lag));
        self.end_posture = Some((at, info.posture));
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
            ahead if ahead < u64::from(u32::MAX) => self.due_check = Some(info.counters),
            _ => {}
        }
    }

    /// The iterator at the end did not see it: it died, and the stream does not say when.
    pub fn vanished(&mut self) {
        if let Some(since) = self.since() {
            self.state = State::Unknown { since };
        }
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
        let Some((seen, posture)) = self.end_posture else {
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
    fn catch_up(&mut self, at: Timestamp, to: Counters, sink: &mut impl SpanSink) -> u64 {
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

    /// Somebody else came off the CPU this thread was thought to run on: it left unseen.
    pub fn left_unseen(&mut self) {
        if let State::Running { since, .. } = self.state {
            self.state = State::Unknown { since };
        }
    }

    /// The stream ends at `at`: the open state becomes a span. Answers the switch-outs that the
    /// iterator saw and the stream did not.
    pub fn finish(&mut self, at: Timestamp, sink: &mut impl SpanSink) -> u64 {
        let due = self.due_check.take();
        let (Some(due), Some(since)) = (due, self.since()) else {
            self.open_spans(at, sink);
            return 0;
        };
        if self.seq().is_some_and(|seq| due.seq() <= seq) {
            // It came back since, which told of the same switches.
            self.catch_up(at, due, sink);
            self.open_spans(at, sink);
            return 0;
        }
        self.hole(since, at, sink);
        self.heal(at, due, sink);
        let lost = self.catch_up(at, due, sink);
        self.check(at, due, CheckSource::Snapshot, sink);
        self.state = State::Unknown { since: at };
        lost
    }

    /// The open state up to `at`, as far as it can be told before it closes.
    pub fn open_spans(&self, at: Timestamp, sink: &mut impl SpanSink) {
        let span = |from, to, doing| Span {
            slot: self.slot,
            from,
            to,
            doing,
            open: true,
        };
        match self.state {
            State::Unborn | State::Dead => {}
            State::Running {
                since, steal, lag, ..
            } => {
                let (steal_now, lag_now) = self.end_sample.unwrap_or((None, lag));
                let steal = steal_now.zip(steal).map(|(now, then)| now - then);
                sink.span(&span(
                    since,
                    at,
                    Doing::Run {
                        steal,
                        lag: lag_now - lag,
                        gap: ClockGap::default(),
                    },
                ));
            }
            State::Runnable { since, began, .. } => {
                let wait = Wait::stamped(began, at.since(since));
                sink.span(&span(since, at, Doing::Wait(wait)));
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
                if woken.is_some() {
                    let wait = Wait::stamped(WaitBegan::Woken, at.since(until));
                    sink.span(&span(until, at, Doing::Wait(wait)));
                }
            }
            State::Unknown { since } => sink.span(&span(since, at, Doing::Unknown)),
        }
    }

    /// The waker looked before the sleeper had left the CPU: legal, and the wake-up is not missing.
    fn woken_before_it_left(&self) -> bool {
        match (self.last_waking, self.last_switch_in) {
            (Some(waking), Some(switched_in)) => waking >= switched_in,
            (Some(_), None) => true,
            (None, _) => false,
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
            };
        };
        let voluntary = now.nvcsw.saturating_sub(then.nvcsw);
        let involuntary = now.nivcsw.saturating_sub(then.nivcsw);
        let lost = (voluntary + involuntary).saturating_sub(1 + self.lost_ahead);
        Departure {
            lost,
            voluntary,
            involuntary,
        }
    }

    /// The counters tell how much of the holes since the last ones was run and wait.
    fn heal(&self, at: Timestamp, now: Counters, sink: &mut impl SpanSink) {
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
        sink.mark(self.slot, at, &Mark::Heal { run, wait });
    }

    /// A check of a thread that is not running.
    fn check(
        &self,
        at: Timestamp,
        counters: Counters,
        source: CheckSource,
        sink: &mut impl SpanSink,
    ) {
        let (running_since, lag) = (None, Nanos::ZERO);
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

    fn wait(&mut self, from: Timestamp, to: Timestamp, wait: Wait, sink: &mut impl SpanSink) {
        self.credit_since += wait.credit;
        self.close(from, to, Doing::Wait(wait), sink);
    }

    fn hole(&mut self, from: Timestamp, to: Timestamp, sink: &mut impl SpanSink) {
        if to > from {
            self.hole_since += to.since(from);
            self.close(from, to, Doing::Unknown, sink);
        }
    }

    fn close(&self, from: Timestamp, to: Timestamp, doing: Doing, sink: &mut impl SpanSink) {
        sink.span(&Span {
            slot: self.slot,
            from,
            to,
            doing,
            open: self.open_start,
        });
    }
}

/// Between two points, each told as (our time, the scheduler's time); none where one of them was no
/// switch.
fn gap(from: (Timestamp, Option<Timestamp>), to: (Timestamp, Option<Timestamp>)) -> ClockGap {
    match (from, to) {
        ((from, Some(their_from)), (to, Some(their_to))) => {
            ClockGap::between((from, their_from), (to, their_to))
        }
        _ => ClockGap::default(),
    }
}

/// The impossible and the odd, counted where it is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A thread left blocked and ran again, and no `sched_waking` was seen for it.
    pub switch_ins_without_waking: u64,
    /// Switch-ins that no record told, put in from the counters: the kernel hides the switches of
    /// a thread that ran before, or the record was lost.
    pub rebuilt_switch_ins: u64,
}
