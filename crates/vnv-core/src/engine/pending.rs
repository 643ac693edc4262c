//! The pending list, of what the next record has to tell, and what is admitted to it and below the dirty limit.

use super::{Engine, EngineError};
use crate::entry::{Item, NO_PLACE, flag};
use crate::error::Error;
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
    /// Whether `bytes` more snapshot bytes and `items` more pending places are admitted.
    pub(super) fn admit(&self, bytes: u32, items: u16) -> Result<(), EngineError<D>> {
        if bytes != 0 {
            self.admit_bytes(bytes)?;
        }
        self.admit_items(items)
    }

    #[inline]
    pub(super) fn admit_bytes(&self, bytes: u32) -> Result<(), EngineError<D>> {
        let limit = self.geometry.dirty_limit;
        let exceeded = !fault!(IgnoreDirtyLimit) && self.dirty + self.root_dirty + bytes > limit;
        if exceeded { Err(Error::DirtyLimit) } else { Ok(()) }
    }

    #[inline]
    pub(super) fn admit_items(&self, items: u16) -> Result<(), EngineError<D>> {
        let all = usize::from(self.items_len) + usize::from(self.debt) + usize::from(items);
        if all > self.items.len() { Err(Error::PendingFull) } else { Ok(()) }
    }

    /// Appends an old place of a slot to the pending list. The room was admitted before.
    pub(super) fn push_item(&mut self, index: u16, place: u16) {
        let word = self.word(index);
        self.append_item(Item::new(index, place, word & flag::PENDING == 0));
        let has = if place == NO_PLACE { 0 } else { flag::HAS_ITEM };
        self.set_flags(index, flag::PENDING | has, 0);
    }

    #[inline]
    pub(super) fn append_item(&mut self, new: Item) {
        if let Some(item) = self.items.get_mut(usize::from(self.items_len)) {
            *item = new;
            self.items_len += 1;
        }
    }

    /// The last item belongs to a change made before the running transaction: it goes below the mark.
    pub(super) fn move_below_mark(&mut self) {
        if let Some(mark) = &mut self.mark {
            if let Some(items) = self.items.get_mut(usize::from(*mark)..usize::from(self.items_len)) {
                items.rotate_right(1);
            }
            *mark += 1;
        }
    }
}
