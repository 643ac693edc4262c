//! What an offset allocator does.

use core::fmt;

/// A range cannot be reserved or freed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RangeError {
    /// It is empty, or reaches beyond the capacity.
    OutOfBounds,
    /// Some of it is free already (freeing), or in use already (reserving).
    Overlap,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "the range is empty or reaches beyond the capacity",
            Self::Overlap => "the range is in the wrong state: freed twice, or in use",
        })
    }
}

impl core::error::Error for RangeError {}

/// Manages the units `0..capacity` without touching what they stand for.
pub trait OffsetAllocator {
    /// Makes everything in `0..capacity` free.
    fn reset(&mut self, capacity: u16);

    /// Units managed.
    fn capacity(&self) -> u16;

    /// Takes `len` units at a multiple of `align` (a power of two; 0 counts as 1); `None` if no free range holds them.
    fn allocate(&mut self, len: u16, align: u16) -> Option<u16> {
        self.allocate_from(0, len, align)
    }

    /// As [`allocate`](Self::allocate), preferring ranges that begin at or after `from`: rotation levels wear.
    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16>;

    /// Takes exactly this range.
    ///
    /// # Errors
    ///
    /// [`RangeError`] if it is not wholly free; nothing is changed.
    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError>;

    /// Gives a range back; `len` is what was asked for.
    ///
    /// # Errors
    ///
    /// [`RangeError`] if some of it is free or out of bounds; nothing is changed.
    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError>;

    /// Units known to be free.
    fn free_units(&self) -> u16;

    /// Largest free range.
    fn largest_free(&self) -> u16;

    /// `false` if free ranges were forgotten for want of nodes; [`rebuild`](Self::rebuild) brings them back.
    fn is_complete(&self) -> bool {
        true
    }

    /// Units that an allocation of `len` takes.
    fn rounded(&self, len: u16) -> u16 {
        len
    }

    /// Whether an allocation may be freed in parts, so that neighbours can be taken together.
    fn splits(&self) -> bool {
        true
    }

    /// External fragmentation: 1000 * (1 - largest free / free); 0 if nothing is free.
    fn fragmentation_permille(&self) -> u16 {
        let (free, largest) = (u32::from(self.free_units()), u32::from(self.largest_free()));
        (1000 * largest).checked_div(free).map_or(0, |used| (1000 - used) as u16)
    }

    /// Starts over from the ranges that are in use, given in rising order.
    ///
    /// # Errors
    ///
    /// [`RangeError`] if two of them overlap or one is out of bounds; the rest is reserved all the same.
    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.reset(capacity);
        let mut result = Ok(());
        for (start, len) in live {
            result = result.and(self.reserve(start, len));
        }
        result
    }
}
