//! Binary buddy: blocks of powers of two, each at a multiple of its size.

#[cfg(test)]
use core::cell::Cell;

use crate::allocator::{OffsetAllocator, RangeError};

/// A binary buddy allocator whose state is two bits per unit, in `WORDS` pairs of 32-bit words.
///
/// A block of 2^k units stands at a multiple of 2^k; an allocation takes the smallest block that holds it, and
/// halves join by themselves, since a block is free exactly if all its units are. A capacity that is no power of two
/// is a forest: the largest blocks that fit, side by side.
///
/// RAM: `8 * WORDS + 4` bytes for up to `32 * WORDS` units. A larger capacity is cut down to that, as
/// [`capacity`](OffsetAllocator::capacity) tells.
///
/// A range that somebody else placed is reserved with its whole block if it begins where such a block begins and the
/// block is free, otherwise unit by unit, exactly; so a rebuild accepts any ranges that do not overlap, and is exact
/// for those that this allocator placed. The second bit marks where each range ends, so that
/// [`free`](OffsetAllocator::free) gives back what was taken and refuses what was not.
///
/// # Steps
///
/// In words of the bitmap visited, with `w` the capacity / 32, rounded up, and `b` the words that the block touches:
/// allocate at most `w + b + 1`, reserve `2 * b`, free `4 * b + 2`; as many again as `b` are written. A rebuild
/// reserves each range; [`largest_free`](OffsetAllocator::largest_free) takes at most `16 * w`.
#[derive(Clone, Debug)]
pub struct Buddy<const WORDS: usize> {
    /// A set bit is a unit in use, or beyond the capacity.
    used: [u32; WORDS],
    /// A set bit is the last unit of a range in use.
    ends: [u32; WORDS],
    capacity: u16,
    free: u16,
    #[cfg(test)]
    steps: Cell<u32>,
}

/// The part of a word that belongs to a range.
struct Part {
    word: usize,
    mask: u32,
}

/// The words that a range touches, and its bits in each.
fn parts(start: u32, len: u32) -> impl Iterator<Item = Part> {
    let end = start + len;
    (start / 32..end.div_ceil(32)).map(move |word| {
        let first = word * 32;
        let (low, high) = (start.max(first) - first, end.min(first + 32) - first);
        // 1 to 32 bits, from `low` on.
        Part { word: word as usize, mask: (u32::MAX >> (32 - (high - low))) << low }
    })
}

/// The bits of a word at multiples of `step`, a power of two.
const fn multiples(step: u32) -> u32 {
    match step {
        1 => u32::MAX,
        2 => 0x5555_5555,
        4 => 0x1111_1111,
        8 => 0x0101_0101,
        16 => 0x0001_0001,
        _ => 1,
    }
}

/// The smallest power of two that holds `len` units.
const fn block_of(len: u16) -> u32 {
    (len as u32).next_power_of_two()
}

