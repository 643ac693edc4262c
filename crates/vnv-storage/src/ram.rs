//! A device in ordinary memory.

use core::fmt;
use core::ops::ControlFlow;

use embedded_storage::{ReadStorage, Storage};

use crate::{Device, Pieces, bounds};

/// `N` bytes of ordinary memory as a [`Device`]: for tests, and for memory that a platform maps and keeps powered.
///
/// The row size is 8 bytes unless [`with_row_size`](RamStorage::with_row_size) says otherwise. Every access is one
/// transaction of as many bytes as it is long; nothing ever tears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RamStorage<const N: usize> {
    bytes: [u8; N],
    row_size: u32,
}

impl<const N: usize> RamStorage<N> {
    /// A device of `N` zero bytes.
    #[must_use]
    pub const fn new() -> Self {
        Self::from_bytes([0; N])
    }

    /// A device that holds `bytes`.
    #[must_use]
    pub const fn from_bytes(bytes: [u8; N]) -> Self {
        Self { bytes, row_size: 8 }
    }

    /// The same device with rows of `ROW` bytes. A `ROW` that is no power of two does not compile.
    ///
    /// ```compile_fail
    /// let ram = vnv_storage::RamStorage::<64>::new().with_row_size::<12>();
    /// ```
    #[must_use]
    pub const fn with_row_size<const ROW: u32>(mut self) -> Self {
        const { assert!(ROW.is_power_of_two(), "a row size is a power of two") };
        self.row_size = ROW;
        self
    }

    /// All bytes of the device.
    #[must_use]
    pub const fn bytes(&self) -> &[u8; N] {
        &self.bytes
    }

    /// All bytes of the device, to change behind its user's back.
    pub const fn bytes_mut(&mut self) -> &mut [u8; N] {
        &mut self.bytes
    }

    /// Ends the device and returns its bytes.
    #[must_use]
    pub const fn into_bytes(self) -> [u8; N] {
        self.bytes
    }
}

impl<const N: usize> Default for RamStorage<N> {
    fn default() -> Self {
        Self::new()
    }
}

/// Why a [`RamStorage`] refused an access.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RamError {
    /// The access ends beyond the last byte of the device.
    OutOfBounds,
}

impl fmt::Display for RamError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => formatter.write_str("access beyond the end of the device"),
        }
    }
}

impl core::error::Error for RamError {}

impl<const N: usize> ReadStorage for RamStorage<N> {
    type Error = RamError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamError> {
        let source = usize::try_from(offset)
            .ok()
            .and_then(|start| self.bytes.get(start..start.checked_add(bytes.len())?))
            .ok_or(RamError::OutOfBounds)?;
        bytes.copy_from_slice(source);
        Ok(())
    }

    fn capacity(&self) -> usize {
        N
    }
}

impl<const N: usize> Storage for RamStorage<N> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamError> {
        self.write_gather(offset, &[bytes])
    }
}

impl<const N: usize> Device for RamStorage<N> {
    fn row_size(&self) -> u32 {
        self.row_size
    }

    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), RamError> {
        let length = bounds::total(slices).ok_or(RamError::OutOfBounds)?;
        let mut target = usize::try_from(offset)
            .ok()
            .and_then(|start| self.bytes.get_mut(start..start.checked_add(length)?))
            .ok_or(RamError::OutOfBounds)?;
        for slice in slices {
            let (head, tail) = target.split_at_mut_checked(slice.len()).ok_or(RamError::OutOfBounds)?;
            head.copy_from_slice(slice);
            target = tail;
        }
        Ok(())
    }

    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), RamError> {
        let (offset, length) = (offset as usize, length as usize);
        let end = offset.checked_add(length).ok_or(RamError::OutOfBounds)?;
        let mut target = self.bytes.get_mut(offset..end).ok_or(RamError::OutOfBounds)?;
        let _ = pieces(&mut |piece| {
            let take = piece.len().min(target.len());
            let (head, tail) = core::mem::take(&mut target).split_at_mut(take);
            head.copy_from_slice(piece.get(..take).unwrap_or_default());
            target = tail;
            if target.is_empty() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        Ok(())
    }

    fn sync(&mut self) -> Result<(), RamError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_back_what_was_written_up_to_the_last_byte() {
        let mut ram = RamStorage::<16>::new();
        ram.write(12, &[1, 2, 3, 4]).unwrap();
        let mut back = [0; 5];
        ram.read(11, &mut back).unwrap();
        assert_eq!(back, [0, 1, 2, 3, 4]);
        assert_eq!(ram.write(13, &[9, 9, 9, 9]), Err(RamError::OutOfBounds));
        assert_eq!(ram.read(12, &mut back), Err(RamError::OutOfBounds));
        assert_eq!(ram.bytes()[12..], [1, 2, 3, 4], "a refused write changes nothing");
    }

    #[test]
    fn gathers_and_refuses_as_a_whole() {
        let mut ram = RamStorage::<8>::from_bytes([0xAA; 8]);
        ram.write_gather(1, &[&[1], &[], &[2, 3]]).unwrap();
        assert_eq!(*ram.bytes(), [0xAA, 1, 2, 3, 0xAA, 0xAA, 0xAA, 0xAA]);
        assert_eq!(ram.write_gather(6, &[&[7], &[8, 9]]), Err(RamError::OutOfBounds));
        assert_eq!(ram.into_bytes(), [0xAA, 1, 2, 3, 0xAA, 0xAA, 0xAA, 0xAA]);
    }

    #[test]
    fn the_row_size_is_eight_or_as_told() {
        assert_eq!(RamStorage::<8>::new().row_size(), 8);
        static FOUR: RamStorage<8> = RamStorage::<8>::new().with_row_size::<4>();
        assert_eq!(FOUR.row_size(), 4);
    }
}
