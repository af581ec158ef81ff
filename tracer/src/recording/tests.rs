use std::io::{self, Read};
use std::mem::size_of;

use proptest::prelude::*;
use tracer_common::record::{self, Header, kind};

use super::codec::{Encoder, Items};
use super::format::{
    BLOCK_HEADER, BLOCK_ITEMS, BLOCK_NS, BlockHeader, MAGIC, PREFIX, VERSION, block_kind,
};
use super::{Item, OpenError, Part, Reader, Record, Writer};
use crate::engine::tests::bytes;

#[path = "../../tests/support/noisy.rs"]
mod noisy;

use noisy::{Load, Machine};

/// An item that owns its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Owned {
    Record(Vec<u8>),
    Advance(u64),
}

fn owned(item: Item<'_>) -> Owned {
    match item {
        Item::Record(bytes) => Owned::Record(bytes.to_vec()),
        Item::Advance(watermark) => Owned::Advance(watermark),
    }
}

/// A file with one block for each of these.
fn file(blocks: &[Vec<Owned>]) -> Vec<u8> {
    let mut writer = Writer::new(Vec::new(), b"{\"a\":1}").expect("a vector takes all");
    for block in blocks {
        for item in block {
            match item {
                Owned::Record(bytes) => writer.record(bytes).expect("a vector takes all"),
                Owned::Advance(watermark) => {
                    writer.advance(*watermark).expect("a vector takes all")
                }
            }
        }
        writer.close_block().expect("a vector takes all");
    }
    let before = writer.written();
    let file = writer.finish(b"the end").expect("a vector takes all");
    assert!(before < file.len() as u64);
    file
}

/// All that can be read, and whether the file was whole.
fn read(file: &[u8]) -> Result<(Vec<Owned>, bool), OpenError> {
    let mut reader = Reader::open(file)?;
    assert_eq!(reader.header(), b"{\"a\":1}");
    let mut items = Vec::new();
    while reader
        .next_block(|item| items.push(owned(item)))
        .expect("a slice can be read")
    {
        assert_eq!(reader.trailer(), None);
    }
    assert!(
        !reader
            .next_block(|_| panic!("after the end"))
            .expect("a slice can be read")
    );
    let whole = reader.trailer() == Some(b"the end");
    assert_ne!(whole, reader.is_cut());
    Ok((items, whole))
}

fn comes_back(blocks: &[Vec<Owned>]) {
    let (items, whole) = read(&file(blocks)).expect("its header is whole");
    assert!(whole);
    assert!(items == blocks.concat());
}

/// So many drains of a load, each followed by an advance.
fn drained(load: Load, cpus: usize, drains: usize) -> Vec<Owned> {
    let mut machine = Machine::new(load, cpus);
    let mut items = Vec::new();
    for drain in 0..drains {
        machine.drain(|record| items.push(Owned::Record(record.to_vec())));
        items.push(Owned::Advance(drain as u64 * 1_000_000));
    }
    items
}

/// Bytes with the header of a record of that kind.
fn record(kind: u16, cpu: u16, at_ns: u64, flags: u16, body: &[u8]) -> Vec<u8> {
    let len = (size_of::<Header>() + body.len()) as u16;
    let mut bytes = at_ns.to_ne_bytes().to_vec();
    for number in [kind, len, cpu, flags] {
        bytes.extend(number.to_ne_bytes());
    }
    bytes.extend(body);
    bytes
}

/// Kinds of the stream and how long their records are.
const KINDS: [(u16, usize); 21] = [
    (kind::SWITCH, size_of::<record::Switch>()),
    (kind::WAKING, size_of::<record::Waking>()),
    (kind::WAKEUP_NEW, size_of::<record::WakeupNew>()),
    (kind::MIGRATE, size_of::<record::Migrate>()),
    (kind::NEWTASK, size_of::<record::Thread>()),
    (kind::FORK, size_of::<record::Fork>()),
    (kind::EXEC, size_of::<record::Exec>()),
    (kind::EXIT, size_of::<record::Exit>()),
    (kind::RENAME, size_of::<record::Rename>()),
    (kind::LOST, size_of::<record::Lost>()),
    (kind::THREAD, size_of::<record::Thread>()),
    (kind::THREAD_END, size_of::<record::Thread>()),
    (kind::WINDOW_BEGIN, size_of::<Header>()),
    (kind::WINDOW_END, size_of::<Header>()),
    (kind::CGROUP, size_of::<record::Cgroup>()),
    (kind::CPU_SWITCHES, size_of::<record::CpuSwitches>()),
    (kind::LEFT, size_of::<record::Left>()),
    (kind::NAME, size_of::<record::Name>()),
    (kind::CALLED, size_of::<record::Called>()),
    (kind::COW, size_of::<record::Cow>()),
    (kind::TEARDOWN, size_of::<record::Teardown>()),
];

