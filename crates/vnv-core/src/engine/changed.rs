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
    /// Groups not begun yet, the next one first.
    groups: u32,
    /// First slot of that group.
    base: u16,
    shift: u16,
    next: u16,
    /// Of the group that was begun.
    end: u16,
    used: u16,
}

impl Changed {
    const fn new(groups: u32, shift: u16, used: u16) -> Self {
        Self { groups, base: 0, shift, next: 0, end: 0, used }
    }

    /// Those of the slots that are not below `first`.
    pub(super) fn starting_at(self, first: u16) -> impl Iterator<Item = u16> {
        let group = first >> self.shift;
        let groups = self.groups.checked_shr(u32::from(group)).unwrap_or(0);
        Self { groups, base: group << self.shift, ..self }.skip_while(move |index| *index < first)
    }
}

impl Iterator for Changed {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.next >= self.end {
            if self.groups == 0 {
                return None;
            }
            let skip = self.groups.trailing_zeros();
            self.next = self.base + ((skip as u16) << self.shift);
            self.base = self.next + (1 << self.shift);
            // In two steps: all bits may be passed over.
            self.groups = self.groups >> skip >> 1;
            self.end = self.base.min(self.used);
            if self.next >= self.end {
                return None;
            }
        }
        self.next += 1;
        Some(self.next - 1)
    }
}

/// Slots of a group, as a power of two, in a table of so many.
pub(super) const fn shift(slots: usize) -> u16 {
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
        Changed::new(self.changed_groups, u16::from(self.shifts >> 4), self.used)
    }

    /// A slot changes.
    pub(super) fn mark_changed(&mut self, index: u16) {
        // No more than there are bits.
        self.changed_groups |= 1 << (u32::from(index >> (self.shifts >> 4)) % u32::BITS);
    }

    /// No group is marked from here on; returns the slots of those that were.
    pub(super) fn unmark_all(&mut self) -> Changed {
        let slots = self.changed();
        self.changed_groups = 0;
        slots
    }

    /// Whether the next commit or snapshot has to look at the slot.
    #[inline]
    pub(super) fn is_looked_for(&self, index: u16) -> bool {
        let states = state::DIRTY | state::UNAPPLIED | state::TRANSACTION | state::BATCH;
        let flags = flag::PENDING | flag::DEAD | flag::FREED_IN_TRANSACTION;
        match self.resident(index) {
            Some(copy) => copy.word() & flags != 0 || copy.state() & states != 0,
            None => self.slot(index).word() & flags != 0,
        }
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
            let all = Changed::new(u32::MAX, shift(slots), slots as u16);
            assert!(all.eq(0..slots as u16));
        }
    }

    #[test]
    fn only_marked_groups_are_visited() {
        let some = Changed::new(1 << 3 | 1 << 31, 2, 127);
        assert!(some.into_iter().eq((12..16).chain(124..127)));
        let none = Changed::new(0, 2, 127);
        assert_eq!(none.count(), 0);
        for first in 0..140 {
            assert!(some.starting_at(first).eq(some.filter(|index| *index >= first)), "{first}");
        }
    }
}
