//! How frames reach a part.

use core::fmt::Debug;
use core::ops::Deref;

use super::Error;
use crate::Pieces;

/// The bytes that begin a frame: an opcode and up to three address bytes. Dereferences to them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    pub(super) bytes: [u8; 4],
    pub(super) length: usize,
}

impl Deref for Header {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or(&self.bytes)
    }
}

/// The question that a frame asks between two chunks, if it may end early; `true` ends it there.
pub type Stop<'a> = Option<&'a mut dyn FnMut() -> bool>;

/// Sends frames to one part: chip select falls, bytes are clocked, chip select rises.
///
/// The two transports of this crate are [`Shared`](super::Shared) and [`Owned`](super::Owned). Implement it for a
/// bus that has a better way to gather, for example linked DMA descriptors.
pub trait Transport {
    /// Error of the bus.
    type BusError: Debug;
    /// Error of the chip select pin.
    type PinError: Debug;

    /// Slices that fit in one frame of [`write`](Transport::write) behind the header: at least 1.
    const MAX_SLICES: usize;

    /// Makes chip select high, where the transport knows the pin.
    ///
    /// # Errors
    ///
    /// [`Error::ChipSelect`] if the pin failed.
    fn idle(&mut self) -> Result<(), Error<Self::BusError, Self::PinError>>;

    /// One frame: `header`, then the bytes of the first [`MAX_SLICES`](Transport::MAX_SLICES) slices that are not
    /// empty. Returns the bytes sent behind the header: all of them, unless `stop` ended the frame.
    ///
    /// # Errors
    ///
    /// The error of the bus or of the pin; a prefix of the frame may have been sent, and chip select is high again if
    /// the pin can be set at all.
    fn write(
        &mut self,
        header: &Header,
        slices: &[&[u8]],
        stop: Stop<'_>,
    ) -> Result<u32, Error<Self::BusError, Self::PinError>>;

    /// One frame: `header`, then `bytes.len()` bytes from the part. Returns the bytes read: all, unless `stop` ended
    /// the frame.
    ///
    /// # Errors
    ///
    /// As [`write`](Transport::write).
    fn read(
        &mut self,
        header: &Header,
        bytes: &mut [u8],
        stop: Stop<'_>,
    ) -> Result<u32, Error<Self::BusError, Self::PinError>>;

    /// Whether [`stream`](Transport::stream) works.
    const STREAMS: bool = false;

    /// One frame: `header`, then everything that `pieces` hands out. Returns the bytes sent behind the header.
    ///
    /// # Errors
    ///
    /// As [`write`](Transport::write).
    fn stream(&mut self, header: &Header, pieces: Pieces<'_>) -> Result<u32, Error<Self::BusError, Self::PinError>> {
        let _ = (header, pieces);
        Ok(0)
    }
}
