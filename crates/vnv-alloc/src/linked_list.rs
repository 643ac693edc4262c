//! First fit over an address-ordered linked list of free ranges.

#[cfg(test)]
use core::cell::Cell;

use crate::allocator::{OffsetAllocator, RangeError, gaps};

const NONE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    start: u16,
    len: u16,
    next: u16,
}

impl Node {
    /// Behind the range: at most the capacity.
    fn end(&self) -> u32 {
        u32::from(self.start) + u32::from(self.len)
    }
}

/// First fit over a linked list of at most `NODES` free ranges, in order of address.
///
/// RAM: `6 * NODES + 10` bytes. When one more node is needed than there are, the smallest range is forgotten;
/// [`is_complete`](OffsetAllocator::is_complete) tells, and a rebuild brings it back. The largest ranges are kept. A
/// forgotten range counts as in use, so freeing its units again is not refused: it makes them known again.
///
/// # Steps
///
/// In nodes visited, with `f` free ranges, at most `NODES`: [`allocate`](OffsetAllocator::allocate) and
/// [`reserve`](OffsetAllocator::reserve) at most `f`, [`allocate_from`](OffsetAllocator::allocate_from) `2 * f`,
/// [`free`](OffsetAllocator::free) and [`largest_free`](OffsetAllocator::largest_free) `f`; `NODES` more in each call
/// that has to forget a range. A rebuild visits `NODES` for each gap beyond the first `NODES`. Nothing is ever moved.
#[derive(Clone, Debug)]
pub struct LinkedList<const NODES: usize>(List<[Node; NODES]>);

/// The list; its code is there once for all numbers of nodes.
#[derive(Clone, Debug)]
struct List<N: ?Sized> {
    head: u16,
    spare: u16,
    capacity: u16,
    free: u16,
    /// A free range was forgotten for want of a node.
    forgotten: bool,
    #[cfg(test)]
    steps: Cell<u32>,
    nodes: N,
}

impl<const NODES: usize> LinkedList<NODES> {
    /// An allocator of nothing; see [`reset`](OffsetAllocator::reset). Less than 2 nodes do not compile.
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(NODES >= 2 && NODES < NONE as usize, "2 to 65,534 nodes") };
        let mut empty = List {
            head: NONE,
            spare: 0,
            capacity: 0,
            free: 0,
            forgotten: false,
            #[cfg(test)]
            steps: Cell::new(0),
            nodes: [Node { start: 0, len: 0, next: NONE }; NODES],
        };
        clear(&mut empty, 0);
        Self(empty)
    }
}

/// Nothing is free, all nodes are spare.
const fn clear(list: &mut List<[Node]>, capacity: u16) {
    let mut at = 0;
    while at < list.nodes.len() {
        let next = if at + 1 < list.nodes.len() { at as u16 + 1 } else { NONE };
        list.nodes[at] = Node { start: 0, len: 0, next };
        at += 1;
    }
    (list.head, list.spare) = (NONE, 0);
    (list.capacity, list.free, list.forgotten) = (capacity, 0, false);
}

impl List<[Node]> {
    fn node(&self, at: u16) -> Option<Node> {
        let node = self.nodes.get(usize::from(at)).copied();
        #[cfg(test)]
        self.steps.set(self.steps.get() + u32::from(node.is_some()));
        node
    }

    fn link(&mut self, previous: u16, next: u16) {
        match self.nodes.get_mut(usize::from(previous)) {
            Some(node) => node.next = next,
            None => self.head = next,
        }
    }

    /// Takes a node out of the list, after `previous`.
    fn remove(&mut self, previous: u16, at: u16) {
        let spare = self.spare;
        let Some(node) = self.nodes.get_mut(usize::from(at)) else { return };
        let next = core::mem::replace(&mut node.next, spare);
        self.link(previous, next);
        self.spare = at;
    }

