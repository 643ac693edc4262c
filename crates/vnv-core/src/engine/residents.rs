//! The candidates of a choice, as the policy sees them.

use super::changed::Changed;
use super::{Engine, EngineError};
use crate::arena::{Arena, MUTABLE, Resident, state};
use crate::attention::Attention;
use crate::entry::Entry;
use crate::error::Error;
use crate::policy::{Policy, Residents};
use core::cell::Cell;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// Among which objects the policy picks.
#[derive(Clone, Copy)]
pub(super) enum Candidates {
    /// Copies that no guard is open on.
    Evictable,
    /// Those of them whose blocks in storage are as they are.
    Clean,
    /// Dirty objects among these slots that no mutable guard is open on.
    Dirty(Changed),
}

/// The candidates of one choice.
struct View<'e, 'm> {
    entries: &'e [Entry],
    arena: &'e Arena<'m>,
    unit: u32,
    candidates: Candidates,
    attention: &'m Attention,
    /// An alarm came during the search: there were no candidates from then on.
    interrupted: Cell<bool>,
}

impl View<'_, '_> {
    fn resident(&self, index: u16) -> Option<Resident> {
        let offset = self.entries.get(usize::from(index))?.resident()?;
        // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
        Some(unsafe { self.arena.at(offset) })
    }

    fn is_candidate(&self, index: u16) -> bool {
        let Some(resident) = self.resident(index) else { return false };
        let state = resident.state();
        match self.candidates {
            // A copy that only a running transaction's rollback needs must be written before it may leave; it is
            // chosen like any other.
            Candidates::Evictable => resident.pins() == 0,
            Candidates::Clean => resident.pins() == 0 && state & (state::DIRTY | state::UNAPPLIED) == 0,
            // What is chosen for the running batch is not chosen twice.
            Candidates::Dirty(_) => state & (state::DIRTY | state::BATCH) == state::DIRTY && resident.pins() != MUTABLE,
        }
    }

    /// The first candidate among these slots, up to an alarm.
    fn first(&self, mut slots: impl Iterator<Item = u16>) -> Option<u16> {
        let found = slots.find(|index| {
            if self.attention.interrupts() {
                self.interrupted.set(true);
            }
            self.interrupted.get() || self.is_candidate(*index)
        });
        found.filter(|_| !self.interrupted.get())
    }
}

impl Residents for View<'_, '_> {
    fn slots(&self) -> u16 {
        self.entries.len() as u16
    }
    fn next(&self, after: u16) -> Option<u16> {
        let first = if after < self.slots() { after + 1 } else { 0 };
        match self.candidates {
            Candidates::Dirty(among) => {
                self.first(among.starting_at(first).chain(among.take_while(|index| *index < first)))
            }
            _ => self.first((first..self.slots()).chain(0..first)),
        }
    }
    fn hint(&self, index: u16) -> u16 {
        self.resident(index).map_or(0, Resident::hint)
    }
    fn set_hint(&mut self, index: u16, hint: u16) {
        if let Some(resident) = self.resident(index) {
            resident.set_hint(hint);
        }
    }
    fn is_dirty(&self, index: u16) -> bool {
        self.resident(index).is_some_and(|resident| resident.state() & state::DIRTY != 0)
    }
    fn block_bytes(&self, index: u16) -> u32 {
        self.entries.get(usize::from(index)).map_or(0, |entry| u32::from(entry.units()) * self.unit)
    }
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// The object that the policy picks; `None`: there is no candidate.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], at each slot.
    pub(super) fn victim(&mut self, candidates: Candidates) -> Result<Option<u16>, EngineError<D>> {
        let mut view = View {
            entries: &self.entries[..usize::from(self.used)],
            arena: &self.arena,
            unit: self.geometry.unit,
            candidates,
            attention: self.attention,
            interrupted: Cell::new(self.attention.interrupts()),
        };
        // A policy is safe code of the program's: it may name anything.
        let victim = self.policy.victim(&mut view).filter(|victim| view.is_candidate(*victim));
        if view.interrupted.get() { Err(Error::Interrupted) } else { Ok(victim) }
    }
}
