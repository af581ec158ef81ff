//! The kernel's type information: where a field lies, which tracepoints exist.
//!
//! In: the bytes of `/sys/kernel/btf/vmlinux`. Out: answers by name. Total: broken or hostile bytes
//! give an error or `None`, within bounded time and stack. Format: Documentation/bpf/btf.rst.

use std::ops::Range;
use std::path::{Path, PathBuf};

/// Overrides [`KERNEL_BTF`]; a path that does not exist simulates a kernel without BTF.
const OVERRIDE: &str = "TRACER_BTF";
const KERNEL_BTF: &str = "/sys/kernel/btf/vmlinux";

const MAGIC: u16 = 0xeb9f;
const VERSION: u8 = 1;
/// Of the header that is written here; one that is read may be longer.
const HEADER: usize = 24;

/// Longest chain of typedefs and qualifiers, and deepest nesting of anonymous members, followed.
/// Kernels of 2026 stay below 10.
const DEPTH: usize = 32;
/// Members looked at in one lookup. `task_struct`, the largest, has about 300.
const MEMBERS: usize = 100_000;

mod kind {
    pub const INT: u32 = 1;
    pub const PTR: u32 = 2;
    pub const ARRAY: u32 = 3;
    pub const STRUCT: u32 = 4;
    pub const UNION: u32 = 5;
    pub const ENUM: u32 = 6;
    pub const FWD: u32 = 7;
    pub const TYPEDEF: u32 = 8;
    pub const VOLATILE: u32 = 9;
    pub const CONST: u32 = 10;
    pub const RESTRICT: u32 = 11;
    pub const FUNC: u32 = 12;
    pub const FUNC_PROTO: u32 = 13;
    pub const VAR: u32 = 14;
    pub const DATASEC: u32 = 15;
    pub const FLOAT: u32 = 16;
    pub const DECL_TAG: u32 = 17;
    pub const TYPE_TAG: u32 = 18;
    pub const ENUM64: u32 = 19;
}

#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum BtfError {
    #[error("not BTF: it does not begin with the magic number")]
    Magic,
    #[error("BTF of the other byte order")]
    ByteOrder,
    #[error("BTF version {0}, this build reads version 1")]
    Version(u8),
    #[error("truncated or damaged BTF: {0} reaches beyond the end")]
    Truncated(&'static str),
    #[error("BTF type {id} is of kind {kind}, which this build does not know")]
    Kind { id: u32, kind: u32 },
}

/// Where a field lies in its structure.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Field {
    pub bit_offset: u32,
    /// `None`: not a bit field.
    pub bit_size: Option<u32>,
}

/// What a tracepoint hands over at one position.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Param {
    Pointer,
    Integer,
}

/// A type by its name: see [`Btf::outline`].
#[derive(Clone, Debug)]
pub enum Wanted {
    Typedef(String),
    Function(String),
}

impl Wanted {
    fn kind_and_name(&self) -> (u32, &str) {
        match self {
            Wanted::Typedef(name) => (kind::TYPEDEF, name),
            Wanted::Function(name) => (kind::FUNC, name),
        }
    }
}

/// Parsed once: the offset of each type's entry. Names are compared when asked for.
pub struct Btf {
    data: Vec<u8>,
    /// By type id; id 0 is `void` and has no entry.
    entries: Vec<u32>,
    strings: Range<usize>,
}

#[derive(Clone, Copy)]
struct Type {
    /// Where the part after the common 12 bytes begins.
    body: usize,
    kind: u32,
    flag: bool,
    vlen: usize,
    name: u32,
    /// Size in bytes or the type referred to.
    size_or_type: u32,
}

impl Btf {
    /// Where the kernel's own BTF is looked for.
    pub fn path() -> PathBuf {
        std::env::var_os(OVERRIDE).map_or_else(|| Path::new(KERNEL_BTF).to_owned(), PathBuf::from)
    }

