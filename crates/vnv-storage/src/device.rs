//! The device contract: what the heap needs from a non-volatile memory.

use core::fmt::{self, Debug};
use core::ops::ControlFlow;
use embedded_storage::Storage;

/// Takes the next bytes of a write; `Break`: it takes no more.
pub type Sink<'s> = &'s mut dyn FnMut(&[u8]) -> ControlFlow<()>;

/// Hands the bytes of a write to a [`Sink`], piece by piece, and stops when it says so. `Break`: the write is given up; any prefix
/// of it may be written.
pub type Pieces<'p> = &'p mut dyn FnMut(Sink<'_>) -> ControlFlow<()>;

/// Bytes that a device without streams of its own collects for each of its writes.
const STAGE: usize = 256;
/// Most bytes that [`buffered`] holds: as many as a microcontroller's SPI takes at once.
const BUFFER: usize = 64;

/// What keeps a memory from storing what is written to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum StorageFault {
    /// Nothing answers, or what answers cannot be written at all.
    Absent,
    /// Writes are refused from this byte on.
    Protected {
        /// The first byte that is protected.
        from: u32,
    },
    /// The memory is smaller than described: what is written behind its end appears at its beginning.
    Smaller {
        /// Bytes that it has.
        capacity: u32,
    },
    /// What was written here is not what is read.
    NotKept {
        /// The byte.
        offset: u32,
    },
}

impl fmt::Display for StorageFault {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Absent => formatter.write_str("no part answers: look at power, wiring and chip select"),
            Self::Protected { from } => {
                write!(formatter, "the part is write-protected from byte {from} on: clear its block protection")
            }
            Self::Smaller { capacity } => {
                write!(formatter, "the part has only {capacity} bytes: describe it by its real capacity")
            }
            Self::NotKept { offset } => write!(formatter, "the part does not keep what is written at byte {offset}"),
        }
    }
}

impl core::error::Error for StorageFault {}

/// A byte-addressable non-volatile memory.
///
/// # Contract
///
/// * A write that returned `Ok` and was followed by a successful [`sync`](Device::sync) survives any later power cut.
/// * A write cut by a power failure may leave the bytes of the row in flight, and all later bytes of that same
///   write, arbitrary. Rows before it hold the new bytes, all other rows of the memory are untouched.
/// * Writes reach the memory in program order, or at least not across a [`sync`](Device::sync).
///
/// `read` and `write` of [`embedded_storage`] are one bus transaction each.
pub trait Device: Storage
where
    Self::Error: Debug,
{
    /// Bytes that a torn write may damage together: a power of two (8 where the data sheet is silent).
    fn row_size(&self) -> u32;

    /// Longest burst in bytes that the device takes in one transaction (`u32::MAX`: no limit).
    fn max_burst(&self) -> u32 {
        u32::MAX
    }

    /// Writes `slices` one after the other, starting at `offset`, in one bus transaction.
    ///
    /// A device that cannot gather that many slices, or is limited by [`max_burst`](Device::max_burst), uses as few
    /// transactions as it can and says so in its documentation.
    ///
    /// # Errors
    ///
    /// As `write`: out of bounds (nothing is written) or a failing bus (any prefix may be written).
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error>;

    /// [`write_gather`](Device::write_gather) that can be ended early: between chunks (of the device's chunk size)
    /// `stop` is asked, and only if it returns `true` the frame ends there.
    ///
    /// Returns the bytes written, a prefix of the whole; the rest can be sent by another call. A device on a
    /// shared bus cannot end a frame early: it writes everything, and the frame is the wait. A device with pages ends
    /// between two of them.
    ///
    /// # Errors
    ///
    /// As [`write_gather`](Device::write_gather).
    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        let _ = stop;
        self.write_gather(offset, slices)?;
        Ok(slices.iter().fold(0, |sum: u32, slice| sum.saturating_add(slice.len() as u32)))
    }

    /// Writes what `pieces` hands out, starting at `offset`, in one bus transaction if the device can: nothing has to
    /// lie together in memory, and the number of pieces does not matter. At most `length` bytes are taken.
    ///
    /// By default, and on a shared bus, 256 bytes are collected on the stack for each transaction; for an EEPROM, the
    /// bytes of each page.
    ///
    /// # Errors
    ///
    /// As [`write_gather`](Device::write_gather).
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), Self::Error> {
        write_staged(self, offset, length, pieces)
    }

    /// `read` that can be ended early, as [`write_abortable`](Device::write_abortable); returns the bytes read.
    ///
    /// # Errors
    ///
    /// As `read`.
    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, Self::Error> {
        let _ = stop;
        self.read(offset, bytes)?;
        Ok(bytes.len() as u32)
    }

    /// Asks the memory itself what would keep it from storing: a block protection, nobody who answers. Writes no memory
    /// cell. Asked once by whoever formats, before the first write; `Ok(None)`, the default, if it knows of nothing.
    ///
    /// # Errors
    ///
    /// The device's error.
    fn diagnose(&mut self) -> Result<Option<StorageFault>, Self::Error> {
        Ok(None)
    }

    /// Makes all earlier writes durable. A no-op on FRAM, where a byte is stored when its last bit is clocked in; on an
    /// EEPROM it waits for the end of the last write cycle.
    ///
    /// # Errors
    ///
    /// The device's error; earlier writes are then not known to be durable.
    fn sync(&mut self) -> Result<(), Self::Error>;
}

