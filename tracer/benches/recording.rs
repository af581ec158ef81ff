//! How fast records become a recording and come back, and how large it is: one JSON object on stdout.
//!
//! Time is the thread's own on its CPU, and the fastest of several passes tells, as in `core.rs`.

use std::hint::black_box;
use std::io::{self, Write as _};
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};
use serde_json::{Value, json};
use tracer::recording::{Item, Reader, Writer};

#[path = "../src/engine/tests/bytes.rs"]
mod bytes;
#[path = "../tests/support/noisy.rs"]
mod noisy;

use noisy::{Load, Machine};

const PASSES: usize = 5;
const RECORDS: usize = 600_000;

fn main() -> io::Result<()> {
    let messaging = Load::Messaging { groups: 20 };
    let runs = [
        ("pipe, 2 CPUs", Load::Pipe, 2),
        ("messaging, 2 CPUs", messaging, 2),
        ("messaging, 16 CPUs", messaging, 16),
    ];
    // A part of a name as argument: these runs alone. `cargo bench` adds flags of its own.
    let only = std::env::args()
        .skip(1)
        .find(|argument| !argument.starts_with('-'));
    let chosen = runs.into_iter().filter(|(name, ..)| {
        only.as_ref()
            .is_none_or(|only| name.contains(only.as_str()))
    });
    let runs = chosen
        .map(|(name, load, cpus)| measured(name, load, cpus))
        .collect::<io::Result<Vec<Value>>>()?;
    let report = json!({ "schema": "tracer.recording-bench.v1", "runs": runs });
    writeln!(io::stdout(), "{report:#}")
}

fn measured(name: &str, load: Load, cpus: usize) -> io::Result<Value> {
    let mut machine = Machine::new(load, cpus);
    let (mut bytes, mut ends) = (Vec::new(), vec![0]);
    while ends.len() <= RECORDS {
        machine.drain(|record| {
            bytes.extend_from_slice(record);
            ends.push(bytes.len());
        });
    }
    let (mut encode, mut decode) = (Duration::MAX, Duration::MAX);
    let mut file = Vec::new();
    for _ in 0..PASSES {
        let start = on_cpu();
        let mut writer = Writer::new(Vec::new(), b"{}")?;
        for record in ends.windows(2) {
            writer.record(&bytes[record[0]..record[1]])?;
        }
        file = writer.finish(b"")?;
        encode = encode.min(on_cpu().saturating_sub(start));
        let start = on_cpu();
        let mut reader = Reader::open(file.as_slice()).map_err(io::Error::other)?;
        let mut sum = 0;
        while reader.next_block(|item| {
            if let Item::Record(record) = item {
                sum += record.len();
            }
            black_box(item);
        })? {}
        decode = decode.min(on_cpu().saturating_sub(start));
        assert_eq!(sum, bytes.len());
        assert!(!reader.is_cut());
    }
    let records = (ends.len() - 1) as f64;
    let per_second = |took: Duration| (records / took.as_secs_f64()).round();
    Ok(json!({
        "name": name,
        "records": records,
        "bytes_per_record": file.len() as f64 / records,
        "raw_bytes_per_record": bytes.len() as f64 / records,
        "encoded_per_second": per_second(encode),
        "decoded_per_second": per_second(decode),
    }))
}

/// CPU time of this thread.
fn on_cpu() -> Duration {
    Duration::try_from(clock_gettime(ClockId::ThreadCPUTime)).unwrap_or_default()
}