#[test]
fn a_stream_comes_back() {
    let pipe = drained(Load::Pipe, 2, 12);
    let many = drained(Load::Messaging { groups: 3 }, 5, 12);
    assert!(pipe.len() > 10_000 && many.len() > 10_000);
    comes_back(&[pipe, many]);
}

#[test]
fn blocks_close_by_themselves() {
    let mut writer = Writer::new(Vec::new(), b"{\"a\":1}").expect("a vector takes all");
    let start = writer.written();
    for watermark in 0..BLOCK_ITEMS as u64 {
        writer.advance(watermark).expect("a vector takes all");
    }
    assert_eq!(writer.written(), start);
    writer.advance(1).expect("a vector takes all");
    let one = writer.written();
    assert!(one > start);
    // Much that no column takes.
    let bytes = vec![7; usize::from(u16::MAX)];
    for _ in 0..200 {
        writer.record(&bytes).expect("a vector takes all");
    }
    assert!(writer.written() > one);
    let (items, whole) =
        read(&writer.finish(b"the end").expect("a vector takes all")).expect("its header is whole");
    assert!(whole);
    assert_eq!(items.len(), BLOCK_ITEMS + 201);
    assert!(
        items[BLOCK_ITEMS + 1..]
            .iter()
            .all(|item| *item == Owned::Record(bytes.clone()))
    );
}

#[test]
fn a_block_of_a_slow_stream_closes_in_time() {
    let mut writer = Writer::new(Vec::new(), b"{\"a\":1}").expect("a vector takes all");
    let start = writer.written();
    writer.advance(50).expect("a vector takes all");
    writer.record(b"between").expect("a vector takes all");
    writer.advance(49 + BLOCK_NS).expect("a vector takes all");
    assert_eq!(writer.written(), start);
    writer.advance(50 + BLOCK_NS).expect("a vector takes all");
    let one = writer.written();
    assert!(one > start);
    // The next one has a time of its own.
    writer.advance(51 + BLOCK_NS).expect("a vector takes all");
    assert_eq!(writer.written(), one);
}

#[test]
fn records_longer_than_their_header_can_say_are_refused() {
    let mut writer = Writer::new(Vec::new(), b"").expect("a vector takes all");
    let error = writer.record(&vec![0; 1 << 16]).expect_err("too long");
    assert_eq!(error.kind(), io::ErrorKind::InvalidInput);
}

#[test]
fn nothing_is_a_recording_too() {
    comes_back(&[]);
    let file = Writer::new(Vec::new(), b"")
        .expect("a vector takes all")
        .finish(b"")
        .expect("a vector takes all");
    let mut reader = Reader::open(file.as_slice()).expect("its header is whole");
    assert!(
        !reader
            .next_block(|_| panic!("nothing was written"))
            .expect("a slice can be read")
    );
    assert_eq!(reader.trailer(), Some(b"".as_slice()));
}

/// They have columns: what was the same in the record before takes nothing.
#[test]
fn all_kinds_of_the_stream_are_known() {
    for (kind, length) in KINDS {
        let body: Vec<u8> = (0..length - size_of::<Header>())
            .map(|byte| (byte * 37) as u8)
            .collect();
        let mut items = Items::default();
        for time in 0..1000 {
            let noise = time * 7919 % 64;
            items
                .push(Item::Record(&record(
                    kind,
                    1,
                    10_000 * time + noise,
                    3,
                    &body,
                )))
                .expect("the block has room");
        }
        let mut payload = Vec::new();
        Encoder::new()
            .expect("memory for it")
            .encode(&mut items, &mut payload)
            .expect("memory for it");
        // Most of it is the noise of their times.
        let bytes = payload.len();
        assert!(bytes < 5_000, "kind {kind}: {bytes} bytes");
        assert!(
            items.places.iter().all(|place| place.head.what >= 2),
            "kind {kind} is raw"
        );
    }
}

