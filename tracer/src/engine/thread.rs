//! One thread's states on the time line; closes spans.
//!
//! In: what a switch, a wake-up or a birth says of this thread. Out: spans and marks, in order.
//! Must not know: other threads, processes, windows.

mod ending;
mod entering;
mod leaving;
mod story;

pub use story::Story;

use crate::model::{
    CheckSource, ClockGap, Counters, Cpu, Doing, Interrupts, Mark, Nanos, OffState, Posture,
    Priority, Slot, Span, SpanSink, Syscall, ThreadInfo, Timestamp, Wait, WaitBegan, WaitCause,
    Waker, WhoId,
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
        /// The same of interrupts; `None` when `since` was no switch.
        interrupts: Option<Interrupts>,
        /// The scheduler's time at `since`; `None` when that was no switch.
        clock: Option<Timestamp>,
    },
    /// On a run queue.
    Runnable {
        since: Timestamp,
        began: WaitBegan,
        cause: WaitCause,
        /// From the kernel's decision that it must go to its going.
        resched: Option<Nanos>,
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

impl Default for State {
    fn default() -> State {
        State::Unknown {
            since: Timestamp::default(),
        }
    }
}

/// What the engine knows of a thread's past.
#[derive(Clone, Debug, Default)]
pub struct Thread {
    pub slot: Slot,
    pub state: State,
    /// At the last switch-out, or as the iterator or the birth record told. `None` before that.
    counters: Option<Counters>,
    /// Switch-outs that a later switch-in proved lost, not yet told by `counters`.
    lost_ahead: u64,
    /// Some of its switches are missing, before the first look: that one sets all right.
    missed: bool,
    last_waking: Option<Timestamp>,
    /// Of that waking, where it is known.
    waker: Option<Waker>,
    /// While it was off the CPU: when it left which other one's run queue.
    moves: Vec<(Timestamp, Cpu)>,
    /// How long its group had been throttled on that CPU when it came there last.
    throttled: Option<(Cpu, Nanos)>,
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
    /// The state at the first sight is older than that sight.
    open_start: bool,
    /// What the iterator at the end saw of it.
    last_look: Option<Box<LastLook>>,
    /// Where it ran or was moved to last.
    pub cpu: Cpu,
    /// As its identity has them: a switch reads no identity.
    pub name: WhoId,
    pub priority: Priority,
}

/// What the iterator at the end saw: of every thread, and only then.
#[derive(Clone, Debug, Default)]
struct LastLook {
    /// A check that waits for the switch with this number.
    due_check: Option<Counters>,
    /// Of the CPU this thread runs on: steal and lag.
    sample: Option<(Option<Nanos>, Nanos)>,
    /// What it was doing.
    posture: Option<(Timestamp, Posture)>,
}

/// What a switch-out said about this thread's past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Departure {
    /// Switch-outs of this thread that are missing before this one.
    pub lost: u64,
    pub voluntary: u64,
    pub involuntary: u64,
    /// Since when it had the CPU, where that is known.
    pub came: Option<Timestamp>,
    /// A wait that only its counters tell.
    pub wait: Option<Story>,
}

impl Thread {
    /// A thread of which nothing is known but that it exists since `at`.
    pub fn unknown(slot: Slot, at: Timestamp) -> Thread {
        Thread {
            slot,
            state: State::Unknown { since: at },
            ..Thread::default()
        }
    }

    /// One field from each line of memory.
    #[inline]
    pub fn glance(&self) -> u64 {
        let since = self.since().unwrap_or_default();
        since.0 ^ self.run_since.0 ^ self.lost_ahead ^ u64::from(self.cpu.0)
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
            // Even if it has only just begun to.
            let has_lived = older.is_some() || (missed_some && self.since().is_some());
            self.state = match info.posture {
                // Who has lived is not unborn again.
                Posture::Unborn | Posture::Dead if has_lived => State::Unknown { since: at },
                Posture::Unborn => State::Unborn,
                Posture::Dead => State::Dead,
                Posture::OnCpu => State::Running {
                    since: at,
                    cpu: info.cpu,
                    steal: info.steal,
                    lag: info.clock_lag,
                    interrupts: None,
                    clock: None,
                },
                Posture::Runnable => State::Runnable {
                    since: at,
                    began: WaitBegan::Woken,
                    cause: WaitCause::Woken,
                    resched: None,
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
        // What is missing from the stream lies before this look, and it has counted that.
        if (self.counters.is_none() || self.missed) && !info.torn {
            self.missed = false;
            self.lost_ahead = 0;
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
            cause: WaitCause::New,
            resched: None,
            stamped: true,
            clock: Some(clock),
        };
    }

    /// Moved to another CPU. Between two run queues it is on none, and its wait is not stamped.
    pub fn migrated(&mut self, at: Timestamp, to: Cpu) {
        if matches!(self.state, State::Runnable { .. } | State::Off { .. }) && to != self.cpu {
            if self.moves.len() == MOVES {
                self.moves.remove(0);
            }
            self.moves.push((at, self.cpu));
        }
        self.cpu = to;
        if let State::Runnable { stamped, .. } = &mut self.state {
            *stamped = false;
        }
    }

    /// While it was off the CPU: when it left the run queue of which CPU, in order.
    pub fn moves(&self) -> &[(Timestamp, Cpu)] {
        &self.moves
    }

    /// After a switch-out, when the wait before is told.
    pub fn forget_moves(&mut self) {
        self.moves.clear();
    }

    /// Woken at `at`. It may be told after a later one: with the switch-in, or by the last look.
    pub fn waking(&mut self, at: Timestamp, waker: Option<Waker>) {
        if self.last_waking.is_none_or(|last| last <= at) {
            self.last_waking = Some(at);
            self.waker = waker;
        }
    }

    /// The sum of its group's throttling as it comes to this CPU, and what it was the last time it did.
    pub fn throttled(&mut self, cpu: Cpu, sum: Nanos) -> Option<Nanos> {
        let before = self.throttled.replace((cpu, sum));
        before.filter(|&(on, _)| on == cpu).map(|(_, sum)| sum)
    }

    /// Somebody else came off the CPU this thread was thought to run on: it left unseen.
    pub fn left_unseen(&mut self) {
        if let State::Running { since, .. } = self.state {
            self.state = State::Unknown { since };
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

    #[inline]
    fn wait(&mut self, from: Timestamp, to: Timestamp, wait: Wait, sink: &mut impl SpanSink) {
        self.credit_since += wait.credit;
        self.close(from, to, Doing::Wait(wait), sink);
    }

    #[inline]
    fn hole(&mut self, from: Timestamp, to: Timestamp, sink: &mut impl SpanSink) {
        if to > from {
            self.hole_since += to.since(from);
            self.close(from, to, Doing::Unknown, sink);
        }
    }

    #[inline]
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

/// Moves of one wait that are kept: the last ones.
const MOVES: usize = 16;

/// The impossible and the odd, counted where it is noticed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Oddities {
    /// A thread left blocked and ran again, and no `sched_waking` was seen for it.
    pub switch_ins_without_waking: u64,
    /// Switch-ins that no record told, put in from the counters: the kernel hides the switches of
    /// a thread that ran before, or the record was lost.
    pub rebuilt_switch_ins: u64,
}
