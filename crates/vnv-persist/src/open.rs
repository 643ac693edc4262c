//! From bytes to a heap: format, and recovery.

use crate::layout::{Layout, LayoutError, Options, RECORD_HEADER, SUPERBLOCK, Superblock};
use crate::log::Log;
use crate::record::{Kind, PADDING, RecordHeader, Stream, read_array, read_chunks, read_record, sizes};
use crate::reserve::{empty, live_snapshot};
use crate::roots::Roots;
use core::fmt;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::block::{GRANULE, HEADER};
use vnv_core::engine::{Collected, Engine};
use vnv_core::entry::{Entry, SCHEMA_TYPE, TAG_MASK};
use vnv_core::schema::Schema;
use vnv_core::{Error, Policy, TypeInfo, Workspace};
use vnv_storage::Device;

/// Why a storage cannot be opened. Nothing was changed but for damage that the format's redundancy repairs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError<E> {
    /// The storage is blank: format it.
    Blank,
    /// The storage holds something else: format it if that may be lost.
    Foreign,
    /// The image was made by another version of the format.
    Version(u16),
    /// The image was formatted for another capacity, row, dirty limit, log size or number of objects, types or roots.
    OtherLayout {
        /// Capacity in bytes that the image was formatted for.
        capacity: u32,
    },
    /// No sound state can be recovered.
    Damaged(Damage),
    /// The layout is not possible.
    Layout(LayoutError),
    /// The heap failed: the device, or too little RAM.
    Heap(Error<E>),
}

/// What is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Damage {
    /// Both superblocks.
    Superblock,
    /// No log half has a sound base record.
    Base,
    /// A record in the middle of the log: a later one is there.
    Record,
    /// A record is sound but says what cannot be.
    Content,
    /// Two objects share storage, or one lies outside of the data area.
    Overlap,
    /// A schema.
    Schema,
}

impl<E: Debug> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the storage is blank; format it"),
            Self::Foreign => f.write_str("the storage holds something else; format it if that may be lost"),
            Self::Version(version) => write!(f, "the image has format version {version}; this is version 1"),
            Self::OtherLayout { capacity } => write!(
                f,
                "the image was formatted for another layout ({capacity} bytes); use the same sizes and options, or format"
            ),
            Self::Damaged(damage) => write!(f, "the image is damaged ({damage:?}); nothing was changed"),
            Self::Layout(error) => fmt::Display::fmt(error, f),
            Self::Heap(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: Debug> core::error::Error for OpenError<E> {}

impl<E> From<Error<E>> for OpenError<E> {
    fn from(error: Error<E>) -> Self {
        Self::Heap(error)
    }
}

/// What `open` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Report {
    /// Sequence number of the commit or snapshot whose state this is.
    pub sequence: u64,
    /// Whether the state comes from a snapshot (emptied meanwhile).
    pub snapshot: bool,
    /// Objects alive.
    pub objects: u16,
    /// Objects that nothing led to, freed.
    pub reclaimed: u16,
    /// Deltas applied.
    pub deltas: u16,
    /// The first damaged object met while tracing; nothing was reclaimed then.
    pub damaged: Option<u16>,
    /// A superblock copy was repaired.
    pub repaired: bool,
}

/// Writes an empty heap over whatever the storage holds. A cut leaves the storage blank or formatted.
///
/// # Errors
///
/// [`OpenError::Layout`], the device's.
pub fn format<W: Workspace, D: Device>(device: &mut D, options: Options) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let capacity = device.capacity().min(u32::MAX as usize) as u32;
    let layout = Layout::new(capacity, device.row_size(), sizes::<W>(), options).map_err(OpenError::Layout)?;
    let fail = |error| OpenError::Heap(Error::Device(error));
    let zeros = PADDING.get(..SUPERBLOCK).unwrap_or_default();
    for copy in [0, 1] {
        device.write_gather(layout.superblock(copy), &[zeros]).map_err(fail)?;
    }
    let row = PADDING.get(..layout.unit() as usize).unwrap_or_default();
    for region in [layout.half(1), layout.reserve_at(0), layout.reserve_at(1)] {
        device.write_gather(region, &[row]).map_err(fail)?;
    }
    let entries = u16::from(W::TYPES) + 1;
    let length = RECORD_HEADER + 8 * u32::from(entries);
    let header = RecordHeader { kind: Kind::Base, roots: 0, sequence: 1, length, entries, tag: 0 };
    let mut digest = header.digest(1);
    (0..entries).for_each(|_| digest.update(&[0; 8]));
    let mut stream = Stream::new(device, layout.half(0));
    stream.put(&header.to_bytes(1, digest.finalize()))?;
    for _ in 0..entries {
        stream.put(&[0; 8])?;
    }
    stream.finish(&layout, length)?;
    device.sync().map_err(fail)?;
    for copy in [0, 1] {
        device.write_gather(layout.superblock(copy), &[&layout.to_superblock()]).map_err(fail)?;
        device.sync().map_err(fail)?;
    }
    Ok(layout)
}