fn any_record() -> impl Strategy<Value = Vec<u8>> {
    let known = (
        0..KINDS.len(),
        0..4u16,
        any::<u64>(),
        any::<u16>(),
        any::<u64>(),
    )
        .prop_map(|(index, cpu, at_ns, flags, seed)| {
            let (kind, length) = KINDS[index];
            // Words that come again, and words that are noise.
            let words = (0..30u64).flat_map(|word| match seed >> word & 3 {
                0 => (seed % 5).to_ne_bytes(),
                1 => (seed % 3 * word).to_ne_bytes(),
                2 => seed.wrapping_mul(2 * word + 1).to_ne_bytes(),
                _ => [0xff; 8],
            });
            let body: Vec<u8> = words.take(length - size_of::<Header>()).collect();
            record(kind, cpu, at_ns, flags, &body)
        });
    let odd = (
        0..30u16,
        any::<u16>(),
        prop::collection::vec(any::<u8>(), 0..200),
    )
        .prop_map(|(kind, cpu, body)| record(kind, cpu, 5, 0, &body));
    let nonsense = prop::collection::vec(any::<u8>(), 0..300);
    prop_oneof![6 => known, 1 => odd, 1 => nonsense]
}

fn any_item() -> impl Strategy<Value = Owned> {
    prop_oneof![
        10 => any_record().prop_map(Owned::Record),
        1 => any::<u64>().prop_map(Owned::Advance),
    ]
}

proptest! {
    #[test]
    fn whatever_was_written_comes_back(blocks in prop::collection::vec(prop::collection::vec(any_item(), 1..60), 0..4)) {
        comes_back(&blocks);
    }

    #[test]
    fn any_bytes_are_read_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..400), known in 0..3) {
        let mut file = match known {
            0 => Vec::new(),
            1 => MAGIC.to_vec(),
            _ => prefix(),
        };
        file.extend(bytes);
        if let Ok(mut reader) = Reader::open(file.as_slice()) {
            while reader.next_block(|_| {}).expect("a slice can be read") {}
            prop_assert!(reader.is_cut());
        }
    }

    /// As if somebody had made it: the checksums are right, what they are of is not.
    #[test]
    fn no_payload_is_trusted(
        items in prop::collection::vec(any_item(), 1..30),
        changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6),
        count in prop_oneof![0..40u32, any::<u32>()],
    ) {
        let mut payload = payload(&items);
        for (place, byte) in &changes {
            let place = place.index(payload.len());
            payload[place] = *byte;
        }
        let header = BlockHeader { kind: block_kind::ITEMS, items: count, ..BlockHeader::default() };
        // Whether that can be read is chance.
        let _ = read_block(header, &payload);
    }
}

/// What is told of a file by parts: each run, and what follows it.
fn parts(file: &[u8]) -> Vec<(Vec<Vec<u8>>, Vec<Owned>)> {
    let mut reader = Reader::open(file).expect("its header is whole");
    let mut parts = vec![(Vec::new(), Vec::new())];
    let each = |part: Part<'_>| match part {
        Part::Item(item) => parts.last_mut().expect("one").1.push(owned(item)),
        Part::Run(mut run) => {
            let mut records = Vec::new();
            while let Some((at_ns, cpu)) = run.front() {
                let mut bytes = [0; record::Switch::BYTES];
                let record = match run.take_next() {
                    Record::Bytes(bytes) => bytes.to_vec(),
                    Record::Switch(switch) => {
                        switch.write_to(&mut bytes);
                        bytes.to_vec()
                    }
                };
                assert_eq!(place_of(&record), (at_ns, cpu));
                records.push(record);
            }
            assert_eq!(
                run.end(),
                records.last().map_or(0, |record| place_of(record).0)
            );
            parts.push((records, Vec::new()));
        }
    };
    let mut each = each;
    while reader.next_part(&mut each).expect("a slice can be read") {}
    assert!(!reader.is_cut());
    parts
}

/// Time and CPU.
fn place_of(record: &[u8]) -> (u64, u16) {
    let field = |from: usize| {
        record[from..from + 8]
            .try_into()
            .map_or(0, u64::from_ne_bytes)
    };
    let cpu = [record[12], record[13]];
    (field(0), u16::from_ne_bytes(cpu))
}

