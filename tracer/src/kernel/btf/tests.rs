use proptest::prelude::*;

use super::*;

/// Builds a BTF blob type by type; the first type has id 1.
#[derive(Default)]
pub(crate) struct Blob {
    types: Vec<u8>,
    strings: Vec<u8>,
    count: u32,
}

impl Blob {
    fn words(&mut self, words: &[u32]) {
        self.types
            .extend(words.iter().flat_map(|word| word.to_ne_bytes()));
    }

    fn name(&mut self, name: &str) -> u32 {
        if self.strings.is_empty() {
            self.strings.push(0);
        }
        if name.is_empty() {
            return 0;
        }
        let at = self.strings.len() as u32;
        self.strings.extend(name.bytes().chain([0]));
        at
    }

    fn add(&mut self, name: &str, kind: u32, flag: bool, vlen: usize, size_or_type: u32) -> u32 {
        let name = self.name(name);
        self.words(&[
            name,
            u32::from(flag) << 31 | kind << 24 | vlen as u32,
            size_or_type,
        ]);
        self.count += 1;
        self.count
    }

    pub fn int(&mut self, name: &str, bytes: u32, encoding: u32) -> u32 {
        let id = self.add(name, kind::INT, false, 0, bytes);
        self.words(&[encoding]);
        id
    }

    pub fn refer(&mut self, kind: u32, name: &str, to: u32) -> u32 {
        self.add(name, kind, false, 0, to)
    }

    /// Members as (name, type, raw offset word).
    pub fn compound(
        &mut self,
        kind: u32,
        name: &str,
        flag: bool,
        members: &[(&str, u32, u32)],
    ) -> u32 {
        let id = self.add(name, kind, flag, members.len(), 0);
        for &(member, type_id, offset) in members {
            let member = self.name(member);
            self.words(&[member, type_id, offset]);
        }
        id
    }

    pub fn function_proto(&mut self, params: &[u32]) -> u32 {
        let id = self.add("", kind::FUNC_PROTO, false, params.len(), 0);
        for &param in params {
            self.words(&[0, param]);
        }
        id
    }

    pub fn finish(self) -> Vec<u8> {
        let mut data = 0xeb9f_u16.to_ne_bytes().to_vec();
        data.extend([1, 0]);
        let (types, strings) = (self.types.len() as u32, self.strings.len() as u32);
        for word in [24, 0, types, types, strings] {
            data.extend(u32::to_ne_bytes(word));
        }
        data.extend(self.types);
        data.extend(self.strings);
        data
    }
}

/// A small kernel: every construct that the lookups have to see through.
pub(crate) fn small_kernel() -> Vec<u8> {
    let mut blob = Blob::default();
    let u64_type = blob.int("u64", 8, 64);
    let u32_type = blob.int("unsigned int", 4, 32);
    let one_bit = blob.int("old_bit", 4, 3 << 16 | 1);
    let void_pointer = blob.refer(kind::PTR, "", 0);
    let typedef = blob.refer(kind::TYPEDEF, "u64_t", u64_type);
    let constant = blob.refer(kind::CONST, "", typedef);
    let inner = blob.compound(
        kind::STRUCT,
        "sched_info",
        false,
        &[("pcount", u64_type, 0), ("run_delay", constant, 64)],
    );
    let inner_typedef = blob.refer(kind::TYPEDEF, "sched_info_t", inner);
    let deepest = blob.compound(
        kind::UNION,
        "",
        false,
        &[("a", u64_type, 0), ("b", u32_type, 0)],
    );
    let anonymous = blob.compound(
        kind::STRUCT,
        "",
        false,
        &[("", deepest, 64), ("c", u32_type, 128)],
    );
    blob.compound(
        kind::STRUCT,
        "task_struct",
        true,
        &[
            ("pid", u32_type, 0),
            ("in_iowait", u32_type, 1 << 24 | 34),
            ("", anonymous, 64),
            ("sched_info", inner_typedef, 256),
        ],
    );
    blob.compound(
        kind::STRUCT,
        "old",
        false,
        &[("flag", one_bit, 64), ("plain", u32_type, 128)],
    );
    let switch =
        blob.function_proto(&[void_pointer, u32_type, void_pointer, void_pointer, u32_type]);
    let pointer = blob.refer(kind::PTR, "", switch);
    blob.refer(kind::TYPEDEF, "btf_trace_sched_switch", pointer);
    blob.refer(kind::TYPEDEF, "btf_trace_not_a_function", void_pointer);
    blob.refer(kind::FUNC, "bpf_iter_task", switch);
    let small = blob.add("cgroup_subsys_id", kind::ENUM, false, 2, 4);
    assert_eq!(small, blob.count);
    for (name, value) in [("cpuset_cgrp_id", 0), ("cpu_cgrp_id", 1)] {
        let name = blob.name(name);
        blob.words(&[name, value]);
    }
    blob.add("signed", kind::ENUM, true, 1, 4);
    let name = blob.name("minus");
    blob.words(&[name, u32::MAX]);
    blob.add("wide", kind::ENUM64, false, 1, 8);
    let name = blob.name("large");
    blob.words(&[name, 7, 1]);
    blob.finish()
}

