//! A picture of a schedule, as records through the whole pipeline, against the picture of what each
//! thread did.
//!
//! One column is a microsecond. Rows of the schedule:
//!
//! - `cpu0   AAABBB--`: who runs; `-` nobody (idle). A thread that leaves is preempted, unless its
//!   own row says otherwise.
//! - `wake   ..A.....`: the decision to wake A; `queue` the moment it reaches a run queue, when that
//!   is not at once. `born`, `move0` (A goes to CPU 0), `exit`, `name` likewise.
//! - `edge   [......]`: the window; without this row it is the whole picture.
//!
//! Rows of what is expected, by thread: `=` running, `.` waiting, `_` asleep, `#` blocked, `i` blocked
//! for I/O, `z` stopped, `?` unknown, a blank before birth, after death and outside the window.
//!
//! How a thread leaves is in `how`, at the column where it is first off its CPU: `y` it yields, `s` a
//! signal is pending, `n` preempted on its way to sleep, `x` it dies, `_ # i z` it goes off like that.
//! `lose` marks records that are lost: `o` the switch of this column, `w` its wakings, `n` births.

use std::collections::BTreeMap;

use tracer_common::record::kind;

use super::{
    simulator::settings,
    toy::{Does, Leave, Mood, Record, Told, Toy},
};
use crate::{
    decode::{decode, envelope},
    engine::Engine,
    ledger::Ledger,
    model::{
        Cpu, CpuSwitches, Doing, Mark, OffState, Slot, Span, SpanSink, Switch, SwitchCount,
        Timestamp, Waited,
    },
    pipeline::Pipeline,
    reorder::{self, Reorder},
    report::{Report, Thread},
    summary::Outside,
};

const MICROSECOND: u64 = 1000;

/// The picture's column 0.
const START: u64 = 10_000_000;

/// What came out, for questions beyond the picture.
pub struct Seen {
    pub report: Report,
}

impl Seen {
    pub fn thread(&self, name: char) -> &Thread {
        let tid = tid_of(name);
        self.threads()
            .find(|thread| thread.tid == tid)
            .expect("the thread has a row")
    }

    pub fn has(&self, name: char) -> bool {
        self.threads().any(|thread| thread.tid == tid_of(name))
    }

    fn threads(&self) -> impl Iterator<Item = &Thread> {
        self.report
            .processes
            .iter()
            .flat_map(|process| &process.threads)
    }
}

/// A and a are threads of one process, B and b of another.
pub fn tid_of(name: char) -> u32 {
    100 + u32::from(name)
}

fn tgid_of(name: char) -> u32 {
    tid_of(name.to_ascii_uppercase())
}

struct Picture {
    rows: Vec<(String, Vec<char>)>,
    width: usize,
}

impl Picture {
    fn parse(text: &str) -> Picture {
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| !line.trim().is_empty())
            .collect();
        let indent = |line: &&str| line.len() - line.trim_start().len();
        let indent = lines.iter().map(indent).min().unwrap_or(0);
        // Names take up to six characters; a picture begins in the eighth column.
        let rows: Vec<(String, Vec<char>)> = lines
            .iter()
            .map(|line| {
                let line = &line[indent..];
                let (name, picture) = line.split_at(line.len().min(7));
                (name.trim().to_owned(), picture.chars().collect())
            })
            .collect();
        let width = rows.iter().map(|(_, row)| row.len()).max().unwrap_or(0);
        Picture { rows, width }
    }

    fn at(&self, row: &str, column: usize) -> char {
        let found = self.rows.iter().find(|(name, _)| name == row);
        found
            .and_then(|(_, row)| row.get(column))
            .copied()
            .unwrap_or(' ')
    }

    fn cpus(&self) -> usize {
        self.rows
            .iter()
            .filter(|(name, _)| name.starts_with("cpu"))
            .count()
    }

    /// Rows of expectations: their name is one letter.
    fn threads(&self) -> impl Iterator<Item = (char, &Vec<char>)> {
        self.rows.iter().filter_map(|(name, row)| {
            let mut letters = name.chars();
            let letter = letters.next().filter(|letter| letter.is_alphabetic())?;
            letters.next().is_none().then_some((letter, row))
        })
    }

    fn edges(&self) -> (usize, usize) {
        let find = |edge| (0..=self.width).find(|&column| self.at("edge", column) == edge);
        (find('[').unwrap_or(0), find(']').unwrap_or(self.width))
    }
}

/// Plays the schedule on the toy kernel.
struct Stage {
    toy: Toy,
    ids: BTreeMap<char, usize>,
    lost: Vec<usize>,
}

impl Stage {
    fn play(picture: &Picture) -> Stage {
        let mut stage = Stage {
            toy: Toy::new(picture.cpus()),
            ids: BTreeMap::new(),
            lost: Vec::new(),
        };
        stage.people(picture);
        let (begin, end) = picture.edges();
        for column in 0..=picture.width {
            let now = START + column as u64 * MICROSECOND;
            // A look comes before the edge, and before what happens in its column.
            stage.toy.now = now - MICROSECOND / 2;
            if column == begin {
                stage.toy.attached = true;
                stage.look(kind::THREAD);
            }
            if column == end {
                stage.look(kind::THREAD_END);
            }
            stage.toy.now = now;
            if column == begin {
                stage.toy.edge(kind::WINDOW_BEGIN);
            }
            let first = stage.toy.records.len();
            if column < picture.width {
                stage.column(picture, column);
            }
            stage.lose(picture.at("lose", column), first);
            if column == end {
                stage.toy.edge(kind::WINDOW_END);
            }
        }
        stage
    }