impl<const WORDS: usize> Buddy<WORDS> {
    /// An allocator of nothing; see [`reset`](OffsetAllocator::reset).
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(WORDS >= 1 && WORDS <= 2048, "1 to 2048 words") };
        Self {
            used: [u32::MAX; WORDS],
            ends: [0; WORDS],
            capacity: 0,
            free: 0,
            #[cfg(test)]
            steps: Cell::new(0),
        }
    }

    /// Of the units of `part`: those in use, and those that end a range. Beyond the state, everything is in use.
    fn visit(&self, part: &Part) -> (u32, u32) {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        let used = self.used.get(part.word).map_or(u32::MAX, |used| *used);
        let ends = self.ends.get(part.word).map_or(0, |ends| *ends);
        (used & part.mask, ends & part.mask)
    }

    fn is_free(&self, start: u32, len: u32) -> bool {
        parts(start, len).all(|part| self.visit(&part).0 == 0)
    }

    fn is_used(&self, start: u32, len: u32) -> bool {
        parts(start, len).all(|part| self.visit(&part).0 == part.mask)
    }

    /// Whether one range in use covers exactly these units, all of which are in use.
    fn is_one_range(&self, start: u32, len: u32) -> bool {
        let begins = start.checked_sub(1).is_none_or(|before| {
            parts(before, 1).all(|part| {
                let (used, ends) = self.visit(&part);
                used == ends
            })
        });
        let last = start + len - 1;
        let is_last = |word: usize| if word == last as usize / 32 { 1 << (last % 32) } else { 0 };
        begins && parts(start, len).all(|part| self.visit(&part).1 == is_last(part.word))
    }

    fn mark(&mut self, start: u32, len: u32, used: bool) {
        for Part { word, mask } in parts(start, len) {
            if let (Some(in_use), Some(ends)) = (self.used.get_mut(word), self.ends.get_mut(word)) {
                *in_use = if used { *in_use | mask } else { *in_use & !mask };
                *ends &= !mask;
            }
        }
        let last = start + len - 1;
        if used {
            if let Some(ends) = self.ends.get_mut(last as usize / 32) {
                *ends |= 1 << (last % 32);
            }
            self.free -= len as u16;
        } else {
            self.free += len as u16;
        }
    }

    /// The first free block at a multiple of `step`, which is at least `block`, beginning in `from..until`.
    fn search(&self, from: u32, until: u32, block: u32, step: u32) -> Option<u32> {
        let from = (from + step - 1) & !(step - 1);
        let stride = (step / 32).max(1);
        let mut allowed = multiples(step) & (u32::MAX << (from % 32));
        let mut word = from / 32;
        while word * 32 < until {
            let (used, _) = self.visit(&Part { word: word as usize, mask: u32::MAX });
            // Bit i stays if the units i..i + width are free.
            let (mut free, mut width) = (!used, 1);
            while width < block.min(32) {
                free &= free >> width;
                width *= 2;
            }
            let found = free & allowed;
            if found != 0 && (block <= 32 || self.is_free(word * 32 + 32, block - 32)) {
                let start = word * 32 + found.trailing_zeros();
                return Some(start).filter(|start| *start < until);
            }
            allowed = multiples(step);
            word += stride;
        }
        None
    }

    fn check(&self, start: u16, len: u16) -> Result<(), RangeError> {
        let end = start.checked_add(len).filter(|end| len != 0 && *end <= self.capacity);
        end.map(|_| ()).ok_or(RangeError::OutOfBounds)
    }

    /// The units of the block that an allocation of `len` would have taken at `start`, if one can stand there.
    fn block_at(&self, start: u16, len: u16) -> Option<u32> {
        let (start, block) = (u32::from(start), block_of(len));
        (start & (block - 1) == 0 && start + block <= u32::from(self.capacity)).then_some(block)
    }

    /// Reserves a range, with its whole block only if that ends at or before `limit`.
    fn reserve_within(&mut self, start: u16, len: u16, limit: u16) -> Result<(), RangeError> {
        self.check(start, len)?;
        let at = u32::from(start);
        let block = self.block_at(start, len).filter(|block| at + block <= u32::from(limit));
        let taken = block.filter(|block| self.is_free(at, *block)).unwrap_or(len.into());
        if !self.is_free(at, taken) {
            return Err(RangeError::Overlap);
        }
        self.mark(at, taken, true);
        Ok(())
    }
}

impl<const WORDS: usize> Default for Buddy<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: what is handed out was free, and is not free until it is given back (`tests/model.rs`, `tests/bitmap.rs`).
unsafe impl<const WORDS: usize> OffsetAllocator for Buddy<WORDS> {
    fn reset(&mut self, capacity: u16) {
        let capacity = usize::from(capacity).min(WORDS * 32) as u16;
        self.used.fill(u32::MAX);
        self.ends.fill(0);
        (self.capacity, self.free) = (capacity, 0);
        if capacity != 0 {
            self.mark(0, capacity.into(), false);
        }
    }

