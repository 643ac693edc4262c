//! First fit over a sorted array of free ranges.

#[cfg(test)]
use core::cell::Cell;

use crate::allocator::{OffsetAllocator, RangeError, gaps};

/// A free range: start in the upper half, length in the lower. One of length 0 is vacant: what stood there was taken whole.
/// So ranges are in order of their start as numbers are.
type Range = u32;

const fn range(start: u32, len: u32) -> Range {
    start << 16 | len
}

const fn start_of(range: Range) -> u32 {
    range >> 16
}

const fn len_of(range: Range) -> u32 {
    range & 0xFFFF
}

/// Behind the range: at most the capacity.
const fn end_of(range: Range) -> u32 {
    start_of(range) + len_of(range)
}

/// The range without its first `len` units.
const fn without_front(range: Range, len: u32) -> Range {
    range.wrapping_add((len << 16).wrapping_sub(len))
}

/// The range with `len` units more in front.
const fn with_front(range: Range, len: u32) -> Range {
    range.wrapping_sub((len << 16).wrapping_sub(len))
}

/// First fit over a sorted array of at most `RANGES` free ranges.
///
/// RAM: `4 * RANGES + 16` bytes. When one range more is needed than there is room for, the smallest is forgotten;
/// [`is_complete`](OffsetAllocator::is_complete) tells, and a rebuild brings it back. The largest ranges are kept. A
/// forgotten range counts as in use, so freeing its units again is not refused: it makes them known again.
///
/// # Steps
///
/// In ranges read or moved, with `r` known ones; one that was taken whole leaves its room vacant, and counts until its units are freed
/// or its room is needed:
///
/// - [`allocate`](OffsetAllocator::allocate) reads `r`; 1 where the first range, or the first that was large enough the last time,
///   is large enough.
/// - [`allocate_from`](OffsetAllocator::allocate_from) looks for its place in log2(r) + 1, and reads `2 * r`; 1 where it goes on from
///   the last call.
/// - [`free`](OffsetAllocator::free) and [`reserve`](OffsetAllocator::reserve) look for their place in log2(r) + 1; freeing takes 1 for what was taken
///   last, from the front of a range.
/// - Where one range becomes two, those behind it move up to the first vacant room; where two become one, all behind them move. Without room for
///   one more, `r` are read and `r` moved to forget one.
/// - A rebuild reads and moves `RANGES` for each gap beyond the first `RANGES`.
#[derive(Clone, Debug)]
pub struct SortedArray<const RANGES: usize>(Sorted<[Range; RANGES]>);

/// The array; its code is there once for all lengths.
#[derive(Clone, Debug)]
struct Sorted<A: ?Sized> {
    /// Ranges known, vacant ones too.
    count: u16,
    /// Where the last allocation ended, if that is still there: an index.
    near: u16,
    capacity: u16,
    free: u16,
    /// No range before the one with this index has `large` units or more.
    large_at: u16,
    large: u16,
    /// A free range was forgotten for want of room.
    forgotten: bool,
    #[cfg(test)]
    steps: Cell<u32>,
    /// In order; the end of each lies before the start of the next: no two adjoin.
    ranges: A,
}

impl<const RANGES: usize> SortedArray<RANGES> {
    /// An allocator of nothing; see [`reset`](OffsetAllocator::reset). Less than 2 ranges do not compile.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(RANGES >= 2 && RANGES < 1 << 15, "2 to 32,767 ranges") };
        Self(Sorted {
            count: 0,
            near: 0,
            capacity: 0,
            free: 0,
            large_at: 0,
            large: 0,
            forgotten: false,
            #[cfg(test)]
            steps: Cell::new(0),
            ranges: [0; RANGES],
        })
    }

    const fn sorted(&mut self) -> &mut Sorted<[Range]> {
        &mut self.0
    }
}

impl Sorted<[Range]> {
    /// Ranges were read or moved.
    #[inline]
    #[cfg_attr(not(test), expect(unused_variables, clippy::unused_self, reason = "the tests count"))]
    fn step(&self, ranges: usize) {
        #[cfg(test)]
        self.steps.set(self.steps.get() + ranges as u32);
    }

