//! Durable types: values whose bytes in RAM are their bytes in storage.
//!
//! # Rules
//!
//! An `unsafe impl` of [`Durable`] promises:
//!
//! 1. The layout is fixed (`repr(C)`, `repr(transparent)` or a primitive), and `SCHEMA` describes it.
//! 2. `is_valid` accepts only bytes that are a valid value.
//! 3. `initialise_padding` writes zeros, only to bytes that hold no value, and afterwards no byte is uninitialised.
//! 4. The type has no references, pointers, interior mutability or `Drop`, and an alignment of at most 8.

mod array;
mod primitive;

use crate::schema::{SchemaWriter, fingerprint, kind};
use core::ptr::NonNull;

/// A name for the types that links may lead to; a link's schema holds it instead of the target's schema.
pub trait Named {
    /// Declared name.
    const NAME: &'static str;
}

/// A plain value that can live in non-volatile memory as it is. Derive it.
///
/// # Safety
///
/// The numbered rules of the [module](self).
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be kept in non-volatile memory",
    label = "not durable",
    note = "use fixed-width integers instead of `usize` and `isize`",
    note = "use `Link<T>` instead of references, pointers and boxes, and `Maybe<T>` instead of `Option<T>`",
    note = "derive `vnv_core::Durable` for your own `#[repr(C)]` structs and `#[repr(u8)]` enums"
)]
pub unsafe trait Durable: Sized + 'static {
    /// The schema, as the on-storage format defines it.
    const SCHEMA: &'static [u8];
    /// Whether a value may hold links.
    const HAS_LINKS: bool;
    /// Whether a value has bytes that are not part of it.
    const HAS_PADDING: bool;

    /// Whether `bytes` are a valid value. `bytes` has the type's size.
    fn is_valid(bytes: &[u8]) -> bool;

    /// Zeroes the bytes that hold no value.
    ///
    /// # Safety
    ///
    /// `value` points to a valid value that may be written.
    unsafe fn initialise_padding(value: *mut Self);
}

/// What can be an object: a durable value, or a slice of them.
///
/// # Safety
///
/// As [`Durable`]; `from_raw` returns a pointer to `size` bytes.
#[diagnostic::on_unimplemented(
    message = "`{Self}` cannot be an object of the heap",
    note = "objects are durable values (`#[derive(Durable)]`) and slices of them"
)]
pub unsafe trait DurableObject: 'static {
    /// The schema.
    const SCHEMA: &'static [u8];
    /// CRC-64 of the schema.
    const FINGERPRINT: u64;
    /// Whether a value may hold links.
    const HAS_LINKS: bool;
    /// Whether a value has bytes that are not part of it.
    const HAS_PADDING: bool;
    /// Whether it is a slice.
    const IS_SLICE: bool;

    /// Whether `bytes` are a valid value.
    fn is_valid(bytes: &[u8]) -> bool;

    /// Zeroes the bytes that hold no value.
    ///
    /// # Safety
    ///
    /// As [`Durable::initialise_padding`].
    unsafe fn initialise_padding(value: *mut Self);

    /// A pointer to the value whose `size` bytes begin at `bytes`.
    fn from_raw(bytes: NonNull<u8>, size: usize) -> NonNull<Self>;
}

// SAFETY: delegates to `Durable`; the pointer keeps its address and the size is `Self`'s.
unsafe impl<T: Durable> DurableObject for T {
    const SCHEMA: &'static [u8] = {
        check::<T>();
        T::SCHEMA
    };
    const FINGERPRINT: u64 = fingerprint(T::SCHEMA);
    const HAS_LINKS: bool = T::HAS_LINKS;
    const HAS_PADDING: bool = T::HAS_PADDING;
    const IS_SLICE: bool = false;

    fn is_valid(bytes: &[u8]) -> bool {
        bytes.len() == size_of::<T>() && <T as Durable>::is_valid(bytes)
    }

    unsafe fn initialise_padding(value: *mut Self) {
        // SAFETY: the caller's word.
        unsafe { <T as Durable>::initialise_padding(value) }
    }

    fn from_raw(bytes: NonNull<u8>, _: usize) -> NonNull<Self> {
        bytes.cast()
    }
}

struct SliceSchema<T>(core::marker::PhantomData<T>);

impl<T: Durable> SliceSchema<T> {
    const WRITER: &'static SchemaWriter = &SchemaWriter::new().byte(kind::SLICE).u32(size_of::<T>()).bytes(T::SCHEMA);
}

// SAFETY: a slice is its elements, one after the other, which hold the rules.
unsafe impl<T: Durable> DurableObject for [T] {
    const SCHEMA: &'static [u8] = {
        check::<T>();
        SliceSchema::<T>::WRITER.as_slice()
    };
    const FINGERPRINT: u64 = fingerprint(<Self as DurableObject>::SCHEMA);
    const HAS_LINKS: bool = T::HAS_LINKS;
    const HAS_PADDING: bool = T::HAS_PADDING;
    const IS_SLICE: bool = true;

    fn is_valid(bytes: &[u8]) -> bool {
        bytes.len().is_multiple_of(size_of::<T>()) && bytes.chunks_exact(size_of::<T>()).all(T::is_valid)
    }

    unsafe fn initialise_padding(value: *mut Self) {
        for index in 0..value.len() {
            // SAFETY: the caller's word, for each element.
            unsafe { T::initialise_padding(value.cast::<T>().add(index)) };
        }
    }

    fn from_raw(bytes: NonNull<u8>, size: usize) -> NonNull<Self> {
        NonNull::slice_from_raw_parts(bytes.cast(), size / size_of::<T>())
    }
}

/// Rule 4, at compile time; used by the derive too.
#[doc(hidden)]
pub const fn check<T>() {
    assert!(align_of::<T>() <= 8, "objects have an alignment of at most 8");
    assert!(size_of::<T>() > 0, "a durable object has at least one byte");
    assert!(
        !core::mem::needs_drop::<T>(),
        "a durable type cannot need `Drop`: its destructor would not run after a power failure"
    );
}

/// The bytes of a value as storage has them; `None` if the type has padding.
pub const fn bytes_of<T: Durable>(value: &T) -> Option<&[u8]> {
    if T::HAS_PADDING {
        return None;
    }
    // SAFETY: without padding, all bytes of a value are initialised (rule 3); the type has no interior mutability (rule 4).
    Some(unsafe { core::slice::from_raw_parts(core::ptr::from_ref(value).cast::<u8>(), size_of::<T>()) })
}

/// Used by the derive: zeroes `from..to` of the value.
///
/// # Safety
///
/// The bytes belong to `value` and hold no value.
#[doc(hidden)]
pub unsafe fn zero<T>(value: *mut T, from: usize, to: usize) {
    if to > from {
        // SAFETY: the caller's word.
        unsafe { value.cast::<u8>().add(from).write_bytes(0, to - from) };
    }
}
