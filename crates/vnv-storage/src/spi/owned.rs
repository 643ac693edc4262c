//! A part on a bus of its own.

use embedded_hal::delay::DelayNs;
use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;

use super::{Error, Fram, Header, Part, ProbeError, Stop, Transport};
use crate::{Pieces, buffered};
use core::ops::ControlFlow;

/// Bytes between two questions whether a frame may go on.
const CHUNK_SIZE: usize = 64;

/// A part with an [`SpiBus`] and a chip select pin for itself.
///
/// A gathered write is one frame, whatever the number of slices. A write can be ended early between two chunks
/// ([`Device::write_abortable`](crate::Device::write_abortable)), by default of 64 bytes, the depth of common hardware
/// FIFOs. The bus is flushed before chip select rises, and chip select rises on every path out of a frame.
///
/// The setup and hold times of chip select (10 ns) and its high time (60 ns, DS501-00015, "AC characteristics") are
/// left to the instructions between two pin changes; a controller above about 100 MHz with single-cycle pins must
/// slow `set_high` down.
#[derive(Debug)]
pub struct Owned<BUS, CS> {
    bus: BUS,
    chip_select: CS,
    chunk_size: usize,
}

/// An SPI FRAM part on a bus of its own. See [`Fram`] for the operations and [`Owned`] for the frames.
pub type OwnedSpiFram<BUS, CS> = Fram<Owned<BUS, CS>>;

impl<BUS: SpiBus, CS: OutputPin> Fram<Owned<BUS, CS>> {
    /// Makes chip select high, waits for the part to be ready, wakes it and [probes](Fram::probe) it; see there for
    /// the cost.
    ///
    /// On an error `bus` and `chip_select` are dropped; hand in a `&mut` of them to keep them.
    ///
    /// # Errors
    ///
    /// As [`probe`](Fram::probe).
    pub fn new(
        bus: BUS,
        chip_select: CS,
        part: Part,
        delay: &mut impl DelayNs,
    ) -> Result<Self, ProbeError<BUS::Error, CS::Error>> {
        let mut fram = Self::without_probe(bus, chip_select, part);
        fram.probe(delay)?;
        Ok(fram)
    }

    /// A driver that believes that `part` is there, awake, has been powered for [`Part::power_up_us`], and that chip
    /// select is high. No bus traffic. For a part that [`probe`](Fram::probe) refuses, to clear its protection for
    /// example; if the description contradicts itself, every access fails with [`Error::Contradiction`].
    pub const fn without_probe(bus: BUS, chip_select: CS, part: Part) -> Self {
        Self::from_transport(Owned { bus, chip_select, chunk_size: CHUNK_SIZE }, part)
    }

    /// Sets the bytes between two questions of [`Device::write_abortable`](crate::Device::write_abortable); 0 is taken
    /// as 1. A chunk of `n` bytes delays the answer by at most `n x 8` clocks.
    #[must_use]
    pub fn with_chunk_size(mut self, bytes: usize) -> Self {
        self.transport.chunk_size = bytes.max(1);
        self
    }

    /// Ends the driver and returns the bus and the chip select pin.
    pub fn release(self) -> (BUS, CS) {
        let transport = self.into_transport();
        (transport.bus, transport.chip_select)
    }
}

impl<BUS: SpiBus, CS: OutputPin> Owned<BUS, CS> {
    /// Runs `body` between the edges of chip select.
    fn frame<R>(
        &mut self,
        body: impl FnOnce(&mut BUS, usize) -> Result<R, BUS::Error>,
    ) -> Result<R, Error<BUS::Error, CS::Error>> {
        if let Err(error) = self.chip_select.set_low() {
            // The pin may have moved in spite of the error.
            let _ = self.chip_select.set_high();
            return Err(Error::ChipSelect(error));
        }
        let sent = body(&mut self.bus, self.chunk_size);
        let flushed = self.bus.flush();
        let raised = self.chip_select.set_high();
        let result = sent.map_err(Error::Bus)?;
        flushed.map_err(Error::Bus)?;
        raised.map_err(Error::ChipSelect)?;
        Ok(result)
    }
}