    fn capacity(&self) -> u16 {
        self.capacity
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        let align = align.max(1);
        let block = block_of(len);
        if len == 0 || !align.is_power_of_two() || block > self.free.into() {
            return None;
        }
        let step = block.max(align.into());
        let (from, capacity) = (from.min(self.capacity).into(), self.capacity.into());
        let start = self.search(from, capacity, block, step).or_else(|| self.search(0, from, block, step))?;
        self.mark(start, block, true);
        Some(start as u16)
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.reserve_within(start, len, self.capacity)
    }

    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.check(start, len)?;
        let (at, exact) = (u32::from(start), u32::from(len));
        if !self.is_used(at, exact) {
            return Err(RangeError::Overlap);
        }
        let whole = self.block_at(start, len).filter(|block| *block != exact && self.is_used(at, *block));
        let mut sizes = [Some(exact), whole].into_iter().flatten();
        let taken = sizes.find(|taken| self.is_one_range(at, *taken)).ok_or(RangeError::Mismatch)?;
        self.mark(at, taken, false);
        Ok(())
    }

    fn free_units(&self) -> u16 {
        self.free
    }

    /// The largest block that can be allocated; free neighbours that are no block do not count together.
    fn largest_free(&self) -> u16 {
        let mut block = u32::from(self.free).checked_ilog2().map_or(0, |order| 1 << order);
        while block > 0 && self.search(0, self.capacity.into(), block, block).is_none() {
            block /= 2;
        }
        block as u16
    }

    /// The smallest power of two that holds `len`; 65,535 stands for 65,536, which never fits.
    fn rounded(&self, len: u16) -> u16 {
        if len == 0 { 0 } else { u16::try_from(block_of(len)).unwrap_or(u16::MAX) }
    }

    fn splits(&self) -> bool {
        false
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.reset(capacity);
        let mut result = Ok(());
        let mut live = live.peekable();
        while let Some((start, len)) = live.next() {
            // A block may not cover the range that follows.
            let limit = live.peek().map_or(self.capacity, |next| next.0);
            result = result.and(self.reserve_within(start, len, limit));
        }
        result
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WORDS: u32 = 16;

    fn steps<R>(space: &mut Buddy<16>, operation: impl FnOnce(&mut Buddy<16>) -> R) -> (R, u32) {
        space.steps.set(0);
        let result = operation(space);
        (result, space.steps.get())
    }

    /// The stated worst cases, in words visited.
    #[test]
    fn steps_are_bounded_as_stated() {
        let mut space = Buddy::<16>::new();
        for len in [1u16, 2, 8, 32, 33, 64, 100, 128, 256, 512] {
            let block_words = block_of(len).div_ceil(32);
            // The last unit of each place where the block could stand is in use; then nothing is.
            for blocked in [true, false] {
                space.reset(512);
                for at in (0..512 / block_of(len)).filter(|_| blocked) {
                    assert_eq!(space.reserve(((at + 1) * block_of(len) - 1) as u16, 1), Ok(()));
                }
                for from in [0, 1, 31, 200, 511] {
                    let (found, taken) = steps(&mut space, |space| space.allocate_from(from, len, 1));
                    assert!(taken <= WORDS + block_words + 1, "allocate {len} from {from}: {taken}");
                    assert_eq!(found.is_some(), !blocked, "{len} from {from}");
                    let Some(start) = found else { continue };
                    let (freed, taken) = steps(&mut space, |space| space.free(start, len));
                    assert!(freed.is_ok() && taken <= 4 * block_words + 2, "free {len}: {taken}");
                    let (reserved, taken) = steps(&mut space, |space| space.reserve(start, len));
                    assert!(reserved.is_ok() && taken <= 2 * block_words, "reserve {len}: {taken}");
                    assert_eq!(space.free(start, len), Ok(()));
                }
                let (_, taken) = steps(&mut space, |space| space.largest_free());
                assert!(taken <= 16 * WORDS, "largest: {taken}");
            }
        }
    }
}
