//! The core takes memory for threads, not for events: none at all once it has seen what there is to see.

use allocation_counter::{AllocationInfo, measure};
use tracer::pipeline::Pipeline;
use tracer::report::Report;

#[path = "support/stream.rs"]
mod stream;

use stream::{Machine, Shape};

/// A machine, the pipeline that hears of it, and what that pipeline holds.
struct Load {
    machine: Machine,
    pipeline: Pipeline,
    /// Bytes on the heap that are the pipeline's, now and at most.
    held: i64,
    most: i64,
}

impl Load {
    fn new(shape: Shape, max_threads: usize, intervals: bool) -> Load {
        let mut machine = Machine::new(shape);
        let settings = machine.settings(max_threads, intervals);
        let mut pipeline = None;
        let mut info = measure(|| pipeline = Some(Pipeline::new(settings)));
        let mut pipeline = pipeline.expect("measured code is run");
        info += measure(|| machine.begin(&mut pipeline));
        Load {
            machine,
            pipeline,
            held: info.bytes_current,
            most: info.bytes_current,
        }
    }

    /// At least so many events. Answers how many, and what the pipeline did for them.
    fn run(&mut self, events: u64) -> (u64, AllocationInfo) {
        let mut all = (0, AllocationInfo::default());
        while all.0 < events {
            all.0 += self.machine.run();
            let info = measure(|| self.machine.drain(&mut self.pipeline));
            self.most = self.most.max(self.held + info.bytes_max as i64);
            self.held += info.bytes_current;
            all.1 += info;
        }
        all
    }

    /// The verdict is checked with it: what was counted was work done well.
    fn end(mut self) -> Report {
        self.machine.end(&mut self.pipeline)
    }
}

fn switches(report: &Report) -> u64 {
    report.system.totals.expect("measured").switches()
}

#[track_caller]
fn allocates_nothing(shape: Shape, intervals: bool) {
    let (_, count) = allocations(shape, intervals);
    assert_eq!(count, 0);
}

/// Once all is warm: in so many events.
#[track_caller]
fn allocations(shape: Shape, intervals: bool) -> (u64, u64) {
    let mut load = Load::new(shape, 1000, intervals);
    let (_, warm) = load.run(600_000);
    assert!(warm.count_total > 0, "nothing is counted");
    let (events, info) = load.run(300_000);
    assert!(events >= 300_000);
    assert!(switches(&load.end()) > 200_000);
    (events, info.count_total)
}

#[test]
fn pipes_allocate_nothing() {
    allocates_nothing(Shape::pipe(), false);
}

#[test]
fn pipes_allocate_nothing_with_intervals() {
    allocates_nothing(Shape::pipe(), true);
}

/// Who takes the CPU from whom changes all the time, and each pair has a distribution.
#[test]
fn messages_allocate_once_in_a_thousand_events() {
    // Few enough to have seen nearly all lengths that there are.
    let shape = Shape {
        threads: 40,
        ..Shape::messaging()
    };
    let (events, count) = allocations(shape, false);
    assert!(count * 1000 < events, "{count} in {events} events");
}

/// What a thread costs that hardly ever runs, and waits when it does, all tables together.
#[test]
fn ten_thousand_threads_take_twenty_mebibytes() {
    // As pipes, they all have their turns.
    let shape = Shape {
        cpus: 8,
        threads: 10_000,
        threads_per_process: 10,
        // What is held of the stream is not the matter here.
        record_every_ns: 1_000_000,
        ..Shape::pipe()
    };
    let mut load = Load::new(shape, 1000, false);
    load.run(110_000);
    let (held, most) = (load.held, load.most);
    let report = load.end();
    assert_eq!(report.target.threads, 10_000);
    let threads = report.processes.iter().flat_map(|process| &process.threads);
    let ran = threads.filter(|thread| thread.run_slice.count >= 4).count();
    assert!(ran > 9_000, "only {ran} threads ran a few times");
    assert!(held <= 20 << 20, "{held} bytes");
    // The first snapshot passes through: 160 bytes of each thread, in buffers that double.
    assert!(most <= 22 << 20, "{most} bytes");
}

/// Fifty times as many processes come and go as are kept.
#[test]
fn what_is_held_does_not_grow_with_the_processes_that_were() {
    let mut load = Load::new(Shape::forks(), 200, false);
    // Until as many are named as are remembered where they had a CPU.
    load.run(300_000);
    let before = load.held;
    let (_, info) = load.run(300_000);
    assert!(info.count_total > 0, "processes took no memory");
    let grown = load.held - before;
    let report = load.end();
    assert!(
        report.quality.folded_threads > 10_000,
        "{:?}",
        report.quality.folded_threads
    );
    assert!(
        grown < 300_000,
        "{grown} bytes for {} processes",
        report.target.processes
    );
}

/// Of many CPUs and threads: the second half of the stream takes no more than the first.
#[test]
fn what_is_held_does_not_grow_with_events() {
    let mut load = Load::new(Shape::large(), 1000, false);
    load.run(500_000);
    let (held, most) = (load.held, load.most);
    load.run(1_000_000);
    let grown = load.held - held;
    let (peak, before) = (load.most, most);
    assert_eq!(load.end().target.threads, 10_000);
    // What is left to grow are the ranges of distributions.
    assert!(grown < held / 5, "{grown} more than {held} bytes");
    assert!(peak < before + before / 5, "{peak} after {before} bytes");
}
