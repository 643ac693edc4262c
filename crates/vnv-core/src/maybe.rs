//! An optional value with a defined layout.

use crate::durable::{Durable, Named, zero};
use crate::schema::{SchemaWriter, kind};
use core::fmt;
use core::mem::{MaybeUninit, offset_of};

/// A durable `Option`: a tag byte (0 or 1), then the value. Storage holds zeros where there is none.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Maybe<T: Copy> {
    tag: u8,
    value: MaybeUninit<T>,
}

impl<T: Copy> Maybe<T> {
    /// No value.
    pub const NONE: Self = Self { tag: 0, value: MaybeUninit::zeroed() };

    /// A value.
    pub const fn some(value: T) -> Self {
        Self { tag: 1, value: MaybeUninit::new(value) }
    }

    /// The value, if there is one.
    pub const fn get(&self) -> Option<&T> {
        // SAFETY: tag 1 is set only together with a value.
        if self.tag == 1 { Some(unsafe { self.value.assume_init_ref() }) } else { None }
    }

    /// The value, if there is one, to be changed.
    pub const fn get_mut(&mut self) -> Option<&mut T> {
        // SAFETY: tag 1 is set only together with a value.
        if self.tag == 1 { Some(unsafe { self.value.assume_init_mut() }) } else { None }
    }

    /// Replaces the value.
    pub const fn set(&mut self, value: Option<T>) {
        *self = match value {
            Some(value) => Self::some(value),
            None => Self::NONE,
        };
    }
}

impl<T: Copy> From<Option<T>> for Maybe<T> {
    fn from(value: Option<T>) -> Self {
        value.map_or(Self::NONE, Self::some)
    }
}

impl<T: Copy> Default for Maybe<T> {
    fn default() -> Self {
        Self::NONE
    }
}

impl<T: Copy + PartialEq> PartialEq for Maybe<T> {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl<T: Copy + fmt::Debug> fmt::Debug for Maybe<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.get().fmt(f)
    }
}

impl<T: Copy> Named for Maybe<T> {
    const NAME: &'static str = "Maybe";
}

struct MaybeSchema<T: Copy>(core::marker::PhantomData<T>);

impl<T: Durable + Copy> MaybeSchema<T> {
    const WRITER: &'static SchemaWriter = &SchemaWriter::new()
        .byte(kind::ENUM)
        .name("Maybe")
        .u16(1)
        .u32(size_of::<Maybe<T>>())
        .byte(align_of::<Maybe<T>>() as u8)
        .byte(1)
        .byte(2)
        .name("None")
        .i64(0)
        .byte(0)
        .name("Some")
        .i64(1)
        .byte(1)
        .name("0")
        .u32(offset_of!(Maybe<T>, value))
        .bytes(T::SCHEMA);
}

// SAFETY: repr(C); tag 0 or 1, and with 1 a valid value; everything else is zeroed.
unsafe impl<T: Durable + Copy> Durable for Maybe<T> {
    const SCHEMA: &'static [u8] = MaybeSchema::<T>::WRITER.as_slice();
    const HAS_LINKS: bool = T::HAS_LINKS;
    const HAS_PADDING: bool = true;

    fn is_valid(bytes: &[u8]) -> bool {
        let at = offset_of!(Self, value);
        match bytes.first() {
            Some(0) => true,
            Some(1) => bytes.get(at..at + size_of::<T>()).is_some_and(T::is_valid),
            _ => false,
        }
    }

    unsafe fn initialise_padding(value: *mut Self) {
        let at = offset_of!(Self, value);
        // SAFETY: the caller's word; the bytes between tag and value, after it, and of no value hold none.
        unsafe {
            zero(value, 1, at);
            zero(value, at + size_of::<T>(), size_of::<Self>());
            if (*value).tag == 1 {
                T::initialise_padding((&raw mut (*value).value).cast());
            } else {
                zero(value, at, size_of::<Self>());
            }
        }
    }
}
