//! Transfers and checksums of operations: between two chunks a power-fail alarm may end them.

use super::{Engine, EngineError};
use crate::block::{BlockCrc, Identity};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, Pieces, Sink, fault};

/// Bytes between two safe points of a checksum or a stream.
pub const SAFE_POINT_BYTES: usize = 64;
/// They pad records to whole units, and make one invalid over its beginning.
static ZEROS: [u8; 256] = [0; 256];

/// So many zeros, but at most 256: on parts with larger units the rest of a padding stays as it is.
#[must_use]
pub fn zeros(length: u32) -> &'static [u8] {
    ZEROS.get(..length as usize).unwrap_or(&ZEROS)
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// A safe point: the state is as an operation that fails here would leave it.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`] if an alarm waits and may be served.
    pub fn safe_point(&self) -> Result<(), EngineError<D>> {
        if self.attention.interrupts() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The write of a record failed: bytes that may be a valid record, which nobody acknowledged, stand at `at`. Places that it names may be
    /// written only when it is invalid: the next [`write`](Self::write) sees to that.
    pub const fn doubt(&mut self, at: u32) {
        self.doubtful = at;
    }

    /// Makes a doubtful record invalid, if there is one, as [`erase`](Self::erase) does.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn settle_doubt(&mut self) -> Result<(), EngineError<D>> {
        if self.doubtful != 0 {
            if !fault!(KeepFailedRecord) {
                self.erase(self.doubtful)?;
            }
            self.doubtful = 0;
        }
        Ok(())
    }

    /// Makes the record at `at` invalid: one write of a unit, or 256 bytes if a unit is larger, and a sync.
    ///
    /// # Errors
    ///
    /// The device's.
    pub fn erase(&mut self, at: u32) -> Result<(), EngineError<D>> {
        let device = self.device.get_mut();
        device.write_gather(at, &[zeros(self.geometry.unit)]).map_err(Error::Device)?;
        device.sync().map_err(Error::Device)
    }

    /// One gather write, with a safe point before it and at each chunk border.
    ///
    /// # Errors
    ///
    /// The device's; [`Error::Interrupted`], with any prefix written.
    pub fn write(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), EngineError<D>> {
        self.safe_point()?;
        self.settle_doubt()?;
        let attention = self.attention;
        let total = slices.iter().fold(0, |sum: u32, slice| sum.saturating_add(slice.len() as u32));
        let device = self.device.get_mut();
        let written = device.write_abortable(offset, slices, &mut || attention.interrupts()).map_err(Error::Device)?;
        if written < total { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// One write of what `pieces` hands out, with a safe point before it and every 64 bytes, unless it is the answer to an alarm.
    ///
    /// # Errors
    ///
    /// The device's; [`Error::Interrupted`], with any prefix written.
    pub fn stream(
        &self,
        offset: u32,
        length: u32,
        pieces: &dyn Fn(&Self, Sink<'_>) -> ControlFlow<()>,
    ) -> Result<(), EngineError<D>> {
        self.safe_point()?;
        self.with_device(|device, engine| {
            let mut interrupted = false;
            let whole: Pieces<'_> = &mut |sink| {
                // While an alarm is served nothing interrupts.
                let serving = engine.attention.is_serving();
                // The device may take no more: it has all that was announced, or has failed.
                let mut ended = false;
                let mut hand_on = |bytes: &[u8]| {
                    let result = sink(bytes);
                    ended |= result.is_break();
                    result
                };
                let given_up = pieces(engine, &mut |bytes| {
                    if serving {
                        return hand_on(bytes);
                    }
                    for step in bytes.chunks(SAFE_POINT_BYTES) {
                        if engine.attention.interrupts() {
                            return ControlFlow::Break(());
                        }
                        hand_on(step)?;
                    }
                    ControlFlow::Continue(())
                });
                // What a device has collected is still to be sent.
                interrupted = !ended && (given_up.is_break() || !serving && engine.attention.interrupts());
                if interrupted { ControlFlow::Break(()) } else { given_up }
            };
            device.write_stream(offset, length, whole).map_err(Error::Device)?;
            if interrupted { Err(Error::Interrupted) } else { Ok(()) }
        })
    }

    /// One read, with a safe point before it and at each chunk border.
    ///
    /// # Errors
    ///
    /// The device's; [`Error::Interrupted`].
    pub(super) fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), EngineError<D>> {
        self.safe_point()?;
        let attention = self.attention;
        let device = self.device.get_mut();
        let read = device.read_abortable(offset, bytes, &mut || attention.interrupts()).map_err(Error::Device)?;
        if (read as usize) < bytes.len() { Err(Error::Interrupted) } else { Ok(()) }
    }

    /// The checksum of an object, with a safe point every 64 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub(super) fn checksum(&self, identity: Identity, tag: u16, object: &[u8]) -> Result<u32, EngineError<D>> {
        let mut crc = BlockCrc::new(identity, tag, object.len() as u16);
        for step in object.chunks(SAFE_POINT_BYTES) {
            self.safe_point()?;
            crc.update(step);
        }
        Ok(crc.finish(self.geometry.seed))
    }
}
