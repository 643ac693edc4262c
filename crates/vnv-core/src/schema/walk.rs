//! Walking a value by its schema: no recursion, a stack of eight frames, bounded steps.

use super::kind;
use crc::{CRC_64_XZ, Crc, NoTable};
use heapless::Vec;

/// Deepest nesting of arrays, structs and enums.
pub const MAX_DEPTH: usize = 8;

/// Why bytes are not a schema, or a value does not fit its schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SchemaError {
    /// The bytes are not a well-formed schema.
    Malformed,
    /// It is nested too deeply.
    TooDeep,
    /// The value's length is not what the schema says.
    WrongSize,
    /// The value holds an enum tag, `bool` or `char` that the schema does not know.
    InvalidValue,
}

impl core::fmt::Display for SchemaError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::Malformed => "the bytes are not a well-formed schema",
            Self::TooDeep => "the schema is nested too deeply",
            Self::WrongSize => "the value's length is not what its schema says",
            Self::InvalidValue => "the value is not valid for its schema",
        })
    }
}

impl core::error::Error for SchemaError {}

/// A link inside a value.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct LinkSite<'s> {
    /// Where it stands in the value.
    pub offset: u32,
    /// Declared name of the target's type.
    pub target: &'s str,
    /// Slot of the target; 0: null.
    pub index: u16,
    /// Generation of the target.
    pub generation: u16,
}

/// A primitive value, or a handle.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Primitive<'s> {
    /// `u8` to `u64`.
    Unsigned(u64),
    /// `i8` to `i64`.
    Signed(i64),
    /// `f32` or `f64`.
    Float(f64),
    /// `bool`.
    Bool(bool),
    /// `char`.
    Char(char),
    /// A link.
    Link(LinkSite<'s>),
    /// A weak handle.
    Weak(LinkSite<'s>),
}

/// What a walk meets.
#[derive(Clone, Copy, PartialEq, Debug)]
#[non_exhaustive]
pub enum Event<'s> {
    /// A struct begins: name, version.
    Struct(&'s str, u16),
    /// A variant of an enum begins: enum's name, version, variant's name.
    Variant(&'s str, u16, &'s str),
    /// An array or slice of so many elements begins.
    Array(u32),
    /// The next value is this field.
    Field(&'s str),
    /// A value.
    Value(Primitive<'s>),
    /// The struct, variant or array ends.
    End,
}

/// A checked schema.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Schema<'s> {
    bytes: &'s [u8],
    size: u32,
    has_links: bool,
}

#[derive(Clone, Copy)]
struct Reader<'s> {
    bytes: &'s [u8],
    at: usize,
}

impl<'s> Reader<'s> {
    fn take(&mut self, len: usize) -> Result<&'s [u8], SchemaError> {
        let end = self.at.checked_add(len).ok_or(SchemaError::Malformed)?;
        let taken = self.bytes.get(self.at..end).ok_or(SchemaError::Malformed)?;
        self.at = end;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], SchemaError> {
        self.take(N)?.try_into().map_err(|_| SchemaError::Malformed)
    }

    fn byte(&mut self) -> Result<u8, SchemaError> {
        Ok(self.array::<1>()?[0])
    }

    fn u32(&mut self) -> Result<u32, SchemaError> {
        Ok(u32::from_le_bytes(self.array()?))
    }

    fn name(&mut self) -> Result<&'s str, SchemaError> {
        let len = self.byte()?;
        core::str::from_utf8(self.take(usize::from(len))?).map_err(|_| SchemaError::Malformed)
    }
}

