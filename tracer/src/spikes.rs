//! Latencies at or over a threshold, each with what it was for, and what all of them together were for.
//!
//! In: waits in pieces. Out: spikes, as they end. Must not know: formats, who asked.

use rustc_hash::FxHashMap;

use crate::{
    engine::Engine,
    model::{
        Charge, Comm, Cpu, CpuSwitches, Mark, Nanos, Slot, Span, SpanSink, Switch, SwitchCount,
        Timestamp, WaitCause, Waited, WakerKind, WhoId,
    },
    report::{self, ChargeKind, Spike, SpikeCause, SpikeWaker},
    summary::{Namer, biggest_first},
    target::Selection,
    window::Window,
};

/// Spikes that a report holds one by one: the longest.
const KEPT: usize = 1000;
/// Causes that are told apart.
const CAUSES: usize = 1000;

/// Sees every wait, keeps the long ones until they are asked for.
#[derive(Debug)]
pub struct Detector {
    threshold: Nanos,
    window: Window,
    seen: Vec<Seen>,
}

/// A latency over the threshold, cut at the window.
#[derive(Debug)]
struct Seen {
    slot: Slot,
    at: Timestamp,
    finished: bool,
    cpu: Cpu,
    latency: Nanos,
    wake: Option<Nanos>,
    wait: Nanos,
    cause: WaitCause,
    charges: Vec<(Charge, u64, Nanos)>,
    waker: Option<(WakerKind, Option<WhoId>)>,
}

impl Detector {
    fn new(threshold: Nanos) -> Detector {
        Detector {
            threshold,
            window: Window::default(),
            seen: Vec::new(),
        }
    }

    #[cold]
    fn keep(&mut self, waited: &Waited<'_>, wake: Option<Nanos>) {
        let (mut begins, end) = self.window.cut(waited.from, waited.to);
        let wait = end.since(begins);
        let mut charges: Vec<(Charge, u64, Nanos)> = Vec::new();
        for piece in waited.pieces {
            let ends = piece.to.min(end);
            if begins >= ends {
                continue;
            }
            let length = ends.since(begins);
            match charges
                .iter_mut()
                .find(|(charge, ..)| *charge == piece.charge)
            {
                Some((_, count, ns)) => {
                    *count += 1;
                    *ns += length;
                }
                None => charges.push((piece.charge, 1, length)),
            }
            begins = ends;
        }
        self.seen.push(Seen {
            slot: waited.slot,
            at: end,
            finished: !waited.open && waited.to <= self.window.to,
            cpu: waited.cpu,
            latency: wait + wake.unwrap_or_default(),
            wake,
            wait,
            cause: waited.cause,
            charges,
            waker: waited.woken.map(|woken| (woken.kind, woken.who)),
        });
    }
}

impl SpanSink for Detector {
    #[inline]
    fn explained(&mut self, waited: &Waited<'_>) {
        let (from, to) = self.window.cut(waited.from, waited.to);
        let wait = to.since(from);
        // Of a wait that began before the window only what is inside counts.
        let wake = match waited.woken {
            Some(woken) if waited.from >= self.window.from => Some(woken.wake),
            _ => None,
        };
        if wait + wake.unwrap_or_default() >= self.threshold && waited.from < self.window.to {
            self.keep(waited, wake);
        }
    }

    #[inline]
    fn span(&mut self, _: &Span) {}
    #[inline]
    fn mark(&mut self, _: Slot, _: Timestamp, _: &Mark) {}
    #[inline]
    fn cpu(&mut self, _: Cpu, _: Timestamp, _: Timestamp, _: bool) {}
    #[inline]
    fn switch(&mut self, _: Cpu, _: Timestamp, _: &Switch, _: SwitchCount) {}
    #[inline]
    fn unseen(&mut self, _: Timestamp, _: SwitchCount) {}
    fn counted(&mut self, _: Cpu, _: Timestamp, _: &CpuSwitches) {}
}

/// What a share of the time over the threshold is counted under.
type CauseKey = (ChargeKind, Option<u32>, Option<u64>);

#[derive(Debug)]
pub struct Spikes {
    pub detector: Detector,
    count: u64,
    kept: Vec<Spike>,
    /// Ended since they were asked for last.
    fresh: Vec<Spike>,
    causes: FxHashMap<CauseKey, (Option<Comm>, Nanos)>,
    wait: Nanos,
}

