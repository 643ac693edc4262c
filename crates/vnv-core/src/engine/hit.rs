//! Hits: objects that are resident, and in the state in which a guard wants them. No list, no bus, a few dozen instructions.
//! Whatever is not that simple is left to the operations in `load` and `change`, which also know why.

use super::Engine;
use crate::arena::{Pin, Resident, state};
use crate::entry::{ObjectId, flag};
use crate::policy::Policy;

impl<'m, D, P: Policy, R, S> Engine<'m, D, P, R, S> {
    /// A live, resident object of the type with this fingerprint.
    #[inline]
    fn hit(&mut self, id: ObjectId, fingerprint: u64) -> Option<Resident> {
        let entry = self.entries.get(usize::from(id.index))?;
        let offset = entry.resident()?;
        let info = self.types.get(usize::from(entry.type_index()).wrapping_sub(1))?;
        if entry.generation() != id.generation || !info.is_used() || info.fingerprint() != fingerprint {
            return None;
        }
        // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
        let resident = unsafe { self.arena.at(offset) };
        if resident.word() & (flag::DEAD | flag::FREED_IN_TRANSACTION) != 0 {
            return None;
        }
        Some(resident)
    }

    /// Tells the policy of a hit, once for each use.
    #[inline]
    pub(super) fn note_hit(&mut self, resident: Resident) {
        resident.set_hint(self.policy.hit(resident.hint()));
    }

    /// A hit, pinned for reading.
    #[inline]
    pub(crate) fn hit_shared(&mut self, id: ObjectId, fingerprint: u64) -> Option<(Pin<'m>, Resident)> {
        if self.geometry.guards != 0 {
            // Pins are counted against a limit.
            return None;
        }
        let resident = self.hit(id, fingerprint)?;
        let pin = Pin::shared(resident, self.attention)?;
        self.note_hit(resident);
        Some((pin, resident))
    }

    /// A hit on an object all of which is dirty already, pinned for changing it; not while a transaction or a collection wants to
    /// know of changes.
    #[inline]
    pub(crate) fn hit_mutable(&mut self, id: ObjectId, fingerprint: u64) -> Option<(Pin<'m>, Resident)> {
        if self.geometry.guards != 0 || self.mark.is_some() || self.marks.is_some() {
            return None;
        }
        let resident = self.hit(id, fingerprint)?;
        if resident.state() & (state::DIRTY | state::PARTIAL) != state::DIRTY {
            return None;
        }
        let pin = Pin::mutable(resident, self.attention)?;
        self.note_hit(resident);
        Some((pin, resident))
    }
}