/// Head of a node.
enum Node<'s> {
    Primitive { kind: u8, size: u32, target: &'s str },
    Array { count: u32, element: u32 },
    Slice { element: u32 },
    Struct { name: &'s str, version: u16, size: u32, fields: u8 },
    Enum { name: &'s str, version: u16, size: u32, tag: u32, variants: u8 },
}

impl Node<'_> {
    fn read<'s>(reader: &mut Reader<'s>) -> Result<Node<'s>, SchemaError> {
        let first = reader.byte()?;
        let size = match first {
            kind::U8 | kind::I8 | kind::BOOL => 1,
            kind::U16 | kind::I16 => 2,
            kind::U32 | kind::I32 | kind::F32 | kind::CHAR | kind::LINK | kind::WEAK => 4,
            kind::U64 | kind::I64 | kind::F64 => 8,
            kind::ARRAY => return Ok(Node::Array { count: reader.u32()?, element: reader.u32()? }),
            kind::SLICE => return Ok(Node::Slice { element: reader.u32()? }),
            kind::STRUCT | kind::ENUM => {
                let (name, version) = (reader.name()?, u16::from_le_bytes(reader.array()?));
                let size = reader.u32()?;
                let _alignment = reader.byte()?;
                if first == kind::STRUCT {
                    return Ok(Node::Struct { name, version, size, fields: reader.byte()? });
                }
                let tag = u32::from(reader.byte()?);
                if !matches!(tag, 1 | 2 | 4 | 8) {
                    return Err(SchemaError::Malformed);
                }
                return Ok(Node::Enum { name, version, size, tag, variants: reader.byte()? });
            }
            _ => return Err(SchemaError::Malformed),
        };
        let handle = matches!(first, kind::LINK | kind::WEAK);
        Ok(Node::Primitive { kind: first, size, target: if handle { reader.name()? } else { "" } })
    }

    const fn size(&self) -> u32 {
        match self {
            Self::Primitive { size, .. } | Self::Struct { size, .. } | Self::Enum { size, .. } => *size,
            Self::Array { count, element } => count.saturating_mul(*element),
            Self::Slice { .. } => 0,
        }
    }
}

/// What is left to do in an open node.
#[derive(Clone, Copy)]
enum Frame {
    /// Elements: schema of the element, where the next one stands, its size, how many are left.
    Elements { schema: usize, at: u32, size: u32, left: u32 },
    /// Fields of a struct at `base`, of `size` bytes.
    Fields { base: u32, size: u32, left: u8 },
    /// Fields of the active variant; then the schema goes on at `end`.
    Active { base: u32, size: u32, left: u8, end: usize },
}

impl<'s> Schema<'s> {
    /// Checks a schema.
    ///
    /// # Errors
    ///
    /// [`SchemaError::Malformed`], [`SchemaError::TooDeep`].
    pub fn parse(bytes: &'s [u8]) -> Result<Self, SchemaError> {
        let mut schema = Self { bytes, size: 0, has_links: false };
        let mut reader = Reader { bytes, at: 0 };
        schema.size = Node::read(&mut reader)?.size();
        let mut has_links = false;
        let end = schema.skip(0, &mut has_links)?;
        schema.has_links = has_links;
        if end != bytes.len() || schema.size > 0xFFFF || bytes.len() > super::MAX_SCHEMA {
            return Err(SchemaError::Malformed);
        }
        Ok(schema)
    }

    /// Passes over the node at `at`, checking it; returns where it ends.
    fn skip(&self, at: usize, has_links: &mut bool) -> Result<usize, SchemaError> {
        // Per open node: children left, bytes of the node, whether its children are variants.
        #[derive(Clone, Copy)]
        struct Open {
            left: u32,
            size: u32,
            kind: u8,
        }
        let mut reader = Reader { bytes: self.bytes, at };
        let mut open: Vec<Open, { 2 * MAX_DEPTH }> = Vec::new();
        let mut pending = Some((u32::MAX, true));
        loop {
            if let Some((room, top)) = pending.take() {
                let node = Node::read(&mut reader)?;
                if node.size() > room || node.size() > 0xFFFF {
                    return Err(SchemaError::Malformed);
                }
                let next = match node {
                    Node::Primitive { kind, .. } => {
                        *has_links |= kind == kind::LINK;
                        None
                    }
                    Node::Array { count: _, element } => Some(Open { left: 1, size: element, kind: kind::ARRAY }),
                    Node::Slice { element } if top && element > 0 => {
                        Some(Open { left: 1, size: element, kind: kind::SLICE })
                    }
                    Node::Slice { .. } => return Err(SchemaError::Malformed),
                    Node::Struct { size, fields, .. } => Some(Open { left: fields.into(), size, kind: kind::STRUCT }),
                    Node::Enum { size, tag, variants, .. } if tag <= size => {
                        Some(Open { left: variants.into(), size, kind: kind::ENUM })
                    }
                    Node::Enum { .. } => return Err(SchemaError::Malformed),
                };
                if let Some(next) = next {
                    open.push(next).map_err(|_| SchemaError::TooDeep)?;
                }
            }
            let Some(last) = open.last_mut() else { return Ok(reader.at) };
            if last.left == 0 {
                open.pop();
                continue;
            }
            last.left -= 1;
            let Open { size, kind, .. } = *last;
            match kind {
                kind::ARRAY | kind::SLICE => {
                    let mut ahead = reader;
                    if Node::read(&mut ahead)?.size() != size {
                        return Err(SchemaError::Malformed);
                    }
                    pending = Some((size, false));
                }
                kind::STRUCT => {
                    reader.name()?;
                    let offset = reader.u32()?;
                    pending = Some((size.checked_sub(offset).ok_or(SchemaError::Malformed)?, false));
                }
                _ => {
                    reader.name()?;
                    reader.array::<8>()?;
                    let fields = reader.byte()?;
                    let variant = Open { left: fields.into(), size, kind: kind::STRUCT };
                    open.push(variant).map_err(|_| SchemaError::TooDeep)?;
                }
            }
        }
    }

