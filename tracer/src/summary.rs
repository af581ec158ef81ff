//! From the ledger to the report: rows chosen, summed and sorted, and the verdict.
//!
//! In: engine, ledger, selection. Out: [`Report`]. Must not know: formats, terminals.

mod causes;

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    audit::Tolerance,
    births::Births,
    engine::{
        Engine,
        tasks::{self, Identity, ProcessId},
    },
    folded::{EndedProcesses, FoldedRows},
    ledger::{CpuTotals, Ledger, Row, causes::Causes},
    model::{CheckSource, Comm, Cpu, Nanos, Slot, Timestamp},
    report::{
        Covered, CpuRow, Dist, EndReason, Exit, Hole, MemorySource, Mismatch, Model, Process,
        ProcessMemory, Quality, Report, System, SystemTotals, Target, Thread, Verdict, Window,
    },
    target::Selection,
};
pub use causes::{Namer, biggest_first};

/// What only the outside knows: counters that do not go through the stream.
#[derive(Clone, Debug, Default)]
pub struct Outside {
    pub end_reason: Option<EndReason>,
    /// Records that found no room, from the kernel programs' own counters; `None` before the end.
    pub lost_records: Option<u64>,
    /// Records that the kernel programs wrote less those that came: not zero is a fault of ours.
    pub unaccounted: i64,
    /// The records end before the window did: what came at its end is not there to check anything against.
    pub cut_off: bool,
    /// Times a kernel program was skipped because it already ran on that CPU.
    /// `None`: this kernel does not tell.
    pub missed_events: Option<u64>,
}

/// Checks against the kernel, counted.
#[derive(Clone, Debug, Default)]
pub struct Assessment {
    checked: u64,
    matched: u64,
    self_checked: u64,
    mismatches: Vec<Mismatch>,
    unknown: Nanos,
}

impl Assessment {
    pub fn add(&mut self, tid: u32, row: &Row, tolerance: Tolerance) {
        self.unknown += row.totals.unknown;
        let Some(audit) = &row.audit else { return };
        let Some(source) = audit.source() else { return };
        let mismatches = audit.mismatches(tid, &row.totals, row.net_run, tolerance);
        match source {
            CheckSource::Snapshot => {
                self.checked += 1;
                self.matched += u64::from(mismatches.iter().all(|m| m.reason.is_some()));
            }
            CheckSource::LastRecord => self.self_checked += 1,
        }
        self.mismatches.extend(mismatches);
    }
}

/// All that a report is made from.
pub struct Summary<'a> {
    pub engine: &'a Engine,
    pub selection: &'a Selection,
    pub ledger: &'a Ledger,
    pub folded: &'a FoldedRows,
    pub folded_assessment: &'a Assessment,
    /// Of the whole window; an interval has none.
    pub births: Option<&'a Births>,
    pub tolerance: Tolerance,
    pub late: u64,
    pub undecoded: u64,
    /// The window is a part of the stream's: what each CPU counted by itself is not known of it.
    pub partial: bool,
    pub outside: &'a Outside,
}

