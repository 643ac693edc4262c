//! Binary buddy: blocks of powers of two, each split into two halves.

use crate::allocator::{OffsetAllocator, RangeError};

/// A binary buddy allocator whose state is one bit per unit in `WORDS` words of 32 bits.
///
/// A block of 2^k units stands at a multiple of 2^k; an allocation takes the smallest block that holds it, and
/// freeing joins halves by itself, since a block is free exactly if all its units are. RAM: 4 bytes per word and 8.
/// The capacity is at most 32 units per word; a larger one is cut down to that.
///
/// Steps: allocate at most capacity / 2^k blocks of at most 2^k / 32 + 1 words each; free 2^k / 32 + 1 words.
#[derive(Clone, Debug)]
pub struct Buddy<const WORDS: usize> {
    /// A set bit is a unit in use.
    used: [u32; WORDS],
    capacity: u16,
    free: u16,
}

impl<const WORDS: usize> Buddy<WORDS> {
    /// An allocator of nothing; see [`reset`](OffsetAllocator::reset).
    #[must_use]
    pub const fn new() -> Self {
        Self { used: [0; WORDS], capacity: 0, free: 0 }
    }

    /// Visits the words of a range: index and the range's bits in it.
    fn words(start: u32, len: u32) -> impl Iterator<Item = (usize, u32)> {
        let end = start + len;
        (start / 32..end.div_ceil(32)).map(move |word| {
            let (low, high) = (start.max(word * 32) - word * 32, end.min(word * 32 + 32) - word * 32);
            let mask = (u64::MAX >> (64 - (high - low))) << low;
            (word as usize, mask as u32)
        })
    }

    fn is_free(&self, start: u32, len: u32) -> bool {
        len != 0
            && start + len <= u32::from(self.capacity)
            && Self::words(start, len).all(|(word, mask)| self.used.get(word).is_some_and(|used| used & mask == 0))
    }

    fn is_used(&self, start: u32, len: u32) -> bool {
        start + len <= u32::from(self.capacity)
            && Self::words(start, len).all(|(word, mask)| self.used.get(word).is_some_and(|used| used & mask == mask))
    }

    fn mark(&mut self, start: u32, len: u32, used: bool) {
        for (word, mask) in Self::words(start, len) {
            if let Some(word) = self.used.get_mut(word) {
                if used { *word |= mask } else { *word &= !mask }
            }
        }
        if used { self.free -= len as u16 } else { self.free += len as u16 }
    }

    fn search(&self, from: u32, until: u32, (block, step): (u32, u32)) -> Option<u32> {
        (from.next_multiple_of(step)..until).step_by(step as usize).find(|start| self.is_free(*start, block))
    }

    /// The block that a range belongs to: what its allocation took, or the range itself where no aligned block begins.
    fn block(&self, start: u16, len: u16) -> u32 {
        let block = u32::from(len).next_power_of_two();
        let aligned = u32::from(start).is_multiple_of(block) && u32::from(start) + block <= u32::from(self.capacity);
        if aligned { block } else { u32::from(len) }
    }
}

impl<const WORDS: usize> Default for Buddy<WORDS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const WORDS: usize> OffsetAllocator for Buddy<WORDS> {
    fn reset(&mut self, capacity: u16) {
        let capacity = usize::from(capacity).min(WORDS * 32) as u16;
        *self = Self { used: [0; WORDS], capacity, free: capacity };
    }

    fn capacity(&self) -> u16 {
        self.capacity
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        let align = align.max(1);
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        let block = u32::from(len).next_power_of_two();
        let step = block.max(u32::from(align));
        let start = self
            .search(from.into(), self.capacity.into(), (block, step))
            .or_else(|| self.search(0, from.into(), (block, step)))?;
        self.mark(start, block, true);
        Some(start as u16)
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        let in_bounds = len != 0 && u32::from(start) + u32::from(len) <= u32::from(self.capacity);
        if !in_bounds {
            return Err(RangeError::OutOfBounds);
        }
        let block = self.block(start, len);
        if !self.is_free(start.into(), block) {
            return Err(RangeError::Overlap);
        }
        self.mark(start.into(), block, true);
        Ok(())
    }

    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        let in_bounds = len != 0 && u32::from(start) + u32::from(len) <= u32::from(self.capacity);
        if !in_bounds {
            return Err(RangeError::OutOfBounds);
        }
        let block = self.block(start, len);
        if !self.is_used(start.into(), block) {
            return Err(RangeError::Overlap);
        }
        self.mark(start.into(), block, false);
        Ok(())
    }

    fn free_units(&self) -> u16 {
        self.free
    }

    fn largest_free(&self) -> u16 {
        let mut block = 1u32 << 15;
        while block > 0 {
            if self.search(0, self.capacity.into(), (block, block)).is_some() {
                return block as u16;
            }
            block /= 2;
        }
        0
    }

    fn splits(&self) -> bool {
        false
    }

    fn rounded(&self, len: u16) -> u16 {
        u16::try_from(u32::from(len).next_power_of_two()).unwrap_or(u16::MAX)
    }
}