    /// Nothing is free.
    fn clear(&mut self, capacity: u16) {
        (self.count, self.near, self.large_at, self.large) = (0, 0, 0, 0);
        (self.capacity, self.free, self.forgotten) = (capacity, 0, false);
    }

    fn known(&self) -> &[Range] {
        self.ranges.get(..usize::from(self.count)).unwrap_or_default()
    }

    fn known_mut(&mut self) -> &mut [Range] {
        self.ranges.get_mut(..usize::from(self.count)).unwrap_or_default()
    }

    /// Number of ranges that begin at `place` or before it.
    #[inline]
    fn up_to(&self, place: u32) -> usize {
        let (known, last) = (self.known(), range(place, 0xFFFF));
        let (mut at, mut rest) = (0, known.len());
        while rest != 0 {
            self.step(1);
            let half = rest / 2;
            if known.get(at + half).is_some_and(|range| *range <= last) {
                at += half + 1;
                rest -= half + 1;
            } else {
                rest = half;
            }
        }
        at
    }

    /// The range at `at` is new, or has grown.
    #[inline]
    fn has_grown(&mut self, at: usize, len: u32) {
        if at < usize::from(self.large_at) && len >= u32::from(self.large) {
            self.large_at = at as u16;
        }
    }

    /// Puts a range in front of those from `at` on, which move up to the first vacant room.
    #[inline(never)]
    fn insert(&mut self, at: usize, new: Range) {
        self.has_grown(at, len_of(new));
        let mut moved = new;
        let mut behind = at;
        for room in self.known_mut().get_mut(at..).unwrap_or_default() {
            moved = core::mem::replace(room, moved);
            if len_of(moved) == 0 {
                break;
            }
            behind += 1;
        }
        self.step(behind - at);
        let near = usize::from(self.near);
        self.near += u16::from(near >= at && near < behind);
        if len_of(moved) != 0 {
            self.push(moved);
        }
    }

    /// Puts a range behind all others. Without room the smallest is forgotten.
    fn push(&mut self, last: Range) {
        if usize::from(self.count) == self.ranges.len() && !self.make_room(last) {
            return;
        }
        let count = usize::from(self.count);
        if let Some(room) = self.ranges.get_mut(count) {
            *room = last;
            self.count += 1;
        }
    }

    /// Removes a vacant range, or forgets the smallest one; `false`: that is `last`.
    #[cold]
    #[inline(never)]
    fn make_room(&mut self, last: Range) -> bool {
        let mut smallest = (len_of(last), None);
        for (at, range) in self.known().iter().enumerate() {
            self.step(1);
            if len_of(*range) < smallest.0 {
                smallest = (len_of(*range), Some(at));
            }
        }
        self.forgotten |= smallest.0 != 0;
        self.free -= smallest.0 as u16;
        if let Some(at) = smallest.1 {
            self.remove(at);
        }
        smallest.1.is_some()
    }

    /// Takes a range out; those behind it move down.
    #[inline(never)]
    fn remove(&mut self, at: usize) {
        let mut moved = 0;
        for room in self.known_mut().get_mut(at..).unwrap_or_default().iter_mut().rev() {
            moved = core::mem::replace(room, moved);
        }
        self.count -= 1;
        self.step(usize::from(self.count) - at);
        self.near -= u16::from(usize::from(self.near) > at);
        self.large_at -= u16::from(usize::from(self.large_at) > at);
    }

    /// Takes `len` units from `start` on out of the free range at `at`.
    #[inline(never)]
    fn carve(&mut self, at: usize, start: u32, len: u32) -> u16 {
        self.free -= len as u16;
        let Some(place) = self.known_mut().get_mut(at) else { return start as u16 };
        let (first, behind, end) = (start_of(*place), start + len, end_of(*place));
        if start == first {
            *place = without_front(*place, len);
            self.near = at as u16;
            return start as u16;
        }
        *place = range(first, start - first);
        self.near = at as u16;
        if behind != end {
            self.insert(at + 1, range(behind, end - behind));
        }
        self.near += 1;
        start as u16
    }

    /// Where a search for `len` units from the beginning begins.
    #[inline]
    const fn begin(&self, len: u32) -> u16 {
        if len >= self.large as u32 { self.large_at } else { 0 }
    }

