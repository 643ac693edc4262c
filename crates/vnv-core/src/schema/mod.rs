//! Schemas: what an image says of its types, read without knowing Rust types.
//!
//! The encoding is in the book's chapter on the on-storage format.

mod walk;
mod writer;

pub use walk::{Event, LinkSite, Primitive, Schema, SchemaError, fingerprint};
pub use writer::{MAX_SCHEMA, SchemaWriter};

/// First bytes of the nodes of a schema.
pub mod kind {
    /// Unsigned integers: `u8` to `u64`.
    pub const U8: u8 = 0x01;
    /// `u16`.
    pub const U16: u8 = 0x02;
    /// `u32`.
    pub const U32: u8 = 0x03;
    /// `u64`.
    pub const U64: u8 = 0x04;
    /// `i8`.
    pub const I8: u8 = 0x06;
    /// `i16`.
    pub const I16: u8 = 0x07;
    /// `i32`.
    pub const I32: u8 = 0x08;
    /// `i64`.
    pub const I64: u8 = 0x09;
    /// `f32`.
    pub const F32: u8 = 0x0B;
    /// `f64`.
    pub const F64: u8 = 0x0C;
    /// `bool`.
    pub const BOOL: u8 = 0x0D;
    /// `char`.
    pub const CHAR: u8 = 0x0E;
    /// A link that keeps its target alive.
    pub const LINK: u8 = 0x10;
    /// A weak handle.
    pub const WEAK: u8 = 0x11;
    /// An array of fixed length.
    pub const ARRAY: u8 = 0x20;
    /// A slice; on the top level only.
    pub const SLICE: u8 = 0x21;
    /// A struct.
    pub const STRUCT: u8 = 0x30;
    /// An enum with tag and payload.
    pub const ENUM: u8 = 0x31;
}
