//! Whether the part takes a command: write cycles and sleep.

use super::protocol::{WREN, command};
use super::{Error, Fram, Part, Status, Transport};
use crate::fault;

/// What is known about the part before a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum State {
    /// It takes commands.
    Ready,
    /// A write cycle may be running: RDSR tells.
    Writing,
    /// It sleeps.
    Asleep,
    /// Its description contradicts itself: nothing is sent, lest a write changes what it does not name.
    Refused,
}

impl State {
    /// Before anything is sent.
    pub(super) const fn first(part: &Part) -> Self {
        if part.check().is_ok() { Self::unknown(part) } else { Self::Refused }
    }

    /// Behind a write, or when nothing is known: a controller that starts again may find the part in a write cycle.
    pub(super) const fn unknown(part: &Part) -> Self {
        if part.page_size.is_some() { Self::Writing } else { Self::Ready }
    }
}

impl<T: Transport> Fram<T> {
    /// Before each command: waits for the end of a write cycle that may be running. No bus traffic for a part without
    /// pages.
    pub(super) fn ready(&mut self) -> Result<(), Error<T::BusError, T::PinError>> {
        match self.state {
            State::Ready => Ok(()),
            State::Asleep => Err(Error::Asleep),
            State::Refused => Err(Error::Contradiction),
            State::Writing => {
                let status = self.poll()?;
                if status.write_in_progress() { Err(Error::Busy) } else { Ok(()) }
            }
        }
    }

    /// Reads the status register, a frame of 16 clocks each time, until the write cycle has ended or the limit is
    /// reached. Returns the last answer.
    pub(super) fn poll(&mut self) -> Result<Status, Error<T::BusError, T::PinError>> {
        let mut left = self.part.max_polls();
        loop {
            let status = self.read_status()?;
            left = left.saturating_sub(1);
            if !status.write_in_progress() {
                self.state = State::Ready;
            } else if left > 0 {
                continue;
            }
            return Ok(status);
        }
    }

    /// Before WRITE and WRSR: waits until the part takes commands, and sets WEL.
    pub(super) fn enable_write(&mut self) -> Result<(), Error<T::BusError, T::PinError>> {
        self.ready()?;
        if !fault!(WriteWithoutEnable) {
            self.transport.write(&command(WREN), &[], None)?;
        }
        // Whatever becomes of the frame that follows, it may begin a write cycle.
        self.state = State::unknown(&self.part);
        Ok(())
    }
}