    #[inline(never)]
    fn allocate_from(&mut self, from: u32, len: u32, align: u16) -> Option<u16> {
        // Often it is the front of the first range that comes into question.
        let at = if from == 0 { self.begin(len) } else { self.near };
        match self.known_mut().get_mut(usize::from(at)) {
            Some(range)
                if align <= 1 && len != 0 && len_of(*range) >= len && (from == 0 || start_of(*range) == from) =>
            {
                let start = start_of(*range);
                *range = without_front(*range, len);
                self.near = at;
                self.free -= len as u16;
                self.step(1);
                Some(start as u16)
            }
            _ => self.allocate_anywhere(from, len, align.max(1)),
        }
    }

    #[inline(never)]
    fn allocate_anywhere(&mut self, from: u32, len: u32, align: u16) -> Option<u16> {
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        // No division: Cortex-M0 has none, and the alignment is a power of two.
        let mask = u32::from(align) - 1;
        if from != 0 {
            // No later than the first range that ends behind `from`.
            let near = usize::from(self.near);
            let at = match self.known().get(near) {
                Some(range) if start_of(*range) == from => near,
                _ => self.up_to(from).saturating_sub(1),
            };
            if let Some((at, start)) = self.search(at, from, len, mask) {
                return Some(self.carve(at, start, len));
            }
        }
        let (at, start) = self.search(usize::from(self.begin(len)), 0, len, mask)?;
        if mask == 0 && at >= usize::from(self.large_at) {
            (self.large_at, self.large) = (at as u16, len as u16);
        }
        Some(self.carve(at, start, len))
    }

    /// The first fit at or after `from` in the ranges from `at` on: its range, and its start.
    #[inline]
    fn search(&self, at: usize, from: u32, len: u32, mask: u32) -> Option<(usize, u32)> {
        let known = self.known();
        let mut ranges = known.get(at..)?.iter();
        loop {
            // Most are too small: nothing else of them is looked at.
            let range = *ranges.find(|range| {
                self.step(1);
                len_of(**range) >= len
            })?;
            let start = (start_of(range).max(from) + mask) & !mask;
            if start + len <= end_of(range) {
                return Some((known.len() - ranges.len() - 1, start));
            }
        }
    }

    fn reserve(&mut self, start: u32, len: u32) -> Result<(), RangeError> {
        if len == 0 || start + len > u32::from(self.capacity) {
            return Err(RangeError::OutOfBounds);
        }
        let at = self.up_to(start).checked_sub(1).ok_or(RangeError::Overlap)?;
        match self.known().get(at) {
            Some(range) if start + len <= end_of(*range) => {
                self.carve(at, start, len);
                Ok(())
            }
            _ => Err(RangeError::Overlap),
        }
    }

    #[inline(never)]
    fn free(&mut self, start: u32, len: u32) -> Result<(), RangeError> {
        let end = start + len;
        if len == 0 || end > u32::from(self.capacity) {
            return Err(RangeError::OutOfBounds);
        }
        // Often it was taken last, and goes back to the front of its range.
        let near = usize::from(self.near);
        let free_before =
            near.checked_sub(1).and_then(|before| self.known().get(before)).map_or(0, |range| end_of(*range) + 1);
        match self.known_mut().get_mut(near) {
            Some(range) if start_of(*range) == end && free_before <= start => {
                *range = with_front(*range, len);
                let grown = len_of(*range);
                self.has_grown(near, grown);
                self.step(1);
                self.freed(len);
                Ok(())
            }
            _ => self.free_anywhere(start, len),
        }
    }

    #[inline]
    fn freed(&mut self, len: u32) {
        self.free += len as u16;
        self.forgotten &= self.free != self.capacity;
    }

