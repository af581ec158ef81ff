//! The running kernel's types, changed: for a kernel that lacks something, or one that is not as it is thought to be.
//!
//! `TRACER_BTF` names the file that a tracer takes them from.

use tracer::kernel::btf::Btf;

const TYPES: &str = "/sys/kernel/btf/vmlinux";

/// Without these tracepoints.
pub fn types_without(tracepoints: &[&str]) -> Vec<u8> {
    let mut types = read();
    for name in tracepoints {
        // What it is called now, nobody looks for.
        if let Some(at) = position(&types, &format!("\0btf_trace_{name}\0")) {
            types[at + 1] = b'x';
        }
    }
    types
}

/// With this field of a structure eight bytes further on.
pub fn types_with_a_wrong_offset(strukt: &str, field: &str) -> Vec<u8> {
    let mut types = read();
    let offset = |types: &[u8]| {
        let btf = Btf::parse(types.to_vec()).expect("the kernel's types are whole");
        let field = btf.field(strukt, field).expect("this kernel has the field");
        field.bit_offset
    };
    let right = offset(&types);
    // Header: type_off at 8, type_len at 12, str_off at 16, all from its own end.
    let number = |types: &[u8], at: usize| {
        let bytes = types[at..at + 4].try_into().expect("four bytes");
        u32::from_ne_bytes(bytes)
    };
    let [header, first, length, strings] = [4, 8, 12, 16].map(|at| number(&types, at) as usize);
    let name = position(&types[header + strings..], &format!("\0{field}\0"));
    let name = name.expect("its name is there") as u32 + 1;
    // A member is its name, its type and its offset in bits, each of four bytes.
    let begin = header + first;
    let mut members = (begin..begin + length - 8).step_by(4);
    let member = members
        .find(|&at| number(&types, at) == name && number(&types, at + 8) == right)
        .expect("its structure lists it");
    types[member + 8..member + 12].copy_from_slice(&(right + 64).to_ne_bytes());
    assert_eq!(offset(&types), right + 64, "another structure was changed");
    types
}

fn read() -> Vec<u8> {
    std::fs::read(TYPES).expect("this kernel has BTF")
}

fn position(bytes: &[u8], text: &str) -> Option<usize> {
    bytes
        .windows(text.len())
        .position(|window| window == text.as_bytes())
}
