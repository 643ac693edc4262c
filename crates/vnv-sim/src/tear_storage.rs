//! A device at the level of reads and writes whose power can be cut at any byte.

use core::fmt;
use core::ops::{ControlFlow, Range};

use embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, Pieces, StorageFault};

use crate::tear::{Tear, row_of};

mod unfit;

use unfit::Unfit;

/// What a [`TearStorage`] was asked to do since it was made or [`reset_counters`](TearStorage::reset_counters) was
/// called.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
#[non_exhaustive]
pub struct Counters {
    /// Read transactions that were started.
    pub reads: u64,
    /// Write transactions that were started, a gathered write counted once.
    pub writes: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes that write transactions stored.
    pub bytes_written: u64,
    /// Calls of [`Device::sync`] that succeeded.
    pub syncs: u64,
}

/// Why a [`TearStorage`] failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum TearError {
    /// Power failed, during this access or before it; see [`TearStorage::power_on`].
    PowerLost,
    /// An injected failure of the bus; power is still on.
    Bus,
    /// The access ends beyond the last byte.
    OutOfBounds,
}

impl fmt::Display for TearError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PowerLost => "power is lost",
            Self::Bus => "injected failure of the bus",
            Self::OutOfBounds => "access beyond the end of the device",
        })
    }
}

impl core::error::Error for TearError {}

/// What is to go wrong with one write transaction.
#[derive(Clone, Copy, Debug)]
enum WriteFault {
    /// `Err(Bus)` after so many bytes.
    Fail(usize),
    /// `Ok` after so many bytes.
    Truncate(usize),
}

/// A memory with the [`Device`] interface, whose power fails where a test says, with the [`Tear`] it says.
///
/// Cut points are counted in bytes: run the scenario once without a cut, ask
/// [`total_written`](TearStorage::total_written), and run it again from the same image for every cut point below that
/// number. A gathered write is one transaction.
///
/// ```
/// use vnv_sim::{Garbage, Tear, TearError, TearStorage};
/// use vnv_storage::embedded_storage::Storage as _;
///
/// let mut memory = TearStorage::new(32, 8).with_tear(Tear::T2(Garbage::Ones));
/// memory.cut_after_bytes(9);
/// assert_eq!(memory.write(0, &[1; 16]), Err(TearError::PowerLost));
/// assert_eq!(memory.image()[..8], [1; 8]); // the row before the cut
/// assert_eq!(memory.image()[8..16], [0xFF; 8]); // the row in flight
/// memory.power_on();
/// assert_eq!(memory.write(0, &[1; 16]), Ok(()));
/// ```
#[derive(Clone, Debug)]
pub struct TearStorage {
    memory: Vec<u8>,
    row_size: u32,
    tear: Tear,
    powered: bool,
    /// Bytes still to be stored before power fails.
    write_cut: Option<u64>,
    /// Bytes still to be read before power fails.
    read_cut: Option<u64>,
    /// Write transactions still to come before the fault.
    write_faults: Vec<(u64, WriteFault)>,
    /// Read transactions still to come before the failure.
    read_fault: Option<u64>,
    chunk: usize,
    counters: Counters,
    row_writes: Vec<u32>,
    /// What keeps the memory from storing what it is told to.
    unfit: Unfit,
}

impl TearStorage {
    /// A memory of `capacity` zero bytes in rows of `row_size` bytes, with power on.
    ///
    /// # Panics
    ///
    /// If `row_size` is no power of two.
    #[must_use]
    pub fn new(capacity: usize, row_size: u32) -> Self {
        Self::from_image(vec![0; capacity], row_size)
    }

    /// A memory that holds `image`, in rows of `row_size` bytes, with power on and nothing armed.
    ///
    /// # Panics
    ///
    /// If `row_size` is no power of two.
    #[must_use]
    pub fn from_image(image: Vec<u8>, row_size: u32) -> Self {
        assert!(row_size.is_power_of_two(), "a row size is a power of two");
        let rows = image.len().div_ceil(row_size as usize);
        Self {
            memory: image,
            row_size,
            tear: Tear::default(),
            powered: true,
            write_cut: None,
            read_cut: None,
            write_faults: Vec::new(),
            read_fault: None,
            chunk: 64,
            counters: Counters::default(),
            row_writes: vec![0; rows],
            unfit: Unfit::default(),
        }
    }

    /// The same memory with `tear` as the effect of the next cuts ([`Tear::T0`] without).
    #[must_use]
    pub fn with_tear(mut self, tear: Tear) -> Self {
        self.tear = tear;
        self
    }

    /// Sets the effect of the next cuts.
    pub fn set_tear(&mut self, tear: Tear) {
        self.tear = tear;
    }

    /// Sets the bytes between two questions of [`Device::write_abortable`] (64 without): at least 1.
    pub fn set_chunk_size(&mut self, bytes: usize) {
        self.chunk = bytes.max(1);
    }

