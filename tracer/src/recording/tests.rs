use super::codec::{self, Items};
use super::{Item, OpenError, Reader, Writer};

#[path = "../../tests/support/noisy.rs"]
mod noisy;

use noisy::{Load, Machine};

/// What the first block of a load takes, in bytes a record, and each column of it.
fn measure(load: Load, cpus: usize) -> (f64, String) {
    let mut machine = Machine::new(load, cpus);
    let mut items = Items::default();
    let mut full = false;
    while !full {
        machine.drain(|record| full |= items.push(Item::Record(record)).is_none());
    }
    let mut encoder = codec::Encoder::new().unwrap();
    let mut payload = Vec::new();
    let switches = items.iter().filter(|item| matches!(item, Item::Record(bytes) if bytes.len() == 176)).count() as f64;
    encoder.encode(&mut items, &mut payload).unwrap();
    let columns = encoder.sizes().map(|(name, bytes)| (bytes, format!("\n{:8.3} {name}", bytes as f64 / switches)));
    let mut columns: Vec<_> = columns.filter(|(bytes, _)| *bytes > 60).collect();
    columns.sort_by_key(|(bytes, _)| std::cmp::Reverse(*bytes));
    (payload.len() as f64 / switches, columns.into_iter().map(|(_, line)| line).collect())
}

#[test]
fn a_switch_of_a_pipe_takes_few_bytes() {
    let (bytes, columns) = measure(Load::Pipe, 2);
    assert!(bytes < 0.0, "{bytes} bytes a switch{columns}");
}

#[test]
fn a_switch_of_many_threads_takes_few_bytes() {
    let (bytes, columns) = measure(Load::Messaging { groups: 20 }, 2);
    assert!(bytes < 0.0, "{bytes} bytes a switch{columns}");
}

#[test]
fn a_switch_of_many_threads_and_cpus_takes_few_bytes() {
    let (bytes, columns) = measure(Load::Messaging { groups: 20 }, 16);
    assert!(bytes < 0.0, "{bytes} bytes a switch{columns}");
}
