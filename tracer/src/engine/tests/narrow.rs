//! A run as it is told where only some threads are watched: what others do is kept by CPU while a watched thread
//! waits for that, and shown when its wait ends there. What it waited for must come out the same.

use std::collections::BTreeMap;

use proptest::prelude::*;
use tracer_common::record::{self, Header, kind, switch_flags, who_flags};

use super::{
    bytes::bytes_of,
    properties::{identity_holds, waited_for},
    simulator::{Options, Run, any_schedule, settings},
};
use crate::{
    decode::decode,
    engine::Facts,
    model::{Event, Switch, Timestamp, What},
    pipeline::{Pipeline, Settings},
    report::Report,
    summary::Outside,
    target::Target,
};

const FLAGS: usize = std::mem::offset_of!(Header, flags);

struct Narrow<'a> {
    run: &'a Run,
    /// By tid.
    watched: Vec<u32>,
    /// No switch-out of these is told.
    hidden: Vec<u32>,
    /// Some who wait are not noticed: a hidden thread woke them.
    deaf: bool,
    /// What was kept of each CPU and not shown.
    kept: BTreeMap<u16, Vec<Vec<u8>>>,
    /// Of each CPU the switches that were seen, and the last of them that was told or is kept.
    seen: BTreeMap<u16, (u64, u64)>,
    named: Vec<u32>,
    told: Vec<(u64, Vec<u8>)>,
}

impl Narrow<'_> {
    fn watches(&self, tid: u32) -> bool {
        self.watched.contains(&tid)
    }

    fn tell(&mut self, event: &Event, bytes: &[u8]) {
        let (at, cpu) = (event.at.0, event.cpu.0);
        let tid = match &event.what {
            What::Switch(switch) => return self.switch(at, cpu, switch, bytes),
            What::WindowEnd => {
                self.look(at, who_flags::STAYS | who_flags::GAP);
                self.told.push((at, bytes.to_vec()));
                return;
            }
            What::Waking { tid, .. }
            | What::WakeupNew { tid, .. }
            | What::Migrate { tid, .. }
            | What::Fork { child_tid: tid, .. }
            | What::Exec { tid, .. }
            | What::Exit { tid, .. }
            | What::Rename { tid, .. }
            | What::Moved { tid, .. } => *tid,
            What::Newtask { child: info, .. } | What::Seen(info) | What::SeenAtEnd(info) => {
                info.tid
            }
            _ => 0,
        };
        if tid != 0 && !self.watches(tid) {
            return;
        }
        if let What::Migrate { .. } = event.what {
            // From wherever it waited.
            let flags = who_flags::STAYS | who_flags::UNMEASURED;
            self.look(at, flags | who_flags::GAP);
        }
        self.told.push((at, bytes.to_vec()));
    }

    fn switch(&mut self, at: u64, cpu: u16, switch: &Switch, bytes: &[u8]) {
        let (prev, next) = (switch.prev.tid, switch.next.tid);
        if self.hidden.contains(&prev) {
            return;
        }
        let watched = (self.watches(prev), self.watches(next));
        let kept = match watched {
            (true, _) => false,
            (false, true) => prev != 0,
            (false, false) => self.is_wanted(at, cpu),
        };
        let (seen, last) = self.seen.entry(cpu).or_default();
        *seen += 1;
        let gap = *last + 1 != *seen;
        if kept || watched != (false, false) {
            *last = *seen;
            self.name(at, cpu, next);
        }
        if kept {
            let flags = if gap { who_flags::GAP } else { 0 };
            self.keep(at, cpu, (prev, next), flags);
        }
        if watched != (false, false) {
            self.show(at, cpu);
        }
        if watched != (false, false) {
            let mut bytes = bytes.to_vec();
            let mut flags = u16::from_ne_bytes([bytes[FLAGS], bytes[FLAGS + 1]]);
            for (bit, watched) in [
                (switch_flags::PREV_UNWATCHED, watched.0),
                (switch_flags::NEXT_UNWATCHED, watched.1),
                (switch_flags::GAP, !gap),
            ] {
                flags |= if watched { 0 } else { bit };
            }
            bytes[FLAGS..FLAGS + 2].copy_from_slice(&flags.to_ne_bytes());
            self.told.push((at, bytes));
        }
    }

    /// Whether somebody watched waits for this CPU.
    fn is_wanted(&self, at: u64, cpu: u16) -> bool {
        let tasks = self.run.toy.tasks.iter();
        tasks.filter(|task| self.watches(task.tid)).any(|task| {
            let waits = |&(from, to, on): &(u64, u64, usize)| {
                let noticed = !self.deaf || from % 3 > 0;
                noticed && on == usize::from(cpu) && from <= at && at <= to
            };
            task.waited.iter().any(waits)
        })
    }

    fn name(&mut self, at: u64, cpu: u16, tid: u32) {
        let task = self.run.toy.tasks.iter().find(|task| task.tid == tid);
        let Some(task) = task.filter(|_| tid != 0 && !self.named.contains(&tid)) else {
            return;
        };
        self.named.push(tid);
        let record = record::Name {
            header: Header {
                at_ns: at,
                kind: kind::NAME,
                len: size_of::<record::Name>() as u16,
                cpu,
                flags: 0,
            },
            tid,
            tgid: task.tgid,
            comm: task.comm,
            ..record::Name::default()
        };
        self.told.push((at, bytes_of(&record)));
    }

    fn keep(&mut self, at: u64, cpu: u16, (tid, next_tid): (u32, u32), flags: u16) {
        let task = self.run.toy.tasks.iter().find(|task| task.tid == tid);
        let there = |&&(from, to, on): &&(u64, u64, usize)| {
            on == usize::from(cpu) && from <= at && at <= to
        };
        let came = task.and_then(|task| task.ran.iter().rev().find(there));
        let record = record::Left {
            header: Header {
                at_ns: at,
                kind: kind::LEFT,
                len: size_of::<record::Left>() as u16,
                cpu,
                flags,
            },
            tid,
            tgid: task.map_or(0, |task| task.tgid),
            comm: task.map_or([0; 16], |task| task.comm),
            next_tid,
            ran_ns: came.filter(|_| tid != 0).map_or(0, |came| at - came.0),
            ..record::Left::default()
        };
        self.kept.entry(cpu).or_default().push(bytes_of(&record));
    }

    fn show(&mut self, at: u64, cpu: u16) {
        let kept = self.kept.remove(&cpu).unwrap_or_default();
        self.told.extend(kept.into_iter().map(|bytes| (at, bytes)));
    }

    /// Who is on each CPU.
    fn look(&mut self, at: u64, flags: u16) {
        for cpu in 0..self.run.toy.cpus() as u16 {
            let there = |&&(from, to, on): &&(u64, u64, usize)| {
                on == usize::from(cpu) && from <= at && at < to
            };
            let mut tasks = self.run.toy.tasks.iter();
            let tid = tasks.find(|task| task.ran.iter().any(|ran| there(&ran)));
            if let Some(tid) = tid.map(|task| task.tid) {
                self.keep(at, cpu, (tid, tid), flags);
            }
            self.show(at, cpu);
        }
    }

    /// `eager`: each record is applied as soon as the next one is there, so that what is shown comes late.
    fn report(self, eager: bool) -> Report {
        let toy = &self.run.toy;
        let mut pipeline = Pipeline::new(Settings {
            facts: Facts {
                narrow: true,
                ..toy.facts()
            },
            target: Target {
                tids: self.watched.clone(),
                ..Target::default()
            },
            ..settings(toy)
        });
        for (at, bytes) in &self.told {
            pipeline.push(bytes);
            if eager {
                pipeline.advance(Timestamp(*at));
            }
        }
        pipeline.finish(Timestamp(self.run.end), &Outside::default())
    }
}

