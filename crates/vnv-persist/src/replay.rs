//! Reading the log back into the engine.

use crate::delta::each_delta;
use crate::entries::Entries;
use crate::layout::{Layout, RECORD_HEADER};
use crate::log::Log;
use crate::open_error::{Damage, OpenError};
use crate::record::{Kind, RecordHeader, read_array, read_chunks, read_record};
use crate::roots::Roots;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::Engine;
use vnv_core::entry::{Entry, SCHEMA_TYPE, TAG_MASK};
use vnv_core::{Error, Policy};
use vnv_storage::{Device, fault};

/// Enters an entry read from a record, if it is possible.
pub(crate) fn restore_entry<D, P, R, S>(engine: &mut Engine<'_, D, P, R, S>, index: u16, entry: Entry) -> bool
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let geometry = *engine.geometry();
    let types = engine.type_rows();
    let start = geometry.data_start;
    let possible = match entry.type_index() {
        0 => entry.place() == 0 && entry.units() == 0,
        type_index => {
            let end = u32::from(entry.place()) + u32::from(entry.units());
            let schema = index <= u16::from(types);
            (type_index == SCHEMA_TYPE) == schema
                && (schema || type_index <= types)
                && entry.units() != 0
                && entry.place() >= start
                && end <= u32::from(start) + u32::from(geometry.data_units)
        }
    };
    possible && (index != 0 || entry.type_index() == 0) && engine.restore_slot(index, entry)
}

/// Finds the newest base and replays the log into the engine.
pub(crate) fn replay<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    roots: &mut Roots<'_>,
    layout: Layout,
) -> Result<Log, OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let device = engine.device();
    let mut heads = [None; 2];
    for (half, head) in [(0u8, 0usize), (1, 1)] {
        let bytes = read_array(device, layout.half(half))?;
        let header = RecordHeader::from_bytes(&bytes, None).map(|(header, _)| header);
        if let Some(slot) = heads.get_mut(head) {
            *slot = header.filter(|header| header.kind == Kind::Base).map(|header| header.sequence);
        }
    }
    let order: [u8; 2] = if (heads[0] >= heads[1]) != fault!(PickOlderBase) { [0, 1] } else { [1, 0] };
    let mut active = None;
    for half in order {
        if heads.get(usize::from(half)).copied().flatten().is_none() {
            continue;
        }
        if let Some(header) = read_record(device, layout.half(half), layout.log_half, None)? {
            active = Some((half, header));
            break;
        }
    }
    let (half, base) = active.ok_or(OpenError::Damaged(Damage::Base))?;
    let start = layout.half(half);
    if base.entry_words % 2 != 0 {
        return Err(OpenError::Damaged(Damage::Content));
    }
    for index in 0..base.entry_words / 2 {
        let [a, b, c, d, e, f, t0, t1] = read_array(engine.device(), start + RECORD_HEADER + 8 * u32::from(index))?;
        let entry = Entry::from_bytes([a, b, c, d, e, f], u16::from_le_bytes([t0, t1]));
        if !restore_entry(engine, index, entry) {
            return Err(OpenError::Damaged(Damage::Content));
        }
    }
    restore_roots(engine, roots, start, &base)?;
    let mut log = Log {
        layout,
        half,
        end: start + layout.padded(base.length),
        base_sequence: base.sequence,
        sequence: base.sequence,
        last: base.sequence,
        next_reserve: 0,
        retire: heads.get(usize::from(1 - half)).copied().flatten().is_some(),
        compactions: 0,
    };
    let mut tag = base.tag;
    while let Some(header) = next_record(engine.device(), &log)? {
        let mut entries = Entries::of(log.end, &header);
        while let Some(entry) = entries.next(engine.device())? {
            if !entry.restore(engine, header.tag) {
                return Err(OpenError::Damaged(Damage::Content));
            }
        }
        restore_roots(engine, roots, log.end, &header)?;
        let at = log.end;
        each_delta(engine, &layout, at, &header, &mut |engine, delta| {
            if !delta.fits {
                return Err(OpenError::Damaged(Damage::Content));
            }
            engine.restore_tag(delta.index, header.tag);
            Ok(())
        })?;
        tag = header.tag;
        log.end += layout.padded(header.length);
        log.sequence = header.sequence;
        log.last = header.sequence;
    }
    engine.set_tag(tag + 1);
    if !fault!(SkipTailCheck) {
        check_tail(engine.device(), &log)?;
    }
    Ok(log)
}

