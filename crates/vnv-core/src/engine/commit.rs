//! What a record says of the engine's state, and what its completion changes.

use super::Engine;
use crate::arena::state;
use crate::entry::{Entry, NO_PLACE, TAG_MASK, flag};
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// Most bytes of deltas in one record.
pub const DELTA_BYTES: u32 = 256;

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Whether anything waits for a commit (changed roots aside).
    pub const fn has_changes(&self) -> bool {
        self.dirty != 0 || self.items_len != 0 || self.zombies != 0
    }

    /// Whether a commit would release places or slots.
    pub fn has_releasable(&self) -> bool {
        self.zombies != 0 || self.items_len != 0 || self.debt != 0
    }

    /// Puts freed objects on the pending list that had no room there; `false`: some still have none.
    pub fn record_deaths(&mut self) -> bool {
        if self.zombies == 0 {
            return true;
        }
        for index in self.changed() {
            if self.word(index) & flag::DEAD != 0 && self.slot(index).place() != NO_PLACE {
                self.zombies = self.zombies.saturating_sub(1);
                if !self.record_death(index) {
                    return false;
                }
            }
        }
        self.zombies = 0;
        true
    }

    /// The entry as the next record has it: a dead slot is free.
    pub fn recorded_entry(&self, index: u16) -> Entry {
        let entry = self.slot(index);
        let tag = self.word(index) & TAG_MASK;
        // An object that is still being written through belongs to nobody yet.
        let unwritten = self.word(index) & flag::UNWRITTEN != 0 && !self.is_dirty(index);
        if entry.type_index() == 0 || self.word(index) & flag::DEAD != 0 || unwritten {
            Entry::new(NO_PLACE, entry.generation(), 0, 0, 0)
        } else {
            Entry::new(entry.place(), entry.generation(), entry.units(), entry.type_index(), tag)
        }
    }

    /// The tag of an object in a base record.
    pub fn recorded_tag(&self, index: u16) -> u16 {
        if self.recorded_entry(index).type_index() == 0 {
            0
        } else if self.is_dirty(index) {
            // The last resort has written it over its own place.
            self.tag
        } else {
            self.word(index) & TAG_MASK
        }
    }

    /// The slots whose entries the next commit record holds, and whether an older record knows their objects.
    pub fn pending_slots(&self) -> impl Iterator<Item = (u16, bool)> + '_ {
        let items = self.items.iter().take(usize::from(self.items_len));
        items.filter(|item| item.is_first()).map(|item| (item.index(), item.is_moved()))
    }

    /// The record is complete: old places and freed slots become usable, everything is clean.
    ///
    /// `base`: it was a base record, which also tells what the pending list had no room for.
    pub fn committed(&mut self, base: bool) {
        for at in 0..usize::from(self.items_len) {
            let Some(item) = self.items.get(at).copied() else { continue };
            let index = item.index();
            if item.place != NO_PLACE {
                self.space_free(item.place, self.slot(index).units());
            }
            self.set_flags(index, 0, flag::PENDING | flag::HAS_ITEM);
        }
        self.items_len = 0;
        self.commit_awaited = false;
        let tag = self.tag;
        debug_assert!(cfg!(miri) || self.nothing_else_changed(), "a slot has changed in a group that is not marked");
        // No safe point until all of it is done: one walk, a few instructions for a slot without changes.
        for index in self.unmark_all() {
            if !self.is_looked_for(index) {
                continue;
            }
            if let Some(resident) = self.resident(index).filter(|copy| copy.is_dirty()) {
                // What a record holds is a delta; before a base everything is written.
                resident.update(|header| {
                    header.word = (header.word & !(TAG_MASK | flag::UNWRITTEN)) | tag;
                    header.state &= !(state::DIRTY | state::PARTIAL | state::UNAPPLIED);
                    header.state |= if base { 0 } else { state::UNAPPLIED };
                });
                if let Some(bitmap) = self.bitmap(index).filter(|_| base) {
                    bitmap.clear();
                }
            }
            if self.word(index) & flag::DEAD != 0 {
                self.bury(index, base);
            }
            if self.is_looked_for(index) {
                self.mark_changed(index);
            }
        }
        self.attention.retain(false);
        self.dirty = 0;
        self.debt = 0;
        self.root_dirty = 0;
        self.tag = (tag + 1) % TAG_MASK;
    }

    /// Gives up what a dead slot still holds, as far as the record allows.
    fn bury(&mut self, index: u16, base: bool) {
        let entry = self.slot(index);
        if entry.place() != NO_PLACE {
            if !base {
                return;
            }
            self.space_free(entry.place(), entry.units());
            self.change_slot(index, |entry| entry.place = NO_PLACE);
            self.zombies = self.zombies.saturating_sub(1);
        }
        if self.resident(index).is_some_and(|resident| resident.header().pins == 0) {
            self.drop_copy(index);
        }
        if self.resident(index).is_none() {
            self.release_slot(index, entry.generation(), 0);
        }
    }
}
