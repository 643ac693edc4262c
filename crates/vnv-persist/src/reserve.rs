//! The emergency reserves: one self-contained snapshot each.

use crate::entries::Entries;
use crate::layout::{Layout, RECORD_HEADER};
use crate::log::Log;
use crate::open_error::{Damage, OpenError};
use crate::record::{Kind, RecordHeader, read_array, read_record};
use crate::roots::Roots;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_core::block::{BlockCrc, BlockHeader, GRANULE, HEADER, Identity};
use vnv_core::engine::{Engine, KEPT_BYTES, PARTIAL, SAFE_POINT_BYTES};
use vnv_core::{Error, Policy};
use vnv_storage::{Device, Sink, buffered, fault};

/// Writes everything uncommitted into the reserve that is not live, as a snapshot or as a resume record. The engine's state does
/// not change: after a false alarm the program goes on.
///
/// `tail`: what a program needs that is resumed follows. Returns where it stands, and its header.
pub(crate) fn write_snapshot<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &mut Log,
    roots: &Roots<'_>,
    (kind, tail): (Kind, bool),
) -> Result<(u32, RecordHeader), Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let plan = engine.prepare_snapshot()?;
    let no_roots = fault!(SnapshotWithoutRoots);
    let root_count = roots.recorded(false).filter(|_| !no_roots).count();
    let kept = if tail { engine.count_kept() } else { 0 };
    // What follows the header: twice the same, once for the checksum, once for the storage.
    let body = |engine: &Engine<'_, D, P, R, S>, sink: Sink<'_>| {
        engine.snapshot_entries(plan, sink)?;
        for root in roots.recorded(false).filter(|_| !no_roots) {
            sink(root)?;
        }
        engine.snapshot_payload(plan, sink)?;
        if tail { engine.resume_tail(kept, sink) } else { ControlFlow::Continue(()) }
    };
    let tail_bytes = if tail { 2 + KEPT_BYTES * u32::from(kept) } else { 0 };
    let header = RecordHeader {
        kind,
        roots: root_count as u8,
        deaths: engine.has_unrecorded_deaths(),
        sequence: if kind == Kind::Snapshot { log.last + 1 } else { log.last },
        length: plan.bytes + vnv_core::ROOT_BYTES as u32 * root_count as u32 + tail_bytes,
        entry_words: plan.entry_words,
        tag: engine.tag(),
    };
    debug_assert!(
        kind == Kind::Resume || header.length <= engine.dirty_bytes().max(RECORD_HEADER + 2),
        "a snapshot of {} bytes is larger than the accounting announced, {}",
        header.length,
        engine.dirty_bytes()
    );
    if header.length > log.layout.reserve {
        return Err(Error::DirtyLimit);
    }
    let at = log.layout.reserve_at(log.next_reserve);
    let mut seal = header.seal(log.layout.seed(at, None));
    let mut length = RECORD_HEADER;
    let mut seal_piece = |bytes: &[u8]| {
        length += bytes.len() as u32;
        for step in bytes.chunks(SAFE_POINT_BYTES) {
            if engine.safe_point().is_err() {
                return ControlFlow::Break(());
            }
            seal.update(step);
        }
        ControlFlow::Continue(())
    };
    let interrupted = buffered(&mut seal_piece, &mut |sink| body(engine, sink));
    if interrupted.is_break() {
        return Err(Error::Interrupted);
    }
    debug_assert_eq!(length, header.length, "a snapshot is of another size than was computed");
    let head = seal.finish();
    engine.retain_places();
    engine.stream(at, header.length, &|engine, sink| {
        sink(&head)?;
        body(engine, sink)
    })?;
    engine.device().sync().map_err(Error::Device)?;
    if kind == Kind::Resume {
        // It is good for this resumption only; the other reserve may hold the live snapshot.
        return Ok((at, header));
    }
    if !fault!(OverwriteLiveReserve) {
        log.next_reserve = 1 - log.next_reserve;
    }
    engine.attention().set_unchanged();
    if !fault!(SnapshotSequenceKept) {
        log.last = header.sequence;
    }
    Ok((at, header))
}

/// What the two reserves hold.
pub(crate) struct Reserves {
    /// The live snapshot: the newest valid one behind the log's last record.
    pub live: Option<(u8, RecordHeader)>,
    /// Which hold a resume record.
    pub resume: [bool; 2],
}

/// Looks into the reserves; `tag` is that of the next record.
///
/// # Errors
///
/// [`Damage::Record`] if the snapshot follows a record that is not there.
pub(crate) fn read_reserves<D: Device>(
    device: &mut D,
    layout: &Layout,
    log_sequence: u64,
    tag: u16,
) -> Result<Reserves, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let (mut live, mut resume): (Option<(u8, RecordHeader)>, _) = (None, [false; 2]);
    for (reserve, resumes) in (0..).zip(&mut resume) {
        let found = read_record(device, layout.seed(layout.reserve_at(reserve), None), layout.reserve)?;
        *resumes = found.is_some_and(|header| header.kind == Kind::Resume);
        if let Some(header) = found
            && header.kind == Kind::Snapshot
            && (header.sequence > log_sequence || fault!(AcceptOldSnapshot))
            && live.is_none_or(|(_, newest)| header.sequence > newest.sequence)
        {
            live = Some((reserve, header));
        }
    }
    if live.is_some_and(|(_, header)| header.tag != tag && !fault!(AcceptOldSnapshot)) {
        return Err(OpenError::Damaged(Damage::Record));
    }
    Ok(Reserves { live, resume })
}

