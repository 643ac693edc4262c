//! Numbers, `bool` and `char`.

use super::{Durable, Named};
use crate::schema::kind;

macro_rules! number {
    ($($type:ident $kind:ident),+ $(,)?) => {$(
        impl Named for $type {
            const NAME: &'static str = stringify!($type);
        }
        // SAFETY: fixed width, every bit pattern is a value, no padding.
        unsafe impl Durable for $type {
            const SCHEMA: &'static [u8] = &[kind::$kind];
            const HAS_LINKS: bool = false;
            const HAS_PADDING: bool = false;
            fn is_valid(_: &[u8]) -> bool {
                true
            }
            unsafe fn initialise_padding(_: *mut Self) {}
        }
    )+};
}
number!(u8 U8, u16 U16, u32 U32, u64 U64, i8 I8, i16 I16, i32 I32, i64 I64, f32 F32, f64 F64);

impl Named for bool {
    const NAME: &'static str = "bool";
}

// SAFETY: one byte, 0 or 1.
unsafe impl Durable for bool {
    const SCHEMA: &'static [u8] = &[kind::BOOL];
    const HAS_LINKS: bool = false;
    const HAS_PADDING: bool = false;
    fn is_valid(bytes: &[u8]) -> bool {
        matches!(bytes, [0 | 1])
    }
    unsafe fn initialise_padding(_: *mut Self) {}
}

impl Named for char {
    const NAME: &'static str = "char";
}

// SAFETY: a 32-bit scalar value.
unsafe impl Durable for char {
    const SCHEMA: &'static [u8] = &[kind::CHAR];
    const HAS_LINKS: bool = false;
    const HAS_PADDING: bool = false;
    fn is_valid(bytes: &[u8]) -> bool {
        bytes.try_into().is_ok_and(|bytes| char::from_u32(u32::from_ne_bytes(bytes)).is_some())
    }
    unsafe fn initialise_padding(_: *mut Self) {}
}
