//! Resume: the program goes on after the power failure as if nothing had happened, with the arena filled again from storage.

use crate::delta::apply_deltas;
use crate::entries::Entries;
use crate::heap::{Heap, State};
use crate::log::Log;
use crate::record::{Kind, RecordHeader, read_array, read_record};
use crate::replay::log_has_moved;
use crate::reserve::write_snapshot;
use core::fmt::{self, Debug};
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::{Engine, KEPT_BYTES, PARTIAL};
use vnv_core::{Error, Policy, Workspace};
use vnv_storage::Device;

/// What became of the arena while the persist-finished handler ran.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Arena {
    /// It was a false alarm: the arena is as it was.
    Kept,
    /// Power was gone: the arena has to be filled again.
    Lost,
}

/// Why a program cannot be resumed: it has to be rebooted, and opens the storage again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ResumeError {
    /// The storage is not as the power-fail path left it: another program has opened it since.
    StorageMoved,
    /// The resume record, or an object that a guard is open on, is damaged.
    Damaged,
    /// The device has failed twice.
    Device,
}

impl fmt::Display for ResumeError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::StorageMoved => "the storage has changed since the power failure: reboot",
            Self::Damaged => "the resume record is damaged: reboot",
            Self::Device => "the storage device fails: reboot",
        })
    }
}

impl core::error::Error for ResumeError {}

/// What a system does that resumes programs after power failures.
#[derive(Clone, Copy, Debug)]
pub struct Resume {
    /// The persist-finished handler: everything is safe. It is given base and size (in bytes) of the arena, and saves stack,
    /// registers and all other memory. It returns on the far side of the power failure, with all of these restored, or at once
    /// if the alarm was false. It must not use the heap.
    pub persisted: fn(*mut u8, usize) -> Arena,
    /// The program cannot be resumed. It does not return: the program's guards have lost their objects.
    pub failed: fn(ResumeError) -> !,
}

impl<D, W, P, R, S> Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Writes a snapshot (at a quiescent point) or a resume record (else), calls the handler, and fills the arena again if
    /// it has to. `false`: the device has failed twice; the handler was not called.
    pub(crate) fn persist(&self, resume: &Resume) -> bool {
        let done = self.objects.seize(|engine| {
            let Ok(mut state) = self.state.try_borrow_mut() else { return false };
            let written = match self.write_resume(engine, &mut state) {
                Err(_) => self.write_resume(engine, &mut state),
                written => written,
            };
            let Ok((at, header)) = written else { return false };
            let unapplied = engine.suspend();
            let (base, size) = engine.arena_region();
            let arena = (resume.persisted)(base, size);
            let mut come_back = || match arena {
                Arena::Kept if unapplied => {
                    apply_deltas(engine, &state.log, true).map(|_| ()).map_err(|_| ResumeError::Device)
                }
                Arena::Kept => Ok(()),
                Arena::Lost => fill(engine, &state.log, at, &header),
            };
            let result = match come_back() {
                // Once more, as the record was written: all of it begins anew.
                Err(ResumeError::Device) => come_back(),
                result => result,
            };
            if let Err(error) = result {
                (resume.failed)(error);
            }
            engine.settle_arena();
            true
        });
        done.unwrap_or(false)
    }

    fn write_resume(
        &self,
        engine: &mut Engine<'_, D, P, R, S>,
        state: &mut State<'_>,
    ) -> Result<(u32, RecordHeader), Error<D::Error>> {
        let attention = self.objects.attention();
        let quiescent = attention.open_guards() == 0 && !attention.in_transaction();
        let State { log, roots } = state;
        if quiescent {
            self.notify(crate::Event::Committing);
        }
        log.settle(engine)?;
        engine.device().sync().map_err(Error::Device)?;
        let kind = if quiescent { Kind::Snapshot } else { Kind::Resume };
        let written = write_snapshot(engine, log, roots, (kind, true))?;
        if quiescent {
            self.notify(crate::Event::Committed(log.last));
        }
        Ok(written)
    }
}

/// Fills the arena from the record at `at`.
fn fill<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &Log,
    at: u32,
    header: &RecordHeader,
) -> Result<(), ResumeError>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let failed = |error| match error {
        Error::Device(_) => ResumeError::Device,
        _ => ResumeError::Damaged,
    };
    let found = read_record(engine.device(), log.layout.seed(at, None), log.layout.reserve).map_err(failed)?;
    if found.as_ref() != Some(header) || log_has_moved(engine.device(), log).map_err(failed)? {
        return Err(ResumeError::StorageMoved);
    }
    // The headers stand behind the objects, and must be there before them.
    let tail = each_object(engine, log, at, header, false).map_err(failed)?;
    let kept = u16::from_le_bytes(read_array(engine.device(), tail).map_err(failed)?);
    let kept_at = |number: u16| tail + 2 + KEPT_BYTES * u32::from(number);
    for number in 0..kept {
        let bytes = read_array(engine.device(), kept_at(number)).map_err(failed)?;
        // SAFETY: the program stands still in `persist`, until everything is as the record says.
        unsafe { engine.resume_header(bytes) }.map_err(failed)?;
    }
    apply_deltas(engine, log, true).map_err(|_| ResumeError::Device)?;
    for number in 0..kept {
        let [_, _, i0, i1, ..]: [u8; KEPT_BYTES as usize] =
            read_array(engine.device(), kept_at(number)).map_err(failed)?;
        // SAFETY: the program stands still in `persist`, until everything is as the record says.
        unsafe { engine.resume_load(u16::from_le_bytes([i0, i1])) }.map_err(failed)?;
    }
    each_object(engine, log, at, header, true).map_err(failed)?;
    Ok(())
}

/// Goes over the dirty objects of a record, and fills them if `fill` says so. Returns where the rest of the record begins.
fn each_object<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &Log,
    at: u32,
    header: &RecordHeader,
    fill: bool,
) -> Result<u32, Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let deaths = if header.deaths { u32::from(log.layout.objects).div_ceil(64) * 8 } else { 0 };
    let directory = at + header.payload_at() + deaths;
    let dirty = u16::from_le_bytes(read_array(engine.device(), directory)?);
    let mut data = directory + 2 + 2 * u32::from(dirty);
    let mut entries = Entries::of(at, header);
    for number in 0..u32::from(dirty) {
        let index = entries.next(engine.device())?.ok_or(Error::Damaged { index: 0 })?.index;
        let units = engine.entry(index).ok_or(Error::Damaged { index: 0 })?.units();
        let size = u16::from_le_bytes(read_array(engine.device(), directory + 2 + 2 * number)?);
        if size & PARTIAL == 0 {
            let length = u32::from(units) * log.layout.unit - vnv_core::block::HEADER as u32;
            if fill {
                // SAFETY: the program stands still in `persist`, until everything is as the record says.
                unsafe {
                    engine.resume_size(index, size)?;
                    engine.resume_bytes(index, 0, length, data)?;
                }
            }
            data += length;
        } else {
            let runs = u32::from_le_bytes(read_array(engine.device(), data + 4)?);
            data += 8;
            for _ in 0..runs {
                let [f0, f1, g0, g1] = read_array(engine.device(), data)?;
                let (first, granules) = (u16::from_le_bytes([f0, f1]), u16::from_le_bytes([g0, g1]));
                let length = 8 * u32::from(granules);
                if fill {
                    // SAFETY: the program stands still in `persist`, until everything is as the record says.
                    unsafe { engine.resume_bytes(index, 8 * u32::from(first), length, data + 4) }?;
                    engine.resume_granules(index, first, granules);
                }
                data += 4 + length;
            }
        }
    }
    Ok(data)
}