    /// Puts a new range, counted as free already, behind `previous`; without a spare node the smallest range is
    /// forgotten. Gives the node of the range, or the one that it would have followed if it was forgotten itself.
    fn insert(&mut self, mut previous: u16, start: u16, len: u16) -> u16 {
        if self.spare == NONE {
            self.forgotten = true;
            let (mut before, mut at) = (NONE, self.head);
            let mut smallest = (len, NONE, NONE);
            while let Some(node) = self.node(at) {
                if node.len < smallest.0 {
                    smallest = (node.len, before, at);
                }
                before = at;
                at = node.next;
            }
            let (lost, before, at) = smallest;
            self.free -= lost;
            if at == NONE {
                return previous;
            }
            self.remove(before, at);
            if previous == at {
                previous = before;
            }
        }
        let at = self.spare;
        let head = self.head;
        let next = self.nodes.get(usize::from(previous)).map_or(head, |node| node.next);
        let Some(node) = self.nodes.get_mut(usize::from(at)) else { return previous };
        self.spare = node.next;
        *node = Node { start, len, next };
        self.link(previous, at);
        at
    }

    /// Takes `start..start + len` out of the free range at `at`.
    fn carve(&mut self, previous: u16, at: u16, start: u16, len: u16) {
        let Some(node) = self.nodes.get_mut(usize::from(at)) else { return };
        self.free -= len;
        let (before, after) = (start - node.start, node.start + node.len - start - len);
        if before == 0 {
            (node.start, node.len) = (start + len, after);
            if after == 0 {
                self.remove(previous, at);
            }
        } else {
            node.len = before;
            if after != 0 {
                self.insert(at, start + len, after);
            }
        }
    }

    /// Takes the first fit beginning at or after `from` in a free range that begins before `until`.
    fn search(&mut self, from: u16, until: u16, len: u16, align: u16) -> Option<u16> {
        // No division: Cortex-M0 has none, and the alignment is a power of two.
        let mask = u32::from(align) - 1;
        let (mut previous, mut at) = (NONE, self.head);
        while let Some(node) = self.node(at) {
            // Most are too small: nothing else of them is looked at.
            if node.len >= len {
                if node.start >= until {
                    return None;
                }
                let start = (u32::from(node.start.max(from)) + mask) & !mask;
                if start + u32::from(len) <= node.end() {
                    self.carve(previous, at, start as u16, len);
                    return Some(start as u16);
                }
            }
            previous = at;
            at = node.next;
        }
        None
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        let align = align.max(1);
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        let (mut first, mut until) = (from, NONE);
        loop {
            let found = self.search(first, until, len, align);
            if found.is_some() || first == 0 {
                return found;
            }
            (first, until) = (0, from);
        }
    }

    fn end(&self, start: u16, len: u16) -> Result<u16, RangeError> {
        let end = start.checked_add(len).filter(|end| len != 0 && *end <= self.capacity);
        end.ok_or(RangeError::OutOfBounds)
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        let end = self.end(start, len)?;
        let (mut previous, mut at) = (NONE, self.head);
        while let Some(node) = self.node(at) {
            if node.start > start {
                break;
            }
            if end <= node.start + node.len {
                self.carve(previous, at, start, len);
                return Ok(());
            }
            previous = at;
            at = node.next;
        }
        Err(RangeError::Overlap)
    }

    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        let end = u32::from(start) + u32::from(len);
        if len == 0 || end > u32::from(self.capacity) {
            return Err(RangeError::OutOfBounds);
        }
        // The range before, and the one behind.
        let (mut previous, mut at) = (NONE, self.head);
        let next = loop {
            match self.node(at) {
                Some(node) if node.start < start => (previous, at) = (at, node.next),
                Some(node) => break u32::from(node.start),
                None => break u32::MAX,
            }
        };
        let before = self.nodes.get_mut(usize::from(previous));
        let last = before.as_ref().map_or(0, |before| before.end());
        if next < end || last > u32::from(start) {
            return Err(RangeError::Overlap);
        }
        self.free += len;
        match before {
            Some(before) if last == u32::from(start) => {
                before.len += len;
                if next == end {
                    self.join(previous, at);
                }
            }
            _ if next == end => {
                if let Some(behind) = self.nodes.get_mut(usize::from(at)) {
                    (behind.start, behind.len) = (start, behind.len + len);
                }
            }
            _ => {
                self.insert(previous, start, len);
            }
        }
        if self.free == self.capacity {
            self.forgotten = false;
        }
        Ok(())
    }

    /// The range at `at` becomes part of the one before.
    fn join(&mut self, previous: u16, at: u16) {
        let spare = self.spare;
        let Some(behind) = self.nodes.get_mut(usize::from(at)) else { return };
        let (len, next) = (behind.len, core::mem::replace(&mut behind.next, spare));
        self.spare = at;
        if let Some(before) = self.nodes.get_mut(usize::from(previous)) {
            before.len += len;
            before.next = next;
        }
    }

    fn largest_free(&self) -> u16 {
        let (mut largest, mut at) = (0, self.head);
        while let Some(node) = self.node(at) {
            largest = largest.max(node.len);
            at = node.next;
        }
        largest
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        clear(self, capacity);
        let mut last = NONE;
        gaps(capacity, live, &mut |start, len| {
            self.free += len;
            last = self.insert(last, start, len);
        })
    }
}

