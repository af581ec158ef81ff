//! How fast the core is, bytes in to totals: one JSON object on stdout.
//!
//! Only `Pipeline::push` and `Pipeline::advance` are timed and counted; the records are made beside them.
//! Time is the thread's own on its CPU, and the fastest of several passes tells: a shared machine only
//! ever adds.

use std::io::{self, Write as _};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tracer::pipeline::Pipeline;

#[path = "../tests/support/stream.rs"]
mod stream;

use stream::{Machine, Shape};

const PASSES: usize = 3;

struct Run {
    name: &'static str,
    shape: Shape,
    intervals: bool,
    /// Before it counts: every length has been seen by then, and every table is as large as it gets.
    warm_up: u64,
    events: u64,
}

/// One pass of a run.
struct Pass {
    events: u64,
    took: Duration,
    allocations: u64,
    peak_heap: i64,
    threads: u64,
}

fn main() -> io::Result<()> {
    let runs = [
        Run {
            name: "pipe, 2 CPUs",
            shape: Shape::pipe(),
            intervals: false,
            warm_up: 1_000_000,
            events: 2_000_000,
        },
        Run {
            name: "pipe, 2 CPUs, with intervals",
            shape: Shape::pipe(),
            intervals: true,
            warm_up: 1_000_000,
            events: 2_000_000,
        },
        Run {
            name: "messaging, 2 CPUs, 400 threads",
            shape: Shape::messaging(),
            intervals: false,
            warm_up: 4_000_000,
            events: 2_000_000,
        },
        Run {
            name: "forks, 2 CPUs",
            shape: Shape::forks(),
            intervals: false,
            warm_up: 1_000_000,
            events: 1_000_000,
        },
        Run {
            name: "256 CPUs, 10000 threads",
            shape: Shape::large(),
            intervals: false,
            warm_up: 1_000_000,
            events: 2_000_000,
        },
    ];
    // A part of a name as argument: these runs alone. `--quick`: a tenth of each, once; for callgrind.
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let quick = arguments.iter().any(|argument| argument == "--quick");
    // `cargo bench` adds flags of its own.
    let only = arguments.iter().find(|argument| !argument.starts_with('-'));
    let chosen = runs
        .iter()
        .filter(|run| only.is_none_or(|only| run.name.contains(only.as_str())));
    let runs: Vec<Value> = chosen.map(|run| measured(run, quick)).collect();
    let report = json!({ "schema": "tracer.core-bench.v1", "runs": runs });
    writeln!(io::stdout(), "{report:#}")
}

fn measured(run: &Run, quick: bool) -> Value {
    let (passes, part) = if quick { (1, 10) } else { (PASSES, 1) };
    let passes: Vec<Pass> = (0..passes).map(|_| pass(run, part)).collect();
    let fastest = passes
        .iter()
        .min_by_key(|pass| pass.took / u32::try_from(pass.events / 1000).unwrap_or(1));
    let Some(best) = fastest else {
        return Value::Null;
    };
    json!({
        "name": run.name,
        "events": best.events,
        "threads": best.threads,
        "events_per_second": (best.events as f64 / best.took.as_secs_f64()).round(),
        "allocations_per_event": best.allocations as f64 / best.events as f64,
        "peak_heap_bytes": best.peak_heap,
    })
}

fn pass(run: &Run, part: u64) -> Pass {
    let mut machine = Machine::new(run.shape);
    let mut pass = Pass {
        events: 0,
        took: Duration::ZERO,
        allocations: 0,
        peak_heap: 0,
        threads: 0,
    };
    let mut heap = 0;
    let mut count = |pass: &mut Pass, work: &mut dyn FnMut()| {
        let mut took = Duration::ZERO;
        let info = allocation_counter::measure(|| {
            let start = on_cpu(part);
            work();
            took = on_cpu(part).saturating_sub(start);
        });
        pass.peak_heap = pass
            .peak_heap
            .max(heap + i64::try_from(info.bytes_max).unwrap_or(i64::MAX));
        heap += info.bytes_current;
        (took, info.count_total)
    };
    let settings = machine.settings(1000, run.intervals);
    let mut pipeline = None;
    count(&mut pass, &mut || {
        pipeline = Some(Pipeline::new(settings.clone()))
    });
    let Some(mut pipeline) = pipeline else {
        return pass;
    };
    count(&mut pass, &mut || machine.begin(&mut pipeline));
    let mut warmed = 0;
    while warmed < run.warm_up / part {
        warmed += machine.run();
        count(&mut pass, &mut || machine.drain(&mut pipeline));
    }
    while pass.events < run.events / part {
        pass.events += machine.run();
        let (took, allocations) = count(&mut pass, &mut || machine.drain(&mut pipeline));
        pass.took += took;
        pass.allocations += allocations;
    }
    pass.threads = machine.end(&mut pipeline).target.threads;
    pass
}

/// CPU time of this thread. None of it for a part of a run: valgrind cannot ask for it, and counts better.
fn on_cpu(part: u64) -> Duration {
    if part > 1 {
        return Duration::ZERO;
    }
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
