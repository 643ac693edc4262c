//! Room in the arena: who has to leave.

use super::residents::View;
use super::{Engine, EngineError};
use crate::arena::state;
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
    /// Arena room for a block, evicting as the policy says.
    pub(super) fn ram_allocate(&mut self, block_len: usize, is_slice: bool) -> Result<u16, EngineError<D>> {
        let words = self.arena_words(block_len, is_slice);
        if words > self.arena.words() {
            return Err(Error::RamFull);
        }
        if self.ram_stale {
            self.rebuild_ram()?;
        }
        loop {
            if let Some(offset) = self.ram.allocate(words, 1) {
                return Ok(offset);
            }
            if !self.ram.is_complete() {
                self.rebuild_ram()?;
                if let Some(offset) = self.ram.allocate(words, 1) {
                    return Ok(offset);
                }
            }
            self.safe_point()?;
            let mut view = View {
                entries: &self.entries[..usize::from(self.used)],
                arena: &self.arena,
                unit: self.geometry.unit,
                dirty: None,
            };
            let victim = self.policy.victim(&mut view).ok_or(Error::RamFull)?;
            match self.evict_for(victim, words) {
                // There is no place for the victim's changes now: something clean goes instead.
                Err(error) if error.commit_may_help() => {
                    let clean = (0..self.used).find(|&index| {
                        let unchanged = state::DIRTY | state::UNAPPLIED;
                        self.resident(index).is_some_and(|copy| copy.pins() == 0 && copy.state() & unchanged == 0)
                    });
                    self.drop_copy(clean.ok_or(error)?);
                }
                evicted => evicted?,
            }
        }
    }

    /// Evicts a victim; if it is smaller than the room that is wanted, its neighbours in the arena go with it.
    fn evict_for(&mut self, victim: u16, words: u16) -> Result<(), EngineError<D>> {
        match self.range(victim) {
            Some((offset, length)) if length < words => {
                if let Some(first) = self.window(offset, words) {
                    return self.evict_window(first, words);
                }
            }
            _ => {}
        }
        if self.is_dirty(victim) {
            self.sync_victim(victim)?;
        }
        self.evict(victim)
    }

    /// The arena range of a resident copy, as offset and length in words.
    fn range(&self, index: u16) -> Option<(u16, u16)> {
        let resident = self.resident(index)?;
        let is_slice = resident.state() & state::SLICE != 0;
        Some((self.slot(index).resident()?, self.arena_words(self.block_len(index), is_slice)))
    }

    /// Whether a copy overlaps the `words` words from `first` on.
    fn overlaps(&self, index: u16, first: u16, words: u16) -> bool {
        self.range(index).is_some_and(|(offset, length)| offset < first + words && first < offset + length)
    }

    /// The first word of a window in which nothing is pinned, at `from` if possible, otherwise behind pinned copies; `None`: it
    /// would reach beyond the arena.
    fn window(&self, from: u16, words: u16) -> Option<u16> {
        let last = self.arena.words() - words;
        let mut first = from.min(last);
        // Marks of a collection lie in the arena too.
        if self.marks.is_some() {
            return None;
        }
        while let Some(pinned) =
            (0..self.used).find(|&index| self.is_pinned(index) && self.overlaps(index, first, words))
        {
            let (offset, length) = self.range(pinned)?;
            first = offset + length;
            if first > last {
                return None;
            }
        }
        Some(first)
    }

    /// Evicts everything in a window of the arena: what is dirty in one write, if fresh places adjoin.
    fn evict_window(&mut self, first: u16, words: u16) -> Result<(), EngineError<D>> {
        let mut units = 0u16;
        for index in 0..self.used {
            if self.overlaps(index, first, words) && self.is_dirty(index) {
                units = units.saturating_add(self.choose_one(index));
            }
        }
        self.write_chosen(Ok(units))?;
        for index in 0..self.used {
            if self.overlaps(index, first, words) {
                self.evict(index)?;
            }
        }
        Ok(())
    }

    /// Evicts an object: syncs it if it is dirty, applies its delta if one is open, and drops the copy.
    ///
    /// Cost: clean 0; dirty one write of the block.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyBorrowed`] if it is pinned; errors of a sync.
    pub fn evict(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let Some(resident) = self.resident(index) else { return Ok(()) };
        if resident.pins() != 0 {
            return Err(Error::AlreadyBorrowed);
        }
        if resident.state() & state::DIRTY != 0 {
            self.sync_object(index)?;
        } else if resident.state() & state::UNAPPLIED != 0 && !fault!(EvictWithoutDelta) {
            self.apply_delta(index)?;
        }
        self.drop_copy(index);
        Ok(())
    }

    /// Evicts everything that no guard is open on: what is dirty in one write, if fresh places adjoin.
    ///
    /// # Errors
    ///
    /// Errors of a sync; what was evicted until then is.
    pub fn evict_all(&mut self) -> Result<(), EngineError<D>> {
        let mut units = 0u16;
        for index in self.changed() {
            if self.is_dirty(index) && !self.is_pinned(index) {
                units = units.saturating_add(self.choose_one(index));
            }
        }
        self.write_chosen(Ok(units))?;
        let mut empty = self.marks.is_none();
        for index in 0..self.used {
            if self.is_pinned(index) {
                empty = false;
            } else {
                self.evict(index)?;
            }
        }
        if empty {
            self.ram.reset(self.arena.words());
            self.ram_stale = false;
        }
        Ok(())
    }

    /// Drops a copy and gives its arena range back; flags and tag return to the entry.
    pub(super) fn drop_copy(&mut self, index: u16) {
        let entry = self.slot(index);
        let (Some(offset), Some(resident)) = (entry.resident(), self.resident(index)) else { return };
        let header = resident.header();
        let is_slice = header.state & state::SLICE != 0;
        let words = self.arena_words(self.block_len(index), is_slice);
        self.change_slot(index, |entry| entry.set_word(header.word));
        self.ram_free(offset, words);
    }
}