    /// Whoever is not born in the picture exists before it: on its CPU, or asleep, or waiting.
    fn people(&mut self, picture: &Picture) {
        self.toy.now = START - 50 * MICROSECOND;
        self.toy.attached = false;
        for (name, row) in picture.threads() {
            let born = (0..picture.width).any(|column| picture.at("born", column) == name);
            let (tid, tgid) = (tid_of(name), tgid_of(name));
            let key = 0x1000 + u64::from(name);
            let id = if born {
                self.toy.create(key, tid, tgid, 0)
            } else {
                self.toy.sleeper(key, tid, tgid, 0)
            };
            self.toy.tasks[id].kernel_thread = name == 'K';
            self.toy.tasks[id].own = name == 'T';
            self.ids.insert(name, id);
            if !born && matches!(row.first(), Some('.' | '=')) {
                self.toy.enqueue(id, 0);
            }
        }
        self.toy.now = START - MICROSECOND;
        for cpu in 0..picture.cpus() {
            let first = picture.at(&format!("cpu{cpu}"), 0);
            if let Some(&id) = self.ids.get(&first) {
                if !matches!(self.toy.tasks[id].mood, Mood::Alive(Does::Wait)) {
                    self.toy.enqueue(id, cpu);
                }
                self.toy.tasks[id].cpu = cpu;
                self.toy.switch(cpu, Leave::Preempted, id);
            }
        }
        self.toy.now = START;
    }

    fn look(&mut self, kind: u16) {
        for id in self.ids.values() {
            let task = &self.toy.tasks[*id];
            if task.born.is_some() || task.mood != Mood::Unborn {
                self.toy.seen(*id, kind);
            }
        }
    }

    fn column(&mut self, picture: &Picture, column: usize) {
        if let Some(&id) = self.ids.get(&picture.at("exit", column)) {
            self.toy.exit(id, 0x0700);
        }
        if let Some(&id) = self.ids.get(&picture.at("wake", column)) {
            self.toy.waking(id);
            let later = (column..picture.width)
                .any(|later| self.ids.get(&picture.at("queue", later)) == Some(&id));
            if self.toy.tasks[id].is_off() && !later {
                let cpu = self.next_cpu(picture, column, id);
                self.toy.enqueue(id, cpu);
            }
        }
        if let Some(&id) = self.ids.get(&picture.at("queue", column)) {
            let cpu = self.next_cpu(picture, column, id);
            self.toy.enqueue(id, cpu);
        }
        if let Some(&id) = self.ids.get(&picture.at("born", column)) {
            let parent = self.toy.running(0);
            self.toy.newtask(parent, id);
            let cpu = self.next_cpu(picture, column, id);
            self.toy.wake_new(id, cpu);
        }
        for cpu in 0..picture.cpus() {
            if let Some(&id) = self.ids.get(&picture.at(&format!("move{cpu}"), column)) {
                self.toy.migrate(id, cpu);
            }
        }
        for cpu in 0..picture.cpus() {
            let name = picture.at(&format!("cpu{cpu}"), column);
            let next = self.ids.get(&name).copied().unwrap_or(cpu);
            if next != self.toy.running(cpu) {
                let leave = match picture.at("how", column) {
                    'y' => Leave::Yields,
                    's' => Leave::SignalPending,
                    'n' => Leave::PreemptedGoingToSleep,
                    'x' => Leave::Dies,
                    '_' => off(OffState::Sleep, false),
                    '#' => off(OffState::Block, false),
                    'i' => off(OffState::Block, true),
                    'z' => off(OffState::Stopped, false),
                    _ => Leave::Preempted,
                };
                self.toy.switch(cpu, leave, next);
            }
        }
    }

    /// Where it will run.
    fn next_cpu(&self, picture: &Picture, column: usize, id: usize) -> usize {
        let runs = |cpu: usize, column: usize| {
            self.ids.get(&picture.at(&format!("cpu{cpu}"), column)) == Some(&id)
        };
        let moved = (column..picture.width).find_map(|column| {
            (0..picture.cpus())
                .find(|&cpu| self.ids.get(&picture.at(&format!("move{cpu}"), column)) == Some(&id))
        });
        if moved.is_some() {
            return self.toy.tasks[id].cpu;
        }
        (column..picture.width)
            .find_map(|column| (0..picture.cpus()).find(|&cpu| runs(cpu, column)))
            .unwrap_or(self.toy.tasks[id].cpu)
    }

