//! Checking an image without changing it.

use crate::delta::apply_deltas;
use crate::format::superblock;
use crate::layout::Options;
use crate::open::read_types;
use crate::open_error::OpenError;
use crate::replay::replay;
use crate::reserve::live_snapshot;
use crate::roots::Roots;
use core::fmt::Debug;
use vnv_alloc::FirstFit;
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
    /// Whether a snapshot waits to be emptied by `open`; its own blocks are checked by its checksum only.
    pub snapshot: bool,
    /// Deltas that `open` would apply; the blocks they belong to are checked after that.
    pub deltas: u16,
    /// Links and roots whose object was freed (following them is an error, holding them is not).
    pub stale_links: u16,
    /// Number of findings.
    pub findings: u16,
}

/// Checks every invariant of an image and reports what is wrong where. Writes nothing.
///
/// `memory` is working space and is overwritten.
///
/// # Errors
///
/// As `open`, if there is no sound state at all.
pub fn verify<W: Workspace, D: Device>(
    mut device: D,
    memory: &mut W,
    options: Options,
    report: &mut dyn FnMut(Finding),
) -> Result<Verified, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let (layout, repair) = superblock::<W, _>(&mut device, options)?;
    let parts = memory.parts();
    let mut engine: Engine<'_, D, Clock, FirstFit<24>, FirstFit<32>> = Engine::new(
        device,
        layout.geometry(),
        (parts.entries, parts.items, parts.types),
        (parts.arena, parts.attention),
        (FirstFit::new(), FirstFit::new(), Clock::default()),
    );
    parts.roots.fill([0; ROOT_BYTES]);
    let mut roots = Roots { slots: parts.roots, changed: 0 };
    let mut findings = 0u16;
    let mut find = |finding| {
        findings = findings.saturating_add(1);
        report(finding);
    };
    if repair.is_some() {
        find(Finding::Superblock);
    }
    let log = replay(&mut engine, &mut roots, layout)?;
    let deltas = apply_deltas(&mut engine, &log, false)?;
    let tag = engine.tag();
    let snapshot = live_snapshot(engine.device(), &layout, log.sequence, tag)?.is_some();
    if !engine.rebuild_space()? {
        find(Finding::Overlap);
    }
    read_types(&mut engine)?;
    let (mut objects, mut stale_links) = (0, 0u16);
    if deltas == 0 {
        for index in 1..engine.used() {
            if !engine.is_live(index) {
                continue;
            }
            objects += u16::from(index > u16::from(engine.type_rows()));
            let offset = engine.offset_of(engine.entry(index).map_or(0, vnv_core::entry::Entry::place));
            let checked = engine.visit_links(index, &mut |engine, _, target: ObjectId| {
                let stale = target.index != 0 && engine.id(target.index) != Some(target);
                stale_links = stale_links.saturating_add(u16::from(stale));
            });
            match checked {
                Ok(()) => {}
                Err(Error::Damaged { .. }) => find(Finding::Object { index, offset }),
                Err(error) => return Err(OpenError::Heap(error)),
            }
        }
    } else {
        objects =
            (u16::from(engine.type_rows()) + 1..engine.used()).filter(|index| engine.is_live(*index)).count() as u16;
    }
    for target in roots.targets() {
        stale_links = stale_links.saturating_add(u16::from(engine.id(target.index) != Some(target)));
    }
    Ok(Verified { sequence: log.sequence, objects, snapshot, deltas, stale_links, findings })
}
