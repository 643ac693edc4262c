//! From bytes to a heap: recovery.

use crate::delta::apply_deltas;
use crate::layout::Layout;
use crate::log::Log;
use crate::open_error::{Damage, OpenError, Report};
use crate::replay::replay;
use crate::reserve::{Reserves, empty, read_reserves};
use crate::roots::Roots;
use crate::superblock::write_superblock;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::{Collected, Engine};
use vnv_core::entry::{Entry, SCHEMA_TYPE};
use vnv_core::schema::Schema;
use vnv_core::{Error, Policy, TypeInfo, Workspace};
use vnv_storage::{Device, fault};

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
    // Before anything is written: it may say that a record was destroyed.
    let tag = engine.tag();
    let Reserves { live: snapshot, resume } = read_reserves(engine.device(), &layout, log.sequence, tag)?;
    let deltas = apply_deltas(engine, &log, true)?;
    if let Some(found) = snapshot {
        empty(engine, roots, &layout, found).map_err(|error| match error {
            Error::Damaged { .. } => OpenError::Damaged(Damage::Content),
            error => OpenError::Heap(error),
        })?;
        engine.device().sync().map_err(Error::Device)?;
        engine.set_tag(found.1.tag);
        if !fault!(RecoverWithoutBase) {
            log.write_base::<W, _, _, _, _>(engine, roots, found.1.sequence)?;
            engine.release_places();
        }
        engine.set_tag(found.1.tag + 1);
    }
    if !engine.rebuild_space()? {
        let all = engine.manages_all_places();
        return Err(if all { OpenError::Damaged(Damage::Overlap) } else { OpenError::AllocatorTooSmall });
    }
    engine.chain_free_slots();
    read_types(engine)?;
    // A copy that the part does not keep is tried again at the next opening; the other one is whole.
    let repaired = match repair {
        Some(copy) => write_superblock(engine.device(), &layout, copy)?,
        None => false,
    };
    // Whoever was to be resumed must not go on: from here on the storage is another program's.
    for reserve in (0..).zip(resume).filter_map(|(reserve, resumes)| resumes.then_some(reserve)) {
        engine.erase(layout.reserve_at(reserve))?;
    }
    let mut report = Report {
        sequence: log.last,
        snapshot: snapshot.is_some(),
        objects: 0,
        reclaimed: 0,
        deltas,
        damaged: None,
        repaired,
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
