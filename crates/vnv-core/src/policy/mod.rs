//! Object management: which resident object has to leave the arena, and which dirty one has to be written when the dirty limit is
//! reached.
//!
//! | policy | state | choose it when |
//! |---|---|---|
//! | [`Adaptive`] | 4 bytes | anything else: it learns how often each object is used, resists scans, and knows sizes |
//! | [`Clock`] | 2 bytes | code size counts, and recency is all there is to know |
//! | [`FirstFound`] | none | objects are used in the order of their allocation, or nothing ever has to leave |
//!
//! The policy is the third type parameter of a heap: `Heap<'_, Fram, Memory<…>, Clock>`. What it is worth depends on the program; the
//! workloads of the book show each of them with each policy (`cargo xtask bench`): `FirstFound` is ahead where
//! objects are used round robin, `Clock` where a few neighbours are used for a while, `Adaptive` nowhere far behind.

mod adaptive;
mod clock;
mod first_found;

pub use adaptive::Adaptive;
pub use clock::Clock;
pub use first_found::FirstFound;

/// The candidates, and what a policy may ask about them: resident objects that may be evicted, or dirty ones that may be synced.
pub trait Residents {
    /// Slots of the object table; indices are below it.
    fn slots(&self) -> u16;
    /// The first candidate behind the slot `after`, going round the table at its end (an `after` beyond the table: the first of all);
    /// `None`: there are none.
    fn next(&self, after: u16) -> Option<u16>;
    /// The policy's word of a resident object, 0 if it is not resident.
    fn hint(&self, index: u16) -> u16;
    /// Sets the policy's word.
    fn set_hint(&mut self, index: u16, hint: u16);
    /// Whether the object leaves at the price of a write.
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
    /// It will not be used soon: the first to evict; of several, the one that was advised last.
    WontNeed,
}

/// Chooses the object to evict or to sync. Two bytes per resident object (`hint`) are the policy's own.
///
/// It should not panic. If it does, and the panic is caught, nothing is lost, but room in the arena may stay taken until the next reboot.
pub trait Policy {
    /// The hint of an object that has just become resident.
    fn loaded(&mut self) -> u16;
    /// The hint after a hit. On the hot path: a few instructions.
    fn hit(&mut self, hint: u16) -> u16;
    /// The hint after a use that was not as simple: a clean object was changed, or it was used in a transaction, or where guards are
    /// counted.
    fn used(&mut self, hint: u16) -> u16 {
        self.hit(hint)
    }
    /// The hint after advice.
    fn advised(&mut self, hint: u16, advice: Advice) -> u16;
    /// The candidate that goes next, or `None` if there are none. A slot that is no candidate counts as `None`.
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16>;
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Candidates with hints; `None`: the slot holds nothing that may leave.
    pub(super) struct Table(pub Vec<Option<u16>>);

    impl Residents for Table {
        fn slots(&self) -> u16 {
            self.0.len() as u16
        }
        fn next(&self, after: u16) -> Option<u16> {
            let slots = self.slots();
            let first = if after < slots { after + 1 } else { 0 };
            (first..slots).chain(0..first.min(slots)).find(|&index| self.0[usize::from(index)].is_some())
        }
        fn hint(&self, index: u16) -> u16 {
            self.0[usize::from(index)].unwrap_or(0)
        }
        fn set_hint(&mut self, index: u16, hint: u16) {
            self.0[usize::from(index)] = Some(hint);
        }
        fn is_dirty(&self, _: u16) -> bool {
            false
        }
        fn block_bytes(&self, _: u16) -> u32 {
            32
        }
    }

    fn ends_on_any_table(mut policy: impl Policy) {
        for slots in 0..40usize {
            let mut table = Table((0..slots).map(|at| (at % 3 == 0).then(|| policy.loaded())).collect());
            for _ in 0..2 * slots {
                match policy.victim(&mut table) {
                    Some(victim) => assert!(table.0[usize::from(victim)].take().is_some()),
                    None => assert!(table.0.iter().all(Option::is_none)),
                }
            }
        }
    }

    #[test]
    fn victims_are_candidates_and_all_of_them_leave() {
        ends_on_any_table(FirstFound);
        ends_on_any_table(Clock::default());
        ends_on_any_table(Adaptive::default());
    }

    fn advice_decides(mut policy: impl Policy) {
        let mut table = Table((0..20).map(|_| Some(policy.loaded())).collect());
        let unneeded = policy.advised(table.hint(13), Advice::WontNeed);
        table.set_hint(13, unneeded);
        assert_eq!(policy.victim(&mut table), Some(13));
    }

    #[test]
    fn what_will_not_be_needed_leaves_first() {
        advice_decides(FirstFound);
        advice_decides(Clock::default());
        advice_decides(Adaptive::default());
    }
}
