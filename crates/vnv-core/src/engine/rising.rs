//! Ranges in rising order, without memory for all of them.

/// Ranges that one pass finds.
const FOUND: usize = 32;

/// Ranges that are looked at between two questions whether to stop.
const UNASKED: usize = 8;

/// Gives ranges in rising order of their starts, whatever order they are stored in: the lowest few that were not given yet are
/// found by a pass through all. Of ranges with one start the shortest is given.
#[derive(Default)]
pub(super) struct Rising {
    found: [(u16, u16); FOUND],
    len: usize,
    given: usize,
    /// The start of the last one found.
    after: Option<u16>,
    /// The last pass found the last ones, or was stopped.
    done: bool,
}

impl Rising {
    /// The next range. `ranges` gives all of them, in any order, the same each time; `stop` ends the ranges early.
    ///
    /// Cost: a pass for every 32 ranges, and in it at most 32 moves for each range.
    pub fn next(
        &mut self,
        ranges: impl Iterator<Item = (u16, u16)>,
        stop: &mut impl FnMut() -> bool,
    ) -> Option<(u16, u16)> {
        if self.given == self.len && !self.done {
            (self.len, self.given) = (0, 0);
            let after = self.after;
            for (at, range) in ranges.enumerate() {
                if at % UNASKED == 0 && stop() {
                    (self.len, self.done) = (0, true);
                    return None;
                }
                if after.is_none_or(|after| range.0 > after) && self.is_among_the_lowest(range.0) {
                    self.insert(range);
                }
            }
            self.after = self.lowest().last().map(|(start, _)| *start);
            self.done = self.len < FOUND;
        }
        let next = self.lowest().get(self.given).copied()?;
        self.given += 1;
        Some(next)
    }

    fn lowest(&self) -> &[(u16, u16)] {
        self.found.get(..self.len).unwrap_or_default()
    }

    fn is_among_the_lowest(&self, start: u16) -> bool {
        self.found.get(self.len).is_some() || self.found.last().is_some_and(|last| start <= last.0)
    }

    /// Puts a range in its place; the highest one falls out if there are too many.
    fn insert(&mut self, range: (u16, u16)) {
        let at = self.lowest().iter().rposition(|other| other.0 < range.0).map_or(0, |below| below + 1);
        if let Some(same) = self.found.get_mut(at).filter(|other| at < self.len && other.0 == range.0) {
            same.1 = same.1.min(range.1);
            return;
        }
        self.len = FOUND.min(self.len + 1);
        if let Some(behind) = self.found.get_mut(at..self.len) {
            behind.iter_mut().fold(range, |range, place| core::mem::replace(place, range));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: if cfg!(miri) { 8 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn as_sorted_by_start_without_the_longer_ones(ranges in prop::collection::vec((0u16..90, 1u16..4), 0..80)) {
            let mut sorted = ranges.clone();
            sorted.sort_unstable();
            sorted.dedup_by_key(|range| range.0);
            let mut rising = Rising::default();
            let found: Vec<_> = core::iter::from_fn(|| rising.next(ranges.iter().copied(), &mut || false)).collect();
            prop_assert_eq!(found, sorted);
        }

        #[test]
        fn nothing_comes_behind_a_stop_or_the_end(ranges in prop::collection::vec((0u16..90, 1u16..4), 1..80), at in 0u32..80) {
            let (mut rising, mut left) = (Rising::default(), at);
            let mut stop = || { left = left.saturating_sub(1); left == 0 };
            let mut found = Vec::new();
            while let Some(next) = rising.next(ranges.iter().copied(), &mut stop) {
                found.push(next);
            }
            prop_assert!(found.is_sorted_by(|one, other| one.0 < other.0));
            for _ in 0..3 {
                prop_assert_eq!(rising.next(ranges.iter().copied(), &mut || false), None);
            }
        }
    }
}
