//! Reads and writes of a part, over any transport.

use embedded_storage::{ReadStorage, Storage};

use core::ops::ControlFlow;

use super::protocol::{READ, WRITE, addressed};
use super::ready::State;
use super::{Error, Part, Stop, Transport};
use crate::device::{in_stages, write_staged};
use crate::{Device, Pieces, StorageFault, bounds};

/// An SPI FRAM, MRAM or EEPROM part; see [`SpiFram`](super::SpiFram) for a shared bus and [`OwnedSpiFram`](super::OwnedSpiFram) for
/// one of its own.
///
/// Addresses are checked exactly: an access may end on the last byte, and none rolls over to the first. An empty
/// access causes no bus traffic. Each WRITE has its own WREN in its own frame, on all parts.
///
/// **Cost**, with `a` address bytes (2 or 3): a read of `n` bytes is one frame of `1 + a + n` bytes; a write is two
/// frames, 1 byte and `1 + a + n` bytes, as is a gathered write of up to [`Transport::MAX_SLICES`] non-empty slices.
///
/// A byte is stored when its eighth bit has been clocked in (DS501-00015, "WRITE"), so
/// [`sync`](Device::sync) does nothing.
///
/// An EEPROM ([`Part::page_size`]) is written page by page: a write of `n` bytes touches `p` pages (`n` = 64 at the
/// beginning of a page: 1; elsewhere: 2) and takes `p` times WREN, WRITE and a write cycle of up to
/// [`Part::write_cycle_us`], 5 ms. The bytes of a page are collected on the stack (256 bytes). The driver does not wait
/// behind the last page, but before the next access or in [`sync`](Device::sync), with RDSR frames of 2 bytes until WIP
/// is 0; the processor is free meanwhile. After [`Part::max_polls`] of them it gives up with [`Error::Busy`].
///
/// A write to a block that the part protects is dropped by the part without an error: [`probe`](Fram::probe) and
/// [`diagnose`](Device::diagnose) refuse a part with such a block.
#[derive(Debug)]
pub struct Fram<T> {
    pub(super) transport: T,
    pub(super) part: Part,
    pub(super) state: State,
}

impl<T> Fram<T> {
    /// A driver of `part` over `transport`, without any bus traffic. The part has been powered for
    /// [`Part::power_up_us`] already, or [`probe`](Fram::probe) is called first.
    ///
    /// If the description contradicts itself, every access fails with [`Error::Contradiction`] and sends nothing.
    pub const fn from_transport(transport: T, part: Part) -> Self {
        Self { transport, part, state: State::first(&part) }
    }

    /// Ends the driver and returns the transport.
    pub fn into_transport(self) -> T {
        self.transport
    }

    /// The description of the part.
    pub const fn part(&self) -> &Part {
        &self.part
    }
}

type Failure<T> = Error<<T as Transport>::BusError, <T as Transport>::PinError>;

impl<T: Transport> Fram<T> {
    /// Writes `slices` from `offset` on, or the prefix that `stop` leaves. Returns the bytes written.
    fn write_slices(&mut self, offset: u32, slices: &[&[u8]], mut stop: Stop<'_>) -> Result<u32, Failure<T>> {
        let total = bounds::total(slices)
            .filter(|total| bounds::inside(self.capacity(), offset, *total))
            .and_then(|total| u32::try_from(total).ok())
            .ok_or(Error::OutOfBounds)?;
        if self.part.page_size.is_some() {
            return self.write_pages(offset, total, &mut |sink| slices.iter().try_for_each(|slice| sink(slice)), stop);
        }
        let mut written = 0;
        let mut rest = slices;
        while written < total {
            let (frame, later) = split_frame(rest, T::MAX_SLICES);
            let length = frame.iter().fold(0, |sum: u32, slice| sum.saturating_add(slice.len() as u32));
            let again: Stop<'_> = match &mut stop {
                Some(stop) => Some(&mut **stop),
                None => None,
            };
            let sent = self.write_frame(offset.saturating_add(written), frame, again)?;
            written = written.saturating_add(sent);
            if sent < length || length == 0 {
                break;
            }
            rest = later;
        }
        Ok(written)
    }

    /// WREN, and one WRITE frame with slices that fit. Returns the bytes written.
    fn write_frame(&mut self, offset: u32, slices: &[&[u8]], stop: Stop<'_>) -> Result<u32, Failure<T>> {
        self.enable_write()?;
        self.transport.write(&addressed(WRITE, &self.part, offset), slices, stop)
    }

    /// Writes an EEPROM: what `pieces` hands out, each page in a frame of its own, or the pages before the one at which
    /// `stop` says so. Returns the bytes written.
    ///
    /// On its own, that the buffer of a page is not on the stack when a part without pages is written.
    #[inline(never)]
    fn write_pages(
        &mut self,
        offset: u32,
        length: u32,
        pieces: Pieces<'_>,
        mut stop: Stop<'_>,
    ) -> Result<u32, Failure<T>> {
        let mut written = 0u32;
        in_stages(offset, length, self.part.page_size, pieces, &mut |position, bytes| {
            if let Some(stop) = stop.as_mut().filter(|_| written > 0) {
                // Who stops the write is next on the bus, and would have to wait: what happens meanwhile still counts.
                self.ready()?;
                if stop() {
                    return Ok(ControlFlow::Break(()));
                }
            }
            written = written.saturating_add(self.write_frame(position, &[bytes], None)?);
            Ok(ControlFlow::Continue(()))
        })?;
        Ok(written)
    }
}

