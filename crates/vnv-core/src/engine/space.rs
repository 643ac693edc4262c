//! The two allocators: places in the data area, and ranges of the arena.

use super::rising::Rising;
use super::{Engine, EngineError, trace};
use crate::arena::{arena_words, state};
use crate::entry::NO_PLACE;
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Gives an arena range back.
    pub(super) fn ram_free(&mut self, offset: u16, words: u16) {
        if !self.ram_stale {
            let freed = self.ram.free(offset, words);
            debug_assert!(freed.is_ok(), "a range of the arena is freed twice");
        }
    }

    /// A fresh place of `units` units, if the allocator knows one without being rebuilt.
    #[inline(always)]
    pub(super) fn space_known(&mut self, units: u16) -> Option<u16> {
        if self.space_stale {
            return None;
        }
        let offset = self.space.allocate_from(self.cursor, units, 1)?;
        self.cursor = offset + units;
        Some(offset + self.geometry.data_start)
    }

    /// A fresh place of `units` units. Places that nothing names yet may be forgotten by a rebuild.
    #[inline]
    pub(super) fn space_allocate(&mut self, units: u16) -> Result<u16, EngineError<D>> {
        match self.space_known(units) {
            Some(place) => Ok(place),
            None => self.space_search(units),
        }
    }

    #[cold]
    #[inline(never)]
    pub(super) fn space_search(&mut self, units: u16) -> Result<u16, EngineError<D>> {
        if self.space_stale || !self.space.is_complete() {
            self.rebuild_space()?;
        }
        self.space_known(units).ok_or(Error::StorageFull)
    }

    /// Gives a place back that was never written, or by a write that failed: it is the next one to be taken, if it was the last one.
    pub(super) fn space_return(&mut self, place: u16, units: u16) {
        let offset = place.wrapping_sub(self.geometry.data_start);
        if offset.wrapping_add(units) == self.cursor {
            self.cursor = offset;
        }
        self.space_free(place, units);
    }

    pub(super) fn space_free(&mut self, place: u16, units: u16) {
        if let Some(offset) = place.checked_sub(self.geometry.data_start)
            && units != 0
            && !self.space_stale
        {
            let freed = self.space.free(offset, units);
            debug_assert!(freed.is_ok(), "a place is freed twice");
        }
    }

    /// Rebuilds the storage allocator from the table and the pending list: the places that may not be reused.
    ///
    /// Returns `false` if two of them overlap or lie outside the data area.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`]: it is made up for before the next allocation.
    pub fn rebuild_space(&mut self) -> Result<bool, EngineError<D>> {
        self.space_stale = true;
        let attention = self.attention;
        let mut interrupted = false;
        let (entries, items) = (&*self.entries, &self.items[..usize::from(self.items_len)]);
        let (used, start) = (usize::from(self.used), self.geometry.data_start);
        let mut found = 0;
        let mut rising = Rising::default();
        let mut live = core::iter::from_fn(|| {
            let places = entries[..used].iter().filter(|entry| entry.type_index() != 0).map(|e| (e.place, e.units()));
            let old = items
                .iter()
                .filter_map(|item| entries.get(usize::from(item.index())).map(|entry| (item.place, entry.units())));
            let ranges = places.chain(old).filter(|(place, units)| *place != NO_PLACE && *units != 0);
            let next = rising.next(ranges, &mut || {
                interrupted |= attention.interrupts();
                interrupted
            })?;
            found += 1;
            Some((next.0.wrapping_sub(start), next.1))
        });
        let rebuilt = self.space.rebuild(self.geometry.data_units, &mut live).is_ok();
        if interrupted {
            return Err(Error::Interrupted);
        }
        self.space_stale = false;
        // Two blocks at one place are seen once above.
        let entries =
            self.entries[..used].iter().filter(|e| e.type_index() != 0 && e.place != NO_PLACE && e.units() != 0);
        Ok(rebuilt && found >= entries.count())
    }

    /// Whether the storage allocator manages the whole data area; one of fixed size may be too small for the part.
    pub fn manages_all_places(&self) -> bool {
        self.space.capacity() >= self.geometry.data_units
    }

    /// Rebuilds the arena's allocator from the resident copies.
    pub(super) fn rebuild_ram(&mut self) -> Result<(), EngineError<D>> {
        self.ram_stale = true;
        let attention = self.attention;
        let mut interrupted = false;
        let entries = &*self.entries;
        let (used, words, unit) = (usize::from(self.used), self.arena.words(), self.geometry.unit as usize);
        let arena = &self.arena;
        let marks = self.marks.as_ref().map(trace::Marks::range);
        let mut rising = Rising::default();
        let mut live = core::iter::from_fn(|| {
            let copies = entries[..used].iter().filter_map(|entry| {
                let block_len = usize::from(entry.units()) * unit;
                // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
                let header = entry.resident().map(|offset| unsafe { arena.at(offset) }.header());
                let slice = header.is_some_and(|header| header.state & state::SLICE != 0);
                Some((entry.resident()?, arena_words(block_len, slice) as u16))
            });
            rising.next(copies.chain(marks), &mut || {
                interrupted |= attention.interrupts();
                interrupted
            })
        });
        let rebuilt = self.ram.rebuild(words, &mut live);
        if interrupted {
            return Err(Error::Interrupted);
        }
        self.ram_stale = false;
        self.copies_dropped = 0;
        debug_assert!(rebuilt.is_ok(), "resident copies overlap");
        Ok(())
    }
}