/// The record at the log's end, if there is a valid one.
fn next_record<D: Device>(device: &mut D, log: &Log) -> Result<Option<RecordHeader>, Error<D::Error>>
where
    D::Error: Debug,
{
    let room = (log.layout.half(log.half) + log.layout.log_half).saturating_sub(log.end);
    let header = read_record(device, log.end, room, Some(log.base_sequence))?;
    Ok(header
        .filter(|header| header.kind == Kind::Commit && (header.sequence > log.sequence || fault!(AcceptOldRecord))))
}

/// Whether somebody has written to the log since `log` knew it.
pub(crate) fn log_has_moved<D: Device>(device: &mut D, log: &Log) -> Result<bool, Error<D::Error>>
where
    D::Error: Debug,
{
    let base = |device: &mut D, half: u8| {
        let bytes = read_array(device, log.layout.half(half))?;
        let header = RecordHeader::from_bytes(&bytes, None).map(|(header, _)| header);
        Ok::<_, Error<D::Error>>(header.filter(|header| header.kind == Kind::Base).map(|header| header.sequence))
    };
    let ours = base(device, log.half)?;
    let other = base(device, 1 - log.half)?;
    let newer = other.is_some_and(|other| other > log.base_sequence);
    Ok(ours != Some(log.base_sequence) || newer || next_record(device, log)?.is_some())
}

fn restore_roots<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    roots: &mut Roots<'_>,
    at: u32,
    header: &RecordHeader,
) -> Result<(), OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    for number in 0..u32::from(header.roots) {
        if !roots.restore(read_array(engine.device(), at + header.roots_at() + 16 * number)?) {
            return Err(OpenError::Damaged(Damage::Content));
        }
    }
    Ok(())
}

/// A record further on, after the log's end, means that one before it was destroyed.
///
/// What was torn at the end is at the end itself; older contents of the half have another salt. Bytes of the program's in old deltas may look
/// like a header: what does not fit its half and the sequences of one is none, and the first that does is read.
fn check_tail<D: Device>(device: &mut D, log: &Log) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
    let end = log.layout.half(log.half) + log.layout.log_half;
    let unit = log.layout.unit;
    let mut window = [0u8; RECORD_HEADER as usize];
    let mut filled = 0;
    let mut found = None;
    let first = log.end.saturating_add(unit);
    let mut position = 0u32;
    read_chunks(device, first, end.saturating_sub(first), &mut |chunk| {
        for byte in chunk {
            window.rotate_left(1);
            if let Some(last) = window.last_mut() {
                *last = *byte;
            }
            filled += 1;
            position += 1;
            let at = position.wrapping_sub(RECORD_HEADER);
            if filled >= RECORD_HEADER && at % unit == 0 {
                let at = first + at;
                let header = RecordHeader::from_bytes(&window, Some(log.base_sequence));
                let may_follow = header.is_some_and(|(header, _)| {
                    header.kind == Kind::Commit
                        && header.sequence > log.sequence + 1
                        && header.sequence - log.base_sequence <= u64::from(TAG_MASK)
                        && header.length <= end.saturating_sub(at)
                });
                found = found.or(may_follow.then_some(at));
            }
        }
    })?;
    let follows = match found {
        Some(at) => read_record(device, at, end.saturating_sub(at), Some(log.base_sequence))?.is_some(),
        None => false,
    };
    if follows { Err(OpenError::Damaged(Damage::Record)) } else { Ok(()) }
}
