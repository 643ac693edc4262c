//! The candidates of a choice, as the policy sees them.

use super::changed::Changed;
use crate::arena::{Arena, MUTABLE, Resident, state};
use crate::entry::Entry;
use crate::policy::Residents;

/// The residents that may be evicted, or the dirty objects that may be synced.
pub(super) struct View<'e, 'm> {
    pub entries: &'e [Entry],
    pub arena: &'e Arena<'m>,
    pub unit: u32,
    /// The slots among which dirty objects are looked for; `None`: anything may go that no guard is open on.
    pub dirty: Option<Changed>,
}

impl View<'_, '_> {
    fn resident(&self, index: u16) -> Option<Resident> {
        let offset = self.entries.get(usize::from(index))?.resident()?;
        // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
        Some(unsafe { self.arena.at(offset) })
    }

    fn is_candidate(&self, index: u16) -> bool {
        let Some(resident) = self.resident(index) else { return false };
        // What is chosen for the running batch is not chosen twice.
        let among = state::DIRTY | state::BATCH;
        match self.dirty {
            Some(_) => resident.state() & among == state::DIRTY && resident.pins() != MUTABLE,
            // A copy that only a running transaction's rollback needs must be written before it may leave; it is
            // chosen like any other.
            None => resident.pins() == 0,
        }
    }
}

impl Residents for View<'_, '_> {
    fn slots(&self) -> u16 {
        self.entries.len() as u16
    }
    fn next(&self, after: u16) -> Option<u16> {
        let first = if after < self.slots() { after + 1 } else { 0 };
        match self.dirty {
            Some(dirty) => dirty
                .starting_at(first)
                .chain(dirty.take_while(|index| *index < first))
                .find(|index| self.is_candidate(*index)),
            None => (first..self.slots()).chain(0..first).find(|index| self.is_candidate(*index)),
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
