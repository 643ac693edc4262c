//! Which slots may have changed since the last commit: the table in up to 32 groups, a bit for each. What looks for changes
//! passes over the other groups; a snapshot must not take longer because the table is large.

use super::Engine;
use crate::arena::state;
use crate::entry::flag;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// Groups of slots.
const GROUPS: u16 = u32::BITS as u16;

/// The slots of the marked groups, in rising order.
#[derive(Clone, Copy, Debug)]
pub struct Changed {
    groups: u32,
    shift: u16,
    next: u16,
    used: u16,
}

impl Iterator for Changed {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        while self.next < self.used {
            let group = self.next >> self.shift;
            let rest = self.groups.checked_shr(u32::from(group))?;
            if rest & 1 != 0 {
                self.next += 1;
                return Some(self.next - 1);
            }
            if rest == 0 {
                return None;
            }
            self.next = (group + rest.trailing_zeros() as u16) << self.shift;
        }
        None
    }
}

/// Slots of a group, as a power of two, in a table of so many.
const fn shift(slots: usize) -> u16 {
    let mut shift = 0;
    while slots.saturating_sub(1) >> shift >= GROUPS as usize {
        shift += 1;
    }
    shift
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// The slots that may have changed: every one that is dirty, or has a flag or state that the next commit looks for, and their
    /// neighbours.
    pub fn changed(&self) -> Changed {
        Changed { groups: self.changed_groups, shift: shift(self.entries.len()), next: 0, used: self.used }
    }

    /// A slot changes.
    pub(super) fn mark_changed(&mut self, index: u16) {
        let group = u32::from(index >> shift(self.entries.len()));
        self.changed_groups |= 1u32.checked_shl(group).unwrap_or(0);
    }

    /// After a commit: groups in which nothing is left to look for are unmarked.
    pub(super) fn unmark_unchanged(&mut self) {
        let slots = self.changed();
        self.changed_groups = 0;
        for index in slots {
            if self.is_looked_for(index) {
                self.mark_changed(index);
            }
        }
    }

    fn is_looked_for(&self, index: u16) -> bool {
        let states = state::DIRTY | state::UNAPPLIED | state::TRANSACTION | state::BATCH;
        let flags = flag::PENDING | flag::DEAD | flag::FREED_IN_TRANSACTION;
        self.word(index) & flags != 0
            || self.resident(index).is_some_and(|resident| resident.header().state & states != 0)
    }

    /// Whether no slot outside of the marked groups is looked for. Looks at all of them: for assertions.
    pub(super) fn nothing_else_changed(&self) -> bool {
        let mut changed = self.changed().peekable();
        (0..self.used).all(|index| changed.next_if_eq(&index).is_some() || !self.is_looked_for(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_slot_belongs_to_one_of_the_groups() {
        for slots in (1..200).chain([1100, 4096, 32_767]) {
            assert!((slots - 1) >> shift(slots) < usize::from(GROUPS));
            let all = Changed { groups: u32::MAX, shift: shift(slots), next: 0, used: slots as u16 };
            assert!(all.eq(0..slots as u16));
        }
    }

    #[test]
    fn only_marked_groups_are_visited() {
        let some = Changed { groups: 1 << 3 | 1 << 31, shift: 2, next: 0, used: 127 };
        assert!(some.eq((12..16).chain(124..127)));
        let none = Changed { groups: 0, shift: 2, next: 0, used: 127 };
        assert_eq!(none.count(), 0);
    }
}
