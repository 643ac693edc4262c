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
    /// It is in use, but not as one range of this length (freeing). Only allocators that keep the limits of ranges
    /// find this out: [`Buddy`](crate::Buddy) does, the others free any units in use.
    Mismatch,
}

impl fmt::Display for RangeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::OutOfBounds => "the range is empty or reaches beyond the capacity",
            Self::Overlap => "the range is in the wrong state: freed twice, or in use",
            Self::Mismatch => "no range of this length was taken here",
        })
    }
}

impl core::error::Error for RangeError {}

/// Manages the units `0..capacity` without touching what they stand for.
///
/// What a unit is, such as 8 bytes of RAM or a sector of storage, is up to the caller. Nothing here panics; what
/// fails leaves the state as it was. The steps that each call takes are with the implementations.
///
/// # Safety
///
/// Whoever asks relies on the answers: a range that is handed out lies in `0..capacity`, begins at a multiple of the alignment, and overlaps none
/// that was handed out, reserved, or named to a rebuild, and not given back.
pub unsafe trait OffsetAllocator {
    /// Makes everything in `0..capacity` free, in units.
    fn reset(&mut self, capacity: u16);

    /// Units managed; fewer than asked for if the state is too small for them.
    fn capacity(&self) -> u16;

    /// Takes `len` units at a multiple of `align` units (a power of two; 0 counts as 1) and gives their start.
    ///
    /// `None` if no free range holds them, if `len` is 0 or `align` no power of two.
    fn allocate(&mut self, len: u16, align: u16) -> Option<u16> {
        self.allocate_from(0, len, align)
    }

    /// As [`allocate`](Self::allocate), with a start at or after `from` if there is one: rotation levels wear.
    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16>;

    /// Takes exactly this range, in units. [`Buddy`](crate::Buddy) takes its whole block where that is free.
    ///
    /// # Errors
    ///
    /// [`RangeError::OutOfBounds`] if it is empty or reaches beyond the capacity, [`RangeError::Overlap`] if it is
    /// not wholly free; nothing is changed.
    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError>;

    /// Gives a range back; `len` is what was asked for when it was allocated or reserved, in units.
    ///
    /// # Errors
    ///
    /// [`RangeError::OutOfBounds`] if it is empty or reaches beyond the capacity, [`RangeError::Overlap`] if some of
    /// it is known to be free, [`RangeError::Mismatch`]; nothing is changed.
    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError>;

    /// Units known to be free.
    fn free_units(&self) -> u16;

    /// Units of the largest allocation that would succeed with `align` 1.
    fn largest_free(&self) -> u16;

    /// `false` if free ranges were forgotten for want of room; [`rebuild`](Self::rebuild) brings them back.
    fn is_complete(&self) -> bool {
        true
    }

    /// Units that an allocation of `len` units takes.
    fn rounded(&self, len: u16) -> u16 {
        len
    }

    /// Whether an allocation may be freed in parts, so that neighbours can be taken together.
    fn splits(&self) -> bool {
        true
    }

    /// External fragmentation per mille: 1000 * (1 - largest free / free), rounded up; 0 if nothing is free.
    fn fragmentation_permille(&self) -> u16 {
        let (free, largest) = (u32::from(self.free_units()), u32::from(self.largest_free()));
        (1000 * largest).checked_div(free).map_or(0, |used| 1000u32.saturating_sub(used) as u16)
    }

    /// Starts over from the ranges that are in use, given in rising order of start, in units.
    ///
    /// # Errors
    ///
    /// The first [`RangeError`], if ranges overlap or are out of bounds; the others are in use all the same.
    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.reset(capacity);
        let mut result = Ok(());
        for (start, len) in live {
            result = result.and(self.reserve(start, len));
        }
        result
    }
}

/// Tells the gaps, as start and length, between ranges that are in use and rise. A bad range is left out.
///
/// # Errors
///
/// The first one.
pub(crate) fn gaps(
    capacity: u16,
    live: &mut dyn Iterator<Item = (u16, u16)>,
    gap: &mut dyn FnMut(u16, u16),
) -> Result<(), RangeError> {
    let mut result = Ok(());
    let mut end = 0u16;
    for (start, len) in live.map(|(start, len)| (start, Some(len))).chain(core::iter::once((capacity, None))) {
        let next = match len {
            None => Some(capacity),
            Some(0) => None,
            Some(len) => start.checked_add(len).filter(|next| *next <= capacity),
        };
        let Some(next) = next else {
            result = result.and(Err(RangeError::OutOfBounds));
            continue;
        };
        if start < end {
            result = result.and(Err(RangeError::Overlap));
        } else if start > end {
            gap(end, start - end);
        }
        end = end.max(next);
    }
    result
}