impl<const NODES: usize> Default for LinkedList<NODES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const NODES: usize> LinkedList<NODES> {
    const fn list(&mut self) -> &mut List<[Node]> {
        &mut self.0
    }
}

// SAFETY: what is handed out was free, and is not free until it is given back (`tests/model.rs`, `tests/bitmap.rs`).
unsafe impl<const NODES: usize> OffsetAllocator for LinkedList<NODES> {
    fn reset(&mut self, capacity: u16) {
        let list = self.list();
        clear(list, capacity);
        if capacity != 0 {
            list.free = capacity;
            list.insert(NONE, 0, capacity);
        }
    }

    fn capacity(&self) -> u16 {
        self.0.capacity
    }

    fn allocate(&mut self, len: u16, align: u16) -> Option<u16> {
        self.list().allocate_from(0, len, align)
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        self.list().allocate_from(from, len, align)
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.list().reserve(start, len)
    }

    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.list().free(start, len)
    }

    fn free_units(&self) -> u16 {
        self.0.free
    }

    fn largest_free(&self) -> u16 {
        let list: &List<[Node]> = &self.0;
        list.largest_free()
    }

    fn is_complete(&self) -> bool {
        !self.0.forgotten
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.list().rebuild(capacity, live)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RANGES: u32 = 16;

    fn steps<R>(space: &mut LinkedList<16>, operation: impl FnOnce(&mut LinkedList<16>) -> R) -> (R, u32) {
        space.0.steps.set(0);
        let result = operation(space);
        (result, space.0.steps.get())
    }

    /// 16 free ranges of 3 units at multiples of 5 up to 75, in a space of 100.
    fn fragmented() -> LinkedList<16> {
        let mut space = LinkedList::new();
        space.reset(100);
        assert_eq!(space.reserve(0, 100), Ok(()));
        for at in 0..16 {
            assert_eq!(space.free(at * 5, 3), Ok(()));
        }
        assert!(space.is_complete());
        space
    }

    /// The worst cases, exactly as stated, in nodes visited.
    #[test]
    fn steps_are_as_stated() {
        let worst = |operation: &mut dyn FnMut(&mut LinkedList<16>) -> bool| {
            let (as_meant, taken) = steps(&mut fragmented(), operation);
            assert!(as_meant);
            taken
        };
        assert_eq!(worst(&mut |space| space.allocate(4, 1).is_none()), RANGES);
        assert_eq!(worst(&mut |space| space.allocate_from(80, 4, 1).is_none()), 2 * RANGES);
        assert_eq!(worst(&mut |space| space.reserve(75, 3).is_ok()), RANGES);
        assert_eq!(worst(&mut |space| space.reserve(76, 1).is_ok() && !space.is_complete()), 2 * RANGES);
        assert_eq!(worst(&mut |space| space.free(78, 2).is_ok()), RANGES);
        assert_eq!(worst(&mut |space| space.free(82, 2).is_ok() && !space.is_complete()), 2 * RANGES);
        assert_eq!(worst(&mut |space| space.largest_free() == 3), RANGES);
    }

    #[test]
    fn a_rebuild_visits_all_nodes_only_for_gaps_beyond_them() {
        for gaps in [1, 16, 17, 20] {
            let mut space = LinkedList::<16>::new();
            let mut live = (0..gaps).map(|at| (at * 5 + 4, 1));
            let (rebuilt, taken) = steps(&mut space, |space| space.rebuild(gaps * 5, &mut live));
            assert_eq!((rebuilt, taken), (Ok(()), u32::from(gaps.saturating_sub(16)) * RANGES));
        }
    }
}