impl Summary<'_> {
    /// The report over [from, to].
    pub fn report(&self, from: Timestamp, to: Timestamp) -> Report {
        let mut assessment = self.folded_assessment.clone();
        let rows = self.processes(from, to, &mut assessment);
        let births = self.births.map(|births| births.report(self.engine, &rows));
        let mut processes: Vec<Process> = rows
            .into_iter()
            .map(|(_, process)| process)
            .chain(self.folded.ended().map(ended_processes))
            .collect();
        processes.sort_by(|a, b| (b.totals.wait, a.pid).cmp(&(a.totals.wait, b.pid)));
        Report {
            window: Window {
                start: from,
                duration: to.since(from),
                end_reason: self.outside.end_reason,
                ..Window::default()
            },
            target: self.target(&processes),
            quality: self.quality(
                from,
                assessment,
                processes.iter().map(|process| process.folded.threads).sum(),
            ),
            system: self.system(),
            processes,
            births,
            ..Report::default()
        }
    }

    fn processes(
        &self,
        from: Timestamp,
        to: Timestamp,
        assessment: &mut Assessment,
    ) -> Vec<(ProcessId, Process)> {
        let mut by_process: FxHashMap<ProcessId, Vec<Thread>> = FxHashMap::default();
        let hidden: FxHashSet<Slot> = self.engine.hidden().collect();
        for (slot, who) in self.engine.tasks().iter() {
            if who.tid == 0 || !self.selection.contains(slot) || hidden.contains(&slot) {
                continue;
            }
            let Some(row) = self.ledger.row(slot).filter(|row| row.present) else {
                continue;
            };
            assessment.add(who.tid, row, self.tolerance);
            by_process.entry(who.process).or_default().push(self.thread(
                from,
                to,
                (slot, who),
                row,
            ));
        }
        for id in self.folded.processes() {
            by_process.entry(id).or_default();
        }
        by_process
            .into_iter()
            .map(|(id, threads)| (id, self.process(from, id, threads)))
            .collect()
    }

    fn process(&self, from: Timestamp, id: ProcessId, mut threads: Vec<Thread>) -> Process {
        let process = self.engine.tasks().process(id);
        let folded = self.folded.get(id).cloned().unwrap_or_default();
        let mut totals = folded.totals;
        for thread in &threads {
            totals.add(&thread.totals);
        }
        threads.sort_by(|a, b| (b.totals.wait, a.tid).cmp(&(a.totals.wait, b.tid)));
        Process {
            pid: process.pid,
            started_ns: process.start.map(|start| offset(start, from)),
            ppid: process.ppid,
            comm: process.comm,
            cgroup_id: process.cgroup,
            threads_max: process.threads_max,
            threads_total: process.threads_total,
            memory: self.left_behind(process),
            totals,
            folded,
            threads,
            ..Process::default()
        }
    }

    /// What an ended process had in memory when it called exit.
    fn left_behind(&self, process: &tasks::Process) -> Option<ProcessMemory> {
        let facts = self.engine.facts();
        let left = process
            .left
            .filter(|_| process.has_ended() && facts.narrow)?;
        let bytes = |pages: u64| pages.saturating_mul(facts.page_bytes);
        Some(ProcessMemory {
            source: MemorySource::Exit,
            rss_bytes: bytes(left.resident_pages),
            pss_bytes: None,
            page_table_bytes: Some(left.page_table_bytes),
            // The kernel notes a peak only when memory is given back.
            peak_rss_bytes: Some(bytes(left.peak_pages.max(left.resident_pages))),
        })
    }

    pub fn thread(
        &self,
        from: Timestamp,
        to: Timestamp,
        (slot, who): (Slot, &Identity),
        row: &Row,
    ) -> Thread {
        let mut totals = row.totals;
        totals.lifetime = self.ledger.lifetime(row);
        let latency = row.latency.summary(from);
        let mut off_cpu = row.off_cpu.clone();
        off_cpu.sort_by_key(|row| std::cmp::Reverse(row.ns));
        let namer = Namer {
            engine: self.engine,
            pid: self.engine.tasks().process(who.process).pid,
        };
        let blank = Causes::default();
        let causes = row.causes.as_deref().unwrap_or(&blank);
        Thread {
            tid: who.tid,
            was_tid: who.was_tid,
            comm: who.comm,
            own: who.own,
            started_ns: who.start.or(who.born_at).map(|start| offset(start, from)),
            born_in_window: who.born_at.is_some_and(|born| born >= from),
            exit: who
                .exit
                .filter(|_| who.died_at.is_some_and(|died| died < to))
                .map(|exit| Exit {
                    at_ns: offset(exit.at, from),
                    code: (exit.status >> 8) as u8,
                    signal: (exit.status & 0x7f) as u8,
                }),
            priority: who.priority,
            cpu_last: self.engine.cpu_of(slot).0,
            totals,
            run_slice: row.run_slice.summary(from),
            wait: row.wait.summary(from),
            latency: (latency != Dist::default()).then_some(latency),
            waited_for: namer.waited_for(causes),
            preempted_by: namer.preempted_by(causes, from),
            woken_by: namer.woken_by(causes),
            off_cpu,
            blocked_on: namer.blocked_on(causes),
            kernel: row
                .audit
                .as_ref()
                .and_then(|audit| audit.kernel(&totals, row.net_run)),
            memory: None,
            covered: Covered {
                lost_switches: (totals.voluntary + totals.involuntary)
                    .saturating_sub(totals.kinds.sum()),
                healed_run: row.healed_run,
                healed_wait: row.healed_wait,
            },
        }
    }

    fn target(&self, processes: &[Process]) -> Target {
        let target = self.selection.target();
        let threads = processes
            .iter()
            .map(|p| p.threads.len() as u64 + p.folded.threads)
            .sum();
        // All that were folded share one row.
        let beyond_one = |ended: &EndedProcesses| ended.processes.saturating_sub(1);
        let all_processes = processes.len() as u64 + self.folded.ended().map_or(0, beyond_one);
        let many_threads = processes.iter().any(|p| p.threads_max > 1);
        Target {
            description: target.description.clone(),
            pids: target.pids.clone(),
            processes: all_processes,
            threads,
            model: match (all_processes > 1, many_threads) {
                (false, false) => Model::Single,
                (false, true) => Model::Threads,
                (true, false) => Model::Processes,
                (true, true) => Model::Hybrid,
            },
        }
    }

    /// From the stream, to the nanosecond; where it does not tell all, as the CPUs counted by themselves.
    fn system(&self) -> System {
        let facts = self.engine.facts();
        let row = |cpu: Cpu, totals: &CpuTotals| CpuRow {
            cpu: cpu.0,
            busy: totals.busy,
            idle: totals.idle,
            switches: totals.switches,
        };
        if self.partial && facts.narrow {
            return System::default();
        }
        let counts = !self.partial && self.ledger.by_counts().next().is_some();
        let incomplete = facts.narrow || (self.is_lossy() && counts);
        if !incomplete {
            let cpus = self.ledger.cpus();
            return System {
                totals: Some(*self.ledger.system()),
                cpus: cpus
                    .filter(|(cpu, _)| facts.cpus.contains(cpu))
                    .map(|(cpu, totals)| row(cpu, totals))
                    .collect(),
            };
        }
        let mut sum = None;
        let mut cpus = Vec::new();
        for (cpu, totals, system) in self.ledger.by_counts() {
            if facts.cpus.contains(&cpu) {
                cpus.push(row(cpu, &totals));
                sum.get_or_insert_with(SystemTotals::default).add(&system);
            }
        }
        System { totals: sum, cpus }
    }

    /// Whether anybody knows of anything missing.
    fn is_lossy(&self) -> bool {
        let Outside {
            lost_records,
            missed_events,
            ..
        } = self.outside;
        self.engine.losses().any()
            || (*lost_records)
                .max(*missed_events)
                .is_some_and(|lost| lost > 0)
    }

    /// Switches that the stream told.
    fn received_switches(&self) -> u64 {
        self.ledger.cpus().map(|(_, totals)| totals.switches).sum()
    }

    /// As the threads' own numbers prove. Where all threads are watched the CPUs' counts tell even those
    /// of threads whose numbers nobody saw again.
    fn lost_switches(&self) -> u64 {
        let losses = self.engine.losses();
        let all: u64 = self
            .ledger
            .by_counts()
            .map(|(_, totals, _)| totals.switches)
            .sum();
        if self.engine.facts().narrow || self.partial || !self.is_lossy() {
            return losses.switches;
        }
        losses
            .switches
            .max(all.saturating_sub(self.received_switches()))
    }

    fn holes(&self, from: Timestamp) -> Vec<Hole> {
        let mut holes: Vec<Hole> = self
            .engine
            .losses()
            .longest
            .iter()
            .map(|hole| Hole {
                cpu: hole.cpu.0,
                from_ns: offset(hole.from, from),
                to_ns: offset(hole.to, from),
                records: hole.records,
            })
            .collect();
        holes.sort_by_key(|hole| (hole.from_ns, hole.cpu));
        holes
    }

    fn quality(&self, from: Timestamp, assessment: Assessment, folded_threads: u64) -> Quality {
        let losses = self.engine.losses();
        let mut quality = Quality {
            lost_records: self.outside.lost_records.unwrap_or(losses.records),
            lost_switches: self.lost_switches(),
            received_switches: self.received_switches(),
            missed_events: self.outside.missed_events,
            late_records: self.late,
            holes: losses.holes,
            longest_holes: self.holes(from),
            switch_ins_without_waking: self.engine.oddities().switch_ins_without_waking,
            rebuilt_switch_ins: self.engine.oddities().rebuilt_switch_ins,
            hidden_threads: self.engine.hidden().count() as u64,
            folded_threads,
            threads_checked: assessment.checked,
            threads_matched: assessment.matched,
            threads_self_checked: assessment.self_checked,
            mismatches: assessment.mismatches,
            ..Quality::default()
        };
        let lossy = self.describe_losses(&quality);
        let unexplained = quality
            .mismatches
            .iter()
            .filter(|mismatch| mismatch.reason.is_none())
            .count();
        let known_loss = !lossy.is_empty();
        quality.reasons = lossy;
        if known_loss && self.partial {
            quality
                .reasons
                .push("all of that is about the whole recording".to_owned());
        }
        if self.outside.cut_off {
            quality
                .reasons
                .push("the recording was cut off: its end was not checked".to_owned());
        }
        if assessment.unknown > Nanos::ZERO {
            quality.reasons.push(format!(
                "{:.3} ms of thread time lies in holes of the stream",
                assessment.unknown.0 as f64 / 1e6
            ));
        }
        let mut contradictions = Vec::new();
        if self.outside.unaccounted != 0 {
            contradictions.push(format!(
                "the kernel programs wrote {} records more than came and were lost: please report this",
                self.outside.unaccounted
            ));
        }
        if unexplained > 0 && !known_loss {
            contradictions.push(format!(
                "{unexplained} totals differ from the kernel's own counters without a known loss"
            ));
        }
        quality.verdict = if !contradictions.is_empty() {
            quality.reasons.splice(0..0, contradictions);
            Verdict::Invalid
        } else if quality.reasons.is_empty() {
            // Neither lost nor missed: nobody is shown them, and who ran before or after is whole.
            if quality.hidden_threads > 0 && self.selection.target().is_whole_system() {
                quality.reasons.push(format!(
                    "the kernel exempts {} threads from tracing: they have no rows",
                    quality.hidden_threads
                ));
            }
            Verdict::Valid
        } else {
            Verdict::Degraded
        };
        quality
    }

    fn describe_losses(&self, quality: &Quality) -> Vec<String> {
        let mut reasons = Vec::new();
        let mut say = |count: u64, what: &str| {
            if count > 0 {
                reasons.push(format!("{count} {what}"));
            }
        };
        let longest = quality.longest_holes.iter();
        let longest = longest
            .map(|hole| hole.to_ns.saturating_sub(hole.from_ns))
            .max();
        let where_lost = longest.map_or(String::new(), |longest| {
            format!(
                ", in {} holes of up to {:.3} ms",
                quality.holes,
                longest as f64 / 1e6
            )
        });
        say(
            quality.lost_records,
            &format!("records found no room in the buffers{where_lost} (try a larger --buffer)"),
        );
        say(
            quality.lost_switches,
            "context switches are missing from the stream",
        );
        say(
            quality.missed_events.unwrap_or(0),
            "kernel events were skipped because their program already ran on that CPU",
        );
        say(
            quality.late_records,
            "records came too late to be put in order",
        );
        say(self.undecoded, "records could not be read");
        reasons
    }
}

/// One row for all processes that were folded, under the pid that only the idle thread has.
fn ended_processes(ended: &EndedProcesses) -> Process {
    Process {
        comm: Comm::from("(ended)"),
        threads_max: ended.threads_max,
        threads_total: ended.folded.threads,
        totals: ended.folded.totals,
        folded: ended.folded.clone(),
        ..Process::default()
    }
}

/// Nanoseconds from the window's start; negative before it.
pub fn offset(at: Timestamp, from: Timestamp) -> i64 {
    let distance = |a: Timestamp, b: Timestamp| i64::try_from(a.since(b).0).unwrap_or(i64::MAX);
    if at >= from {
        distance(at, from)
    } else {
        -distance(from, at)
    }
}

#[cfg(test)]
#[path = "summary_tests.rs"]
mod tests;
