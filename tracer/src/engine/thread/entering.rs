//! A thread comes to a CPU: what that closes and proves.
//!
//! In: a switch. Out: spans, marks, the wait that ends, and how many switches before it were lost. Must not
//! know: other threads, processes, windows.

use super::{Oddities, State, Story, Thread, gap};
use crate::model::{
    ClockGap, Cpu, Doing, Mark, Nanos, Slept, SpanSink, Switch, Timestamp, Wait, WaitBegan,
    WaitCause,
};

impl Thread {
    /// Switched in. Answers how many lost switch-outs the hole before it proves, and the wait that ends.
    pub fn switch_in(
        &mut self,
        at: Timestamp,
        cpu: Cpu,
        switch: &Switch,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> (u64, Option<Story>) {
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
        self.missed |= lost > 0;
        let ended_wait = switch.next_wait.unwrap_or_default();
        let credit = match self.counters {
            Some(counters) => {
                switch.next_run_delay + ended_wait - (counters.run_delay + self.credit_since)
            }
            None => ended_wait,
        };
        let story = match self.state {
            State::Runnable { .. } | State::Off { .. } if lost == 0 => {
                self.back_on_cpu(at, Some(switch.rq_clock), credit, quality, sink)
            }
            State::Unborn => {
                // Its first wake-up was lost, and maybe more.
                self.base_unborn = lost > 0;
                // Who has never run waited all along, on whatever run queues.
                let queued = at.before(if lost == 0 { credit } else { ended_wait });
                sink.mark(self.slot, queued, &Mark::Born);
                if let Some(counters) = self.counters {
                    sink.mark(self.slot, queued, &Mark::Baseline(counters));
                }
                self.wait(queued, at, Wait::stamped(WaitBegan::New, credit), sink);
                Some(Story::of(queued, at, WaitCause::New))
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
                Some(Story {
                    open: self.open_start,
                    ..Story::of(queued, at, WaitCause::Woken)
                })
            }
            State::Dead => None,
        };
        self.open_start = false;
        if let Some(look) = &mut self.last_look {
            look.sample = None;
        }
        self.cpu = cpu;
        self.last_switch_in = Some(at);
        self.entered_with = Some(switch.next_seq);
        self.state = State::Running {
            since: at,
            cpu,
            steal: switch.steal,
            lag: switch.clock_lag,
            interrupts: Some(switch.interrupts),
            clock: Some(switch.rq_clock),
        };
        (lost, story)
    }

    /// Closes the time off the CPU. `clock` is `None` where no switch tells of its end. `credit` is what the kernel's counter gained for its wait.
    pub(super) fn back_on_cpu(
        &mut self,
        at: Timestamp,
        clock: Option<Timestamp>,
        credit: Nanos,
        quality: &mut Oddities,
        sink: &mut impl SpanSink,
    ) -> Option<Story> {
        match self.state {
            State::Runnable {
                since,
                began,
                cause,
                resched,
                stamped,
                clock: left,
            } => {
                let gap = match clock {
                    Some(_) => gap((since, left), (at, clock)),
                    // Put in from the counters, and nothing else tells how long it was by them.
                    None => ClockGap::less(credit, at.since(since)),
                };
                let wait = Wait {
                    began,
                    credit,
                    stamped,
                    gap,
                };
                self.wait(since, at, wait, sink);
                Some(Story {
                    open: self.open_start,
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
                Some(Story {
                    open: self.open_start,
                    waking: woken.map(|waking| (waking, self.waker)),
                    slept: Some(Slept {
                        state,
                        syscall,
                        from: since,
                    }),
                    ..Story::of(queued, at, WaitCause::Woken)
                })
            }
            State::Unborn | State::Running { .. } | State::Unknown { .. } | State::Dead => None,
        }
    }
}