/// Records of few times on few CPUs, so that many are of one time; some belong to a history.
fn any_orderly_record() -> impl Strategy<Value = Vec<u8>> {
    let kinds = prop::sample::select(vec![0, 0, 0, 1, 2, 4, 16]);
    (kinds, 0..3u16, 1000..1020u64, any::<u64>()).prop_map(|(index, cpu, at_ns, seed)| {
        let (kind, length) = KINDS[index];
        let words = (0..30u64).flat_map(|word| (seed >> word & 3).to_ne_bytes());
        let body: Vec<u8> = words.take(length - size_of::<Header>()).collect();
        record(kind, cpu, at_ns, 0, &body)
    })
}

proptest! {
    /// Its records in the order of time, those of one time by CPU; then, in their own order, its advances and what
    /// belongs to a history.
    #[test]
    fn an_orderly_block_is_told_in_the_order_of_time(
        records in prop::collection::vec(any_orderly_record(), 0..200),
        advances in prop::collection::vec((any::<prop::sample::Index>(), 0..1000u64), 0..3),
    ) {
        let mut block: Vec<Owned> = records.into_iter().map(Owned::Record).collect();
        for (place, watermark) in advances {
            block.insert(place.index(block.len() + 1), Owned::Advance(watermark));
        }
        let is_told_later = |item: &Owned| match item {
            Owned::Record(record) => record[8..10] == kind::LEFT.to_ne_bytes(),
            Owned::Advance(_) => true,
        };
        let (later, ordered): (Vec<_>, Vec<_>) = block.iter().cloned().partition(is_told_later);
        let records = ordered.into_iter().filter_map(|item| match item {
            Owned::Record(record) => Some(record),
            Owned::Advance(_) => None,
        });
        let mut records: Vec<Vec<u8>> = records.collect();
        records.sort_by_key(|record| place_of(record));
        let told = parts(&file(&[block.clone()]));
        let empty = (Vec::new(), Vec::new());
        if block.is_empty() {
            prop_assert_eq!(told, vec![empty]);
        } else {
            prop_assert_eq!(told, vec![empty, (records, later)]);
        }
    }
}

/// A record of a time that an advance before it has passed, or one that is not known.
#[test]
fn a_block_out_of_order_is_told_as_it_was_written() {
    let (kind, length) = KINDS[0];
    let switch = |at_ns| Owned::Record(record(kind, 0, at_ns, 0, &vec![1; length - 16]));
    let late = vec![switch(30), Owned::Advance(20), switch(10)];
    let unknown = vec![switch(30), Owned::Record(b"what is this".to_vec())];
    let told = parts(&file(&[late.clone(), unknown.clone()]));
    assert_eq!(told, [(Vec::new(), [late, unknown].concat())]);
}

/// What no item asks for is in the last column, which is nobody's: whatever a block holds, that is noticed.
#[test]
fn a_run_tells_that_its_block_is_damaged() {
    let (kind, length) = KINDS[0];
    let switch = |cpu, at_ns| Owned::Record(record(kind, cpu, at_ns, 0, &vec![1; length - 16]));
    let in_order = vec![switch(0, 10), switch(1, 10), switch(0, 11)];
    let tied = vec![switch(1, 10), switch(0, 10)];
    for block in [in_order, tied, vec![Owned::Advance(10)], Vec::new()] {
        let mut payload = payload(&block);
        assert_eq!(payload.pop(), Some(0), "no plane of the last column");
        payload.extend([1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 7]);
        let header = BlockHeader {
            kind: block_kind::ITEMS,
            items: block.len() as u32,
            ..BlockHeader::default()
        };
        let mut file = prefix();
        file.extend(framed(header, &payload));
        assert_eq!(
            read(&file).expect("its header is whole"),
            (Vec::new(), false)
        );
        let mut reader = Reader::open(file.as_slice()).expect("its header is whole");
        let mut nothings = 0;
        let more = reader.next_part(|part| match part {
            Part::Item(item) => panic!("{item:?}"),
            Part::Run(mut run) => {
                while run.front().is_some() {
                    let record = run.take_next();
                    nothings += usize::from(matches!(record, Record::Bytes([])));
                }
            }
        });
        let more = more.expect("a slice can be read");
        assert_eq!((more, reader.is_cut()), (nothings > 0, nothings == 0));
    }
}

