//! Sleep and wake-up (DS501-00023, "SLEEP"; EST00459, "SLEEP" and "WAKE").

use embedded_hal::delay::DelayNs;

use super::protocol::{RDSR, SLEEP, WAKE, command};
use super::ready::State;
use super::{Error, Fram, SleepError, SleepMode, Transport, WakeUp};

impl<T: Transport> Fram<T> {
    /// Puts the part to sleep: it draws a few microamperes and keeps its content. One frame of 1 byte; nothing is sent
    /// if it sleeps already.
    ///
    /// Until [`wake`](Fram::wake) every access returns [`Error::Asleep`](super::Error::Asleep). A heap on a sleeping part
    /// cannot save anything when power fails: sleep when nothing is dirty, or wake the part within the time that the
    /// supply holds.
    ///
    /// # Errors
    ///
    /// [`SleepError::NoSleepMode`] if the part has none, [`SleepError::Access`] if the bus or the pin failed.
    pub fn sleep(&mut self) -> Result<(), SleepError<T::BusError, T::PinError>> {
        if self.part.sleep.is_none() {
            return Err(SleepError::NoSleepMode);
        }
        if self.state == State::Asleep {
            return Ok(());
        }
        self.ready()?;
        self.transport.write(&command(SLEEP), &[], None)?;
        self.state = State::Asleep;
        Ok(())
    }

    /// Wakes the part and waits for its recovery time ([`SleepMode::recovery_us`], 400 us
    /// on the known parts). One frame of 1 byte.
    ///
    /// Harmless to a part that does not sleep. A controller that starts again finds the part as its predecessor left
    /// it; [`probe`](Fram::probe), and with it every constructor but those without it, wakes it in this way.
    ///
    /// A part that a fall of chip select wakes gets a frame with the opcode of RDSR, whose answer nobody reads: not every
    /// bus can send an empty frame, and the part may ignore all opcodes while it wakes.
    ///
    /// # Errors
    ///
    /// As [`sleep`](Fram::sleep).
    pub fn wake(&mut self, delay: &mut impl DelayNs) -> Result<(), SleepError<T::BusError, T::PinError>> {
        let mode = self.part.sleep.ok_or(SleepError::NoSleepMode)?;
        if self.state == State::Refused {
            return Err(Error::Contradiction.into());
        }
        self.wake_up(mode, delay)?;
        Ok(())
    }

    /// The frame that wakes, and the wait behind it.
    pub(super) fn wake_up(
        &mut self,
        mode: SleepMode,
        delay: &mut impl DelayNs,
    ) -> Result<(), Error<T::BusError, T::PinError>> {
        let opcode = match mode.wake_up {
            WakeUp::ChipSelect => RDSR,
            WakeUp::Opcode => WAKE,
        };
        self.transport.write(&command(opcode), &[], None)?;
        delay.delay_us(mode.recovery_us);
        self.state = State::unknown(&self.part);
        Ok(())
    }
}