    pub fn parse(data: Vec<u8>) -> Result<Btf, BtfError> {
        let (types, strings) = sections(&data)?;
        let mut btf = Btf {
            data,
            entries: vec![0],
            strings,
        };
        let mut at = types.start;
        while at < types.end {
            let id = btf.entries.len() as u32;
            let entry = btf.read_type(at).ok_or(BtfError::Truncated("a type"))?;
            let body = body_len(entry.kind, entry.vlen).ok_or(BtfError::Kind {
                id,
                kind: entry.kind,
            })?;
            btf.entries.push(at as u32);
            at = entry.body + body;
            if at > types.end {
                return Err(BtfError::Truncated("a type"));
            }
        }
        Ok(btf)
    }

    /// How many types there are, `void` not counted.
    pub fn types(&self) -> usize {
        self.entries.len() - 1
    }

    /// The field at the dotted `path` below `strukt`. A component may be inside anonymous structures
    /// or unions, and `[N]` behind it is an element of an array. `None`: this kernel has no such field.
    pub fn field(&self, strukt: &str, path: &str) -> Option<Field> {
        // Two translation units may disagree about a name: the first that has the field answers.
        let mut budget = MEMBERS;
        self.named(kind::STRUCT, strukt).find_map(|found| {
            let mut current = found;
            let mut field = Field {
                bit_offset: 0,
                bit_size: None,
            };
            for component in path.split('.') {
                let (name, element) = match component.strip_suffix(']') {
                    Some(component) => component.split_once('[')?,
                    None => (component, ""),
                };
                let (step, below) = self.member(current, name, DEPTH, &mut budget)?;
                field.bit_offset = field.bit_offset.checked_add(step.bit_offset)?;
                field.bit_size = step.bit_size;
                current = self.resolve(below)?;
                if !element.is_empty() {
                    let (offset, inner) = self.element(current, element.parse().ok()?)?;
                    field.bit_offset = field.bit_offset.checked_add(offset)?;
                    current = inner;
                }
            }
            Some(field)
        })
    }

    /// What tracepoint `name` hands over, without the pointer to its own data that comes first.
    /// `None`: this kernel has no such tracepoint.
    pub fn tracepoint(&self, name: &str) -> Option<Vec<Param>> {
        let typedef = self
            .named(kind::TYPEDEF, &format!("btf_trace_{name}"))
            .next()?;
        let pointer = self.resolve(typedef.size_or_type)?;
        let function = self.resolve(pointer.size_or_type)?;
        if pointer.kind != kind::PTR || function.kind != kind::FUNC_PROTO {
            return None;
        }
        (1..function.vlen)
            .map(|index| {
                let param = self.resolve(self.u32(function.body + 8 * index + 4)?)?;
                match param.kind {
                    kind::PTR => Some(Param::Pointer),
                    kind::INT | kind::ENUM | kind::ENUM64 => Some(Param::Integer),
                    _ => None,
                }
            })
            .collect()
    }

    /// The number behind `value_name` in `enum enum_name`.
    pub fn enumerator(&self, enum_name: &str, value_name: &str) -> Option<i64> {
        let small = self.named(kind::ENUM, enum_name);
        small
            .chain(self.named(kind::ENUM64, enum_name))
            .find_map(|found| {
                let step = if found.kind == kind::ENUM { 8 } else { 12 };
                let at = (0..found.vlen)
                    .map(|index| found.body + step * index)
                    .find(|&at| {
                        self.u32(at)
                            .is_some_and(|name| self.is_named(name, value_name))
                    })?;
                let low = self.u32(at + 4)?;
                Some(match (found.kind, found.flag) {
                    (kind::ENUM, true) => i64::from(low.cast_signed()),
                    (kind::ENUM, false) => i64::from(low),
                    _ => (u64::from(low) | u64::from(self.u32(at + 8)?) << 32).cast_signed(),
                })
            })
    }

    pub fn function_exists(&self, name: &str) -> bool {
        self.named(kind::FUNC, name).next().is_some()
    }

