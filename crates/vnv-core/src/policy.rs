//! Object management: which resident object has to leave the arena.

/// What a policy may ask about the resident objects.
pub trait Residents {
    /// Slots of the object table; indices are below it.
    fn slots(&self) -> u16;
    /// The policy's word of the object in this slot, or `None` if the slot holds nothing that may be evicted now.
    fn hint(&self, index: u16) -> Option<u16>;
    /// Sets the policy's word.
    fn set_hint(&mut self, index: u16, hint: u16);
    /// Whether evicting the object costs a write.
    fn is_dirty(&self, index: u16) -> bool;
    /// Bytes of the object's block.
    fn block_bytes(&self, index: u16) -> u32;
}

/// What an application or a collection knows about an object's future.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Advice {
    /// It will be used soon.
    WillNeed,
    /// It will not be used soon: the first to evict.
    WontNeed,
}

/// Chooses the object to evict. Two bytes per resident object (`hint`) are the policy's own.
pub trait Policy {
    /// The hint of an object that has just become resident.
    fn loaded(&mut self) -> u16;
    /// The hint after a hit. On the hot path: a few instructions.
    fn hit(&mut self, hint: u16) -> u16;
    /// The hint after advice.
    fn advised(&mut self, hint: u16, advice: Advice) -> u16;
    /// The object to evict next, or `None` if nothing may be evicted.
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16>;
}

/// Evicts the first object that may leave. No state, no memory; good when objects are used in allocation order.
#[derive(Clone, Copy, Debug, Default)]
pub struct FirstFound;

impl Policy for FirstFound {
    fn loaded(&mut self) -> u16 {
        0
    }
    fn hit(&mut self, hint: u16) -> u16 {
        hint
    }
    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        u16::from(advice == Advice::WontNeed)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let unneeded = (0..residents.slots()).find(|&index| residents.hint(index) == Some(1));
        unneeded.or_else(|| (0..residents.slots()).find(|&index| residents.hint(index).is_some()))
    }
}

/// Second chance: a hand goes round the table and evicts the first object not used since it last came by.
#[derive(Clone, Copy, Debug, Default)]
pub struct Clock {
    hand: u16,
}

impl Policy for Clock {
    fn loaded(&mut self) -> u16 {
        1
    }
    fn hit(&mut self, _: u16) -> u16 {
        1
    }
    fn advised(&mut self, _: u16, advice: Advice) -> u16 {
        u16::from(advice == Advice::WillNeed)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let slots = residents.slots();
        for _ in 0..2 * u32::from(slots) {
            self.hand = if self.hand + 1 < slots { self.hand + 1 } else { 0 };
            match residents.hint(self.hand) {
                Some(0) => return Some(self.hand),
                Some(_) => residents.set_hint(self.hand, 0),
                None => {}
            }
        }
        None
    }
}