/// Checks the superblocks; returns the layout and the copy that has to be repaired.
pub(crate) fn superblock<W: Workspace, D: Device>(
    device: &mut D,
    options: Options,
) -> Result<(Layout, Option<u32>), OpenError<D::Error>>
where
    D::Error: Debug,
{
    let capacity = device.capacity().min(u32::MAX as usize) as u32;
    let layout = Layout::new(capacity, device.row_size(), sizes::<W>(), options).map_err(OpenError::Layout)?;
    let first = Superblock::read(&read_array(device, layout.superblock(0))?, &layout);
    let second = Superblock::read(&read_array(device, layout.superblock(1))?, &layout);
    match (first, second) {
        (Superblock::Valid, Superblock::Valid) => Ok((layout, None)),
        (Superblock::Valid, _) => Ok((layout, Some(1))),
        (_, Superblock::Valid) => Ok((layout, Some(0))),
        (Superblock::Other { version, capacity }, _) | (_, Superblock::Other { version, capacity }) => {
            Err(if version == crate::layout::FORMAT_VERSION {
                OpenError::OtherLayout { capacity }
            } else {
                OpenError::Version(version)
            })
        }
        (Superblock::Damaged, _) | (_, Superblock::Damaged) => Err(OpenError::Damaged(Damage::Superblock)),
        (Superblock::Blank, _) => Err(OpenError::Blank),
        (Superblock::Foreign, _) => Err(OpenError::Foreign),
    }
}

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
    let order: [u8; 2] = if heads[0] >= heads[1] { [0, 1] } else { [1, 0] };
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
    for index in 0..base.entries {
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
        doubtful: None,
        retire: heads.get(usize::from(1 - half)).copied().flatten().is_some(),
        compactions: 0,
    };
    let mut tag = base.tag;
    while let Some(header) = next_record(engine.device(), &log)? {
        for number in 0..u32::from(header.entries) {
            let [i0, i1, a, b, c, d, e, f] = read_array(engine.device(), log.end + RECORD_HEADER + 8 * number)?;
            let entry = Entry::from_bytes([a, b, c, d, e, f], header.tag);
            if !restore_entry(engine, u16::from_le_bytes([i0, i1]), entry) {
                return Err(OpenError::Damaged(Damage::Content));
            }
        }
        restore_roots(engine, roots, log.end, &header)?;
        let at = log.end;
        each_delta(engine, &layout, at, &header, &mut |engine, delta| {
            engine.restore_tag(delta.index, header.tag);
            Ok(())
        })?;
        tag = header.tag;
        log.end += layout.padded(header.length);
        log.sequence = header.sequence;
        log.last = header.sequence;
    }
    engine.set_tag(tag + 1);
    check_tail(engine.device(), &log)?;
    Ok(log)
}

/// The record at the log's end, if there is a valid one.
fn next_record<D: Device>(device: &mut D, log: &Log) -> Result<Option<RecordHeader>, Error<D::Error>>
where
    D::Error: Debug,
{
    let room = (log.layout.half(log.half) + log.layout.log_half).saturating_sub(log.end);
    let header = read_record(device, log.end, room, Some(log.base_sequence))?;
    Ok(header.filter(|header| header.kind == Kind::Commit && header.sequence > log.sequence))
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
/// What was torn at the end is at the end itself; older contents of the half have another salt.
fn check_tail<D: Device>(device: &mut D, log: &Log) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
    let end = log.layout.half(log.half) + log.layout.log_half;
    let unit = log.layout.unit;
    let mut window = [0u8; RECORD_HEADER as usize];
    let mut filled = 0;
    let mut found = false;
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
                let header = RecordHeader::from_bytes(&window, Some(log.base_sequence));
                found |=
                    header.is_some_and(|(header, _)| header.kind == Kind::Commit && header.sequence > log.sequence + 1);
            }
        }
    })?;
    if found { Err(OpenError::Damaged(Damage::Record)) } else { Ok(()) }
}

/// A delta of a record: where its runs lie.
struct Delta {
    index: u16,
    /// The block header after the delta: its row is rewritten too, so nothing of it may come from storage.
    header: [u8; HEADER],
    runs: u16,
    at: u32,
}

type OnDelta<'f, 'm, D, P, R, S> =
    &'f mut dyn FnMut(
        &mut Engine<'m, D, P, R, S>,
        Delta,
    ) -> Result<(), OpenError<<D as vnv_storage::embedded_storage::ReadStorage>::Error>>;

