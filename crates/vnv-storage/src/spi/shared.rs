//! A part on a bus that others use too.

use core::convert::Infallible;

use embedded_hal::delay::DelayNs;
use embedded_hal::spi::{Operation, SpiDevice};

use super::{Error, Fram, Header, Part, ProbeError, Stop, Transport};

/// Slices behind the header of one transaction.
const MAX_SLICES: usize = 32;

/// A part behind an [`SpiDevice`], which owns chip select and may share the bus: each frame is one transaction.
///
/// A gathered write takes at most 32 non-empty slices in one transaction (528 bytes of stack on a 32-bit target);
/// more slices are more transactions, each with a WREN of its own. A write cannot be ended early: the other devices
/// of the bus wait for the whole frame. On an EEPROM a frame is at most a page, and a write ends between two of them.
#[derive(Debug)]
pub struct Shared<SPI> {
    spi: SPI,
}

/// An SPI FRAM part behind an [`SpiDevice`]. See [`Fram`] for the operations and [`Shared`] for the limits.
pub type SpiFram<SPI> = Fram<Shared<SPI>>;

impl<SPI: SpiDevice> Fram<Shared<SPI>> {
    /// Waits for the part to be ready, wakes it and [probes](Fram::probe) it; see there for the cost.
    ///
    /// On an error `spi` is dropped; hand in a `&mut` of it to keep it.
    ///
    /// # Errors
    ///
    /// As [`probe`](Fram::probe).
    pub fn new(spi: SPI, part: Part, delay: &mut impl DelayNs) -> Result<Self, ProbeError<SPI::Error, Infallible>> {
        let mut fram = Self::without_probe(spi, part);
        fram.probe(delay)?;
        Ok(fram)
    }

    /// A driver that believes that `part` is there, awake, and has been powered for [`Part::power_up_us`]. No bus
    /// traffic. For a part that [`probe`](Fram::probe) refuses, to clear its protection for example; if the
    /// description contradicts itself, every access fails with [`Error::Contradiction`].
    pub const fn without_probe(spi: SPI, part: Part) -> Self {
        Self::from_transport(Shared { spi }, part)
    }

    /// Ends the driver and returns the bus device.
    pub fn release(self) -> SPI {
        self.into_transport().spi
    }
}

impl<SPI: SpiDevice> Transport for Shared<SPI> {
    type BusError = SPI::Error;
    type PinError = Infallible;

    const MAX_SLICES: usize = MAX_SLICES;

    fn idle(&mut self) -> Result<(), Error<SPI::Error, Infallible>> {
        Ok(())
    }

    fn write(
        &mut self,
        header: &Header,
        slices: &[&[u8]],
        _stop: Stop<'_>,
    ) -> Result<u32, Error<SPI::Error, Infallible>> {
        let mut operations = [const { Operation::Write(&[]) }; 1 + MAX_SLICES];
        let filled = slices.iter().copied().filter(|slice| !slice.is_empty());
        let mut used = 0usize;
        let mut sent = 0u32;
        for (operation, bytes) in operations.iter_mut().zip(core::iter::once(&**header).chain(filled)) {
            *operation = Operation::Write(bytes);
            used = used.saturating_add(1);
            sent = sent.saturating_add(bytes.len() as u32);
        }
        let operations = operations.get_mut(..used).unwrap_or_default();
        self.spi.transaction(operations).map_err(Error::Bus)?;
        Ok(sent.saturating_sub(header.len() as u32))
    }

    fn read(
        &mut self,
        header: &Header,
        bytes: &mut [u8],
        _stop: Stop<'_>,
    ) -> Result<u32, Error<SPI::Error, Infallible>> {
        let length = bytes.len() as u32;
        let mut operations = [Operation::Write(header), Operation::Read(bytes)];
        self.spi.transaction(&mut operations).map_err(Error::Bus)?;
        Ok(length)
    }
}