/// Splits `slices` behind the last one that fits in a frame of `most` non-empty slices.
fn split_frame<'a, 'b>(slices: &'a [&'b [u8]], most: usize) -> (&'a [&'b [u8]], &'a [&'b [u8]]) {
    let filled = slices.iter().enumerate().filter(|(_, slice)| !slice.is_empty());
    let end = filled.map(|(index, _)| index).nth(most).unwrap_or(slices.len());
    slices.split_at_checked(end).unwrap_or((slices, &[]))
}

impl<T: Transport> ReadStorage for Fram<T> {
    type Error = Failure<T>;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        if !bounds::inside(self.capacity(), offset, bytes.len()) {
            return Err(Error::OutOfBounds);
        }
        if bytes.is_empty() {
            return Ok(());
        }
        self.ready()?;
        self.transport.read(&addressed(READ, &self.part, offset), bytes, None).map(|_| ())
    }

    fn capacity(&self) -> usize {
        self.part.capacity as usize
    }
}

impl<T: Transport> Storage for Fram<T> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.write_slices(offset, &[bytes], None).map(|_| ())
    }
}

impl<T: Transport> Device for Fram<T> {
    fn row_size(&self) -> u32 {
        self.part.row_size
    }

    /// One WREN and one WRITE frame for each [`Transport::MAX_SLICES`] slices that are not empty; on an EEPROM for each
    /// page, whatever the number of slices.
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error> {
        self.write_slices(offset, slices, None).map(|_| ())
    }

    /// Ends early only on a bus of its own ([`Owned`](super::Owned)), between two chunks. On an EEPROM on any bus, but
    /// between two pages: `stop` is asked when the write cycle of the last one has ended: the first time after up to two cycles (the one that ran
    /// before, and that of the first page), 10 ms, then each 5 ms; for a single page never.
    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        self.write_slices(offset, slices, Some(stop))
    }

    /// One WREN and one WRITE frame on a bus of its own ([`Owned`](super::Owned)); on a shared one such a pair for
    /// each 256 bytes; on an EEPROM for each page.
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), Self::Error> {
        let paged = self.part.page_size.is_some();
        if !T::STREAMS && !paged {
            return write_staged(self, offset, length, pieces);
        }
        if !bounds::inside(self.capacity(), offset, length as usize) {
            return Err(Error::OutOfBounds);
        }
        if paged {
            return self.write_pages(offset, length, pieces, None).map(|_| ());
        }
        self.enable_write()?;
        let mut left = length as usize;
        self.transport.stream(&addressed(WRITE, &self.part, offset), &mut |sink| {
            pieces(&mut |bytes| {
                let now = bytes.get(..left.min(bytes.len())).unwrap_or_default();
                left = left.saturating_sub(now.len());
                sink(now)
            })
        })?;
        Ok(())
    }

    /// Ends early only on a bus of its own, between two chunks.
    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        if !bounds::inside(self.capacity(), offset, bytes.len()) {
            return Err(Error::OutOfBounds);
        }
        if bytes.is_empty() {
            return Ok(0);
        }
        self.ready()?;
        self.transport.read(&addressed(READ, &self.part, offset), bytes, Some(stop))
    }

    /// Four frames, 6 bytes (WREN, RDSR, WRDI, RDSR), on an EEPROM after the end of a write cycle: WREN must set WEL
    /// and WRDI clear it, else [`StorageFault::Absent`], and no block protection may be set, else
    /// [`StorageFault::Protected`].
    fn diagnose(&mut self) -> Result<Option<StorageFault>, Self::Error> {
        Ok(self.check_writable()?.err().map(|unwilling| unwilling.fault()))
    }

    /// Nothing on FRAM and MRAM; on an EEPROM RDSR frames until the last write cycle has ended.
    fn sync(&mut self) -> Result<(), Self::Error> {
        self.ready()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_frame_takes_as_many_filled_slices_as_fit() {
        let slices: [&[u8]; 6] = [&[], &[1], &[], &[2], &[3], &[]];
        assert_eq!(split_frame(&slices, 1), (&slices[..3], &slices[3..]));
        assert_eq!(split_frame(&slices, 2), (&slices[..4], &slices[4..]));
        assert_eq!(split_frame(&slices, 3), (&slices[..], &slices[6..]));
        assert_eq!(split_frame(&slices, usize::MAX), (&slices[..], &slices[6..]));
    }
}
