//! Room in the arena: who has to leave.

use super::residents::Candidates;
use super::{Engine, EngineError};
use crate::arena::{arena_words, state};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

/// Copies that leave the arena before its allocator is rebuilt to look for forgotten ranges, while there is a victim to evict instead.
const DROPPED_BEFORE_REBUILD: u8 = 64;

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Arena room of so many words, evicting as the policy says.
    pub(super) fn ram_allocate(&mut self, words: usize) -> Result<u16, EngineError<D>> {
        if words > usize::from(self.arena.words()) {
            return Err(Error::RamFull);
        }
        let words = words as u16;
        if self.ram_stale {
            self.rebuild_ram()?;
        }
        let mut evicted = false;
        loop {
            if let Some(offset) = self.ram.allocate(words, 1) {
                return Ok(offset);
            }
            // What was evicted a moment ago may lie beside ranges that the allocator has forgotten; otherwise it is worth its time only rarely.
            let searched = evicted || self.copies_dropped >= DROPPED_BEFORE_REBUILD;
            if searched && let Some(offset) = self.ram_search(words)? {
                return Ok(offset);
            }
            let Some(victim) = self.victim(Candidates::Evictable)? else {
                let found = if searched { None } else { self.ram_search(words)? };
                return found.ok_or(Error::RamFull);
            };
            evicted = true;
            match self.evict_for(victim, words) {
                // There is no place for the victim's changes now: something clean goes instead.
                Err(error) if error.commit_may_help() => {
                    let clean = self.victim(Candidates::Clean)?;
                    self.drop_copy(clean.ok_or(error)?);
                }
                done => done?,
            }
        }
    }

    /// Arena room among the ranges that the allocator has forgotten, if there may be any: a pass through the slots for every 32 residents.
    fn ram_search(&mut self, words: u16) -> Result<Option<u16>, EngineError<D>> {
        if self.ram.is_complete() {
            return Ok(None);
        }
        self.rebuild_ram()?;
        Ok(self.ram.allocate(words, 1))
    }

    /// Evicts a victim; if it is smaller than the room that is wanted, its neighbours in the arena go with it.
    fn evict_for(&mut self, victim: u16, words: u16) -> Result<(), EngineError<D>> {
        match self.range(victim) {
            Some((offset, length)) if length < words => {
                // One behind pinned copies may hold nothing that could leave: an aligned range may be wanted.
                if let Some(first) = self.window(offset, words)?.filter(|first| self.overlaps(victim, *first, words)) {
                    return self.evict_where(&|engine, index| engine.overlaps(index, first, words));
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
    pub(super) fn range(&self, index: u16) -> Option<(u16, u16)> {
        let resident = self.resident(index)?;
        let is_slice = resident.state() & state::SLICE != 0;
        Some((self.slot(index).resident()?, arena_words(self.block_len(index), is_slice) as u16))
    }

    /// Whether a copy overlaps the `words` words from `first` on.
    fn overlaps(&self, index: u16, first: u16, words: u16) -> bool {
        self.range(index).is_some_and(|(offset, length)| offset < first + words && first < offset + length)
    }

    /// The first word of a window in which nothing is pinned, at `from` if possible, otherwise behind pinned copies; `None`: it
    /// would reach beyond the arena.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], before each slot.
    fn window(&self, from: u16, words: u16) -> Result<Option<u16>, EngineError<D>> {
        let last = self.arena.words() - words;
        // Marks of a collection lie in the arena too.
        if self.marks.is_some() {
            return Ok(None);
        }
        let (mut first, mut index) = (from.min(last), 0);
        while index < self.used {
            self.safe_point()?;
            index += 1;
            if let Some((offset, length)) = self.range(index - 1)
                && self.is_pinned(index - 1)
                && self.overlaps(index - 1, first, words)
            {
                // Behind it: it is met no more.
                (first, index) = (offset + length, 0);
                if first > last {
                    return Ok(None);
                }
            }
        }
        Ok(Some(first))
    }

    /// Evicts the copies that are to leave: what is dirty in one write, if fresh places adjoin.
    ///
    /// # Errors
    ///
    /// Errors of a sync, [`Error::Interrupted`] at each slot; what was evicted until then is.
    fn evict_where(&mut self, leaves: &dyn Fn(&Self, u16) -> bool) -> Result<(), EngineError<D>> {
        let chosen = self.choose_where(&mut |engine, index, _| Ok(leaves(engine, index)));
        self.write_chosen(chosen)?;
        for index in 0..self.used {
            self.safe_point()?;
            if leaves(self, index) {
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
        self.evict_where(&|engine, index| !engine.is_pinned(index))?;
        let mut rest = (0..self.used).filter(|&index| self.is_resident(index));
        if rest.next().is_none() && self.marks.is_none() {
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
        let words = arena_words(self.block_len(index), is_slice) as u16;
        self.change_slot(index, |entry| entry.set_word(header.word));
        self.copies_dropped = self.copies_dropped.saturating_add(1);
        self.ram_free(offset, words);
    }
}