    /// The encoded schema.
    #[must_use]
    pub const fn as_bytes(&self) -> &'s [u8] {
        self.bytes
    }

    /// Bytes of a value; 0 for a slice.
    #[must_use]
    pub const fn size(&self) -> u32 {
        self.size
    }

    /// Whether a value may hold links.
    #[must_use]
    pub const fn has_links(&self) -> bool {
        self.has_links
    }

    /// Whether it describes a slice.
    #[must_use]
    pub fn is_slice(&self) -> bool {
        self.bytes.first() == Some(&kind::SLICE)
    }

    /// CRC-64/XZ of the bytes.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        fingerprint(self.bytes)
    }

    /// Declared name of the type; of an array or slice, its element's; empty for primitives.
    #[must_use]
    pub fn name(&self) -> &'s str {
        let mut reader = Reader { bytes: self.bytes, at: 0 };
        for _ in 0..MAX_DEPTH {
            match Node::read(&mut reader) {
                Ok(Node::Struct { name, .. } | Node::Enum { name, .. }) => return name,
                Ok(Node::Array { .. } | Node::Slice { .. }) => {}
                _ => return "",
            }
        }
        ""
    }

    /// Visits every link of a value, in the active variants of enums only.
    ///
    /// # Errors
    ///
    /// [`SchemaError::WrongSize`], [`SchemaError::InvalidValue`].
    pub fn links(&self, value: &[u8], visit: &mut dyn FnMut(LinkSite<'s>)) -> Result<(), SchemaError> {
        self.walk(value, &mut |event| {
            if let Event::Value(Primitive::Link(site)) = event {
                visit(site);
            }
        })
    }

    /// Visits a value's parts in order.
    ///
    /// # Errors
    ///
    /// [`SchemaError::WrongSize`], [`SchemaError::InvalidValue`].
    pub fn walk(&self, value: &[u8], visit: &mut dyn FnMut(Event<'s>)) -> Result<(), SchemaError> {
        if !self.is_slice() && value.len() != self.size as usize {
            return Err(SchemaError::WrongSize);
        }
        let mut reader = Reader { bytes: self.bytes, at: 0 };
        let mut frames: Vec<Frame, { 2 * MAX_DEPTH }> = Vec::new();
        let mut next = Some(0u32);
        loop {
            if let Some(base) = next.take() {
                let frame = self.enter(&mut reader, base, value, visit)?;
                if let Some(frame) = frame {
                    frames.push(frame).map_err(|_| SchemaError::TooDeep)?;
                }
            }
            let Some(frame) = frames.last_mut() else { return Ok(()) };
            let done = match frame {
                Frame::Elements { schema, at, size, left } => {
                    reader.at = *schema;
                    if *left == 0 {
                        reader.at = self.skip(*schema, &mut false)?;
                        true
                    } else {
                        next = Some(*at);
                        *at = at.saturating_add(*size);
                        *left -= 1;
                        false
                    }
                }
                Frame::Fields { base, size, left } | Frame::Active { base, size, left, .. } if *left > 0 => {
                    let name = reader.name()?;
                    let offset = reader.u32()?;
                    if offset > *size {
                        return Err(SchemaError::Malformed);
                    }
                    visit(Event::Field(name));
                    next = Some(base.saturating_add(offset));
                    *left -= 1;
                    false
                }
                Frame::Fields { .. } => true,
                Frame::Active { end, .. } => {
                    reader.at = *end;
                    true
                }
            };
            if done {
                visit(Event::End);
                frames.pop();
            }
        }
    }

    /// Meets the node at the reader, whose value stands at `base`.
    fn enter(
        &self,
        reader: &mut Reader<'s>,
        base: u32,
        value: &[u8],
        visit: &mut dyn FnMut(Event<'s>),
    ) -> Result<Option<Frame>, SchemaError> {
        let start = reader.at;
        match Node::read(reader)? {
            Node::Primitive { kind, size, target } => {
                let from = base as usize;
                let bytes = value.get(from..from + size as usize).ok_or(SchemaError::WrongSize)?;
                visit(Event::Value(primitive(kind, bytes, base, target)?));
                Ok(None)
            }
            Node::Array { count, element } => {
                visit(Event::Array(count));
                // Elements of no size hold nothing to visit, however many they are.
                let left = if element == 0 { 0 } else { count };
                Ok(Some(Frame::Elements { schema: reader.at, at: base, size: element, left }))
            }
            Node::Slice { element } => {
                let count = value.len() as u32 / element.max(1);
                if count * element != value.len() as u32 {
                    return Err(SchemaError::WrongSize);
                }
                visit(Event::Array(count));
                Ok(Some(Frame::Elements { schema: reader.at, at: base, size: element, left: count }))
            }
            Node::Struct { name, version, size, fields } => {
                visit(Event::Struct(name, version));
                Ok(Some(Frame::Fields { base, size, left: fields }))
            }
            Node::Enum { name, version, size, tag, variants } => {
                let from = base as usize;
                let tag_bytes = value.get(from..from + tag as usize).ok_or(SchemaError::WrongSize)?;
                let mut found = None;
                for _ in 0..variants {
                    let variant = reader.name()?;
                    let expected: [u8; 8] = reader.array()?;
                    let fields = reader.byte()?;
                    if expected.starts_with(tag_bytes) {
                        found = Some((variant, fields));
                        break;
                    }
                    for _ in 0..fields {
                        reader.name()?;
                        reader.u32()?;
                        reader.at = self.skip(reader.at, &mut false)?;
                    }
                }
                let (variant, fields) = found.ok_or(SchemaError::InvalidValue)?;
                visit(Event::Variant(name, version, variant));
                let end = self.skip(start, &mut false)?;
                Ok(Some(Frame::Active { base, size, left: fields, end }))
            }
        }
    }
}

fn primitive<'s>(kind: u8, bytes: &[u8], offset: u32, target: &'s str) -> Result<Primitive<'s>, SchemaError> {
    let mut raw = [0; 8];
    raw.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    let unsigned = u64::from_le_bytes(raw);
    let shift = 64 - 8 * bytes.len().min(8) as u32;
    let signed = ((unsigned << shift) as i64) >> shift;
    let site = LinkSite { offset, target, index: unsigned as u16, generation: (unsigned >> 16) as u16 };
    Ok(match kind {
        kind::U8..=kind::U64 => Primitive::Unsigned(unsigned),
        kind::I8..=kind::I64 => Primitive::Signed(signed),
        kind::F32 => Primitive::Float(f64::from(f32::from_bits(unsigned as u32))),
        kind::F64 => Primitive::Float(f64::from_bits(unsigned)),
        kind::BOOL if unsigned < 2 => Primitive::Bool(unsigned == 1),
        kind::CHAR => Primitive::Char(char::from_u32(unsigned as u32).ok_or(SchemaError::InvalidValue)?),
        kind::LINK => Primitive::Link(site),
        kind::WEAK => Primitive::Weak(site),
        _ => return Err(SchemaError::InvalidValue),
    })
}

/// CRC-64/XZ of a schema.
#[must_use]
pub const fn fingerprint(schema: &[u8]) -> u64 {
    const CRC: Crc<u64, NoTable> = Crc::<u64, NoTable>::new(&CRC_64_XZ);
    CRC.checksum(schema)
}
