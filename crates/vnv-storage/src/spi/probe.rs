//! Is the part there, and is it the right one?

use embedded_hal::delay::DelayNs;

use super::protocol::{RDID, RDSR, WRDI, WREN, command};
use super::{Fram, ProbeError, Transport};

/// From VDD = 3.0 V to the first access (DS501-00015, "Power-on/off sequence").
const POWER_UP_MICROSECONDS: u32 = 600;

impl<T: Transport> Fram<T> {
    /// Waits 0.6 ms for the part to be ready after power-on, then checks that it is there and the right one.
    ///
    /// One frame of 5 bytes (RDID). For a part without id four frames of 6 bytes together: WREN must set WEL in the
    /// status register and WRDI must clear it.
    ///
    /// # Errors
    ///
    /// [`ProbeError::Absent`] if the answer is all ones or all zeros, [`ProbeError::WrongPart`] if the id is another
    /// one, [`ProbeError::NoWriteEnable`] if a part without id does not obey WREN and WRDI, [`ProbeError::Access`] if
    /// the bus or the pin failed.
    pub fn probe(&mut self, delay: &mut impl DelayNs) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        self.transport.idle()?;
        delay.delay_us(POWER_UP_MICROSECONDS);
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