    /// Lets power fail once `n` more bytes have been written: the byte with index `n`, counted from this call over all
    /// writes, is the byte in flight. A later call replaces an earlier one.
    pub fn cut_after_bytes(&mut self, n: u64) {
        self.write_cut = Some(n);
    }

    /// Lets power fail once `n` more bytes have been read, the next one being in flight. Only [`Tear::T4`] damages the
    /// memory then.
    pub fn cut_after_bytes_read(&mut self, n: u64) {
        self.read_cut = Some(n);
    }

    /// Lets power fail now, between two accesses. No byte is torn.
    pub fn cut_now(&mut self) {
        self.powered = false;
    }

    /// Turns power on again. Cuts and faults that have not happened yet are disarmed; content and counters stay.
    pub fn power_on(&mut self) {
        self.powered = true;
        self.write_cut = None;
        self.read_cut = None;
        self.write_faults.clear();
        self.read_fault = None;
    }

    /// Whether power is on.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.powered
    }

    /// Lets the `n`th write transaction from now (0: the next) store only its first `after_bytes` bytes and fail with
    /// [`TearError::Bus`]. Power stays on. Several faults may wait at once; of two for the same transaction the earlier
    /// call wins.
    pub fn fail_write_at(&mut self, n: u64, after_bytes: usize) {
        self.write_faults.push((n, WriteFault::Fail(after_bytes)));
    }

    /// Lets the `n`th read transaction from now (0: the next) fail with [`TearError::Bus`] before it reads anything.
    pub fn fail_read_at(&mut self, n: u64) {
        self.read_fault = Some(n);
    }

    /// Fifth rung: the `n`th write transaction from now (0: the next) reports success and stores nothing.
    pub fn drop_write_at(&mut self, n: u64) {
        self.truncate_write_at(n, 0);
    }

    /// Fifth rung: the `n`th write transaction from now (0: the next) reports success and stores only its first `bytes`
    /// bytes, as a page that is programmed in part.
    pub fn truncate_write_at(&mut self, n: u64, bytes: usize) {
        self.write_faults.push((n, WriteFault::Truncate(bytes)));
    }

    /// Fifth rung: a write that nobody asked for. It is not counted, and works with power off. Bytes beyond the end
    /// of the memory are ignored.
    pub fn stray_write(&mut self, offset: u32, bytes: &[u8]) {
        let before = self.unfit.before(&self.memory);
        let target = self.memory.iter_mut().skip(offset as usize);
        target.zip(bytes).for_each(|(byte, new)| *byte = *new);
        let end = (offset as usize).saturating_add(bytes.len()).min(self.memory.len());
        self.settle(before, (offset as usize).min(end)..end);
    }

    /// The content.
    #[must_use]
    pub fn image(&self) -> &[u8] {
        &self.memory
    }

    /// Ends the memory and returns its content.
    #[must_use]
    pub fn into_image(self) -> Vec<u8> {
        self.memory
    }

    /// The counters.
    #[must_use]
    pub fn counters(&self) -> Counters {
        self.counters
    }

    /// Bytes stored by writes, over all transactions since the counters were reset: the number of cut points.
    #[must_use]
    pub fn total_written(&self) -> u64 {
        self.counters.bytes_written
    }

    /// Bytes read, over all transactions since the counters were reset: the number of cut points of reads.
    #[must_use]
    pub fn total_read(&self) -> u64 {
        self.counters.bytes_read
    }

    /// For each row, the write transactions that reached it.
    #[must_use]
    pub fn row_writes(&self) -> &[u32] {
        &self.row_writes
    }

    /// Sets all counters to 0.
    pub fn reset_counters(&mut self) {
        self.counters = Counters::default();
        self.row_writes.fill(0);
    }

    fn check(&self, offset: u32, length: usize) -> Result<usize, TearError> {
        let start = offset as usize;
        match start.checked_add(length) {
            Some(end) if end <= self.memory.len() => Ok(start),
            _ => Err(TearError::OutOfBounds),
        }
    }

    /// The fault of this write transaction, if it is due; all others come one closer.
    fn next_write_fault(&mut self) -> Option<WriteFault> {
        let due = self.write_faults.iter().position(|(wait, _)| *wait == 0);
        let fault = due.map(|index| self.write_faults.remove(index).1);
        self.write_faults.retain(|(wait, _)| *wait > 0);
        self.write_faults.iter_mut().for_each(|(wait, _)| *wait -= 1);
        fault
    }

    /// One write transaction of the first `length` bytes of `slices`.
    fn transaction(&mut self, offset: u32, slices: &[&[u8]], length: usize) -> Result<(), TearError> {
        if !self.powered {
            return Err(TearError::PowerLost);
        }
        let start = self.check(offset, length)?;
        if length == 0 {
            return Ok(());
        }
        self.counters.writes += 1;
        let fault = self.next_write_fault();
        let reached = match fault {
            Some(WriteFault::Fail(bytes) | WriteFault::Truncate(bytes)) => bytes.min(length),
            None => length,
        };
        let cut = self.write_cut.and_then(|left| usize::try_from(left).ok()).filter(|left| *left < reached);
        let before_write = self.unfit.before(&self.memory);
        if let Some(stored) = cut {
            let data: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(reached).collect();
            let before = self.memory[row_of(start + stored, self.row_size, self.memory.len())].to_vec();
            self.store(start, slices, stored);
            self.tear.write(&mut self.memory, self.row_size, start + stored, &before, &data[stored..]);
            self.settle(before_write, start..start + stored);
            self.powered = false;
            self.write_cut = None;
            return Err(TearError::PowerLost);
        }
        self.store(start, slices, reached);
        self.settle(before_write, start..start + reached);
        match fault {
            Some(WriteFault::Fail(_)) => Err(TearError::Bus),
            _ => Ok(()),
        }
    }

    /// Stores the first `length` bytes of `slices` at `start` and counts them.
    fn store(&mut self, start: usize, slices: &[&[u8]], length: usize) {
        let mut position = start;
        let end = start + length;
        for slice in slices {
            let taken = slice.len().min(end - position);
            self.memory[position..position + taken].copy_from_slice(&slice[..taken]);
            position += taken;
        }
        if length > 0 {
            let row_size = self.row_size as usize;
            self.row_writes[start / row_size..=(end - 1) / row_size].iter_mut().for_each(|count| *count += 1);
        }
        self.counters.bytes_written += length as u64;
        if let Some(left) = &mut self.write_cut {
            *left -= length as u64;
        }
    }
}

