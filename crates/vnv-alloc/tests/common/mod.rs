//! The model: a map of units. It says where each call must end, and what must be free afterwards.

use core::fmt::Debug;

use vnv_alloc::{OffsetAllocator, RangeError};

/// One call.
#[derive(Clone, Copy, Debug)]
pub enum Call {
    Allocate { from: u16, len: u16, align: u16 },
    Free { which: usize },
    FreeWild { start: u16, len: u16 },
    Reserve { start: u16, len: u16 },
    Rebuild,
}

/// A range in use: what was asked for, and what it took.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Range {
    start: u16,
    len: u16,
    taken: u16,
}

pub struct Model {
    used: Vec<bool>,
    live: Vec<Range>,
    /// Blocks of powers of two, or exact ranges.
    buddy: bool,
}

impl Model {
    fn new(capacity: u16, buddy: bool) -> Self {
        Self { used: vec![false; capacity.into()], live: Vec::new(), buddy }
    }

    fn capacity(&self) -> u16 {
        self.used.len() as u16
    }

    fn all(&self, start: u16, len: u16, used: bool) -> bool {
        let end = usize::from(start) + usize::from(len);
        self.used.get(start.into()..end).is_some_and(|units| units.iter().all(|unit| *unit == used))
    }

    fn mark(&mut self, start: u16, len: u16, used: bool) {
        self.used[start.into()..usize::from(start + len)].fill(used);
    }

    fn block(&self, len: u16) -> u16 {
        if self.buddy { len.next_power_of_two() } else { len }
    }

    /// Where a range must go: the first fit at or after `from`, otherwise the first fit.
    fn place(&self, from: u16, len: u16, align: u16) -> Option<u16> {
        let (units, step) = (self.block(len), if self.buddy { align.max(self.block(len)) } else { align });
        let fits = |start: &u16| start.is_multiple_of(step) && self.all(*start, units, false);
        (from..self.capacity()).find(fits).or_else(|| (0..self.capacity()).find(fits)).filter(|_| len != 0)
    }

    /// What reserving takes, where the next range may begin at `limit`.
    fn reserved(&self, start: u16, len: u16, limit: u16) -> u16 {
        let block = self.block(len);
        let whole = start.is_multiple_of(block) && start + block <= limit && self.all(start, block, false);
        if whole { block } else { len }
    }

    /// The range that a buddy frees.
    fn freed(&self, start: u16, len: u16) -> Option<usize> {
        let is_it = |range: &Range| {
            range.start == start
                && (range.taken == len || (start.is_multiple_of(self.block(len)) && range.taken == self.block(len)))
        };
        self.live.iter().position(is_it)
    }

    fn largest(&self) -> u16 {
        if self.buddy {
            (0..16).rev().map(|order| 1 << order).find(|block| self.place(0, *block, 1).is_some()).unwrap_or(0)
        } else {
            self.used.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0) as u16
        }
    }

    /// A rebuild takes blocks anew: a range that had only its own units may have a whole block now.
    fn rebuild(&mut self) -> Vec<(u16, u16)> {
        self.live.sort_unstable();
        self.used.fill(false);
        for at in 0..self.live.len() {
            let limit = self.live.get(at + 1).map_or(self.capacity(), |next| next.start);
            let Range { start, len, .. } = self.live[at];
            let taken = self.reserved(start, len, limit);
            self.mark(start, taken, true);
            self.live[at].taken = taken;
        }
        self.live.iter().map(|range| (range.start, range.len)).collect()
    }
}

/// Checks that exactly the units that are free in the model can be reserved.
fn same_free_units<A: OffsetAllocator + Clone>(allocator: &A, model: &Model) {
    let mut allocator = allocator.clone();
    for (at, used) in model.used.iter().enumerate() {
        assert_eq!(allocator.reserve(at as u16, 1).is_err(), *used, "unit {at}");
    }
    assert_eq!((allocator.free_units(), allocator.largest_free()), (0, 0));
}

/// Plays the calls on both. As long as nothing was forgotten, results and states must be equal; after that, nothing in
/// use may be handed out, and freeing still succeeds.
pub fn agrees<A: OffsetAllocator + Clone + Debug>(mut allocator: A, capacity: u16, calls: &[Call], buddy: bool) {
    allocator.reset(capacity);
    assert_eq!(allocator.capacity(), capacity);
    let mut model = Model::new(capacity, buddy);
    for call in calls {
        let (before, complete) = (format!("{allocator:?}"), allocator.is_complete());
        let mut failed = false;
        match *call {
            Call::Allocate { from, len, align } => {
                let found = allocator.allocate_from(from, len, align);
                let expected = model.place(from, len, align);
                assert!(!complete || found == expected, "{call:?}: {found:?}, not {expected:?}");
                if let Some(start) = found {
                    let taken = allocator.rounded(len);
                    assert!(len > 0 && start.is_multiple_of(align) && model.all(start, taken, false), "{call:?}");
                    model.mark(start, taken, true);
                    model.live.push(Range { start, len, taken });
                }
                failed = found.is_none();
            }
            Call::Free { which } if !model.live.is_empty() => {
                let Range { start, len, taken } = model.live.swap_remove(which % model.live.len());
                assert_eq!(allocator.free(start, len), Ok(()));
                model.mark(start, taken, false);
                if allocator.is_complete() {
                    assert_eq!(allocator.free(start, len), Err(RangeError::Overlap), "freed twice");
                }
            }
            Call::FreeWild { start, len } => {
                let in_bounds = len != 0 && usize::from(start) + usize::from(len) <= capacity.into();
                let expected = match (in_bounds, in_bounds && model.all(start, len, true)) {
                    (false, _) => Err(RangeError::OutOfBounds),
                    (_, false) => Err(RangeError::Overlap),
                    // Exact allocators free whatever is in use: that would only confuse the model.
                    _ if !buddy => continue,
                    _ => model.freed(start, len).ok_or(RangeError::Mismatch).map(|at| {
                        let range = model.live.swap_remove(at);
                        model.mark(start, range.taken, false);
                    }),
                };
                if complete || !in_bounds {
                    assert_eq!(allocator.free(start, len), expected, "{call:?}");
                    failed = expected.is_err();
                }
            }
            Call::Reserve { start, len } => {
                let in_bounds = len != 0 && start + len <= capacity;
                let free = in_bounds && model.all(start, len, false);
                let result = allocator.reserve(start, len);
                match result {
                    Ok(()) => {
                        assert!(free, "{call:?}");
                        let taken = model.reserved(start, len, capacity);
                        model.mark(start, taken, true);
                        model.live.push(Range { start, len, taken });
                    }
                    Err(RangeError::OutOfBounds) => assert!(!in_bounds),
                    Err(error) => assert!(error == RangeError::Overlap && in_bounds && !(free && complete)),
                }
                failed = result.is_err();
            }
            Call::Rebuild => {
                assert_eq!(allocator.rebuild(capacity, &mut model.rebuild().into_iter()), Ok(()));
            }
            Call::Free { .. } => {}
        }
        assert!(!failed || before == format!("{allocator:?}"), "{call:?} failed and changed something");
        let free = model.used.iter().filter(|used| !**used).count() as u16;
        if allocator.is_complete() {
            assert_eq!((allocator.free_units(), allocator.largest_free()), (free, model.largest()), "{call:?}");
            same_free_units(&allocator, &model);
        }
        assert!(allocator.free_units() <= free && allocator.largest_free() <= allocator.free_units());
        assert!(allocator.fragmentation_permille() <= 1000);
    }
}