/// Of the threads every so many are watched, and of the others every so many hidden, or none.
fn told(run: &Run, every: usize, hidden: Option<usize>, deaf: bool) -> Narrow<'_> {
    let tasks = run.toy.tasks.iter().filter(|task| task.tid != 0);
    let watched: Vec<u32> = tasks.clone().step_by(every).map(|task| task.tid).collect();
    let others = tasks.filter(|task| !watched.contains(&task.tid));
    let hidden = hidden.map(|every| others.step_by(every).map(|task| task.tid).collect());
    let mut narrow = Narrow {
        run,
        watched,
        hidden: hidden.unwrap_or_default(),
        deaf,
        kept: BTreeMap::new(),
        seen: BTreeMap::new(),
        named: Vec::new(),
        told: Vec::new(),
    };
    for record in &run.toy.records {
        let event = decode(&record.bytes).expect("the toy writes known records");
        narrow.tell(&event, &record.bytes);
    }
    narrow
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn what_others_do_comes_out_the_same(
        schedule in any_schedule(),
        every in 1..4_usize,
        eager in any::<bool>(),
    ) {
        let run = Run::of(&schedule, Options { errors: false, lag: false });
        let report = told(&run, every, None, false).report(eager);
        identity_holds(&report)?;
        for thread in report.processes.iter().flat_map(|process| &process.threads) {
            let id = run.toy.tasks.iter().position(|task| task.tid == thread.tid);
            let id = id.expect("somebody");
            prop_assert_eq!(
                waited_for(thread),
                run.waited_for(id),
                "tid {} {}",
                thread.tid,
                super::properties::story(&run, id)
            );
        }
    }

    #[test]
    fn what_hidden_threads_do_is_charged_to_nobody_else(
        schedule in any_schedule(),
        (every, hidden) in (2..4_usize, 1..4_usize),
        (deaf, eager) in any::<(bool, bool)>(),
    ) {
        let run = Run::of(&schedule, Options { errors: false, lag: false });
        let narrow = told(&run, every, Some(hidden), deaf);
        let hidden = narrow.hidden.clone();
        let report = narrow.report(eager);
        identity_holds(&report)?;
        for thread in report.processes.iter().flat_map(|process| &process.threads) {
            let id = run.toy.tasks.iter().position(|task| task.tid == thread.tid);
            let id = id.expect("somebody");
            let (ours, truth) = (waited_for(thread), run.waited_for(id));
            let context = || format!(
                "tid {} {ours:?} {truth:?} hidden {hidden:?} {}",
                thread.tid,
                super::properties::story(&run, id)
            );
            prop_assert_eq!(ours.values().sum::<u64>(), truth.values().sum::<u64>(), "{}", context());
            let of = |shares: &BTreeMap<u32, u64>, tid| shares.get(&tid).copied().unwrap_or(0);
            let unseen = |shares| hidden.iter().map(|&tid| of(shares, tid)).sum::<u64>();
            prop_assert!(unseen(&ours) <= unseen(&truth), "{}", context());
            let known = truth.keys().chain(ours.keys());
            for &tid in known.filter(|tid| **tid != u32::MAX && !hidden.contains(tid)) {
                let (ours, truth) = (of(&ours, tid), of(&truth, tid));
                prop_assert!(ours <= truth && (deaf || ours == truth), "{tid}: {}", context());
            }
        }
    }
}
