//! What can go wrong, per operation.

use core::fmt;

use super::{PartError, Status};
use crate::StorageFault;

/// Why a read or a write failed. `B` is the error of the bus, `P` of the chip select pin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<B, P> {
    /// The bus failed.
    Bus(B),
    /// The chip select pin failed.
    ChipSelect(P),
    /// The access ends beyond the last byte of the part; nothing was sent.
    OutOfBounds,
    /// The part is still busy with a write cycle after at least twice the time that its data sheet allows; the access
    /// was not begun. What was written before stands, apart from the page of that cycle, and the next access asks again.
    Busy,
    /// The part [sleeps](super::Fram::sleep); nothing was sent. [Wake](super::Fram::wake) it first.
    Asleep,
    /// The description of the part contradicts itself, [`Part::check`](super::Part::check) says how; nothing was sent.
    Contradiction,
}

/// Why a part was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProbeError<B, P> {
    /// The bus or the pin failed, or the part stayed busy.
    Access(Error<B, P>),
    /// The description of the part contradicts itself; nothing was sent.
    Part(PartError),
    /// The part would not keep what is written to it: [`StorageFault::Absent`] if nobody answers (all bits of the
    /// answer are the same), [`StorageFault::Protected`] if a block protection is set, [`StorageFault::Smaller`] if it
    /// rolls over below the capacity that it was described with.
    Storage(StorageFault),
    /// Another part answers.
    WrongPart {
        /// The id that the part should have.
        expected: [u8; 4],
        /// The id that it has.
        found: [u8; 4],
    },
    /// The part does not set WEL by WREN and clear it by WRDI: it cannot be written. Its WP pin, where that one holds
    /// the latch too, or the wire to its data input.
    NoWriteEnable,
}

/// Why the status register could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StatusError<B, P> {
    /// The bus or the pin failed; the register may have changed.
    Access(Error<B, P>),
    /// The register does not hold what was written: WPEN is set and the WP pin is low.
    Refused {
        /// What the register holds.
        found: Status,
    },
}

/// Why a part was not put to sleep or not woken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum SleepError<B, P> {
    /// The bus or the pin failed, or the part was busy. Whether it sleeps is not known: [wake](super::Fram::wake) it.
    Access(Error<B, P>),
    /// The part has no sleep mode ([`Part::sleep`](super::Part::sleep)); nothing was sent.
    NoSleepMode,
}

impl<B, P> From<Error<B, P>> for SleepError<B, P> {
    fn from(error: Error<B, P>) -> Self {
        Self::Access(error)
    }
}

impl<B, P> From<Error<B, P>> for ProbeError<B, P> {
    fn from(error: Error<B, P>) -> Self {
        Self::Access(error)
    }
}

impl<B, P> From<StorageFault> for ProbeError<B, P> {
    fn from(fault: StorageFault) -> Self {
        Self::Storage(fault)
    }
}

impl<B, P> From<Error<B, P>> for StatusError<B, P> {
    fn from(error: Error<B, P>) -> Self {
        Self::Access(error)
    }
}

impl<B: fmt::Debug, P: fmt::Debug> fmt::Display for Error<B, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bus(error) => write!(formatter, "the bus failed: {error:?}"),
            Self::ChipSelect(error) => write!(formatter, "chip select failed: {error:?}"),
            Self::OutOfBounds => formatter.write_str("access beyond the end of the device"),
            Self::Busy => formatter.write_str("the part does not end its write cycle"),
            Self::Asleep => formatter.write_str("the part sleeps: wake it first"),
            Self::Contradiction => {
                formatter.write_str("the description of the part contradicts itself: `Part::check` says how")
            }
        }
    }
}

impl<B: fmt::Debug, P: fmt::Debug> fmt::Display for ProbeError<B, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(error) => error.fmt(formatter),
            Self::Part(error) => error.fmt(formatter),
            Self::Storage(fault) => fault.fmt(formatter),
            Self::WrongPart { expected, found } => {
                write!(formatter, "the part has the id {found:02X?} instead of {expected:02X?}")
            }
            Self::NoWriteEnable => formatter.write_str(
                "the part does not obey WREN and WRDI, so it cannot be written: look at its WP pin and at the wire to \
                 its data input",
            ),
        }
    }
}

impl<B: fmt::Debug, P: fmt::Debug> fmt::Display for StatusError<B, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(error) => error.fmt(formatter),
            Self::Refused { found } => write!(formatter, "the status register still holds {:#04x}", found.bits()),
        }
    }
}

impl<B: fmt::Debug, P: fmt::Debug> fmt::Display for SleepError<B, P> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Access(error) => error.fmt(formatter),
            Self::NoSleepMode => formatter.write_str("the part has no sleep mode"),
        }
    }
}

impl<B: fmt::Debug, P: fmt::Debug> core::error::Error for Error<B, P> {}
impl<B: fmt::Debug, P: fmt::Debug> core::error::Error for SleepError<B, P> {}
impl<B: fmt::Debug, P: fmt::Debug> core::error::Error for ProbeError<B, P> {}
impl<B: fmt::Debug, P: fmt::Debug> core::error::Error for StatusError<B, P> {}
