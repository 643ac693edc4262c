//! Arrays of fixed length.

use super::{Durable, Named};
use crate::schema::{SchemaWriter, kind};

struct ArraySchema<T, const N: usize>(core::marker::PhantomData<T>);

impl<T: Durable, const N: usize> ArraySchema<T, N> {
    const WRITER: &'static SchemaWriter =
        &SchemaWriter::new().byte(kind::ARRAY).u32(N).u32(size_of::<T>()).bytes(T::SCHEMA);
}

impl<T: Named, const N: usize> Named for [T; N] {
    const NAME: &'static str = T::NAME;
}

impl<T: Named> Named for [T] {
    const NAME: &'static str = T::NAME;
}

// SAFETY: an array is its elements, one after the other, which hold the rules.
unsafe impl<T: Durable, const N: usize> Durable for [T; N] {
    const SCHEMA: &'static [u8] = ArraySchema::<T, N>::WRITER.as_slice();
    const HAS_LINKS: bool = T::HAS_LINKS;
    const HAS_PADDING: bool = T::HAS_PADDING && N > 0;

    fn is_valid(bytes: &[u8]) -> bool {
        size_of::<T>() == 0 || bytes.chunks_exact(size_of::<T>()).all(T::is_valid)
    }

    unsafe fn initialise_padding(value: *mut Self) {
        for index in 0..N {
            // SAFETY: the caller's word, for each element.
            unsafe { T::initialise_padding(value.cast::<T>().add(index)) };
        }
    }
}
