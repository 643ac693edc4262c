//! The bounds check that every device shares.

/// Whether `length` bytes at `offset` lie inside `capacity` bytes; an access that ends on the last byte does.
pub(crate) fn inside(capacity: usize, offset: u32, length: usize) -> bool {
    usize::try_from(offset).ok().and_then(|start| start.checked_add(length)).is_some_and(|end| end <= capacity)
}

/// Sum of the lengths of `slices`, or `None` if it is beyond `usize`.
pub(crate) fn total(slices: &[&[u8]]) -> Option<usize> {
    slices.iter().try_fold(0usize, |sum, slice| sum.checked_add(slice.len()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_access_may_end_on_the_last_byte_and_not_behind_it() {
        assert!(inside(16, 0, 16));
        assert!(inside(16, 15, 1));
        assert!(inside(16, 16, 0));
        assert!(!inside(16, 16, 1));
        assert!(!inside(16, 15, 2));
        assert!(!inside(16, 17, 0));
        assert!(!inside(16, u32::MAX, usize::MAX));
    }

    #[test]
    fn total_adds_all_slices() {
        assert_eq!(total(&[]), Some(0));
        assert_eq!(total(&[&[1, 2], &[], &[3]]), Some(3));
    }
}
