//! What a policy could learn that forgets nothing.

use vnv_persist::{Advice, Policy, Residents};

/// What a transaction costs besides its bytes, in bytes, shared among the objects of a burst: as in `vnv_core`'s adaptive policy.
const OVERHEAD: u64 = 16;

/// Counts every use of each object, in memory of its own, and takes what was used least often so far, weighted by its size: the limit of
/// what can be learned of uses that are independent of each other, and of no use where working sets change. Objects must stay resident.
#[derive(Default)]
pub struct AllUses {
    /// Of each object; its hint is the index.
    uses: Vec<u64>,
    all: u64,
}

impl Policy for AllUses {
    fn loaded(&mut self) -> u16 {
        self.all += 1;
        self.uses.push(1);
        (self.uses.len() - 1) as u16
    }

    fn hit(&mut self, hint: u16) -> u16 {
        self.all += 1;
        self.uses[usize::from(hint)] += 1;
        hint
    }

    fn advised(&mut self, hint: u16, _: Advice) -> u16 {
        hint
    }

    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let first = residents.next(u16::MAX)?;
        let candidates = std::iter::successors(Some(first), |at| residents.next(*at).filter(|next| *next != first));
        candidates.collect::<Vec<_>>().into_iter().max_by_key(|at| {
            let size = u64::from(residents.block_bytes(*at));
            (self.all << 16) / self.uses[usize::from(residents.hint(*at))] * size / (size + OVERHEAD)
        })
    }
}