    #[inline(never)]
    fn free_anywhere(&mut self, start: u32, len: u32) -> Result<(), RangeError> {
        let end = start + len;
        // The range before, and the one behind, and whether they adjoin.
        let (at, before, adjoins, next) = loop {
            let at = self.up_to(start);
            let before = at.wrapping_sub(1);
            let adjoins = match self.known().get(before) {
                Some(range) if end_of(*range) > start => return Err(RangeError::Overlap),
                Some(range) => end_of(*range) == start,
                None => false,
            };
            match self.known().get(at) {
                Some(range) if start_of(*range) < end => {
                    if !self.remove_vacant(at, end) {
                        return Err(RangeError::Overlap);
                    }
                }
                next => break (at, before, adjoins, next.copied().filter(|range| start_of(*range) == end)),
            }
        };
        self.freed(len);
        let (at, grown) = match (adjoins, next) {
            (false, None) => {
                self.insert(at, range(start, len));
                return Ok(());
            }
            (false, Some(next)) => (at, with_front(next, len)),
            (true, next) => {
                let range = self.known().get(before).copied().unwrap_or_default();
                (before, range + len + next.map_or(0, len_of))
            }
        };
        if let Some(range) = self.known_mut().get_mut(at) {
            *range = grown;
        }
        self.has_grown(at, len_of(grown));
        if adjoins && next.is_some() {
            self.remove(at + 1);
        }
        Ok(())
    }

    /// Takes out what is vacant between the range at `at` and `end`: ranges that were taken one by one may be freed as one. `false`: not all
    /// of it is.
    #[cold]
    #[inline(never)]
    fn remove_vacant(&mut self, at: usize, end: u32) -> bool {
        let inside = || self.known().iter().skip(at).take_while(|range| start_of(**range) < end);
        let vacant = inside().count();
        if inside().any(|range| len_of(*range) != 0) {
            return false;
        }
        for to in at..usize::from(self.count) - vacant {
            let moved = self.known().get(to + vacant).copied().unwrap_or_default();
            if let Some(room) = self.known_mut().get_mut(to) {
                *room = moved;
            }
        }
        self.count -= vacant as u16;
        self.step(usize::from(self.count) - at + vacant);
        self.near = at as u16;
        self.large_at = self.large_at.min(at as u16);
        true
    }

    fn largest_free(&self) -> u16 {
        let lens = self.known().iter().map(|range| {
            self.step(1);
            len_of(*range) as u16
        });
        lens.max().unwrap_or(0)
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.clear(capacity);
        gaps(capacity, live, &mut |start, len| {
            self.free += len;
            self.push(range(start.into(), len.into()));
        })
    }
}

impl<const RANGES: usize> Default for SortedArray<RANGES> {
    fn default() -> Self {
        Self::new()
    }
}

// SAFETY: what is handed out was free, and is not free until it is given back (`tests/model.rs`, `tests/bitmap.rs`).
unsafe impl<const RANGES: usize> OffsetAllocator for SortedArray<RANGES> {
    fn reset(&mut self, capacity: u16) {
        let sorted = self.sorted();
        sorted.clear(capacity);
        if capacity != 0 {
            sorted.free = capacity;
            sorted.push(range(0, capacity.into()));
        }
    }

    fn capacity(&self) -> u16 {
        self.0.capacity
    }