/// The beginning of a file, up to its first block.
fn prefix() -> Vec<u8> {
    super::format::prefix(b"{\"a\":1}").expect("not too large")
}

fn payload(items: &[Owned]) -> Vec<u8> {
    let mut packed = Items::default();
    for item in items {
        let item = match item {
            Owned::Record(bytes) => Item::Record(bytes),
            Owned::Advance(watermark) => Item::Advance(*watermark),
        };
        packed.push(item).expect("the block has room");
    }
    let mut payload = Vec::new();
    Encoder::new()
        .expect("memory for it")
        .encode(&mut packed, &mut payload)
        .expect("memory for it");
    payload
}

/// What a file with this block and right checksums holds.
fn read_block(header: BlockHeader, payload: &[u8]) -> Vec<Owned> {
    let mut file = prefix();
    file.extend(framed(header, payload));
    read(&file).expect("its header is whole").0
}

fn framed(header: BlockHeader, payload: &[u8]) -> Vec<u8> {
    let mut block = Vec::new();
    let header = BlockHeader {
        bytes: payload.len() as u32,
        ..header
    };
    header.frame(payload, &mut block);
    block
}

fn small() -> Vec<Vec<Owned>> {
    let pipe = drained(Load::Pipe, 2, 1);
    vec![
        pipe[..6].to_vec(),
        vec![
            Owned::Record(record(99, 0, 8, 0, b"unknown")),
            Owned::Advance(3),
        ],
        pipe[6..10].to_vec(),
    ]
}

#[test]
fn a_file_that_was_cut_is_read_up_to_its_last_whole_block() {
    let blocks = small();
    let mut ends = Vec::new();
    let mut file = Vec::new();
    for count in 0..=blocks.len() {
        // Without the trailer, which is a block as the others.
        file = self::file(&blocks[..count]);
        let trailer = framed(BlockHeader::default(), &[0; 4]).len()
            + zstd::bulk::compress(b"the end", 3)
                .expect("memory for it")
                .len();
        ends.push(file.len() - trailer);
    }
    for cut in 0..file.len() {
        let whole = ends.iter().filter(|end| **end <= cut).count();
        match read(&file[..cut]) {
            Ok((items, finished)) => {
                assert!(!finished);
                assert!(items == blocks[..whole - 1].concat(), "cut at {cut}");
            }
            Err(OpenError::NotARecording) => assert!(cut < MAGIC.len()),
            Err(OpenError::DamagedHeader) => assert!((MAGIC.len()..ends[0]).contains(&cut)),
            Err(error) => panic!("cut at {cut}: {error}"),
        }
    }
}

#[test]
fn a_flipped_bit_is_found() {
    let blocks = small();
    let all = blocks.concat();
    let file = file(&blocks);
    for bit in 0..8 * file.len() {
        let mut damaged = file.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        match read(&damaged) {
            Ok((items, whole)) => {
                assert!(!whole, "bit {bit}");
                assert!(all.starts_with(&items), "bit {bit}");
            }
            Err(_) => assert!(bit / 8 < prefix().len(), "bit {bit}"),
        }
    }
}

#[test]
fn a_file_that_cannot_be_read_says_why() {
    let sentence = |file: &[u8]| Reader::open(file).err().map(|error| error.to_string());
    assert_eq!(
        sentence(b"PERFILE2 and more than that").expect("refused"),
        "not a recording"
    );
    assert_eq!(sentence(b"").expect("refused"), "not a recording");
    let whole = file(&[]);
    assert_eq!(sentence(&whole), None);
    let mut newer = whole.clone();
    newer[MAGIC.len()..][..2].copy_from_slice(&(VERSION + 1).to_le_bytes());
    let expected = format!(
        "made by a newer tracer (version {}, this one reads up to {VERSION})",
        VERSION + 1
    );
    assert_eq!(sentence(&newer).expect("refused"), expected);
    let mut damaged = whole;
    damaged[PREFIX] ^= 1;
    assert_eq!(
        sentence(&damaged).expect("refused"),
        "the header of the recording is damaged"
    );

    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> io::Result<usize> {
            Err(io::Error::other("broken"))
        }
    }
    let error = Reader::open(Broken).err().expect("refused");
    assert_eq!(error.to_string(), "read the header of the recording");
}

