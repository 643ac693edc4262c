//! Deltas: changed granules inside a commit record, applied in place afterwards.

use crate::layout::Layout;
use crate::log::Log;
use crate::open_error::{Damage, OpenError};
use crate::record::{Kind, RecordHeader, read_array};
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::block::{GRANULE, HEADER};
use vnv_core::engine::Engine;
use vnv_core::entry::Entry;
use vnv_core::{Error, Policy};
use vnv_storage::{Device, fault};

/// A delta of a record: where its runs lie.
pub(crate) struct Delta {
    pub index: u16,
    /// The block header after the delta: its row is rewritten too, so nothing of it may come from storage.
    header: [u8; HEADER],
    runs: u16,
    at: u32,
    /// Whether its runs lie inside the block that the slot has now: the object may have been freed by a later record.
    pub fits: bool,
}

pub(crate) type OnDelta<'f, 'm, D, P, R, S> =
    &'f mut dyn FnMut(
        &mut Engine<'m, D, P, R, S>,
        Delta,
    ) -> Result<(), OpenError<<D as vnv_storage::embedded_storage::ReadStorage>::Error>>;

/// Visits the deltas of a record.
pub(crate) fn each_delta<'m, D, P, R, S>(
    engine: &mut Engine<'m, D, P, R, S>,
    layout: &Layout,
    at: u32,
    header: &RecordHeader,
    visit: OnDelta<'_, 'm, D, P, R, S>,
) -> Result<(), OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let end = at + header.length;
    let mut position = at + header.payload_at();
    while position + 12 <= end {
        let [i0, i1, r0, r1, header @ ..]: [u8; 12] = read_array(engine.device(), position)?;
        position += 12;
        let (index, runs) = (u16::from_le_bytes([i0, i1]), u16::from_le_bytes([r0, r1]));
        let mut delta = Delta { index, header, runs, at: position, fits: true };
        let entry = *engine.entry(delta.index).ok_or(OpenError::Damaged(Damage::Content))?;
        let room = (u32::from(entry.units()) * layout.unit).saturating_sub(HEADER as u32);
        for _ in 0..delta.runs {
            if position + 4 > end {
                return Err(OpenError::Damaged(Damage::Content));
            }
            let [f0, f1, c0, c1] = read_array(engine.device(), position)?;
            let granules = u32::from(u16::from_le_bytes([f0, f1])) + u32::from(u16::from_le_bytes([c0, c1]));
            position += 4 + GRANULE as u32 * u32::from(u16::from_le_bytes([c0, c1]));
            if position > end {
                return Err(OpenError::Damaged(Damage::Content));
            }
            delta.fits &= granules * GRANULE as u32 <= room;
        }
        visit(engine, delta)?;
    }
    Ok(())
}

/// Applies the deltas that are the last word on their objects. Idempotent.
pub(crate) fn apply_deltas<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &Log,
    write: bool,
) -> Result<u16, OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let mut applied = 0;
    let layout = log.layout;
    let mut at = layout.half(log.half);
    while at < log.end {
        let seed = layout.seed(at, Some(log.base_sequence));
        let Some((header, _)) = RecordHeader::from_bytes(&read_array(engine.device(), at)?, seed) else { break };
        if header.kind == Kind::Commit {
            each_delta(engine, &layout, at, &header, &mut |engine, delta| {
                let last = engine.follows_delta(delta.index, header.tag);
                if last && !delta.fits {
                    return Err(OpenError::Damaged(Damage::Content));
                }
                if last || fault!(ApplyOldDelta) {
                    applied += 1;
                    if write {
                        apply_delta(engine, &delta)?;
                    }
                }
                Ok(())
            })?;
        }
        at += layout.padded(header.length);
    }
    if applied != 0 && write {
        engine.device().sync().map_err(Error::Device)?;
    }
    Ok(applied)
}

fn apply_delta<D, P, R, S>(engine: &mut Engine<'_, D, P, R, S>, delta: &Delta) -> Result<(), OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let place = engine.entry(delta.index).map_or(0, Entry::place);
    let block = engine.offset_of(place);
    let mut from = delta.at;
    for _ in 0..delta.runs {
        let [f0, f1, c0, c1] = read_array(engine.device(), from)?;
        from += 4;
        let mut to = block + HEADER as u32 + GRANULE as u32 * u32::from(u16::from_le_bytes([f0, f1]));
        for _ in 0..u16::from_le_bytes([c0, c1]) {
            let granule: [u8; GRANULE] = read_array(engine.device(), from)?;
            engine.device().write_gather(to, &[&granule]).map_err(Error::Device)?;
            from += GRANULE as u32;
            to += GRANULE as u32;
        }
    }
    if !fault!(DeltaWithoutHeader) {
        engine.device().write_gather(block, &[&delta.header]).map_err(Error::Device)?;
    }
    Ok(())
}
