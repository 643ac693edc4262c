//! The status register and the block protection in it (DS501-00015, "Status register" and "Block protect").

use super::protocol::{RDSR, WRSR, command};
use super::{Error, Fram, StatusError, Transport};

/// The part of the memory that the part itself refuses to write, bits BP1 and BP0.
///
/// A write to a protected byte is dropped by the part without an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum BlockProtect {
    /// Everything can be written.
    None,
    /// The upper quarter is protected (MB85RS64V: 1800h to 1FFFh).
    UpperQuarter,
    /// The upper half is protected (MB85RS64V: 1000h to 1FFFh).
    UpperHalf,
    /// Everything is protected.
    All,
}

impl BlockProtect {
    /// The first byte that a part of `capacity` bytes protects, or `None` if it protects none.
    #[must_use]
    pub const fn first_byte(self, capacity: u32) -> Option<u32> {
        match self {
            Self::None => None,
            Self::UpperQuarter => Some(capacity.saturating_sub(capacity / 4)),
            Self::UpperHalf => Some(capacity.saturating_sub(capacity / 2)),
            Self::All => Some(0),
        }
    }
}

/// The content of the status register.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Status(u8);

impl Status {
    const WRITE_PROTECT_ENABLE: u8 = 0x80;
    const BLOCK_PROTECT: u8 = 0x0C;
    const WRITE_ENABLE_LATCH: u8 = 0x02;
    const WRITE_IN_PROGRESS: u8 = 0x01;
    /// The bits that WRSR changes on some part.
    const WRITABLE: u8 = 0xFC;
    /// The bits that WRSR changes on every part.
    const DEFINED: u8 = Self::WRITE_PROTECT_ENABLE | Self::BLOCK_PROTECT;

    /// The register with these bits.
    #[must_use]
    pub const fn from_bits(bits: u8) -> Self {
        Self(bits)
    }

    /// The bits of the register.
    #[must_use]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// WPEN, bit 7: while it is set and the WP pin is low, the register cannot be written.
    #[must_use]
    pub const fn write_protect_enabled(self) -> bool {
        self.0 & Self::WRITE_PROTECT_ENABLE != 0
    }

    /// WEL, bit 1: the next WRITE or WRSR will be obeyed.
    #[must_use]
    pub const fn write_enabled(self) -> bool {
        self.0 & Self::WRITE_ENABLE_LATCH != 0
    }

    /// WIP, bit 0: an EEPROM is busy with a write cycle. Always 0 on FRAM and MRAM.
    #[must_use]
    pub const fn write_in_progress(self) -> bool {
        self.0 & Self::WRITE_IN_PROGRESS != 0
    }

    /// BP1 and BP0, bits 3 and 2.
    #[must_use]
    pub const fn block_protect(self) -> BlockProtect {
        match (self.0 & Self::BLOCK_PROTECT) >> 2 {
            0 => BlockProtect::None,
            1 => BlockProtect::UpperQuarter,
            2 => BlockProtect::UpperHalf,
            _ => BlockProtect::All,
        }
    }

    /// The register with another block protection.
    #[must_use]
    pub const fn with_block_protect(self, protect: BlockProtect) -> Self {
        let bits = match protect {
            BlockProtect::None => 0x00,
            BlockProtect::UpperQuarter => 0x04,
            BlockProtect::UpperHalf => 0x08,
            BlockProtect::All => 0x0C,
        };
        Self(self.0 & !Self::BLOCK_PROTECT | bits)
    }

    /// The register with another WPEN.
    #[must_use]
    pub const fn with_write_protect_enabled(self, enabled: bool) -> Self {
        let bits = if enabled { Self::WRITE_PROTECT_ENABLE } else { 0 };
        Self(self.0 & !Self::WRITE_PROTECT_ENABLE | bits)
    }
}

