//! Is the part there, is it the right one, and would it keep what is written?

use embedded_hal::delay::DelayNs;

use super::protocol::{RDID, command};
use super::{Fram, ProbeError, Transport};
use crate::StorageFault;

impl<T: Transport> Fram<T> {
    /// Waits for the part to be ready after power-on ([`Part::power_up_us`](super::Part::power_up_us)), then checks
    /// that it is there, the right one, writable, and as large as described. It writes no memory cell, because a write
    /// destroys its row when power fails. In this order:
    ///
    /// | step | for | frames | bytes |
    /// |---|---|---|---|
    /// | wake it up, as [`wake`](Fram::wake) does | parts that can sleep | 1, and 400 us | 1 |
    /// | RDSR until a write cycle has ended | EEPROM | 1 and more | 2 each |
    /// | RDID: the id is the right one | parts with an id | 1 | 5 |
    /// | WREN, RDSR, WRDI, RDSR: WEL is set and cleared, no block is protected | all | 4 | 6 |
    /// | reads of 64 bytes at 0 and each power of two from 512: no roll-over | all | 1 + log2(bytes / 512) | 67 each |
    ///
    /// A read takes 68 bytes with three address bytes. A part may sleep, or be in a write cycle, since before the
    /// controller was reset. For an MB85RS64V it is 10 frames of 346 bytes together, 0.14 ms at 20 MHz.
    ///
    /// Of a part whose first 64 bytes repeat themselves with a period of up to 32 bytes, such as a blank one, only
    /// these are read (6 frames, 78 bytes): content cannot show there whether the part rolls over, only writes can,
    /// and those are left to whoever formats it. Where 64 bytes are the same as the first, all that follows is
    /// compared as well, 32 bytes with 32 bytes in two frames, up to the first difference. Only content that repeats
    /// all over, and not after 256 bytes already, is taken for a part that rolls over. A part that holds the same
    /// content twice, to its last byte and at a power of two, cannot be told from it by reading: change a byte of it
    /// without a probe.
    ///
    /// A part whose protection is meant, or is to be cleared, is driven without a probe:
    ///
    /// ```
    /// # use embedded_hal::{digital::OutputPin, spi::SpiBus};
    /// use vnv_storage::{BlockProtect, OwnedSpiFram, Part};
    ///
    /// # fn clear(bus: impl SpiBus, chip_select: impl OutputPin) {
    /// let mut fram = OwnedSpiFram::without_probe(bus, chip_select, Part::MB85RS64V);
    /// let cleared = fram.set_block_protect(BlockProtect::None).is_ok(); // false: WPEN is set and the WP pin low
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ProbeError::Part`], before anything is sent, if the description contradicts itself, [`ProbeError::Storage`] if
    /// nobody answers, the part is protected or smaller than described, [`ProbeError::WrongPart`] if the id is another
    /// one, [`ProbeError::NoWriteEnable`] if the part does not obey WREN and WRDI, [`ProbeError::Access`] if the bus or
    /// the pin failed, or the part stayed busy.
    pub fn probe(&mut self, delay: &mut impl DelayNs) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        self.part.check().map_err(ProbeError::Part)?;
        self.transport.idle()?;
        // A fall of chip select that came just before the controller started has begun a recovery.
        let recovery_us = self.part.sleep.map_or(0, |mode| mode.recovery_us);
        delay.delay_us(self.part.power_up_us.max(recovery_us));
        if let Some(mode) = self.part.sleep {
            self.wake_up(mode, delay)?;
        }
        let known = self.part.id.is_some();
        if let Some(expected) = self.part.id {
            self.end_cycle()?.map_err(|unwilling| unwilling.probe_error(false))?;
            self.check_id(expected)?;
        }
        self.check_writable()?.map_err(|unwilling| unwilling.probe_error(known))?;
        match self.rolls_over_at()? {
            Some(capacity) => Err(StorageFault::Smaller { capacity }.into()),
            None => Ok(()),
        }
    }

    fn check_id(&mut self, expected: [u8; 4]) -> Result<(), ProbeError<T::BusError, T::PinError>> {
        let mut found = [0; 4];
        self.transport.read(&command(RDID), &mut found, None)?;
        match found {
            _ if found == expected => Ok(()),
            [0xFF, 0xFF, 0xFF, 0xFF] | [0, 0, 0, 0] => Err(StorageFault::Absent.into()),
            _ => Err(ProbeError::WrongPart { expected, found }),
        }
    }
}
