//! Checking an image without changing it.

use crate::delta::apply_deltas;
use crate::format::layout_for;
use crate::layout::{Options, SUPERBLOCK};
use crate::log::Log;
use crate::open::read_types;
use crate::open_error::OpenError;
use crate::record::{Kind, RecordHeader, one_bit_away, read_array};
use crate::replay::replay;
use crate::reserve::read_reserves;
use crate::roots::Roots;
use crate::superblock::find_heap;
use core::fmt::Debug;
use vnv_alloc::SortedArray;
use vnv_core::block::HEADER;
use vnv_core::engine::Engine;
use vnv_core::{Clock, Error, ObjectId, ROOT_BYTES, Workspace};
use vnv_storage::Device;

/// Something that is wrong in an image, and where.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Finding {
    /// One of the two superblocks is damaged; `open` repairs it.
    Superblock,
    /// An object's block is damaged: place in bytes from the start of storage.
    Object {
        /// Slot.
        index: u16,
        /// Byte offset of its block.
        offset: u32,
    },
    /// Two objects share storage.
    Overlap,
}

/// What an image holds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Verified {
    /// Sequence of the last record of the log.
    pub sequence: u64,
    /// Live objects in the log's state.
    pub objects: u16,
    /// Whether a snapshot waits to be emptied by `open`. It is checked by its checksum; blocks that are not whole may be those that a
    /// cut recovery was writing, and are no findings then.
    pub snapshot: bool,
    /// Deltas that `open` would apply; the blocks they belong to are checked after that.
    pub deltas: u16,
    /// Links and roots whose object was freed (following them is an error, holding them is not).
    pub stale_links: u16,
    /// Number of findings.
    pub findings: u16,
}

/// A part of storage that the newest state depends on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum RegionKind {
    /// A copy of the superblock.
    Superblock(u8),
    /// The log's base record; its sequence.
    Base(u64),
    /// A commit record; its sequence.
    Commit(u64),
    /// The live snapshot; its sequence.
    Snapshot(u64),
    /// The block of an object or a schema; its slot.
    Object(u16),
}

/// Where something lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Region {
    /// What it is.
    pub kind: RegionKind,
    /// Byte offset from the start of storage.
    pub offset: u32,
    /// Bytes, padding excluded.
    pub length: u32,
}

/// What [`examine`] meets.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Examined {
    /// Something that the newest state depends on; every bit of it is covered by a checksum, if not by a finding.
    Live(Region),
    /// Something that is wrong.
    Wrong(Finding),
    /// A record at this byte offset that would be the newest one is a single bit away from being valid: the bit was flipped, or
    /// power was cut in the last byte that differed.
    Doubtful(u32),
}

/// Checks every invariant of an image and reports what is wrong where. Writes nothing.
///
/// `memory` is working space and is overwritten.
///
/// # Errors
///
/// As `open`, if there is no sound state at all.
pub fn verify<W: Workspace, D: Device>(
    device: D,
    memory: &mut W,
    options: Options,
    report: &mut dyn FnMut(Finding),
) -> Result<Verified, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let mut findings = 0u16;
    let (mut verified, ..) = check(device, memory, options, Blocks::Unchanged, &mut |examined| {
        if let Examined::Wrong(finding) = examined {
            findings = findings.saturating_add(1);
            report(finding);
        }
    })?;
    verified.findings = findings;
    Ok(verified)
}

/// As [`verify`], and also reports where everything lies that the newest state depends on, and records that damage may have made
/// invalid. `recovered`: the storage was opened just before, so that nothing waits in the log or a reserve any more.
/// Otherwise a block that is not whole is left out if anything waits there.
///
/// # Errors
///
/// As [`verify`].
pub fn examine<W: Workspace, D: Device>(
    device: D,
    memory: &mut W,
    options: Options,
    recovered: bool,
    report: &mut dyn FnMut(Examined),
) -> Result<Verified, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let mut findings = 0u16;
    let blocks = if recovered { Blocks::All } else { Blocks::Whole };
    let (mut verified, mut device, log, snapshot) = check(device, memory, options, blocks, &mut |examined| {
        findings = findings.saturating_add(u16::from(matches!(examined, Examined::Wrong(_))));
        report(examined);
    })?;
    verified.findings = findings;
    let layout = log.layout;
    let mut at = layout.half(log.half);
    while at < log.end {
        let seed = layout.seed(at, Some(log.base_sequence));
        let Some((header, _)) = RecordHeader::from_bytes(&read_array(&mut device, at)?, seed) else { break };
        let kind = match header.kind {
            Kind::Base => RegionKind::Base(header.sequence),
            _ => RegionKind::Commit(header.sequence),
        };
        report(Examined::Live(Region { kind, offset: at, length: header.length }));
        at += layout.padded(header.length);
    }
    // What would have been the newest: the next commit, the next base, the next snapshot.
    let last = snapshot.map_or(log.sequence, |(_, header)| header.sequence);
    let room = (layout.half(log.half) + layout.log_half).saturating_sub(log.end);
    let mut doubtful = |at: u32, room: u32, base: Option<u64>, kind: Kind, after: u64| {
        let header = one_bit_away(&mut device, layout.seed(at, base), room)?;
        if header.is_some_and(|header| header.kind == kind && header.sequence > after) {
            report(Examined::Doubtful(at));
        }
        Ok::<(), Error<D::Error>>(())
    };
    doubtful(log.end, room, Some(log.base_sequence), Kind::Commit, log.sequence)?;
    doubtful(layout.half(1 - log.half), layout.log_half, None, Kind::Base, log.base_sequence)?;
    for reserve in [0, 1] {
        doubtful(layout.reserve_at(reserve), layout.reserve, None, Kind::Snapshot, last)?;
    }
    Ok(verified)
}