impl<T: Transport> Fram<T> {
    /// Reads the status register. One frame of 2 bytes, on an EEPROM after the end of a write cycle.
    ///
    /// # Errors
    ///
    /// [`Error::Bus`], [`Error::ChipSelect`], [`Error::Busy`], [`Error::Asleep`] or [`Error::Contradiction`].
    pub fn status(&mut self) -> Result<Status, Error<T::BusError, T::PinError>> {
        self.ready()?;
        self.read_status()
    }

    /// As [`status`](Fram::status), whatever the part is doing.
    pub(super) fn read_status(&mut self) -> Result<Status, Error<T::BusError, T::PinError>> {
        let mut bits = [0];
        self.transport.read(&command(RDSR), &mut bits, None)?;
        let [bits] = bits;
        Ok(Status(bits))
    }

    /// Writes the non-volatile bits of the status register (7 to 2) and reads WPEN, BP1 and BP0 back; the bits between
    /// them mean nothing, and some parts hold them at 0 or 1. Three frames, 5 bytes: WREN, WRSR, RDSR; on an EEPROM with
    /// a write cycle in between.
    ///
    /// # Errors
    ///
    /// [`StatusError::Access`] if the bus or the pin failed, [`StatusError::Refused`] if the register did not change.
    pub fn set_status(&mut self, status: Status) -> Result<(), StatusError<T::BusError, T::PinError>> {
        self.enable_write()?;
        self.transport.write(&command(WRSR), &[&[status.0 & Status::WRITABLE]], None)?;
        let found = self.status()?;
        if (found.0 ^ status.0) & Status::DEFINED == 0 { Ok(()) } else { Err(StatusError::Refused { found }) }
    }

    /// Reads what the part protects from writes. One frame of 2 bytes.
    ///
    /// # Errors
    ///
    /// As [`status`](Fram::status).
    pub fn block_protect(&mut self) -> Result<BlockProtect, Error<T::BusError, T::PinError>> {
        Ok(self.status()?.block_protect())
    }

    /// Sets what the part protects from writes, and keeps all other bits. Four frames, 7 bytes: RDSR, WREN, WRSR, RDSR.
    /// The bits are non-volatile.
    ///
    /// # Errors
    ///
    /// As [`set_status`](Fram::set_status).
    pub fn set_block_protect(&mut self, protect: BlockProtect) -> Result<(), StatusError<T::BusError, T::PinError>> {
        let status = self.status()?;
        self.set_status(status.with_block_protect(protect))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_protect_is_bits_three_and_two() {
        let all = [
            (BlockProtect::None, 0x00),
            (BlockProtect::UpperQuarter, 0x04),
            (BlockProtect::UpperHalf, 0x08),
            (BlockProtect::All, 0x0C),
        ];
        for (protect, bits) in all {
            assert_eq!(Status::from_bits(0xF3).with_block_protect(protect).bits(), 0xF3 | bits);
            assert_eq!(Status::from_bits(bits | 0xF3).block_protect(), protect);
        }
    }

    #[test]
    fn a_protection_begins_where_the_data_sheet_says() {
        let all = [BlockProtect::None, BlockProtect::UpperQuarter, BlockProtect::UpperHalf, BlockProtect::All];
        assert_eq!(all.map(|protect| protect.first_byte(8192)), [None, Some(0x1800), Some(0x1000), Some(0)]);
    }

    #[test]
    fn the_other_bits_have_names() {
        assert!(Status::from_bits(0x80).write_protect_enabled());
        assert!(!Status::from_bits(0x7F).write_protect_enabled());
        assert!(Status::from_bits(0x02).write_enabled());
        assert!(!Status::from_bits(0xFD).write_enabled());
        assert!(Status::from_bits(0x01).write_in_progress());
        assert!(!Status::from_bits(0xFE).write_in_progress());
        assert_eq!(Status::from_bits(0x04).with_write_protect_enabled(true).bits(), 0x84);
        assert_eq!(Status::from_bits(0x84).with_write_protect_enabled(false).bits(), 0x04);
    }
}