    fn lose(&mut self, what: char, first: usize) {
        for index in first..self.toy.records.len() {
            let lost = match self.toy.records[index].told {
                Told::Switch { .. } => what == 'o',
                Told::Newtask(_) | Told::Born(_) => what == 'n',
                Told::Other => what == 'w',
                Told::Seen { .. } | Told::Edge => false,
            };
            if lost {
                self.lost.push(index);
            }
        }
    }

    fn records(&self) -> Vec<&Record> {
        let all = self.toy.records.iter().enumerate();
        all.filter(|(index, _)| !self.lost.contains(index))
            .map(|(_, record)| record)
            .collect()
    }
}

fn off(state: OffState, iowait: bool) -> Leave {
    Leave::Off { state, iowait }
}

/// Draws spans.
struct Tape<'a> {
    ledger: Ledger,
    drawn: BTreeMap<Slot, Vec<char>>,
    picture: &'a Picture,
}

impl Tape<'_> {
    fn draw(&mut self, span: &Span) {
        let (begin, end) = self.picture.edges();
        let width = self.picture.width;
        let row = self
            .drawn
            .entry(span.slot)
            .or_insert_with(|| vec![' '; width]);
        let letter = match span.doing {
            Doing::Run { .. } => '=',
            Doing::Wait(_) => '.',
            Doing::Off {
                state: OffState::Sleep,
                ..
            } => '_',
            Doing::Off {
                state: OffState::Stopped,
                ..
            } => 'z',
            Doing::Off { iowait: true, .. } => 'i',
            Doing::Off { .. } => '#',
            Doing::Unknown => '?',
        };
        for (column, cell) in row.iter_mut().enumerate().take(end).skip(begin) {
            let at = Timestamp(START + column as u64 * MICROSECOND);
            if span.from <= at && at < span.to {
                *cell = letter;
            }
        }
    }
}

impl SpanSink for Tape<'_> {
    fn span(&mut self, span: &Span) {
        self.draw(span);
        self.ledger.span(span);
    }
    fn explained(&mut self, waited: &Waited<'_>) {
        self.ledger.explained(waited);
    }
    fn mark(&mut self, slot: Slot, at: Timestamp, mark: &Mark) {
        self.ledger.mark(slot, at, mark);
    }
    fn cpu(&mut self, cpu: Cpu, from: Timestamp, to: Timestamp, idle: bool) {
        self.ledger.cpu(cpu, from, to, idle);
    }
    fn switch(&mut self, cpu: Cpu, at: Timestamp, switch: &Switch, counted: SwitchCount) {
        self.ledger.switch(cpu, at, switch, counted);
    }
    fn unseen(&mut self, at: Timestamp, counted: SwitchCount) {
        self.ledger.unseen(at, counted);
    }

    fn counted(&mut self, cpu: Cpu, at: Timestamp, counted: &CpuSwitches) {
        self.ledger.counted(cpu, at, counted);
    }
}

/// Plays the picture and compares every thread's row with what the engine says it did.
pub fn check(text: &str) -> Seen {
    check_with(text, |_, _| ())
}

/// As [`check`]; `change` may add to the records or alter them first.
pub fn check_with(text: &str, change: impl FnOnce(&mut Toy, &BTreeMap<char, usize>)) -> Seen {
    let picture = Picture::parse(text);
    let mut stage = Stage::play(&picture);
    change(&mut stage.toy, &stage.ids);
    let records = stage.records();
    let end = Timestamp(START + picture.edges().1 as u64 * MICROSECOND);

    let mut engine = Engine::new(stage.toy.facts());
    let mut tape = Tape {
        ledger: Ledger::new(&stage.toy.facts(), true),
        drawn: BTreeMap::new(),
        picture: &picture,
    };
    let mut reorder = Reorder::default();
    let mut pipeline = Pipeline::new(settings(&stage.toy));
    for record in &records {
        pipeline.push(&record.bytes);
        reorder.push(envelope(&record.bytes).expect("the toy writes whole records"));
    }
    reorder.release(Timestamp(u64::MAX), |record| {
        let reorder::Record::Bytes(record) = record else {
            panic!("only a run lends a switch");
        };
        let event = decode(record).expect("the toy writes known records");
        engine.apply(&event, &mut tape);
    });
    engine.finish(end, &mut tape);

    for (name, expected) in picture.threads() {
        let tid = tid_of(name);
        let mut drawn = vec![' '; picture.width];
        for (slot, who) in engine.tasks().iter().filter(|(_, who)| who.tid == tid) {
            let row = tape.drawn.get(&slot);
            for (cell, letter) in drawn.iter_mut().zip(row.into_iter().flatten()) {
                assert!(*cell == ' ' || *letter == ' ', "{who:?} is there twice");
                *cell = if *letter == ' ' { *cell } else { *letter };
            }
        }
        let text = |row: &[char]| row.iter().collect::<String>().trim_end().to_owned();
        assert_eq!(
            text(&drawn),
            text(expected),
            "{name} (left: drawn, right: expected)"
        );
    }
    let outside = Outside {
        lost_records: Some(stage.lost.len() as u64),
        ..Outside::default()
    };
    let report = pipeline.finish(end, &outside);
    super::properties::identity_holds(&report).expect("all time is somewhere");
    Seen { report }
}