impl<BUS: SpiBus, CS: OutputPin> Transport for Owned<BUS, CS> {
    type BusError = BUS::Error;
    type PinError = CS::Error;

    const MAX_SLICES: usize = usize::MAX;

    fn idle(&mut self) -> Result<(), Error<BUS::Error, CS::Error>> {
        self.chip_select.set_high().map_err(Error::ChipSelect)
    }

    fn write(
        &mut self,
        header: &Header,
        slices: &[&[u8]],
        stop: Stop<'_>,
    ) -> Result<u32, Error<BUS::Error, CS::Error>> {
        let filled = slices.iter().copied().filter(|slice| !slice.is_empty());
        self.frame(|bus, chunk_size| {
            bus.write(header)?;
            match stop {
                None => write_all(bus, filled),
                Some(stop) => write_chunks(bus, chunk_size, filled, stop),
            }
        })
    }

    fn read(&mut self, header: &Header, bytes: &mut [u8], stop: Stop<'_>) -> Result<u32, Error<BUS::Error, CS::Error>> {
        self.frame(|bus, chunk_size| {
            bus.write(header)?;
            match stop {
                None => {
                    bus.read(bytes)?;
                    Ok(bytes.len() as u32)
                }
                Some(stop) => read_chunks(bus, chunk_size, bytes, stop),
            }
        })
    }

    const STREAMS: bool = true;

    fn stream(&mut self, header: &Header, pieces: Pieces<'_>) -> Result<u32, Error<BUS::Error, CS::Error>> {
        self.frame(|bus, _| {
            bus.write(header)?;
            stream_chunks(bus, pieces)
        })
    }
}

/// One bus write for each slice. Returns the bytes written.
fn write_all<'a, BUS: SpiBus>(bus: &mut BUS, slices: impl Iterator<Item = &'a [u8]>) -> Result<u32, BUS::Error> {
    let mut sent = 0u32;
    for slice in slices {
        bus.write(slice)?;
        sent = sent.saturating_add(slice.len() as u32);
    }
    Ok(sent)
}

/// Bus writes that end where a slice or a chunk ends; asks `stop` at the end of each chunk. Returns the bytes written.
fn write_chunks<'a, BUS: SpiBus>(
    bus: &mut BUS,
    chunk_size: usize,
    slices: impl Iterator<Item = &'a [u8]>,
    stop: &mut dyn FnMut() -> bool,
) -> Result<u32, BUS::Error> {
    let mut sent = 0u32;
    let mut room = chunk_size;
    for slice in slices {
        let mut rest = slice;
        while !rest.is_empty() {
            if room == 0 {
                if stop() {
                    return Ok(sent);
                }
                room = chunk_size;
            }
            let (now, later) = rest.split_at_checked(room).unwrap_or((rest, &[]));
            bus.write(now)?;
            sent = sent.saturating_add(now.len() as u32);
            room = room.saturating_sub(now.len());
            rest = later;
        }
    }
    Ok(sent)
}

/// Bus reads of a chunk each; asks `stop` at the end of each but the last. Returns the bytes read.
fn read_chunks<BUS: SpiBus>(
    bus: &mut BUS,
    chunk_size: usize,
    bytes: &mut [u8],
    stop: &mut dyn FnMut() -> bool,
) -> Result<u32, BUS::Error> {
    let mut received = 0u32;
    for chunk in bytes.chunks_mut(chunk_size.max(1)) {
        if received != 0 && stop() {
            break;
        }
        bus.read(chunk)?;
        received = received.saturating_add(chunk.len() as u32);
    }
    Ok(received)
}

/// Bus writes of small pieces together and of larger ones from where they lie. Returns the bytes written.
fn stream_chunks<BUS: SpiBus>(bus: &mut BUS, pieces: Pieces<'_>) -> Result<u32, BUS::Error> {
    let mut sent = 0u32;
    let mut result = Ok(());
    // A stream that is given up ends at once.
    let _ = buffered(
        &mut |bytes| {
            sent = sent.saturating_add(bytes.len() as u32);
            result = bus.write(bytes);
            if result.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        },
        pieces,
    );
    result.map(|()| sent)
}
