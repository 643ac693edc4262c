//! Both allocators against a map of units: nothing overlaps, nothing is lost, nothing that fits is refused.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use vnv_alloc::{Buddy, FirstFit, OffsetAllocator, RangeError};

/// One call.
#[derive(Clone, Debug)]
enum Call {
    Allocate { from: u16, len: u16, align: u16 },
    Free { which: usize },
    FreeWild { start: u16, len: u16 },
    Reserve { start: u16, len: u16 },
    Rebuild,
}

fn call(capacity: u16) -> impl Strategy<Value = Call> {
    prop_oneof![
        4 => (0..capacity, 0..capacity / 3, 0u32..4).prop_map(|(from, len, align)| Call::Allocate { from, len, align: 1 << align }),
        3 => any::<usize>().prop_map(|which| Call::Free { which }),
        1 => (0..capacity + 4, 0..capacity).prop_map(|(start, len)| Call::FreeWild { start, len }),
        1 => (0..capacity, 1..capacity / 3).prop_map(|(start, len)| Call::Reserve { start, len }),
        1 => Just(Call::Rebuild),
    ]
}

/// The model: which units are in use, and the ranges handed out.
struct Model {
    used: Vec<bool>,
    live: Vec<(u16, u16)>,
}

impl Model {
    fn is_free(&self, start: u16, len: u16) -> bool {
        self.used
            .get(start.into()..usize::from(start) + usize::from(len))
            .is_some_and(|used| used.iter().all(|used| !used))
    }

    fn mark(&mut self, start: u16, len: u16, used: bool) {
        self.used[start.into()..usize::from(start + len)].fill(used);
    }

    fn largest(&self) -> u16 {
        self.used.split(|used| *used).map(<[bool]>::len).max().unwrap_or(0) as u16
    }

    fn fits(&self, len: u16, align: u16) -> bool {
        (0..self.used.len() as u16).step_by(align.into()).any(|start| self.is_free(start, len))
    }
}

fn agrees(
    allocator: &mut dyn OffsetAllocator,
    capacity: u16,
    calls: &[Call],
    exact: bool,
) -> Result<(), TestCaseError> {
    allocator.reset(capacity);
    let mut model = Model { used: vec![false; capacity.into()], live: Vec::new() };
    for call in calls {
        match *call {
            Call::Allocate { from, len, align } => {
                let taken = allocator.rounded(len);
                match allocator.allocate_from(from, len, align) {
                    Some(start) => {
                        prop_assert!(len > 0 && start % align == 0);
                        prop_assert!(model.is_free(start, taken), "{start} + {taken} is in use");
                        model.mark(start, taken, true);
                        model.live.push((start, len));
                    }
                    None => {
                        let (size, step) = if exact { (len, align) } else { (taken, align.max(taken)) };
                        let refused = len == 0 || !model.fits(size, step) || !allocator.is_complete();
                        prop_assert!(refused, "{len} units would have fitted");
                    }
                }
            }
            Call::Free { which } if !model.live.is_empty() => {
                let (start, len) = model.live.swap_remove(which % model.live.len());
                prop_assert_eq!(allocator.free(start, len), Ok(()));
                model.mark(start, allocator.rounded(len), false);
                prop_assert!(!allocator.is_complete() || allocator.free(start, len).is_err(), "freed twice");
            }
            Call::FreeWild { start, len } => {
                // Whatever is not wholly in use, or out of bounds, cannot be freed.
                let used = len > 0
                    && start < capacity
                    && !(start..start.saturating_add(len).min(capacity)).any(|at| !model.used[usize::from(at)]);
                if !used || start.saturating_add(len) > capacity {
                    let known = allocator.is_complete() || start.saturating_add(len) > capacity;
                    prop_assert!(!known || allocator.free(start, len).is_err());
                }
            }
            Call::Reserve { start, len } if exact => {
                let free = model.is_free(start, len);
                match allocator.reserve(start, len) {
                    Ok(()) => {
                        prop_assert!(free);
                        model.mark(start, len, true);
                        model.live.push((start, len));
                    }
                    Err(RangeError::Overlap) => prop_assert!(!free || !allocator.is_complete()),
                    Err(_) => prop_assert!(start + len > capacity),
                }
            }
            Call::Rebuild => {
                model.live.sort_unstable();
                prop_assert_eq!(allocator.rebuild(capacity, &mut model.live.iter().copied()), Ok(()));
            }
            _ => {}
        }
        let free = model.used.iter().filter(|used| !**used).count() as u16;
        if allocator.is_complete() {
            prop_assert_eq!(allocator.free_units(), free);
            if exact {
                prop_assert_eq!(allocator.largest_free(), model.largest());
            }
        } else {
            prop_assert!(allocator.free_units() <= free);
        }
        prop_assert!(allocator.fragmentation_permille() <= 1000);
    }
    Ok(())
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 4 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn first_fit_agrees(calls in proptest::collection::vec(call(120), 1..80)) {
        agrees(&mut FirstFit::<64>::new(), 120, &calls, true)?;
    }

    #[test]
    fn first_fit_with_few_nodes_never_hands_out_what_is_in_use(calls in proptest::collection::vec(call(120), 1..80)) {
        agrees(&mut FirstFit::<3>::new(), 120, &calls, true)?;
    }

    #[test]
    fn buddy_agrees(calls in proptest::collection::vec(call(120), 1..80)) {
        agrees(&mut Buddy::<4>::new(), 120, &calls, false)?;
    }
}

#[test]
fn forgotten_ranges_come_back_with_a_rebuild() {
    let mut space = FirstFit::<2>::new();
    space.reset(100);
    let parts: Vec<u16> = (0..10).map(|_| space.allocate(10, 1).unwrap()).collect();
    for start in parts.iter().step_by(2) {
        space.free(*start, 10).unwrap();
    }
    assert!(!space.is_complete() && space.free_units() == 20);
    let live: Vec<(u16, u16)> = parts.iter().skip(1).step_by(2).map(|start| (*start, 10)).collect();
    space.rebuild(100, &mut live.iter().copied().skip(3)).unwrap();
    assert!(space.is_complete());
    assert_eq!((space.free_units(), space.largest_free()), (80, 70));
}

#[test]
fn all_short_histories_of_a_small_space_agree() {
    // Every sequence of four calls out of allocations of 1 to 3 units and frees, on 6 units.
    let kinds = if cfg!(miri) { 3u32 } else { 6 };
    for number in 0..kinds.pow(5) {
        let calls: Vec<Call> = (0..5)
            .map(|at| match number / kinds.pow(at) % kinds {
                kind @ 0..3 => Call::Allocate { from: 0, len: kind as u16 + 1, align: 1 },
                kind => Call::Free { which: kind as usize - 3 },
            })
            .collect();
        agrees(&mut FirstFit::<8>::new(), 6, &calls, true).unwrap();
        agrees(&mut Buddy::<1>::new(), 6, &calls, false).unwrap();
    }
}