    fn allocate(&mut self, len: u16, align: u16) -> Option<u16> {
        self.sorted().allocate_from(0, len.into(), align)
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        self.sorted().allocate_from(from.into(), len.into(), align)
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.sorted().reserve(start.into(), len.into())
    }

    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.sorted().free(start.into(), len.into())
    }

    fn free_units(&self) -> u16 {
        self.0.free
    }

    fn largest_free(&self) -> u16 {
        let sorted: &Sorted<[Range]> = &self.0;
        sorted.largest_free()
    }

    fn is_complete(&self) -> bool {
        !self.0.forgotten
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.sorted().rebuild(capacity, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: u32 = 16;

    fn steps<R>(space: &mut SortedArray<16>, operation: impl FnOnce(&mut SortedArray<16>) -> R) -> (R, u32) {
        space.0.steps.set(0);
        let result = operation(space);
        (result, space.0.steps.get())
    }

    /// 16 free ranges of 3 units at multiples of 5 up to 75, in a space of 100.
    fn fragmented() -> SortedArray<16> {
        let mut space = SortedArray::new();
        space.reset(100);
        assert_eq!(space.reserve(0, 100), Ok(()));
        for at in 0..16 {
            assert_eq!(space.free(at * 5, 3), Ok(()));
        }
        assert!(space.is_complete());
        space
    }

    /// The worst cases, as stated.
    #[test]
    fn steps_are_as_stated() {
        let worst = |operation: &mut dyn FnMut(&mut SortedArray<16>) -> bool| {
            let (as_meant, taken) = steps(&mut fragmented(), operation);
            assert!(as_meant);
            taken
        };
        // To look for a place among 16 ranges.
        let place = RANGES.ilog2() + 1;
        assert_eq!(worst(&mut |space| space.allocate(4, 1).is_none()), RANGES);
        assert_eq!(worst(&mut |space| space.allocate_from(1, 4, 1).is_none()), place + 2 * RANGES);
        assert_eq!(worst(&mut |space| space.reserve(1, 2).is_ok()), place);
        // One range becomes two, and there is no room: the 15 behind it move, the smallest is looked for, and all move back.
        assert_eq!(worst(&mut |space| space.reserve(1, 1).is_ok() && !space.is_complete()), place + 3 * RANGES - 2);
        assert_eq!(worst(&mut |space| space.free(3, 1).is_ok()), place);
        assert_eq!(worst(&mut |space| space.free(3, 2).is_ok()), place + RANGES - 2);
        assert_eq!(worst(&mut |space| space.largest_free() == 3), RANGES);
        // What was taken one by one is freed as one.
        let mut space = SortedArray::<16>::new();
        space.reset(100);
        let mut live = (0..7).map(|at| (at * 5 + 3, 2)).chain([(40, 60)]);
        assert_eq!(space.rebuild(100, &mut live), Ok(()));
        for at in 0..7 {
            assert_eq!(space.reserve(at * 5, 3), Ok(()));
        }
        let (freed, taken) = steps(&mut space, |space| space.free(1, 34));
        assert!(freed == Ok(()) && taken <= 3 * place + RANGES, "{taken}");
        assert_eq!((space.free_units(), space.largest_free()), (34 + 5, 34 + 5));
    }

    #[test]
    fn what_was_taken_last_goes_back_and_comes_again_without_a_search() {
        let mut space = fragmented();
        assert_eq!(space.allocate_from(40, 2, 1), Some(40));
        assert_eq!(steps(&mut space, |space| space.allocate_from(42, 1, 1)), (Some(42), 1));
        assert_eq!(steps(&mut space, |space| space.free(42, 1)), (Ok(()), 1));
        assert_eq!(steps(&mut space, |space| space.free(40, 2)), (Ok(()), 1));
        // From the middle, with room for one range more: what is left behind is where it goes on.
        assert_eq!(space.reserve(75, 3), Ok(()));
        assert_eq!(space.allocate_from(41, 1, 1), Some(41));
        assert_eq!(steps(&mut space, |space| space.allocate_from(42, 1, 1)), (Some(42), 1));
        assert_eq!((space.free(42, 1), space.free(41, 1)), (Ok(()), Ok(())));
        // The first range that is large enough is known from the last time.
        assert_eq!(space.free(90, 10), Ok(()));
        assert_eq!(steps(&mut space, |space| space.allocate(5, 1)), (Some(90), RANGES));
        assert_eq!(steps(&mut space, |space| space.allocate(3, 1)), (Some(0), 1));
        assert_eq!(steps(&mut space, |space| space.allocate(5, 1)), (Some(95), 1));
        // Unless one before it grows.
        assert_eq!(space.free(3, 2), Ok(()));
        assert_eq!(space.allocate(5, 1), Some(3));
    }

    /// No two ranges adjoin, and none is vacant inside another.
    #[test]
    fn ranges_are_apart() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut space = SortedArray::<8>::new();
        space.reset(60);
        let mut live: [Option<(u16, u16)>; 20] = [None; 20];
        for _ in 0..if cfg!(miri) { 100 } else { 100_000 } {
            let slot = random.choice(live.iter_mut()).unwrap();
            match slot.take() {
                Some((start, len)) => assert_eq!(space.free(start, len), Ok(())),
                None => {
                    let (from, len) = (random.u16(..60), random.u16(1..6));
                    *slot = space.allocate_from(from, len, 1).map(|start| (start, len));
                }
            }
            let known = space.sorted().known().to_vec();
            assert!(known.windows(2).all(|pair| end_of(pair[0]) < start_of(pair[1])), "{known:x?}");
            let large = &known[..usize::from(space.0.large_at)];
            assert!(large.iter().all(|range| len_of(*range) < u32::from(space.0.large)), "{known:x?}");
        }
    }
}