impl ReadStorage for TearStorage {
    type Error = TearError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), TearError> {
        if !self.powered {
            return Err(TearError::PowerLost);
        }
        let start = self.check(offset, bytes.len())?;
        if bytes.is_empty() {
            return Ok(());
        }
        self.counters.reads += 1;
        match self.read_fault {
            Some(0) => {
                self.read_fault = None;
                return Err(TearError::Bus);
            }
            Some(wait) => self.read_fault = Some(wait - 1),
            None => {}
        }
        if let Some(left) = &mut self.read_cut {
            match usize::try_from(*left).ok().filter(|left| *left < bytes.len()) {
                Some(read) => {
                    self.counters.bytes_read += read as u64;
                    let before = self.unfit.before(&self.memory);
                    self.tear.read(&mut self.memory, self.row_size, start + read);
                    self.settle(before, 0..0);
                    self.powered = false;
                    self.read_cut = None;
                    return Err(TearError::PowerLost);
                }
                None => *left -= bytes.len() as u64,
            }
        }
        bytes.copy_from_slice(&self.memory[start..start + bytes.len()]);
        self.counters.bytes_read += bytes.len() as u64;
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl Storage for TearStorage {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), TearError> {
        self.transaction(offset, &[bytes], bytes.len())
    }
}

impl Device for TearStorage {
    fn row_size(&self) -> u32 {
        self.row_size
    }

    /// One transaction, whatever the number of slices.
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), TearError> {
        self.transaction(offset, slices, slices.iter().map(|slice| slice.len()).sum())
    }

    /// One transaction; `stop` is asked every [chunk](TearStorage::set_chunk_size).
    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        let total: usize = slices.iter().map(|slice| slice.len()).sum();
        if !self.powered {
            return Err(TearError::PowerLost);
        }
        self.check(offset, total)?;
        let mut length = self.chunk.min(total);
        while length < total && !stop() {
            length = length.saturating_add(self.chunk).min(total);
        }
        self.transaction(offset, slices, length)?;
        Ok(length as u32)
    }

    /// One transaction.
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), TearError> {
        let mut bytes = Vec::new();
        let _ = pieces(&mut |piece| {
            bytes.extend_from_slice(piece);
            // It takes no more than that.
            if bytes.len() < length as usize { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
        });
        bytes.truncate(length as usize);
        self.write_gather(offset, &[&bytes])
    }

    /// One transaction; `stop` is asked every [chunk](TearStorage::set_chunk_size).
    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        let mut length = self.chunk.min(bytes.len());
        while length < bytes.len() && !stop() {
            length = length.saturating_add(self.chunk).min(bytes.len());
        }
        self.read(offset, &mut bytes[..length])?;
        Ok(length as u32)
    }

    /// Nothing, or what [`set_diagnosis`](TearStorage::set_diagnosis) says.
    fn diagnose(&mut self) -> Result<Option<StorageFault>, TearError> {
        if !self.powered {
            return Err(TearError::PowerLost);
        }
        Ok(self.unfit.diagnosis)
    }

    fn sync(&mut self) -> Result<(), TearError> {
        if !self.powered {
            return Err(TearError::PowerLost);
        }
        self.counters.syncs += 1;
        Ok(())
    }
}

#[cfg(test)]
mod tests;
