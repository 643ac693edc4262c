//! First fit over an address-ordered linked list of free ranges.

use crate::allocator::{OffsetAllocator, RangeError};

const NONE: u16 = u16::MAX;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Node {
    start: u16,
    len: u16,
    next: u16,
}

/// First fit over a linked list of at most `NODES` free ranges, in order of address.
///
/// RAM: 6 bytes per node and 12. When a range is freed and all nodes are in use, the smallest range is
/// forgotten; [`is_complete`](OffsetAllocator::is_complete) tells, and a rebuild brings it back.
///
/// Steps, in nodes visited: allocate and reserve at most the number of free ranges `f` (twice that with a start
/// other than 0), free at most `f`, and `f` more if a range has to be forgotten.
#[derive(Clone, Debug)]
pub struct FirstFit<const NODES: usize> {
    nodes: [Node; NODES],
    head: u16,
    spare: u16,
    capacity: u16,
    free: u16,
    forgotten: bool,
    #[cfg(test)]
    pub(crate) steps: core::cell::Cell<u32>,
}

impl<const NODES: usize> FirstFit<NODES> {
    /// An allocator of nothing; see [`reset`](OffsetAllocator::reset).
    #[must_use]
    pub const fn new() -> Self {
        const { assert!(NODES >= 2 && NODES < NONE as usize, "2 to 65,534 nodes") };
        let mut nodes = [Node { start: 0, len: 0, next: NONE }; NODES];
        let mut at = 0;
        while at + 1 < NODES {
            nodes[at].next = at as u16 + 1;
            at += 1;
        }
        Self {
            nodes,
            head: NONE,
            spare: 0,
            capacity: 0,
            free: 0,
            forgotten: false,
            #[cfg(test)]
            steps: core::cell::Cell::new(0),
        }
    }

    fn node(&self, at: u16) -> Option<Node> {
        #[cfg(test)]
        self.steps.set(self.steps.get() + 1);
        self.nodes.get(usize::from(at)).copied()
    }

    fn link(&mut self, previous: u16, next: u16) {
        match self.nodes.get_mut(usize::from(previous)) {
            Some(node) => node.next = next,
            None => self.head = next,
        }
    }

    fn set(&mut self, at: u16, start: u16, len: u16) {
        if let Some(node) = self.nodes.get_mut(usize::from(at)) {
            (node.start, node.len) = (start, len);
        }
    }

    /// Takes a node out of the list, after `previous`.
    fn remove(&mut self, previous: u16, at: u16) {
        let Some(node) = self.nodes.get(usize::from(at)).copied() else { return };
        self.link(previous, node.next);
        let spare = self.spare;
        self.link(at, spare);
        self.spare = at;
    }

    /// Puts a new range behind `previous`; without a spare node the smallest range is forgotten.
    fn insert(&mut self, mut previous: u16, start: u16, len: u16) {
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
                return;
            }
            self.remove(before, at);
            if previous == at {
                previous = before;
            }
        }
        let at = self.spare;
        let Some(node) = self.nodes.get(usize::from(at)).copied() else { return };
        self.spare = node.next;
        let next = self.nodes.get(usize::from(previous)).map_or(self.head, |node| node.next);
        self.set(at, start, len);
        self.link(at, next);
        self.link(previous, at);
    }

    /// Takes `start..start + len` out of the free range at `at`.
    fn carve(&mut self, previous: u16, at: u16, start: u16, len: u16) {
        let Some(node) = self.nodes.get(usize::from(at)).copied() else { return };
        let (before, after) = (start - node.start, node.start + node.len - start - len);
        self.free -= len;
        match (before, after) {
            (0, 0) => self.remove(previous, at),
            (0, _) => self.set(at, start + len, after),
            (_, 0) => self.set(at, node.start, before),
            _ => {
                self.set(at, node.start, before);
                self.insert(at, start + len, after);
            }
        }
    }

    fn search(&mut self, from: u16, until: u16, len: u16, align: u16) -> Option<u16> {
        let (mut previous, mut at) = (NONE, self.head);
        while let Some(node) = self.node(at) {
            if node.start >= until {
                return None;
            }
            let end = u32::from(node.start) + u32::from(node.len);
            let start = u32::from(node.start.max(from)).next_multiple_of(u32::from(align));
            if start + u32::from(len) <= end {
                self.carve(previous, at, start as u16, len);
                return Some(start as u16);
            }
            previous = at;
            at = node.next;
        }
        None
    }
}