fn each_delta<'m, D, P, R, S>(
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
        let delta = Delta { index, header, runs, at: position };
        let entry = *engine.entry(delta.index).ok_or(OpenError::Damaged(Damage::Content))?;
        let room = (u32::from(entry.units()) * layout.unit).saturating_sub(HEADER as u32);
        for _ in 0..delta.runs {
            if position + 4 > end {
                return Err(OpenError::Damaged(Damage::Content));
            }
            let [f0, f1, c0, c1] = read_array(engine.device(), position)?;
            let granules = u32::from(u16::from_le_bytes([f0, f1])) + u32::from(u16::from_le_bytes([c0, c1]));
            position += 4 + GRANULE as u32 * u32::from(u16::from_le_bytes([c0, c1]));
            if position > end || granules * GRANULE as u32 > room {
                return Err(OpenError::Damaged(Damage::Content));
            }
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
        let bytes = read_array(engine.device(), at)?;
        let salt = Some(log.base_sequence);
        let Some((header, _)) = RecordHeader::from_bytes(&bytes, salt) else { break };
        if header.kind == Kind::Commit {
            each_delta(engine, &layout, at, &header, &mut |engine, delta| {
                let last = engine
                    .entry(delta.index)
                    .is_some_and(|entry| entry.type_index() != 0 && engine.word(delta.index) & TAG_MASK == header.tag);
                if last {
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
    engine.device().write_gather(block, &[&delta.header]).map_err(Error::Device)?;
    Ok(())
}

/// The type table: fingerprints of the schemas.
pub(crate) fn read_types<D, P, R, S>(engine: &mut Engine<'_, D, P, R, S>) -> Result<(), OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    for row in 1..=engine.type_rows() {
        let index = u16::from(row);
        if engine.entry(index).is_none_or(|entry| entry.type_index() != SCHEMA_TYPE) {
            continue;
        }
        let bytes = match engine.object_bytes(index) {
            Err(Error::Damaged { .. }) => return Err(OpenError::Damaged(Damage::Schema)),
            bytes => bytes?,
        };
        let schema = Schema::parse(bytes).map_err(|_| OpenError::Damaged(Damage::Schema))?;
        let info = TypeInfo::new(schema.fingerprint(), schema.has_links(), schema.is_slice());
        engine.set_type_info(row, info);
        engine.evict(index)?;
    }
    // Every object names a type of the table.
    let known = |index: u16| {
        let type_index = engine.entry(index).map_or(0, Entry::type_index);
        type_index == 0 || type_index == SCHEMA_TYPE || engine.type_info(type_index).is_some()
    };
    if (0..engine.used()).all(known) { Ok(()) } else { Err(OpenError::Damaged(Damage::Content)) }
}

/// Recovers the newest state: everything `open` does to the engine.
pub(crate) fn recover<W: Workspace, D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    roots: &mut Roots<'_>,
    layout: Layout,
    repair: Option<u32>,
) -> Result<(Log, Report), OpenError<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let mut log = replay(engine, roots, layout)?;
    let deltas = apply_deltas(engine, &log, true)?;
    let snapshot = live_snapshot(engine.device(), &layout, log.sequence)?;
    if let Some(found) = snapshot {
        empty(engine, roots, &layout, found).map_err(|error| match error {
            Error::Damaged { .. } => OpenError::Damaged(Damage::Content),
            error => OpenError::Heap(error),
        })?;
        engine.device().sync().map_err(Error::Device)?;
        engine.set_tag(found.1.tag);
        log.write_base::<W, _, _, _, _>(engine, roots, found.1.sequence)?;
        engine.set_tag(found.1.tag + 1);
    }
    if !engine.rebuild_space() {
        return Err(OpenError::Damaged(Damage::Overlap));
    }
    engine.chain_free_slots();
    read_types(engine)?;
    if let Some(copy) = repair {
        engine.device().write_gather(layout.superblock(copy), &[&layout.to_superblock()]).map_err(Error::Device)?;
    }
    let mut report = Report {
        sequence: log.last,
        snapshot: snapshot.is_some(),
        objects: 0,
        reclaimed: 0,
        deltas,
        damaged: None,
        repaired: repair.is_some(),
    };
    loop {
        match engine.collect_step(&mut roots.targets()) {
            Ok(Collected::Done(freed)) => {
                report.reclaimed = freed;
                break;
            }
            Ok(_) => {}
            Err(Error::Damaged { index }) => {
                report.damaged = Some(index);
                break;
            }
            Err(error) => return Err(OpenError::Heap(error)),
        }
    }
    let first = u16::from(engine.type_rows()) + 1;
    report.objects = (first..engine.used()).filter(|index| engine.is_live(*index)).count() as u16;
    Ok((log, report))
}
