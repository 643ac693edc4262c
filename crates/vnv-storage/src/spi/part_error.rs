//! How the description of a part can contradict itself.

use core::fmt;

use super::Part;

impl Part {
    /// Whether the description is free of contradictions. The drivers ask, because fields can be changed by hand.
    ///
    /// ```
    /// # use vnv_storage::{Part, PartError};
    /// let mut part = Part::AT25256;
    /// part.row_size = 8; // but a torn write damages its page of 64
    /// assert_eq!(part.check(), Err(PartError::RowBelowPage));
    /// ```
    ///
    /// # Errors
    ///
    /// The first contradiction, in the order of [`PartError`].
    #[inline]
    pub const fn check(&self) -> Result<(), PartError> {
        if self.capacity == 0 {
            return Err(PartError::NoCapacity);
        }
        if self.capacity > self.address_width.reach() {
            return Err(PartError::BeyondAddresses);
        }
        if !self.row_size.is_power_of_two() {
            return Err(PartError::RowSize);
        }
        if !self.capacity.is_multiple_of(self.row_size) {
            return Err(PartError::PartialRow);
        }
        match self.page_size {
            Some(page) if !page.is_power_of_two() => return Err(PartError::PageSize),
            Some(page) if page > self.row_size => return Err(PartError::RowBelowPage),
            None if self.write_cycle_us != 0 => return Err(PartError::CycleWithoutPages),
            _ => {}
        }
        if matches!(self.id, Some([0, 0, 0, 0] | [0xFF, 0xFF, 0xFF, 0xFF])) {
            return Err(PartError::BlankId);
        }
        if self.max_clock_hz == 0 {
            return Err(PartError::NoClock);
        }
        Ok(())
    }

    /// The part, unless it contradicts itself.
    #[allow(clippy::panic, reason = "a description in a const must not compile")]
    pub(super) const fn checked(self) -> Self {
        match self.check() {
            Ok(()) => self,
            Err(error) => panic!("{}", error.text()),
        }
    }
}

/// How the description of a part contradicts itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum PartError {
    /// The capacity is 0.
    NoCapacity,
    /// The capacity is beyond the [reach](super::AddressWidth::reach) of the addresses: what is written behind it
    /// would change the beginning of the part.
    BeyondAddresses,
    /// The row size is no power of two.
    RowSize,
    /// The capacity is no multiple of the row size.
    PartialRow,
    /// The page size is no power of two.
    PageSize,
    /// A row is smaller than a page, but a torn write damages the whole page.
    RowBelowPage,
    /// There are write cycles, but no pages: the driver would not wait for them.
    CycleWithoutPages,
    /// All bits of the id are the same: that is how a bus answers that has no part.
    BlankId,
    /// The highest clock is 0 Hz.
    NoClock,
}

impl PartError {
    const fn text(self) -> &'static str {
        match self {
            Self::NoCapacity => "a part of 0 bytes: describe its capacity",
            Self::BeyondAddresses => {
                "the capacity is beyond the addresses: two address bytes reach 64 KiB, three 16 MiB"
            }
            Self::RowSize => "the row size is no power of two",
            Self::PartialRow => "the capacity is no multiple of the row size",
            Self::PageSize => "the page size is no power of two",
            Self::RowBelowPage => {
                "rows are smaller than pages: a torn write damages a whole page, so a row is one at least"
            }
            Self::CycleWithoutPages => "write cycles without pages: describe the pages, or no write cycle",
            Self::BlankId => "the bits of the id are all the same, as on a bus without a part: describe no id",
            Self::NoClock => "the highest clock is 0 Hz: take it from the data sheet",
        }
    }
}

impl fmt::Display for PartError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "the description of the part contradicts itself: {}", self.text())
    }
}

impl core::error::Error for PartError {}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::AddressWidth;

    /// The check of a sound part after a change by hand.
    fn check(part: Part, change: impl FnOnce(&mut Part)) -> Result<(), PartError> {
        let mut part = part;
        change(&mut part);
        part.check()
    }

    #[test]
    fn every_known_part_is_free_of_contradictions() {
        for part in Part::ALL {
            assert_eq!(part.check(), Ok(()), "{}", part.name);
        }
    }

    #[test]
    fn a_capacity_lies_within_the_reach_of_its_addresses() {
        for (width, reach) in [(AddressWidth::Two, 65_536), (AddressWidth::Three, 16_777_216)] {
            assert_eq!(width.reach(), reach);
            assert!(Part::try_new("as much as it can", reach, width).is_ok());
            assert_eq!(Part::try_new("a row more", reach + 8, width), Err(PartError::BeyondAddresses));
        }
        assert_eq!(Part::try_new("nothing", 0, AddressWidth::Two), Err(PartError::NoCapacity));
        assert_eq!(Part::try_new("a row and a bit", 12, AddressWidth::Two), Err(PartError::PartialRow));
    }

    #[test]
    fn changes_by_hand_that_contradict_are_found() {
        let (fram, eeprom) = (Part::MB85RS64V, Part::AT25256);
        assert_eq!(check(fram, |part| part.capacity = 131_072), Err(PartError::BeyondAddresses));
        assert_eq!(check(Part::MB85RS2MT, |part| part.capacity = 1 << 25), Err(PartError::BeyondAddresses));
        for row in [0, 12, 48] {
            assert_eq!(check(fram, |part| part.row_size = row), Err(PartError::RowSize), "{row}");
        }
        assert_eq!(check(fram, |part| part.row_size = 16_384), Err(PartError::PartialRow));
        for page in [0, 48] {
            assert_eq!(check(eeprom, |part| part.page_size = Some(page)), Err(PartError::PageSize), "{page}");
        }
        assert_eq!(check(eeprom, |part| part.row_size = 8), Err(PartError::RowBelowPage));
        assert_eq!(check(eeprom, |part| part.page_size = Some(128)), Err(PartError::RowBelowPage));
        assert_eq!(check(eeprom, |part| part.page_size = None), Err(PartError::CycleWithoutPages));
        assert_eq!(check(fram, |part| part.write_cycle_us = 5000), Err(PartError::CycleWithoutPages));
        assert_eq!(check(fram, |part| part.id = Some([0; 4])), Err(PartError::BlankId));
        assert_eq!(check(fram, |part| part.max_clock_hz = 0), Err(PartError::NoClock));
    }

    #[test]
    fn pages_raise_the_rows_and_never_lower_them() {
        let part = Part::new("large rows", 8192, AddressWidth::Two).with_row_size::<128>().with_pages::<64>(5000);
        assert_eq!((part.row_size, part.page_size), (128, Some(64)));
        let part = Part::new("small rows", 8192, AddressWidth::Two).with_pages::<64>(5000);
        assert_eq!((part.row_size, part.page_size), (64, Some(64)));
    }

    #[test]
    #[should_panic(expected = "two address bytes reach 64 KiB")]
    fn a_contradiction_outside_of_a_const_panics_with_its_reason() {
        let _ = Part::new("128K", 131_072, AddressWidth::Two);
    }
}
