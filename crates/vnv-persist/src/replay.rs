//! Reading the log back into the engine.

use crate::delta::each_delta;
use crate::entries::Entries;
use crate::layout::{Layout, RECORD_HEADER};
use crate::log::Log;
use crate::open_error::{Damage, OpenError};
use crate::record::{Kind, RecordHeader, read_array, read_record};
use crate::roots::Roots;
use crate::superblock::Copies;
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
        if let Some(slot) = heads.get_mut(head) {
            *slot = base_head(device, &layout, half)?;
        }
    }
    let order: [u8; 2] = if (heads[0] >= heads[1]) != fault!(PickOlderBase) { [0, 1] } else { [1, 0] };
    let mut active = None;
    for half in order {
        if heads.get(usize::from(half)).copied().flatten().is_none() {
            continue;
        }
        if let Some(header) = read_record(device, layout.seed(layout.half(half), None), layout.log_half)? {
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
        is_closed: false,
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
        let tail = examine_tail(engine.device(), &log)?;
        log.is_closed = tail.has_remains;
        if tail.is_torn {
            engine.doubt(log.end);
        }
    }
    Ok(log)
}

/// The record at the log's end, if there is a valid one.
fn next_record<D: Device>(device: &mut D, log: &Log) -> Result<Option<RecordHeader>, Error<D::Error>>
where
    D::Error: Debug,
{
    let room = (log.layout.half(log.half) + log.layout.log_half).saturating_sub(log.end);
    let seed = log.layout.seed(log.end, Some(log.base_sequence));
    let header = read_record(device, seed, room)?;
    Ok(header
        .filter(|header| header.kind == Kind::Commit && (header.sequence > log.sequence || fault!(AcceptOldRecord))))
}

/// Sequence of the base that a half begins with, by its header alone.
fn base_head<D: Device>(device: &mut D, layout: &Layout, half: u8) -> Result<Option<u64>, Error<D::Error>>
where
    D::Error: Debug,
{
    let at = layout.half(half);
    let found = RecordHeader::from_bytes(&read_array(device, at)?, layout.seed(at, None));
    Ok(found.filter(|(header, _)| header.kind == Kind::Base).map(|(header, _)| header.sequence))
}

/// Whether somebody has formatted the storage or written to the log since `log` knew it.
pub(crate) fn log_has_moved<D: Device>(device: &mut D, log: &Log) -> Result<bool, Error<D::Error>>
where
    D::Error: Debug,
{
    if !Copies::read(device, &log.layout)?.are_of(log.layout.epoch) {
        return Ok(true);
    }
    let ours = base_head(device, &log.layout, log.half)?;
    let other = base_head(device, &log.layout, 1 - log.half)?;
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

/// Bytes of a read while the rest of a half is searched.
const SEARCH_BYTES: usize = 64;

/// What stands behind the last record of the log.
#[derive(Default)]
struct Tail {
    /// Directly behind it a record that a cut has torn, whose header is whole: nobody has acknowledged it.
    is_torn: bool,
    /// Further on, headers of records that are not whole.
    has_remains: bool,
}

/// Searches all of the rest of the half.
///
/// A record further on, behind the log's end, means that one before it was destroyed. What
/// was torn at the end is at the end itself; older contents of the half have another seed. Bytes of the program's in old deltas may look
/// like a header: what does not fit its half and the sequences of one is none, and of what does the checksum tells. Directly behind what
/// is taken for torn a header is enough: nothing was ever written behind a record that was not complete.
///
/// Cost: the rest of the half in reads of 64 bytes. What looks like a record is read too, of that at most as many bytes as the half has;
/// beyond, which takes records that overlap and no heap writes, the header alone counts.
///
/// # Errors
///
/// [`Damage::Record`].
fn examine_tail<D: Device>(device: &mut D, log: &Log) -> Result<Tail, OpenError<D::Error>>
where
    D::Error: Debug,
{
    const HEAD: usize = RECORD_HEADER as usize;
    let (unit, end) = (log.layout.unit, log.layout.half(log.half) + log.layout.log_half);
    let mut left = log.layout.log_half;
    let mut at = log.end;
    let mut tail = Tail::default();
    // Where the next record would begin if the one that is taken for torn was whole once.
    let mut next = 0;
    // The last bytes of the read before stand in front: a header may begin there.
    let mut buffer = [0; HEAD + SEARCH_BYTES];
    let mut position = at;
    while position < end {
        let take = (end - position).min(SEARCH_BYTES as u32);
        let read = buffer.get_mut(HEAD..HEAD + take as usize).unwrap_or_default();
        device.read(position, read).map_err(Error::Device)?;
        position += take;
        while at + RECORD_HEADER <= position {
            let from = HEAD + take as usize - (position - at) as usize;
            let seed = log.layout.seed(at, Some(log.base_sequence));
            let bytes = buffer.get(from..).and_then(|bytes| bytes.first_chunk());
            let header = bytes.and_then(|bytes| RecordHeader::from_bytes(bytes, seed)).map(|(header, _)| header);
            let mut step = unit;
            if at == log.end {
                // What lies inside of it are the program's bytes.
                if let Some(torn) = header.filter(|header| header.kind == Kind::Commit && header.length <= end - at) {
                    tail.is_torn = true;
                    step = log.layout.padded(torn.length);
                    next = at + step;
                }
            } else if let Some(header) = header.filter(|header| may_follow(header, log) && header.length <= end - at) {
                let follows = match left.checked_sub(header.length) {
                    Some(rest) if at != next => {
                        left = rest;
                        read_record(device, seed, end - at)?.is_some()
                    }
                    _ => true,
                };
                if follows {
                    return Err(OpenError::Damaged(Damage::Record));
                }
                if fault!(ShortTailScan) {
                    return Ok(tail);
                }
                tail.has_remains = true;
            }
            at += step;
        }
        buffer.copy_within(take as usize.., 0);
    }
    Ok(tail)
}

/// Whether a record with this header, if it is one of the log's half, stands behind one that is missing.
fn may_follow(header: &RecordHeader, log: &Log) -> bool {
    header.kind == Kind::Commit
        && header.sequence > log.sequence + 1
        && header.sequence - log.base_sequence <= u64::from(TAG_MASK)
}