/// Empties a live snapshot: entries and roots into the table, blocks to their places. Idempotent.
pub(crate) fn empty<D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    roots: &mut Roots<'_>,
    layout: &Layout,
    (reserve, header): (u8, RecordHeader),
) -> Result<(), Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let damaged = Error::Damaged { index: 0 };
    let at = layout.reserve_at(reserve);
    let mut entries = Entries::of(at, &header);
    let mut count = 0u16;
    while let Some(entry) = entries.next(engine.device())? {
        if !entry.restore(engine, header.tag) {
            return Err(damaged);
        }
        count += 1;
    }
    for number in 0..u32::from(header.roots) {
        if !roots.restore(read_array(engine.device(), at + header.roots_at() + 16 * number)?) {
            return Err(damaged);
        }
    }
    let end = at + header.length;
    let bitmap_bytes = if header.deaths { u32::from(layout.objects).div_ceil(64) * 8 } else { 0 };
    let bitmap = at + header.payload_at();
    let directory = bitmap + bitmap_bytes;
    let dirty = u16::from_le_bytes(read_array(engine.device(), directory)?);
    let mut data = directory + 2 + 2 * u32::from(dirty);
    if data > end || dirty > count {
        return Err(damaged);
    }
    let mut entries = Entries::of(at, &header);
    for number in 0..u32::from(dirty) {
        let index = entries.next(engine.device())?.ok_or(Error::Damaged { index: 0 })?.index;
        let entry = *engine.entry(index).ok_or(Error::Damaged { index: 0 })?;
        let size = u16::from_le_bytes(read_array(engine.device(), directory + 2 + 2 * number)?);
        let block_len = u32::from(entry.units()) * layout.unit;
        let object_at = engine.offset_of(entry.place()) + HEADER as u32;
        if block_len < HEADER as u32 || u32::from(size & !PARTIAL) > block_len - HEADER as u32 {
            return Err(damaged);
        }
        let crc = if size & PARTIAL == 0 {
            let length = block_len - HEADER as u32;
            let identity = Identity {
                index,
                generation: entry.generation(),
                type_index: entry.type_index(),
                place: entry.place(),
            };
            let mut crc = BlockCrc::new(identity, header.tag, size);
            copy(engine.device(), (data, end), object_at, length, &mut |at, bytes| {
                let of_object = u32::from(size).saturating_sub(at).min(bytes.len() as u32) as usize;
                crc.update(bytes.get(..of_object).unwrap_or_default());
            })?;
            data += length;
            crc.finish(engine.geometry().seed)
        } else {
            let [c0, c1, c2, c3, n0, n1, n2, n3] = read_array(engine.device(), data)?;
            let mut left = u32::from_le_bytes([n0, n1, n2, n3]);
            data += 8;
            while left > 0 {
                let [f0, f1, c0, c1] = read_array(engine.device(), data)?;
                let from = u32::from(u16::from_le_bytes([f0, f1])) * GRANULE as u32;
                let length = u32::from(u16::from_le_bytes([c0, c1])) * GRANULE as u32;
                if from + length > block_len - HEADER as u32 || data + 4 + length > end {
                    return Err(damaged);
                }
                copy(engine.device(), (data + 4, end), object_at + from, length, &mut |_, _| {})?;
                data += 4 + length;
                left -= 1;
            }
            u32::from_le_bytes([c0, c1, c2, c3])
        };
        let header = BlockHeader { crc, size: size & !PARTIAL, tag: header.tag };
        let at = engine.offset_of(entry.place());
        engine.device().write_gather(at, &[&header.to_bytes()]).map_err(Error::Device)?;
    }
    for first in (0..bitmap_bytes).step_by(8) {
        let bits = u64::from_le_bytes(read_array(engine.device(), bitmap + first)?);
        for bit in (0..64).filter(|bit| bits & 1 << bit != 0) {
            engine.restore_freed((first * 8 + bit) as u16);
        }
    }
    Ok(())
}

/// Copies bytes inside the storage; `see` is shown them.
fn copy<D: Device>(
    device: &mut D,
    (from, end): (u32, u32),
    to: u32,
    length: u32,
    see: &mut dyn FnMut(u32, &[u8]),
) -> Result<(), Error<D::Error>>
where
    D::Error: Debug,
{
    if from + length > end {
        return Err(Error::Damaged { index: 0 });
    }
    let mut buffer = [0; 64];
    let mut done = 0;
    while done < length {
        let take = (length - done).min(64);
        let chunk = buffer.get_mut(..take as usize).unwrap_or_default();
        device.read(from + done, chunk).map_err(Error::Device)?;
        see(done, chunk);
        device.write_gather(to + done, &[chunk]).map_err(Error::Device)?;
        done += take;
    }
    Ok(())
}