#[test]
fn a_missing_block_is_missed_and_one_of_another_kind_is_not() {
    let blocks = small();
    let first = payload(&blocks[0]);
    let header = |kind, number| BlockHeader {
        kind,
        number,
        items: blocks[0].len() as u32,
        ..BlockHeader::default()
    };
    let mut file = prefix();
    file.extend(framed(header(77, 0), b"from the future"));
    file.extend(framed(header(block_kind::ITEMS, 1), &first));
    file.extend(framed(header(block_kind::ITEMS, 3), &first));
    assert_eq!(
        read(&file).expect("its header is whole"),
        (blocks[0].clone(), false)
    );
}

#[test]
fn a_block_says_what_time_it_is_about() {
    let switches = |times: &[u64]| {
        times
            .iter()
            .map(|at_ns| Owned::Record(record(kind::WINDOW_BEGIN, 0, *at_ns, 0, b"")))
            .collect::<Vec<_>>()
    };
    let file = file(&[switches(&[70, 20, 50])]);
    let block = file[prefix().len()..]
        .first_chunk::<BLOCK_HEADER>()
        .expect("a block follows");
    let (header, _) = BlockHeader::parse(block).expect("its checksum is right");
    assert_eq!((header.first_ns, header.last_ns, header.items), (20, 70, 3));
}

/// Sizes and counts that would take all memory, with right checksums.
#[test]
fn what_a_file_announces_takes_no_memory() {
    let header = |items| BlockHeader {
        kind: block_kind::ITEMS,
        items,
        ..BlockHeader::default()
    };
    let whole = payload(&small()[0]);
    assert_eq!(read_block(header(6), &whole).len(), 6);
    for count in [0, 5, 7, BLOCK_ITEMS as u32, u32::MAX] {
        assert!(
            read_block(header(count), &whole).is_empty(),
            "{count} items"
        );
    }
    // The first plane of the first column: how it is stored, then how long it is.
    for length in [0, 5, 7, u32::MAX] {
        let mut payload = whole.clone();
        payload[2..6].copy_from_slice(&length.to_le_bytes());
        assert!(read_block(header(6), &payload).is_empty(), "{length} bytes");
    }
    // A block that says it is larger than any.
    let mut file = prefix();
    let mut block = framed(header(6), &whole);
    block[8..12].copy_from_slice(&u32::MAX.to_le_bytes());
    let checksum = crc32fast::hash(&block[..BLOCK_HEADER - 4]);
    block[BLOCK_HEADER - 4..BLOCK_HEADER].copy_from_slice(&checksum.to_le_bytes());
    file.extend(block);
    assert_eq!(
        read(&file).expect("its header is whole"),
        (Vec::new(), false)
    );
}

/// What the first block of a load takes: bytes a switch, and those of each column.
fn measure(load: Load, cpus: usize) -> (f64, String) {
    let mut machine = Machine::new(load, cpus);
    let mut items = Items::default();
    let mut full = false;
    while !full {
        machine.drain(|record| full |= items.push(Item::Record(record)).is_none());
    }
    let is_switch = |item: &Item<'_>| matches!(item, Item::Record(bytes) if bytes.len() == size_of::<record::Switch>());
    let switches = items.iter().filter(is_switch).count() as f64;
    let mut encoder = Encoder::new().expect("memory for it");
    let mut payload = Vec::new();
    encoder
        .encode(&mut items, &mut payload)
        .expect("memory for it");
    let mut columns: Vec<_> = encoder.sizes().collect();
    columns.sort_by_key(|(_, bytes)| std::cmp::Reverse(*bytes));
    let shown = columns
        .into_iter()
        .take(25)
        .map(|(name, bytes)| format!("\n{:8.3} {name}", bytes as f64 / switches));
    (payload.len() as f64 / switches, shown.collect())
}

#[test]
fn a_switch_of_a_pipe_takes_few_bytes() {
    let (bytes, columns) = measure(Load::Pipe, 2);
    assert!(bytes < 3.6, "{bytes} bytes a switch{columns}");
}

#[test]
fn a_switch_of_many_threads_takes_few_bytes() {
    for (cpus, most) in [(2, 10.5), (16, 13.0)] {
        let (bytes, columns) = measure(Load::Messaging { groups: 20 }, cpus);
        assert!(
            bytes < most,
            "{bytes} bytes a switch on {cpus} CPUs{columns}"
        );
    }
}