/// Hands what `pieces` hands out on to `sink`, short pieces together: each costs calls, a checksum's or a bus's. In its order, in pieces
/// of at most 64 bytes and as they come if they are longer.
///
/// # Errors
///
/// `Break`, as soon as `sink` or `pieces` breaks.
#[inline(never)]
pub fn buffered(sink: Sink<'_>, pieces: Pieces<'_>) -> ControlFlow<()> {
    let mut held = heapless::Vec::<u8, BUFFER>::new();
    pieces(&mut |bytes| {
        if held.extend_from_slice(bytes).is_ok() {
            return ControlFlow::Continue(());
        }
        if !held.is_empty() {
            sink(&held)?;
            held.clear();
        }
        if held.extend_from_slice(bytes).is_ok() { ControlFlow::Continue(()) } else { sink(bytes) }
    })?;
    if held.is_empty() { ControlFlow::Continue(()) } else { sink(&held) }
}

/// A stream in transactions of [`STAGE`] bytes.
pub(crate) fn write_staged<D: Device + ?Sized>(
    device: &mut D,
    offset: u32,
    length: u32,
    pieces: Pieces<'_>,
) -> Result<(), D::Error>
where
    D::Error: Debug,
{
    in_stages(offset, length, None, pieces, &mut |position, bytes| {
        device.write_gather(position, &[bytes]).map(ControlFlow::Continue)
    })
}

/// Takes the bytes of a write, the offset of the first one in front; `Break`: no more of them.
type Stage<'w, E> = &'w mut dyn FnMut(u32, &[u8]) -> Result<ControlFlow<()>, E>;

/// Collects at most `length` bytes of `pieces` for writes of up to [`STAGE`] bytes each, of which none crosses a
/// multiple of `page`.
pub(crate) fn in_stages<E>(
    offset: u32,
    length: u32,
    page: Option<u32>,
    pieces: Pieces<'_>,
    write: Stage<'_, E>,
) -> Result<(), E> {
    // Bytes of a write that begins at `position`: at least 1.
    let room = |position: u32| {
        let page = page.map_or(STAGE as u32, |page| page.saturating_sub(position.checked_rem(page).unwrap_or(0)));
        (page as usize).clamp(1, STAGE)
    };
    let mut staged = heapless::Vec::<u8, STAGE>::new();
    let (mut position, mut left) = (offset, length as usize);
    let mut result = Ok(());
    let ended = pieces(&mut |bytes| {
        let mut rest = bytes.get(..left.min(bytes.len())).unwrap_or_default();
        left = left.saturating_sub(rest.len());
        while !rest.is_empty() {
            let most = room(position);
            let (now, later) = rest.split_at(rest.len().min(most.saturating_sub(staged.len())));
            // It fits: that is how much was split off.
            let _ = staged.extend_from_slice(now);
            rest = later;
            if staged.len() >= most {
                match write(position, &staged) {
                    Ok(ControlFlow::Continue(())) => {}
                    Ok(ControlFlow::Break(())) => return ControlFlow::Break(()),
                    Err(error) => {
                        result = Err(error);
                        return ControlFlow::Break(());
                    }
                }
                position = position.saturating_add(most as u32);
                staged.clear();
            }
        }
        ControlFlow::Continue(())
    });
    result?;
    // A stream that is given up ends at once.
    if !staged.is_empty() && ended.is_continue() {
        // It was the last one in any case.
        let _ = write(position, &staged)?;
    }
    Ok(())
}
