//! Hits: objects that are resident, and in the state in which a guard wants them. No list, no bus, a few dozen instructions.
//! Whatever is not that simple is left to the operations in `load` and `change`, which also know why.

use super::{Engine, TypeKey};
use crate::arena::{MUTABLE, Resident, state};
use crate::policy::Policy;

impl<D, P: Policy, R, S> Engine<'_, D, P, R, S> {
    /// A live, resident object of `key`'s type.
    #[inline]
    fn hit(&mut self, index: usize, generation: i32, key: &'static TypeKey) -> Option<Resident> {
        let entry = self.entries.get(index)?;
        let offset = entry.resident_bytes()?;
        // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
        let resident = unsafe { self.arena.at_bytes(offset) };
        // A copy of a freed object has a generation below 0, a handle has not.
        if i32::from(resident.generation()) != generation {
            return None;
        }
        let row = usize::from(entry.type_index()).wrapping_sub(1);
        let info = self.types.get_mut(row)?;
        if !info.has_key(key) && !info.learns_key(key) {
            return None;
        }
        Some(resident)
    }

    /// Tells the policy of a hit, once for each use. It may panic: the copy is not pinned yet.
    #[inline]
    fn note_hit(&mut self, resident: Resident) {
        resident.set_hint(self.policy.hit(resident.hint()));
    }

    /// A hit, pinned for reading. Not where pinned objects are counted.
    #[inline]
    pub(crate) fn hit_shared(&mut self, index: usize, generation: i32, key: &'static TypeKey) -> Option<Resident> {
        let resident = self.hit(index, generation, key)?;
        self.note_hit(resident);
        if resident.pin_quickly() { Some(resident) } else { None }
    }

    /// A hit on an object all of which is dirty already, pinned for changing it and counted as open; not where pinned objects are
    /// counted, nor while a transaction or a collection wants to know of changes.
    #[inline]
    pub(crate) fn hit_mutable(&mut self, index: usize, generation: i32, key: &'static TypeKey) -> Option<Resident> {
        let resident = self.hit(index, generation, key)?;
        let dirty = resident.state() & (state::DIRTY | state::PARTIAL) == state::DIRTY;
        if !dirty || resident.pins() != 0 {
            return None;
        }
        self.note_hit(resident);
        resident.set_pins(MUTABLE);
        self.attention.opened();
        Some(resident)
    }
}