fn field(path: &str) -> Option<Field> {
    Btf::parse(small_kernel())
        .expect("the blob is whole")
        .field("task_struct", path)
}

fn bytes(offset: u32) -> Option<Field> {
    Some(Field {
        bit_offset: 8 * offset,
        bit_size: None,
    })
}

#[test]
fn fields_are_found_behind_typedefs_and_in_anonymous_members() {
    assert_eq!(field("pid"), bytes(0));
    assert_eq!(field("sched_info.run_delay"), bytes(40));
    assert_eq!(field("b"), bytes(16));
    assert_eq!(field("c"), bytes(24));
    assert_eq!(field("sched_info.absent"), None);
    assert_eq!(field("pid.absent"), None);
    assert_eq!(field("pi"), None);
    assert_eq!(field(""), None);
    assert_eq!(
        Btf::parse(small_kernel())
            .expect("whole")
            .field("absent", "pid"),
        None
    );
}

#[test]
fn bit_fields_are_told_apart_in_both_encodings() {
    assert_eq!(
        field("in_iowait"),
        Some(Field {
            bit_offset: 34,
            bit_size: Some(1)
        })
    );
    let btf = Btf::parse(small_kernel()).expect("whole");
    assert_eq!(
        btf.field("old", "flag"),
        Some(Field {
            bit_offset: 67,
            bit_size: Some(1)
        })
    );
    assert_eq!(
        btf.field("old", "plain"),
        Some(Field {
            bit_offset: 128,
            bit_size: None
        })
    );
}

#[test]
fn tracepoints_functions_and_enumerators() {
    let btf = Btf::parse(small_kernel()).expect("whole");
    let switch = btf.tracepoint("sched_switch").expect("it is there");
    assert_eq!(
        switch,
        [
            Param::Integer,
            Param::Pointer,
            Param::Pointer,
            Param::Integer
        ]
    );
    assert_eq!(btf.tracepoint("sched_waking"), None);
    assert_eq!(btf.tracepoint("not_a_function"), None);
    assert!(btf.function_exists("bpf_iter_task"));
    assert!(!btf.function_exists("bpf_iter"));
    assert_eq!(btf.enumerator("cgroup_subsys_id", "cpu_cgrp_id"), Some(1));
    assert_eq!(btf.enumerator("signed", "minus"), Some(-1));
    assert_eq!(btf.enumerator("wide", "large"), Some(7 | 1 << 32));
    assert_eq!(btf.enumerator("wide", "absent"), None);
}

#[test]
fn cycles_end() {
    let mut blob = Blob::default();
    // 1 -> 2 -> 1, a structure inside itself, and a fan of structures that doubles at every level.
    blob.refer(kind::TYPEDEF, "btf_trace_loop", 2);
    blob.refer(kind::CONST, "", 1);
    blob.compound(
        kind::STRUCT,
        "itself",
        false,
        &[("", 3, 0), ("", 3, 64), ("loop", 1, 0)],
    );
    let fan: Vec<(&str, u32, u32)> = vec![("", 4, 1 << 20); 60_000];
    blob.compound(kind::STRUCT, "fan", false, &fan);
    let btf = Btf::parse(blob.finish()).expect("cycles are legal bytes");
    assert_eq!(btf.tracepoint("loop"), None);
    assert_eq!(btf.field("itself", "absent"), None);
    assert_eq!(btf.field("itself", "loop.absent"), None);
    assert_eq!(btf.field("fan", "absent"), None);
}

