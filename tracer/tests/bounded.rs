//! Small recordings that unpack to much: what a reader takes is bounded by the size of what it was given.

use std::mem::{offset_of, size_of};

use allocation_counter::measure;
use tracer::recording::{Reader, Writer};
use tracer_common::record::{Header, Switch, Thread, kind};

#[path = "support/hostile.rs"]
#[expect(dead_code, reason = "only recordings are tried here")]
mod hostile;

/// Less than fuzzing allows.
const MOST: u64 = 512 << 20;

fn header(kind: u16, len: usize, at_ns: u64) -> Header {
    let (len, cpu, flags) = (len as u16, 0, 0);
    Header {
        at_ns,
        kind,
        len,
        cpu,
        flags,
    }
}

fn switch(at_ns: u64) -> [u8; Switch::BYTES] {
    let header = header(kind::SWITCH, Switch::BYTES, at_ns);
    let mut bytes = [0; Switch::BYTES];
    let switch = Switch {
        header,
        ..Switch::default()
    };
    switch.write_to(&mut bytes);
    bytes
}

/// Of a thread that nobody has told of before.
fn thread(number: u32) -> [u8; size_of::<Thread>()] {
    let mut bytes = [0; size_of::<Thread>()];
    let mut set = |offset: usize, field: &[u8]| {
        bytes[offset..offset + field.len()].copy_from_slice(field);
    };
    let len = size_of::<Thread>() as u16;
    set(offset_of!(Header, at_ns), &1000_u64.to_ne_bytes());
    set(offset_of!(Header, kind), &kind::THREAD.to_ne_bytes());
    set(offset_of!(Header, len), &len.to_ne_bytes());
    set(offset_of!(Thread, task), &u64::from(number).to_ne_bytes());
    for offset in [offset_of!(Thread, tid), offset_of!(Thread, tgid)] {
        set(offset, &number.to_ne_bytes());
    }
    bytes
}

/// What a recording takes at most, and whether it was read to its end.
fn taken(write: impl FnOnce(&mut Writer<Vec<u8>>) -> std::io::Result<()>) -> (u64, bool) {
    let mut writer = Writer::new(Vec::new(), b"{}").expect("memory takes all");
    write(&mut writer).expect("memory takes all");
    let file = writer.finish(b"{}").expect("memory takes all");
    assert!(file.len() < 512 << 10, "{} bytes are not small", file.len());
    let mut reader = Reader::open(file.as_slice()).expect("its header is whole");
    while reader.next_part(|_| ()).expect("a slice can be read") {}
    let info = measure(|| hostile::replay(&file));
    (info.bytes_max, !reader.is_cut())
}

#[test]
fn records_that_are_all_foretold_end_where_they_take_too_much() {
    let (taken, whole) =
        taken(|writer| (0..1 << 20).try_for_each(|number| writer.record(&switch(1000 + number))));
    assert!(taken < MOST && !whole, "{taken} bytes, whole: {whole}");
}

#[test]
fn threads_out_of_nowhere_end_where_they_take_too_much() {
    let (taken, whole) =
        taken(|writer| (1..1 << 19).try_for_each(|number| writer.record(&thread(number))));
    assert!(taken < MOST && !whole, "{taken} bytes, whole: {whole}");
}

/// Each waits for its turn, which is far away.
#[test]
fn blocks_that_are_held_take_what_their_records_do() {
    let (taken, whole) = taken(|writer| {
        (0..1000).try_for_each(|number| {
            writer.record(&switch((1 << 60) + number))?;
            writer.advance(number * 2_000_000_000)
        })
    });
    assert!(taken < 64 << 20 && whole, "{taken} bytes, whole: {whole}");
}
