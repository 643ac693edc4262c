//! Any `embedded_storage::Storage` as a device.

use core::fmt::Debug;

use embedded_storage::{ReadStorage, Storage};

use crate::{Device, bounds};

/// Makes a [`Device`] of any [`Storage`] whose writes obey the device contract: byte-addressed, without an erase
/// that loses neighbours, stored when `write` returns.
///
/// The row size is 8 bytes unless [`with_row_size`](Adapter::with_row_size) says otherwise: give the number of bytes
/// that the memory below tears together.
///
/// **Cost.** A gathered write of k non-empty slices is k writes of the storage, thus k bus transactions, not one; a
/// power cut leaves a prefix of them. [`sync`](Device::sync) does nothing.
#[derive(Clone, Debug)]
pub struct Adapter<S> {
    storage: S,
    row_size: u32,
}

impl<S> Adapter<S> {
    /// Wraps `storage`, with rows of 8 bytes. No bus traffic.
    pub const fn new(storage: S) -> Self {
        Self { storage, row_size: 8 }
    }

    /// Wraps `storage`, with rows of `ROW` bytes. A `ROW` that is no power of two does not compile.
    ///
    /// ```compile_fail
    /// let device = vnv_storage::Adapter::with_row_size::<6>(vnv_storage::RamStorage::<64>::new());
    /// ```
    pub const fn with_row_size<const ROW: u32>(storage: S) -> Self {
        const { assert!(ROW.is_power_of_two(), "a row size is a power of two") };
        Self { storage, row_size: ROW }
    }

    /// Ends the adapter and returns the storage.
    pub fn release(self) -> S {
        self.storage
    }
}

/// Why an [`Adapter`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum AdapterError<E> {
    /// The access ends beyond the last byte of the storage; the storage was not asked.
    OutOfBounds,
    /// The storage failed.
    Storage(E),
}

impl<E: core::fmt::Display> core::fmt::Display for AdapterError<E> {
    fn fmt(&self, formatter: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self {
            Self::OutOfBounds => formatter.write_str("access beyond the end of the device"),
            Self::Storage(error) => write!(formatter, "storage failed: {error}"),
        }
    }
}

impl<E: core::error::Error> core::error::Error for AdapterError<E> {}

impl<S: Storage> ReadStorage for Adapter<S> {
    type Error = AdapterError<S::Error>;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        if !bounds::inside(self.storage.capacity(), offset, bytes.len()) {
            return Err(AdapterError::OutOfBounds);
        }
        self.storage.read(offset, bytes).map_err(AdapterError::Storage)
    }

    fn capacity(&self) -> usize {
        self.storage.capacity()
    }
}

impl<S: Storage> Storage for Adapter<S> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        if !bounds::inside(self.storage.capacity(), offset, bytes.len()) {
            return Err(AdapterError::OutOfBounds);
        }
        self.storage.write(offset, bytes).map_err(AdapterError::Storage)
    }
}

impl<S: Storage> Device for Adapter<S>
where
    S::Error: Debug,
{
    fn row_size(&self) -> u32 {
        self.row_size
    }

    /// One write of the storage per non-empty slice.
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error> {
        let inside =
            bounds::total(slices).is_some_and(|length| bounds::inside(self.storage.capacity(), offset, length));
        if !inside {
            return Err(AdapterError::OutOfBounds);
        }
        let mut position = offset;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            self.storage.write(position, slice).map_err(AdapterError::Storage)?;
            position = position.saturating_add(slice.len() as u32);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::RamStorage;

    /// Counts writes; not a device itself.
    struct Counting(RamStorage<16>, usize);

    impl ReadStorage for Counting {
        type Error = crate::RamError;
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
            self.0.read(offset, bytes)
        }
        fn capacity(&self) -> usize {
            16
        }
    }

    impl Storage for Counting {
        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
            self.1 += 1;
            self.0.write(offset, bytes)
        }
    }

    #[test]
    fn a_gather_is_one_write_for_each_slice_that_holds_bytes() {
        let mut device = Adapter::with_row_size::<4>(Counting(RamStorage::new(), 0));
        device.write_gather(12, &[&[1, 2], &[], &[3, 4]]).unwrap();
        assert_eq!(device.row_size(), 4);
        let Counting(ram, writes) = device.release();
        assert_eq!(writes, 2);
        assert_eq!(ram.bytes()[12..], [1, 2, 3, 4]);
    }

    #[test]
    fn nothing_is_written_when_the_end_is_out_of_bounds() {
        let mut device = Adapter::new(Counting(RamStorage::new(), 0));
        assert_eq!(device.write_gather(13, &[&[1, 2], &[3, 4]]), Err(AdapterError::OutOfBounds));
        assert_eq!(device.write(16, &[1]), Err(AdapterError::OutOfBounds));
        assert_eq!(device.read(15, &mut [0; 2]), Err(AdapterError::OutOfBounds));
        assert_eq!(device.release().1, 0);
    }
}
