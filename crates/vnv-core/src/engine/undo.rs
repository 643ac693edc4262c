//! Transactions: a mark in the pending list, and the way back to it.

use super::{Engine, MOVED_BYTES};
use crate::arena::state;
use crate::entry::{ANY_TAG, LAST_GENERATION, NO_PLACE, TAG_MASK, flag};
use crate::memory::TypeInfo;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Begins a transaction.
    pub fn begin(&mut self) {
        self.mark = Some(self.items_len);
        self.attention.set_transaction(true);
    }

    /// Something in the running transaction failed that would fit after a commit: there has to be one before the next transaction.
    pub const fn await_commit(&mut self) {
        self.commit_awaited = true;
    }

    /// Whether a transaction failed for want of a commit, and there has been none since.
    pub const fn is_commit_awaited(&self) -> bool {
        self.commit_awaited
    }

    /// Ends a transaction by keeping its changes: what it freed is freed now. The commit comes afterwards.
    pub fn end_transaction(&mut self) {
        self.mark = None;
        self.attention.set_transaction(false);
        for index in self.changed() {
            if let Some(resident) = self.resident(index) {
                resident.update(|header| header.state &= !state::TRANSACTION);
            }
            if self.word(index) & flag::FREED_IN_TRANSACTION != 0 {
                self.set_flags(index, 0, flag::FREED_IN_TRANSACTION);
                self.free(index);
            }
        }
    }

    /// Ends a transaction by undoing it. Writes nothing, reads nothing and cannot fail.
    ///
    /// # Safety
    ///
    /// No guard on an object that the transaction changed is alive (forgotten ones are not): their copies go.
    pub unsafe fn rollback(&mut self) {
        let Some(mark) = self.mark.take() else { return };
        self.attention.set_transaction(false);
        self.attention.forget_open();
        self.end_marks();
        for index in self.changed() {
            if self.word(index) & flag::FREED_IN_TRANSACTION != 0 {
                self.set_flags(index, 0, flag::FREED_IN_TRANSACTION);
            }
            self.drop_changed_copy(index);
        }
        for at in (usize::from(mark)..usize::from(self.items_len)).rev() {
            let Some(item) = self.items.get(at).copied() else { continue };
            let index = item.index();
            if item.place == NO_PLACE {
                self.forget_copy(index);
                self.undo_allocation(index);
            } else {
                // The fresh place takes the item, so that no row is written twice before the next commit.
                // A copy loaded from that place goes, although it was not changed since.
                if !fault!(RollbackKeepsCopy) {
                    self.forget_copy(index);
                }
                let fresh = self.slot(index).place();
                self.change_slot(index, |entry| entry.place = item.place);
                let word = self.word(index);
                if let Some(item) = self.items.get_mut(at) {
                    item.place = fresh;
                    if item.is_first() {
                        item.clear_first();
                        self.dirty -= MOVED_BYTES;
                        self.set_word(index, (word & !(flag::PENDING | TAG_MASK)) | ANY_TAG);
                    }
                }
            }
        }
        // Slots whose allocation was undone are released last: their places may stand in several items.
        for at in usize::from(mark)..usize::from(self.items_len) {
            let index = self.items.get(at).map_or(0, |item| item.index());
            let entry = self.slot(index);
            let word = self.word(index);
            if entry.type_index() != 0
                && word & (flag::DEAD | flag::HAS_ITEM) == flag::DEAD
                && entry.place() == NO_PLACE
            {
                self.release_slot(index, entry.generation(), word & flag::PENDING);
            }
        }
    }

    /// Drops a copy that the transaction changed.
    fn drop_changed_copy(&mut self, index: u16) {
        let Some(resident) = self.resident(index) else { return };
        let header = resident.header();
        if header.state & state::TRANSACTION == 0 {
            return;
        }
        if header.state & state::DIRTY != 0 {
            self.dirty -= self.dirty_cost(index, header.state);
            if header.word & flag::UNWRITTEN == 0 {
                self.debt -= 1;
            }
            if header.word & flag::PENDING == 0 {
                self.dirty -= MOVED_BYTES;
            }
        }
        self.forget_copy(index);
    }

    /// Drops a copy. A guard on it that still counts was forgotten: its lifetime has ended with the transaction's.
    fn forget_copy(&mut self, index: u16) {
        if self.attention.counts_pins() && self.is_pinned(index) {
            self.attention.unpinned();
        }
        self.drop_copy(index);
    }

    /// Undoes an allocation: the slot is dead, its place is given back, or by the next commit if it was written.
    fn undo_allocation(&mut self, index: u16) {
        let word = self.word(index);
        let entry = self.slot(index);
        if entry.type_index() == 0 || word & flag::DEAD != 0 {
            return;
        }
        self.change_slot(index, |entry| entry.set_generation((entry.generation() + 1).min(LAST_GENERATION)));
        if let Some(row) = usize::from(index).checked_sub(1).and_then(|row| self.types.get_mut(row)) {
            *row = TypeInfo::EMPTY;
        }
        if word & flag::UNWRITTEN != 0 {
            self.space_return(entry.place(), entry.units());
            self.change_slot(index, |entry| entry.place = NO_PLACE);
            self.set_flags(index, flag::DEAD, flag::UNWRITTEN | flag::OWNED);
        } else {
            // Written: the item that allocated it releases the place with the next commit.
            self.set_flags(index, flag::DEAD | flag::HAS_ITEM, flag::OWNED);
            if let Some(item) = self.items[..usize::from(self.items_len)]
                .iter_mut()
                .rev()
                .find(|item| item.index() == index && item.place == NO_PLACE)
            {
                item.place = entry.place();
            }
            self.change_slot(index, |entry| entry.place = NO_PLACE);
        }
    }
}