#[test]
fn damage_is_an_error_with_a_reason() {
    let whole = small_kernel();
    let parse = |data: &[u8]| Btf::parse(data.to_vec()).err();
    assert_eq!(parse(&[]), Some(BtfError::Magic));
    assert_eq!(parse(b"\x7fELF"), Some(BtfError::Magic));
    assert_eq!(
        parse(&0xeb9f_u16.swap_bytes().to_ne_bytes()),
        Some(BtfError::ByteOrder)
    );
    assert_eq!(parse(&whole[..2]), Some(BtfError::Truncated("the header")));
    for length in 2..whole.len() {
        assert!(
            parse(&whole[..length]).is_some(),
            "{length} bytes of {}",
            whole.len()
        );
    }
    let mut other = whole.clone();
    other[2] = 9;
    assert_eq!(parse(&other), Some(BtfError::Version(9)));
    let mut blob = Blob::default();
    blob.add("future", 31, false, 0, 0);
    assert_eq!(
        parse(&blob.finish()),
        Some(BtfError::Kind { id: 1, kind: 31 })
    );
}

/// Every lookup, whatever the answer.
fn ask_everything(data: Vec<u8>) {
    let Ok(btf) = Btf::parse(data) else { return };
    for strukt in ["task_struct", "old", "sched_info", ""] {
        for path in [
            "pid",
            "in_iowait",
            "b",
            "sched_info.run_delay",
            "flag",
            "",
            ".",
        ] {
            let _ = btf.field(strukt, path);
        }
    }
    let _ = btf.tracepoint("sched_switch");
    let _ = btf.enumerator("cgroup_subsys_id", "cpu_cgrp_id");
    let _ = btf.enumerator("wide", "large");
    let _ = btf.function_exists("bpf_iter_task");
}

proptest! {
    #[test]
    fn arbitrary_bytes_never_panic(data in prop::collection::vec(any::<u8>(), 0..400)) {
        let mut framed = small_kernel()[..24].to_vec();
        framed.extend(&data);
        ask_everything(framed);
        ask_everything(data);
    }

    #[test]
    fn damaged_blobs_never_panic(
        damage in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..12),
    ) {
        let mut data = small_kernel();
        for (at, byte) in damage {
            let at = at.index(data.len());
            data[at] = byte;
        }
        ask_everything(data);
    }
}

/// The machine the tests run on; other tests compare its offsets with what a C compiler says.
pub(crate) fn real_kernel() -> Option<Btf> {
    let data = std::fs::read(KERNEL_BTF).ok()?;
    Some(Btf::parse(data).expect("the kernel's own BTF parses"))
}

#[test]
fn the_kernel_of_this_machine_parses() {
    // Machines without BTF cannot run the tracer at all; there is nothing to compare with there.
    let Some(btf) = real_kernel() else { return };
    assert!(btf.types() > 10_000);
    for (field, arch) in [
        ("orig_ax", "x86_64"),
        ("syscallno", "aarch64"),
        ("pstate", "aarch64"),
    ] {
        assert_eq!(
            btf.field("pt_regs", field).is_some(),
            std::env::consts::ARCH == arch,
            "{field}"
        );
    }
    assert!(
        btf.tracepoint("sched_switch")
            .is_some_and(|params| params.len() >= 3)
    );
    assert!(btf.function_exists("bpf_iter_task"));
}

#[test]
fn an_outline_keeps_the_numbers_and_names_what_is_wanted() {
    let whole = Btf::parse(small_kernel()).expect("whole");
    let wanted = [
        Wanted::Typedef("btf_trace_sched_switch".to_owned()),
        Wanted::Function("no such function".to_owned()),
    ];
    let bytes = whole.outline(&wanted);
    let outline = aya::Btf::parse(&bytes, aya::Endianness::default()).expect("aya reads it");
    let number = |btf: &aya::Btf, name: &str| {
        btf.id_by_type_name_kind(name, aya_obj::btf::BtfKind::Typedef)
            .ok()
    };
    let all = aya::Btf::parse(&small_kernel(), aya::Endianness::default()).expect("aya reads it");
    let name = "btf_trace_sched_switch";
    assert!(number(&all, name).is_some());
    assert_eq!(number(&outline, name), number(&all, name));
    assert_eq!(number(&outline, "no such type"), None);
    assert!(Btf::parse(bytes).expect("whole").types() <= whole.types());
}
