//! Slices that a collection grows into.

use crate::store::{Store, StoreError};
use vnv_persist::{Durable, Error, Owned};

/// Lengths of a larger slice, to be tried one after the other: room for twice as many elements as now, for an eighth more than are
/// needed, and for no more.
pub const fn lengths(now: usize, needed: usize) -> [usize; 3] {
    let doubled = now.saturating_mul(2);
    if doubled > needed {
        [if doubled > 4 { doubled } else { 4 }, needed.saturating_add(needed / 8), needed]
    } else {
        [if needed > 4 { needed } else { 4 }, needed, needed]
    }
}

/// A slice of the first of these lengths, of which the last one is the least, that storage and RAM have room for.
pub fn first_that_fits<'s, S: Store, T: Durable>(
    store: &'s S,
    lengths: [usize; 3],
    mut element: impl FnMut(usize) -> T,
) -> Result<Owned<'s, [T]>, StoreError<S>> {
    let [longer @ .., least] = lengths;
    for length in longer.into_iter().filter(|length| *length > least) {
        match store.allocate_slice_with(length, &mut element) {
            Err(Error::TooLarge | Error::StorageFull | Error::RamFull) => {}
            result => return result,
        }
    }
    store.allocate_slice_with(least, element)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_double_or_grow_as_far_as_they_can() {
        assert_eq!(lengths(0, 1), [4, 1, 1]);
        assert_eq!(lengths(4, 5), [8, 5, 5]);
        assert_eq!(lengths(4, 100), [100, 100, 100]);
        assert_eq!(lengths(800, 801), [1600, 901, 801]);
    }
}