    /// BTF in which every type has the number that it has here, and only the named ones have a name: for
    /// loaders that look up numbers. All of the kernel's types would be dozens of megabytes to them.
    pub fn outline(&self, wanted: &[Wanted]) -> Vec<u8> {
        let (mut types, mut strings) = (Vec::new(), vec![0]);
        // Up to the last one that is named; the others take part as numbers only.
        let mut end = 0;
        for at in &self.entries[1..] {
            let found = self.read_type(*at as usize).and_then(|found| {
                let is_it = |wanted: &&Wanted| {
                    let (kind, name) = wanted.kind_and_name();
                    found.kind == kind && self.is_named(found.name, name)
                };
                wanted.iter().find(is_it)
            });
            let (name, kind) = match found.map(Wanted::kind_and_name) {
                Some((kind, name)) => {
                    let at = strings.len() as u32;
                    strings.extend(name.bytes().chain([0]));
                    (at, kind)
                }
                None => (0, kind::FWD),
            };
            types.extend([name, kind << 24, 0].into_iter().flat_map(u32::to_ne_bytes));
            if name != 0 {
                end = types.len();
            }
        }
        types.truncate(end);
        let (types_len, strings_len) = (types.len() as u32, strings.len() as u32);
        let mut outline = Vec::with_capacity(HEADER + types.len() + strings.len());
        outline.extend(MAGIC.to_ne_bytes());
        outline.extend([VERSION, 0]);
        for field in [HEADER as u32, 0, types_len, types_len, strings_len] {
            outline.extend(field.to_ne_bytes());
        }
        outline.extend(types);
        outline.extend(strings);
        outline
    }

    /// The member `name` of a structure or union, and its type.
    fn member(
        &self,
        of: Type,
        name: &str,
        depth: usize,
        budget: &mut usize,
    ) -> Option<(Field, u32)> {
        if !matches!(of.kind, kind::STRUCT | kind::UNION) || depth == 0 {
            return None;
        }
        for index in 0..of.vlen {
            *budget = budget.checked_sub(1)?;
            let at = of.body + 12 * index;
            let (member, type_id, raw) = (self.u32(at)?, self.u32(at + 4)?, self.u32(at + 8)?);
            // With the flag, the upper byte is the size of a bit field.
            let (bit_offset, bits) = if of.flag {
                (raw & 0xff_ffff, raw >> 24)
            } else {
                (raw, 0)
            };
            if member != 0 {
                if self.is_named(member, name) {
                    let (shift, bit_size) = match bits {
                        0 => self.old_bit_field(type_id),
                        bits => (0, Some(bits)),
                    };
                    return Some((
                        Field {
                            bit_offset: bit_offset.checked_add(shift)?,
                            bit_size,
                        },
                        type_id,
                    ));
                }
            } else if let Some(inner) = self.resolve(type_id)
                && let Some((field, below)) = self.member(inner, name, depth - 1, budget)
            {
                let bit_offset = field.bit_offset.checked_add(bit_offset)?;
                return Some((
                    Field {
                        bit_offset,
                        ..field
                    },
                    below,
                ));
            }
        }
        None
    }

    /// Where an element of an array is, in bits, and its type: a structure, a union or an integer.
    fn element(&self, of: Type, index: u32) -> Option<(u32, Type)> {
        if of.kind != kind::ARRAY || index >= self.u32(of.body + 8)? {
            return None;
        }
        let inner = self.resolve(self.u32(of.body)?)?;
        if !matches!(inner.kind, kind::STRUCT | kind::UNION | kind::INT) {
            return None;
        }
        let bits = inner.size_or_type.checked_mul(8)?.checked_mul(index)?;
        Some((bits, inner))
    }

    /// Without the structure's flag, a bit field is a member of an integer type that does not fill its bytes.
    fn old_bit_field(&self, type_id: u32) -> (u32, Option<u32>) {
        let encoding = self
            .resolve(type_id)
            .filter(|found| found.kind == kind::INT)
            .and_then(|found| Some((found.size_or_type, self.u32(found.body)?)));
        match encoding {
            Some((bytes, data)) if data & 0xff != bytes.saturating_mul(8) => {
                (data >> 16 & 0xff, Some(data & 0xff))
            }
            _ => (0, None),
        }
    }

