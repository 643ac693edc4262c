//! What a snapshot holds of the engine's state: entries of everything uncommitted, and the dirty bytes.

use super::sync::{count, runs};
use super::{ENTRY_BYTES, Engine, EngineError, MOVED_BYTES, snapshot_fixed};
use crate::arena::{MUTABLE, Resident, state};
use crate::block::{BlockHeader, GRANULE, HEADER};
use crate::entry::{Item, NO_PLACE, flag};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, Sink, fault};

/// Set in the directory of a snapshot for an object of which only granules follow.
pub const PARTIAL: u16 = 0x8000;

/// Slots of the table that are looked at between two safe points.
const SLOTS_BETWEEN_SAFE_POINTS: u16 = 32;

/// What a snapshot holds, until the heap goes on.
#[derive(Clone, Copy)]
pub struct SnapshotPlan {
    /// Dirty objects.
    pub dirty: u16,
    /// Words of 4 bytes of all entries.
    pub entry_words: u16,
    /// Bytes in all, roots and what a resumed program needs aside.
    pub bytes: u32,
    /// Dirty objects whose places a record knows: their slots are noted behind the pending list.
    noted: u16,
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// A snapshot is about to be written: until the next commit, no place that it names is reused.
    pub fn retain_places(&self) {
        self.attention.retain(true);
    }

    /// An image was opened, and nothing was written since: no place is younger than what names it.
    pub fn release_places(&self) {
        self.attention.retain(false);
    }

    /// Prepares a snapshot of now: notes the slots that it holds, so that the table is gone through once, computes the block headers of
    /// partly dirty objects, and adds up what it takes.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], unless the snapshot is the answer to the alarm.
    pub fn prepare_snapshot(&mut self) -> Result<SnapshotPlan, EngineError<D>> {
        debug_assert!(cfg!(miri) || self.nothing_else_changed(), "a slot has changed in a group that is not marked");
        let slots = if self.has_unrecorded_deaths() { self.entries.len() as u16 } else { 0 };
        let mut plan =
            SnapshotPlan { dirty: 0, entry_words: 0, bytes: snapshot_fixed(slots), noted: self.note_saved()? };
        let mut sealed = Ok(());
        for dirty in [true, false] {
            let _ = self.each_snapshot_slot(plan.noted, dirty, &mut |index, moved| {
                let entry = if moved { MOVED_BYTES } else { ENTRY_BYTES };
                plan.entry_words += entry as u16 / 4;
                plan.bytes += entry;
                let Some(copy) = self.resident(index).filter(|_| dirty) else { return ControlFlow::Continue(()) };
                plan.dirty += 1;
                plan.bytes += self.dirty_cost(index, copy.state()) - self.geometry.resume_bytes();
                if copy.state() & state::PARTIAL != 0 && copy.pins() != MUTABLE {
                    sealed = self.seal(index, copy, self.slot(index).place()).map(|_| ());
                }
                if sealed.is_ok() { ControlFlow::Continue(()) } else { ControlFlow::Break(()) }
            });
        }
        sealed.map(|()| plan)
    }

    /// Notes the dirty objects that are not on the pending list behind it: for each, room was kept there when it became dirty.
    fn note_saved(&mut self) -> Result<u16, EngineError<D>> {
        let mut noted = 0;
        for index in self.changed() {
            if index.is_multiple_of(SLOTS_BETWEEN_SAFE_POINTS) {
                self.safe_point()?;
            }
            if let Some(copy) = self.resident(index)
                && self.is_saved(copy)
                && copy.word() & flag::PENDING == 0
            {
                let room = self.items.get_mut(usize::from(self.items_len + noted));
                debug_assert!(room.is_some(), "an object became dirty without room on the pending list");
                *room.ok_or(Error::PendingFull)? = Item::new(index, NO_PLACE, false);
                noted += 1;
            }
        }
        Ok(noted)
    }

    /// Visits the slots whose entries a snapshot holds, either those of dirty objects or the others, with whether an older record
    /// knows their objects.
    #[inline(never)]
    fn each_snapshot_slot(
        &self,
        noted: u16,
        dirty: bool,
        visit: &mut dyn FnMut(u16, bool) -> ControlFlow<()>,
    ) -> ControlFlow<()> {
        for (index, moved) in self.pending_slots() {
            let is_saved = self.resident(index).is_some_and(|copy| self.is_saved(copy));
            if if dirty { is_saved } else { !is_saved && self.is_pending(index) } {
                visit(index, moved)?;
            }
        }
        let behind = self.items.iter().skip(usize::from(self.items_len));
        for item in behind.take(if dirty { usize::from(noted) } else { 0 }) {
            visit(item.index(), true)?;
        }
        ControlFlow::Continue(())
    }