impl<const NODES: usize> Default for FirstFit<NODES> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const NODES: usize> OffsetAllocator for FirstFit<NODES> {
    fn reset(&mut self, capacity: u16) {
        *self = Self::new();
        self.capacity = capacity;
        if capacity != 0 {
            self.free = capacity;
            self.insert(NONE, 0, capacity);
        }
    }

    fn capacity(&self) -> u16 {
        self.capacity
    }

    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        let align = align.max(1);
        if len == 0 || !align.is_power_of_two() {
            return None;
        }
        let later = self.search(from, NONE, len, align);
        if later.is_some() || from == 0 { later } else { self.search(0, from, len, align) }
    }

    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        let end = start.checked_add(len).filter(|end| len != 0 && *end <= self.capacity);
        let end = end.ok_or(RangeError::OutOfBounds)?;
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
        let end = start.checked_add(len).filter(|end| len != 0 && *end <= self.capacity);
        let end = end.ok_or(RangeError::OutOfBounds)?;
        let (mut previous, mut at) = (NONE, self.head);
        let mut before = None;
        while let Some(node) = self.node(at) {
            if node.start >= start {
                break;
            }
            before = Some(node);
            previous = at;
            at = node.next;
        }
        let after = self.nodes.get(usize::from(at)).copied();
        if before.is_some_and(|node| node.start + node.len > start) || after.is_some_and(|node| node.start < end) {
            return Err(RangeError::Overlap);
        }
        self.free += len;
        let joins_before = before.filter(|node| node.start + node.len == start);
        let joins_after = after.filter(|node| node.start == end);
        match (joins_before, joins_after) {
            (Some(before), Some(after)) => {
                self.set(previous, before.start, before.len + len + after.len);
                self.remove(previous, at);
            }
            (Some(before), None) => self.set(previous, before.start, before.len + len),
            (None, Some(after)) => self.set(at, start, len + after.len),
            (None, None) => self.insert(previous, start, len),
        }
        Ok(())
    }

    fn free_units(&self) -> u16 {
        self.free
    }

    fn largest_free(&self) -> u16 {
        let (mut largest, mut at) = (0, self.head);
        while let Some(node) = self.node(at) {
            largest = largest.max(node.len);
            at = node.next;
        }
        largest
    }

    fn is_complete(&self) -> bool {
        !self.forgotten
    }

    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        self.reset(0);
        self.capacity = capacity;
        let mut result = Ok(());
        let (mut end, mut last) = (0u16, NONE);
        // The gaps come in rising order, so that each goes behind the last one.
        for (start, len) in live.chain(core::iter::once((capacity, 0))) {
            let Some(next) = start.checked_add(len).filter(|next| *next <= capacity) else {
                result = Err(RangeError::OutOfBounds);
                continue;
            };
            if start < end {
                result = Err(RangeError::Overlap);
            } else if start > end {
                self.free += start - end;
                self.insert(last, end, start - end);
                last = self.last();
            }
            end = end.max(next);
        }
        result
    }
}

impl<const NODES: usize> FirstFit<NODES> {
    fn last(&self) -> u16 {
        let (mut last, mut at) = (NONE, self.head);
        while let Some(node) = self.node(at) {
            last = at;
            at = node.next;
        }
        last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The stated worst cases, in nodes visited, with as many free ranges as there are nodes.
    #[test]
    fn steps_are_bounded_as_stated() {
        const RANGES: u32 = 16;
        let mut space = FirstFit::<16>::new();
        space.reset(64);
        let starts: Vec<_> = (0..32).filter_map(|_| space.allocate(2, 1)).collect();
        starts.iter().step_by(2).for_each(|start| assert_eq!(space.free(*start, 2), Ok(())));
        let steps = |space: &mut FirstFit<16>, operation: &mut dyn FnMut(&mut FirstFit<16>)| {
            space.steps.set(0);
            operation(space);
            space.steps.get()
        };
        let refused = steps(&mut space, &mut |space| assert_eq!(space.allocate(3, 1), None));
        assert!(refused <= RANGES + 1, "{refused}");
        let rotated = steps(&mut space, &mut |space| assert_eq!(space.allocate_from(63, 2, 1), Some(0)));
        assert!(rotated <= 2 * (RANGES + 1), "{rotated}");
        assert_eq!(space.free(0, 2), Ok(()));
        let freed = steps(&mut space, &mut |space| assert_eq!(space.free(62, 2), Ok(())));
        assert!(freed <= 2 * (RANGES + 1), "{freed}");
    }
}