impl Spikes {
    pub fn new(threshold: Nanos) -> Spikes {
        Spikes {
            detector: Detector::new(threshold),
            count: 0,
            kept: Vec::new(),
            fresh: Vec::new(),
            causes: FxHashMap::default(),
            wait: Nanos::ZERO,
        }
    }

    pub fn begin(&mut self, at: Timestamp) {
        self.detector.window.from = at;
    }

    /// What waits longer is unfinished.
    pub fn end(&mut self, at: Timestamp) {
        self.detector.window.to = at;
    }

    pub fn has_seen(&self) -> bool {
        !self.detector.seen.is_empty()
    }

    /// Everybody referred to is named while the names are known.
    pub fn name(&mut self, engine: &Engine, selection: &Selection) {
        for seen in std::mem::take(&mut self.detector.seen) {
            if !selection.contains(seen.slot) {
                continue;
            }
            let Some(spike) = named(seen, engine, self.detector.window.from) else {
                continue;
            };
            self.count += 1;
            self.wait += spike.wait;
            for share in &spike.waited_for {
                self.blame(&spike, share);
            }
            self.fresh.push(spike.clone());
            self.kept.push(spike);
            if self.kept.len() >= 2 * KEPT {
                self.keep_the_longest();
            }
        }
    }

    fn blame(&mut self, spike: &Spike, share: &report::WaitedFor) {
        let cgroup = match share.kind {
            ChargeKind::Throttled => spike.cgroup_id,
            _ => None,
        };
        let who = share.who.filter(|who| !who.is_nameless());
        let mut key = (share.kind, who.map(|who| who.pid), cgroup);
        if self.causes.len() >= CAUSES && !self.causes.contains_key(&key) {
            key = (share.kind, None, None);
        }
        let comm = key.1.and(share.who).map(|who| who.comm);
        let cause = self.causes.entry(key).or_insert((comm, Nanos::ZERO));
        cause.1 += share.ns;
    }

    fn keep_the_longest(&mut self) {
        if self.kept.len() > KEPT {
            self.kept
                .sort_by_key(|spike| std::cmp::Reverse(spike.latency));
            self.kept.truncate(KEPT);
        }
        self.kept
            .sort_by_key(|spike| (spike.at_ns, spike.victim.tid));
    }

    /// Those that ended since the last time.
    pub fn take_fresh(&mut self) -> Vec<Spike> {
        std::mem::take(&mut self.fresh)
    }

    pub fn report(&mut self) -> report::Spikes {
        self.keep_the_longest();
        let all = self.wait.0.max(1) as f64;
        let cause =
            |(&(kind, pid, cgroup_id), &(comm, ns)): (&CauseKey, &(Option<Comm>, Nanos))| {
                SpikeCause {
                    kind,
                    pid,
                    comm,
                    cgroup_id,
                    cgroup: None,
                    ns,
                    share: ns.0 as f64 / all,
                }
            };
        let mut causes: Vec<SpikeCause> = self.causes.iter().map(cause).collect();
        causes.sort_by_key(|cause| (std::cmp::Reverse(cause.ns), cause.kind, cause.pid));
        report::Spikes {
            threshold: self.detector.threshold,
            count: self.count,
            spikes: std::mem::take(&mut self.kept),
            causes,
        }
    }
}

fn named(seen: Seen, engine: &Engine, from: Timestamp) -> Option<Spike> {
    let who = engine.tasks().get(seen.slot)?;
    let victim = *engine.name(who.name)?;
    let namer = Namer {
        engine,
        pid: victim.pid,
    };
    let charges = seen.charges.into_iter();
    let mut waited_for: Vec<report::WaitedFor> = charges
        .map(|(charge, count, ns)| namer.charged(charge, count, ns))
        .collect();
    biggest_first(&mut waited_for);
    Some(Spike {
        at_ns: seen.at.since(from).0 as i64,
        finished: seen.finished,
        victim,
        cpu: seen.cpu.0,
        latency: seen.latency,
        wake: seen.wake,
        wait: seen.wait,
        cause: seen.cause,
        waited_for,
        woken_by: seen.waker.map(|(kind, who)| SpikeWaker {
            kind,
            who: who.and_then(|who| engine.name(who)).copied(),
        }),
        cgroup_id: who.cgroup,
        cgroup: None,
    })
}