    /// Whether a snapshot holds the object's bytes: it is dirty, and nobody is changing it (snapshots are taken at quiescent
    /// points, where no mutable guard is open at all), or it is for a resume record, which holds what is being changed too.
    #[inline]
    fn is_saved(&self, copy: Resident) -> bool {
        copy.is_dirty() && (self.geometry.guards != 0 || copy.pins() != MUTABLE)
    }

    fn is_pending(&self, index: u16) -> bool {
        self.word(index) & flag::PENDING != 0 && !fault!(SnapshotWithoutSynced)
    }

    /// Hands the entries of a snapshot to `sink`, dirty objects first.
    pub fn snapshot_entries(&self, plan: SnapshotPlan, sink: Sink<'_>) -> ControlFlow<()> {
        for dirty in [true, false] {
            self.each_snapshot_slot(plan.noted, dirty, &mut |index, moved| {
                let (bytes, length) = self.recorded_entry(index).to_record(index, moved);
                sink(bytes.get(..length).unwrap_or_default())
            })?;
        }
        ControlFlow::Continue(())
    }

    /// Whether slots were freed besides the entries of a snapshot: it holds their bitmap.
    pub const fn has_unrecorded_deaths(&self) -> bool {
        self.zombies != 0
    }

    /// Hands the payload of a snapshot to `sink`: bitmap of slots freed besides the entries (if there are any), directory,
    /// then the bytes of the dirty objects from where they lie.
    pub fn snapshot_payload(&self, plan: SnapshotPlan, sink: Sink<'_>) -> ControlFlow<()> {
        if self.has_unrecorded_deaths() {
            self.snapshot_deaths(sink)?;
        }
        sink(&plan.dirty.to_le_bytes())?;
        self.each_snapshot_slot(plan.noted, true, &mut |index, _| {
            let Some(resident) = self.resident(index) else { return ControlFlow::Continue(()) };
            // SAFETY: no mutable guard is open on it.
            let header = BlockHeader::from_bytes(unsafe { resident.block_bytes(HEADER) });
            let partial = resident.header().state & state::PARTIAL != 0;
            sink(&(header.size | if partial { PARTIAL } else { 0 }).to_le_bytes())
        })?;
        self.each_snapshot_slot(plan.noted, true, &mut |index, _| self.snapshot_object(index, sink))
    }

    fn snapshot_deaths(&self, sink: Sink<'_>) -> ControlFlow<()> {
        let is_zombie = |index: u16| {
            let entry = self.slot(index);
            let word = self.copy_of(entry).map_or(entry.word(), Resident::word);
            word & (flag::DEAD | flag::PENDING) == flag::DEAD && entry.place() != NO_PLACE
        };
        let mut changed = self.changed();
        let mut next = changed.next();
        for end in (64..=self.entries.len().next_multiple_of(64) as u16).step_by(64) {
            if self.safe_point().is_err() {
                return ControlFlow::Break(());
            }
            let mut bits = [0u8; 8];
            while let Some(index) = next.filter(|index| *index < end) {
                if let Some(byte) = bits.get_mut(usize::from(index / 8 % 8))
                    && is_zombie(index)
                {
                    *byte |= 1 << (index % 8);
                }
                next = changed.next();
            }
            sink(&bits)?;
        }
        ControlFlow::Continue(())
    }

    fn snapshot_object(&self, index: u16, sink: Sink<'_>) -> ControlFlow<()> {
        let Some(resident) = self.resident(index) else { return ControlFlow::Continue(()) };
        // SAFETY: no mutable guard is open on it.
        let block = unsafe { resident.block_bytes(self.block_len(index)) };
        let object = block.get(HEADER..).unwrap_or_default();
        let bitmap = self.bitmap(index).filter(|_| resident.header().state & state::PARTIAL != 0);
        let Some(bitmap) = bitmap else { return sink(object) };
        // The checksum of the whole object: what is not in the snapshot must still be what it was.
        let (count, _) = count(bitmap);
        sink(&BlockHeader::from_bytes(block).crc.to_le_bytes())?;
        sink(&count.to_le_bytes())?;
        for (first, granules) in runs(bitmap) {
            sink(&first.to_le_bytes())?;
            sink(&granules.to_le_bytes())?;
            let from = usize::from(first) * GRANULE;
            sink(object.get(from..from + usize::from(granules) * GRANULE).unwrap_or_default())?;
        }
        ControlFlow::Continue(())
    }
}