    /// The type behind typedefs and qualifiers; `None` for `void`, endless chains and unknown ids.
    fn resolve(&self, id: u32) -> Option<Type> {
        let mut id = id;
        for _ in 0..DEPTH {
            let found = self.type_by_id(id)?;
            match found.kind {
                kind::TYPEDEF | kind::VOLATILE | kind::CONST | kind::RESTRICT | kind::TYPE_TAG => {
                    id = found.size_or_type;
                }
                _ => return Some(found),
            }
        }
        None
    }

    fn named<'a>(&'a self, kind: u32, name: &'a str) -> impl Iterator<Item = Type> + 'a {
        self.entries[1..]
            .iter()
            .filter_map(|&at| self.read_type(at as usize))
            .filter(move |found| found.kind == kind && self.is_named(found.name, name))
    }

    fn type_by_id(&self, id: u32) -> Option<Type> {
        let at = *self.entries.get(id as usize)?;
        if id == 0 {
            None
        } else {
            self.read_type(at as usize)
        }
    }

    fn read_type(&self, at: usize) -> Option<Type> {
        let info = self.u32(at + 4)?;
        Some(Type {
            body: at + 12,
            kind: info >> 24 & 0x1f,
            flag: info >> 31 == 1,
            vlen: (info & 0xffff) as usize,
            name: self.u32(at)?,
            size_or_type: self.u32(at + 8)?,
        })
    }

    fn is_named(&self, offset: u32, name: &str) -> bool {
        let text = self
            .data
            .get(self.strings.clone())
            .and_then(|strings| strings.get(offset as usize..));
        let rest = text.and_then(|text| text.strip_prefix(name.as_bytes()));
        rest.is_some_and(|rest| rest.first() == Some(&0))
    }

    fn u32(&self, at: usize) -> Option<u32> {
        read_u32(&self.data, at)
    }
}

/// Reads the header: where the types and the strings are.
fn sections(data: &[u8]) -> Result<(Range<usize>, Range<usize>), BtfError> {
    match data
        .first_chunk::<2>()
        .map(|bytes| u16::from_ne_bytes(*bytes))
    {
        Some(MAGIC) => {}
        Some(other) if other == MAGIC.swap_bytes() => return Err(BtfError::ByteOrder),
        _ => return Err(BtfError::Magic),
    }
    let word = |at| read_u32(data, at).ok_or(BtfError::Truncated("the header"));
    if data.get(2) != Some(&VERSION) {
        return Err(data
            .get(2)
            .map_or(BtfError::Truncated("the header"), |&version| {
                BtfError::Version(version)
            }));
    }
    let header = word(4)? as usize;
    let section = |offset: usize, length: usize, name| {
        let start = header
            .checked_add(offset)
            .ok_or(BtfError::Truncated(name))?;
        let end = start.checked_add(length).ok_or(BtfError::Truncated(name))?;
        // Offsets are kept as u32.
        if end > data.len() || u32::try_from(end).is_err() {
            return Err(BtfError::Truncated(name));
        }
        Ok(start..end)
    };
    let types = section(word(8)? as usize, word(12)? as usize, "the type section")?;
    let strings = section(word(16)? as usize, word(20)? as usize, "the string section")?;
    Ok((types, strings))
}

/// Bytes after the common part of a type; `None` for a kind added later, which cannot be stepped over.
fn body_len(kind: u32, vlen: usize) -> Option<usize> {
    Some(match kind {
        kind::INT | kind::VAR | kind::DECL_TAG => 4,
        kind::ARRAY => 12,
        kind::STRUCT | kind::UNION | kind::DATASEC | kind::ENUM64 => 12 * vlen,
        kind::ENUM | kind::FUNC_PROTO => 8 * vlen,
        kind::PTR | kind::FWD | kind::FLOAT => 0,
        kind::TYPEDEF
        | kind::VOLATILE
        | kind::CONST
        | kind::RESTRICT
        | kind::FUNC
        | kind::TYPE_TAG => 0,
        _ => return None,
    })
}

fn read_u32(data: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(*data.get(at..)?.first_chunk()?))
}

#[cfg(test)]
#[path = "btf/tests.rs"]
pub(crate) mod tests;
