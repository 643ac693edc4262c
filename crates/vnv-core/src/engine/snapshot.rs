//! What a snapshot holds of the engine's state: entries of everything uncommitted, and the dirty bytes.

use super::sync::{count, runs};
use super::{ENTRY_BYTES, Engine, MOVED_BYTES, snapshot_fixed};
use crate::arena::{MUTABLE, Resident, state};
use crate::block::{BlockHeader, GRANULE, HEADER};
use crate::entry::flag;
use crate::policy::Policy;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, Sink, fault};

/// Set in the directory of a snapshot for an object of which only granules follow.
pub const PARTIAL: u16 = 0x8000;

/// What a snapshot would hold.
#[derive(Clone, Copy)]
pub struct SnapshotSize {
    /// Dirty objects.
    pub dirty: u16,
    /// Words of 4 bytes of all entries.
    pub entry_words: u16,
    /// Bytes in all, roots and what a resumed program needs aside.
    pub bytes: u32,
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

    /// What a snapshot now would hold.
    pub fn snapshot_size(&self) -> SnapshotSize {
        debug_assert!(cfg!(miri) || self.nothing_else_changed(), "a slot has changed in a group that is not marked");
        let slots = if self.has_unrecorded_deaths() { self.entries.len() as u16 } else { 0 };
        let mut size = SnapshotSize { dirty: 0, entry_words: 0, bytes: snapshot_fixed(slots) };
        for dirty in [true, false] {
            let _ = self.each_snapshot_slot(dirty, &mut |index, moved| {
                let entry = if moved { MOVED_BYTES } else { ENTRY_BYTES };
                size.entry_words += entry as u16 / 4;
                size.bytes += entry;
                if dirty {
                    size.dirty += 1;
                    let state = self.resident(index).map_or(0, Resident::state);
                    size.bytes += self.dirty_cost(index, state) - self.geometry.resume_bytes();
                }
                ControlFlow::Continue(())
            });
        }
        size
    }

    /// Visits the slots whose entries a snapshot holds, either those of dirty objects or the others, with whether an older record
    /// knows their objects.
    #[inline(never)]
    fn each_snapshot_slot(&self, dirty: bool, visit: &mut dyn FnMut(u16, bool) -> ControlFlow<()>) -> ControlFlow<()> {
        for (index, moved) in self.pending_slots() {
            let is_saved = self.resident(index).is_some_and(|copy| self.is_saved(copy));
            if if dirty { is_saved } else { !is_saved && self.is_pending(index) } {
                visit(index, moved)?;
            }
        }
        if dirty {
            for index in self.changed() {
                if let Some(copy) = self.resident(index)
                    && self.is_saved(copy)
                    && copy.word() & flag::PENDING == 0
                {
                    visit(index, true)?;
                }
            }
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
    pub fn snapshot_entries(&self, sink: Sink<'_>) -> ControlFlow<()> {
        for dirty in [true, false] {
            self.each_snapshot_slot(dirty, &mut |index, moved| {
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
    /// then the bytes of the `dirty` objects from where they lie. [`seal_partly_dirty`](Self::seal_partly_dirty) comes first.
    pub fn snapshot_payload(&self, dirty: u16, sink: Sink<'_>) -> ControlFlow<()> {
        if self.has_unrecorded_deaths() {
            self.snapshot_deaths(sink)?;
        }
        sink(&dirty.to_le_bytes())?;
        self.each_snapshot_slot(true, &mut |index, _| {
            let Some(resident) = self.resident(index) else { return ControlFlow::Continue(()) };
            // SAFETY: no mutable guard is open on it.
            let header = BlockHeader::from_bytes(unsafe { resident.block_bytes(HEADER) });
            let partial = resident.header().state & state::PARTIAL != 0;
            sink(&(header.size | if partial { PARTIAL } else { 0 }).to_le_bytes())
        })?;
        self.each_snapshot_slot(true, &mut |index, _| self.snapshot_object(index, sink))
    }

    fn snapshot_deaths(&self, sink: Sink<'_>) -> ControlFlow<()> {
        let is_zombie = |index: &u16| {
            *index < self.used
                && self.word(*index) & (flag::DEAD | flag::PENDING) == flag::DEAD
                && self.slot(*index).place() != crate::entry::NO_PLACE
        };
        for first in (0..self.entries.len().next_multiple_of(64) as u16).step_by(8) {
            let byte = (0..8).filter(|bit| is_zombie(&(first + bit))).fold(0u8, |byte, bit| byte | 1 << bit);
            sink(&[byte])?;
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
