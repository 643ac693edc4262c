//! Commit: changed objects to fresh places, one record, old places free.

use crate::log::Log;
use crate::record::Kind;
use crate::reserve::write_snapshot;
use crate::roots::Roots;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::{DELTA_BYTES, Engine};
use vnv_core::{Error, Policy, Workspace};
use vnv_storage::{Device, fault};

/// Makes the engine's state durable. `Ok(false)`: there was nothing to do.
pub(crate) fn commit<W: Workspace, D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &mut Log,
    roots: &mut Roots<'_>,
) -> Result<bool, Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    if !engine.has_changes() && roots.changed == 0 && log.last == log.sequence {
        return Ok(false);
    }
    engine.safe_point()?;
    log.settle(engine)?;
    let room = if engine.geometry().deltas { DELTA_BYTES } else { 0 };
    let base = match engine.sync_all(room) {
        Err(Error::StorageFull) => last_resort::<W, _, _, _, _>(engine, log, roots)?,
        Err(error) => return Err(error),
        Ok(()) => {
            let all_recorded = engine.record_deaths();
            engine.device().sync().map_err(Error::Device)?;
            if all_recorded && log.append::<W, _, _, _, _>(engine, roots)? {
                false
            } else {
                match engine.sync_all(0) {
                    Err(Error::StorageFull) => last_resort::<W, _, _, _, _>(engine, log, roots)?,
                    Err(error) => return Err(error),
                    Ok(()) => compact::<W, _, _, _, _>(engine, log, roots, log.last + 1)?,
                }
            }
        }
    };
    if fault!(RecordBeforeBlocks) {
        engine.write_late()?;
    }
    engine.committed(base);
    roots.changed = 0;
    Ok(true)
}

/// Writes a base with the state, which is all in storage but for deltas.
fn compact<W: Workspace, D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &mut Log,
    roots: &Roots<'_>,
    sequence: u64,
) -> Result<bool, Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    if !fault!(CompactWithoutDeltas) {
        engine.apply_deltas()?;
    }
    engine.device().sync().map_err(Error::Device)?;
    log.write_base::<W, _, _, _, _>(engine, roots, sequence)?;
    Ok(true)
}

/// There is no fresh place for a dirty object: the commit goes through a reserve, and the objects over their own
/// places, which nothing needs any more once the reserve holds them.
fn last_resort<W: Workspace, D, P, R, S>(
    engine: &mut Engine<'_, D, P, R, S>,
    log: &mut Log,
    roots: &Roots<'_>,
) -> Result<bool, Error<D::Error>>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    engine.device().sync().map_err(Error::Device)?;
    if !fault!(LastResortWithoutSnapshot) {
        write_snapshot(engine, log, roots, (Kind::Snapshot, false))?;
    }
    engine.rewrite_in_place()?;
    compact::<W, _, _, _, _>(engine, log, roots, log.last)
}
