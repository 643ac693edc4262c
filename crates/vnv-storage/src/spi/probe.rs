//! Is the part there, and is it the right one?

use embedded_hal::delay::DelayNs;

use super::protocol::{RDID, RDSR, WRDI, WREN, command};
use super::ready::State;
use super::{Error, Fram, ProbeError, Transport};

impl<T: Transport> Fram<T> {
    /// Waits for the part to be ready after power-on ([`Part::power_up_us`](super::Part::power_up_us)), then checks that it
    /// is there and the right one.
    ///
    /// One frame of 5 bytes (RDID). For a part without id four frames of 6 bytes together: WREN must set WEL in the
    /// status register and WRDI must clear it. For an EEPROM RDSR first, until a write cycle has ended that the
    /// controller may have begun before it was reset.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Absent`] if the answer is all ones or all zeros, [`ProbeError::WrongPart`] if the id is another
    /// one, [`ProbeError::NoWriteEnable`] if a part without id does not obey WREN and WRDI, [`ProbeError::Access`] if
    /// the bus or the pin failed, or the part stayed busy or sleeps.
    pub fn probe(&mut self, delay: &mut impl DelayNs) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        self.transport.idle()?;
        delay.delay_us(self.part.power_up_us);
        if self.state == State::Writing {
            // All ones is also how an AT25 says that it is busy, but not for that long.
            match self.poll()? {
                status if status.bits() == 0xFF => return Err(ProbeError::Absent),
                status if status.write_in_progress() => return Err(Error::Busy.into()),
                _ => {}
            }
        }
        self.ready()?;
        match self.part.id {
            Some(expected) => self.probe_id(expected),
            None => self.probe_write_enable(),
        }
    }

    fn probe_id(&mut self, expected: [u8; 4]) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        let mut found = [0; 4];
        self.transport.read(&command(RDID), &mut found, None)?;
        match found {
            _ if found == expected => Ok(()),
            [0xFF, 0xFF, 0xFF, 0xFF] | [0, 0, 0, 0] => Err(ProbeError::Absent),
            _ => Err(ProbeError::WrongPart { expected, found }),
        }
    }

    fn probe_write_enable(&mut self) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        let mut enabled = [0];
        let mut disabled = [0];
        self.transport.write(&command(WREN), &[], None)?;
        self.transport.read(&command(RDSR), &mut enabled, None)?;
        self.transport.write(&command(WRDI), &[], None)?;
        self.transport.read(&command(RDSR), &mut disabled, None)?;
        match (enabled, disabled) {
            ([0xFF], [0xFF]) | ([0], [0]) => Err(ProbeError::Absent),
            ([set], [clear]) if set & 0x02 != 0 && clear & 0x02 == 0 => Ok(()),
            _ => Err(ProbeError::NoWriteEnable),
        }
    }
}