/// Which blocks are checked if deltas wait in the log.
#[derive(Clone, Copy, PartialEq)]
enum Blocks {
    /// None: those that a delta belongs to need not be whole.
    Unchanged,
    /// Those that are whole.
    Whole,
    /// All; the deltas are applied.
    All,
}

type Checked<D> = (Verified, D, Log, Option<(u8, RecordHeader)>);

fn check<W: Workspace, D: Device>(
    mut device: D,
    memory: &mut W,
    options: Options,
    blocks: Blocks,
    report: &mut dyn FnMut(Examined),
) -> Result<Checked<D>, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let parts = memory.parts();
    let layout = layout_for(&device, parts.sizes(), options)?;
    let (layout, repair) = find_heap(&mut device, &layout)?;
    let mut engine: Engine<'_, D, Clock, SortedArray<24>, SortedArray<32>> = Engine::new(
        device,
        layout.geometry(),
        (parts.entries, parts.items, parts.types),
        (parts.arena, parts.attention),
        (SortedArray::new(), SortedArray::new(), Clock::default()),
    );
    parts.roots.fill([0; ROOT_BYTES]);
    let mut roots = Roots { slots: parts.roots, changed: 0 };
    for copy in [0, 1] {
        let kind = RegionKind::Superblock(copy);
        let offset = layout.superblock(u32::from(copy));
        report(Examined::Live(Region { kind, offset, length: SUPERBLOCK as u32 }));
    }
    if repair.is_some() {
        report(Examined::Wrong(Finding::Superblock));
    }
    let log = replay(&mut engine, &mut roots, layout)?;
    let deltas = apply_deltas(&mut engine, &log, false)?;
    let tag = engine.tag();
    let snapshot = read_reserves(engine.device(), &layout, log.sequence, tag)?.live;
    if let Some((reserve, header)) = snapshot {
        let (kind, offset) = (RegionKind::Snapshot(header.sequence), layout.reserve_at(reserve));
        report(Examined::Live(Region { kind, offset, length: header.length }));
    }
    if !engine.rebuild_space()? {
        report(Examined::Wrong(Finding::Overlap));
    }
    read_types(&mut engine)?;
    let (mut objects, mut stale_links) = (0, 0u16);
    for index in 1..engine.used() {
        if !engine.is_live(index) {
            continue;
        }
        objects += u16::from(index > u16::from(engine.type_rows()));
        if deltas != 0 && blocks == Blocks::Unchanged {
            continue;
        }
        let offset = engine.offset_of(engine.entry(index).map_or(0, vnv_core::entry::Entry::place));
        let checked = engine.visit_links(index, &mut |engine, _, target: ObjectId| {
            let stale = target.index != 0 && engine.id(target.index) != Some(target);
            stale_links = stale_links.saturating_add(u16::from(stale));
        });
        match checked {
            Ok(()) => {
                let length = HEADER as u32 + engine.object_bytes(index)?.len() as u32;
                report(Examined::Live(Region { kind: RegionKind::Object(index), offset, length }));
            }
            // Recovery makes it whole, if it was cut while it wrote there what waits in the log or in a reserve.
            Err(Error::Damaged { .. }) if (deltas != 0 || snapshot.is_some()) && blocks != Blocks::All => {}
            Err(Error::Damaged { .. }) => report(Examined::Wrong(Finding::Object { index, offset })),
            Err(error) => return Err(OpenError::Heap(error)),
        }
    }
    for target in roots.targets() {
        stale_links = stale_links.saturating_add(u16::from(engine.id(target.index) != Some(target)));
    }
    let (sequence, snapshots) = (log.sequence, snapshot.is_some());
    let verified = Verified { sequence, objects, snapshot: snapshots, deltas, stale_links, findings: 0 };
    Ok((verified, engine.into_device(), log, snapshot))
}
