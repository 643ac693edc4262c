//! Would the part keep what is written? What [`Fram::probe`] and [`Device::diagnose`](crate::Device::diagnose) ask of
//! every part.

use super::protocol::{WRDI, WREN, command};
use super::ready::State;
use super::{Error, Fram, ProbeError, Status, Transport};
use crate::StorageFault;

/// Why a part would not keep what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unwilling {
    /// All bits of all answers are the same.
    Silent {
        /// They are 1, as they are on a line that nobody drives, and never in the status register of a part.
        high: bool,
    },
    /// Something answers, but WREN does not set WEL, or WRDI does not clear it.
    NoWriteEnable,
    /// A block protection is set.
    Protected {
        /// The first byte of it.
        from: u32,
    },
}

impl Unwilling {
    /// In the words of all devices.
    pub(super) const fn fault(self) -> StorageFault {
        match self {
            Self::Silent { .. } | Self::NoWriteEnable => StorageFault::Absent,
            Self::Protected { from } => StorageFault::Protected { from },
        }
    }

    /// In the words of a probe. `known`: the part has answered with its id before.
    pub(super) const fn probe_error<B, P>(self, known: bool) -> ProbeError<B, P> {
        match self {
            Self::NoWriteEnable => ProbeError::NoWriteEnable,
            // Zeros are a status register too, and who has told its id is there.
            Self::Silent { high: false } if known => ProbeError::NoWriteEnable,
            _ => ProbeError::Storage(self.fault()),
        }
    }
}

impl<T: Transport> Fram<T> {
    /// Waits for the end of a write cycle that may be running; no bus traffic on a part without pages.
    pub(super) fn end_cycle(&mut self) -> Result<Result<(), Unwilling>, Error<T::BusError, T::PinError>> {
        if self.state == State::Writing {
            // All ones is also how an AT25 says that it is busy, but not for that long.
            match self.poll()? {
                status if status.bits() == 0xFF => return Ok(Err(Unwilling::Silent { high: true })),
                status if status.write_in_progress() => return Err(Error::Busy),
                _ => {}
            }
        }
        self.ready().map(Ok)
    }

    /// Whether WREN sets WEL, WRDI clears it, and nothing is protected. Four frames, 6 bytes; before them, on an
    /// EEPROM, RDSR until a write cycle has ended. No memory cell is written, and WEL is clear afterwards.
    pub(super) fn check_writable(&mut self) -> Result<Result<(), Unwilling>, Error<T::BusError, T::PinError>> {
        if let Err(unwilling) = self.end_cycle()? {
            return Ok(Err(unwilling));
        }
        self.transport.write(&command(WREN), &[], None)?;
        let enabled = self.read_status()?;
        self.transport.write(&command(WRDI), &[], None)?;
        let disabled = self.read_status()?;
        Ok(judge(enabled, disabled, self.part.capacity))
    }
}

/// What the status register says behind WREN and behind WRDI.
fn judge(enabled: Status, disabled: Status, capacity: u32) -> Result<(), Unwilling> {
    match (enabled.bits(), disabled.bits()) {
        (0xFF, 0xFF) => return Err(Unwilling::Silent { high: true }),
        (0x00, 0x00) => return Err(Unwilling::Silent { high: false }),
        _ => {}
    }
    if !enabled.write_enabled() || disabled.write_enabled() {
        return Err(Unwilling::NoWriteEnable);
    }
    disabled.block_protect().first_byte(capacity).map_or(Ok(()), |from| Err(Unwilling::Protected { from }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_pairs_of_answers_are_judged() {
        for enabled in 0..=0xFFu8 {
            for disabled in 0..=0xFFu8 {
                let wanted = match (enabled, disabled) {
                    (0xFF, 0xFF) | (0, 0) => Err(Unwilling::Silent { high: enabled != 0 }),
                    _ if enabled & 2 == 0 || disabled & 2 != 0 => Err(Unwilling::NoWriteEnable),
                    _ => match disabled & 0x0C {
                        0x00 => Ok(()),
                        0x04 => Err(Unwilling::Protected { from: 0x1800 }),
                        0x08 => Err(Unwilling::Protected { from: 0x1000 }),
                        _ => Err(Unwilling::Protected { from: 0 }),
                    },
                };
                let found = judge(Status::from_bits(enabled), Status::from_bits(disabled), 8192);
                assert_eq!(found, wanted, "{enabled:#04x} {disabled:#04x}");
            }
        }
    }
}
