//! Sizes of slices that a collection grows into.

use vnv_persist::Error;

/// Most bytes of an object.
const MOST: usize = u16::MAX as usize;

/// The length of a slice of elements of `size` bytes that holds at least `needed`: twice the present one if possible.
pub fn grown<E>(now: usize, needed: usize, size: usize) -> Result<usize, Error<E>> {
    let most = MOST / size.max(1);
    let doubled = now.saturating_mul(2).max(needed).max(4).min(most);
    if doubled < needed { Err(Error::TooLarge) } else { Ok(doubled) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slices_double_up_to_the_largest_object() {
        assert_eq!(grown::<()>(0, 1, 4), Ok(4));
        assert_eq!(grown::<()>(4, 5, 4), Ok(8));
        assert_eq!(grown::<()>(4, 100, 4), Ok(100));
        assert_eq!(grown::<()>(9000, 9001, 4), Ok(16_383));
        assert_eq!(grown::<()>(16_383, 16_384, 4), Err(Error::TooLarge));
        assert_eq!(grown::<()>(0, 1, 60_000), Ok(1));
    }
}
