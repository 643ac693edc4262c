//! All allocators against a map of units: each range stands where it must, nothing overlaps, nothing is lost, and
//! what fails changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Call, agrees};
use proptest::prelude::*;
use vnv_alloc::{Buddy, LinkedList, OffsetAllocator, RangeError, SortedArray};

fn call(capacity: u16) -> impl Strategy<Value = Call> {
    let part = (capacity / 3).max(2);
    let allocate = (0..capacity + 4, 0..part, 0u32..5);
    prop_oneof![
        4 => allocate.prop_map(|(from, len, align)| Call::Allocate { from, len, align: 1 << align }),
        3 => any::<usize>().prop_map(|which| Call::Free { which }),
        1 => (0..capacity + 4, 0..capacity).prop_map(|(start, len)| Call::FreeWild { start, len }),
        1 => (0..capacity, 0..5u16).prop_map(|(start, len)| Call::FreeWild { start, len }),
        1 => (0..capacity, 0..part).prop_map(|(start, len)| Call::Reserve { start, len }),
        1 => Just(Call::Rebuild),
    ]
}

/// A capacity, mostly no power of two, and calls.
fn history(largest: u16) -> impl Strategy<Value = (u16, Vec<Call>)> {
    let most = if cfg!(miri) { 12 } else { 80 };
    (1..=largest).prop_flat_map(move |capacity| (Just(capacity), proptest::collection::vec(call(capacity), 1..most)))
}

fn cases() -> ProptestConfig {
    ProptestConfig { cases: if cfg!(miri) { 1 } else { 2000 }, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(cases())]

    #[test]
    fn a_sorted_array_agrees((capacity, calls) in history(200)) {
        agrees(SortedArray::<101>::new(), capacity, &calls, false);
    }

    #[test]
    fn a_linked_list_agrees((capacity, calls) in history(200)) {
        agrees(LinkedList::<101>::new(), capacity, &calls, false);
    }

    #[test]
    fn with_little_room_nothing_is_handed_out_that_is_in_use((capacity, calls) in history(200)) {
        agrees(SortedArray::<3>::new(), capacity, &calls, false);
        agrees(LinkedList::<3>::new(), capacity, &calls, false);
    }

    #[test]
    fn buddy_agrees((capacity, calls) in history(300)) {
        agrees(Buddy::<10>::new(), capacity, &calls, true);
    }

    /// Of more gaps than nodes, a rebuild keeps the largest.
    #[test]
    fn a_rebuild_keeps_the_largest_gaps(gaps in proptest::collection::vec(0u16..50, 1..40)) {
        let (mut live, mut end) = (Vec::new(), 0);
        for gap in &gaps {
            live.push((end + gap, 1));
            end += gap + 1;
        }
        let mut kept: Vec<u16> = gaps.into_iter().filter(|gap| *gap != 0).collect();
        kept.sort_unstable_by(|one, other| other.cmp(one));
        let (mut array, mut list) = (SortedArray::<5>::new(), LinkedList::<5>::new());
        for space in [&mut array as &mut dyn OffsetAllocator, &mut list] {
            prop_assert_eq!(space.rebuild(end, &mut live.iter().copied()), Ok(()));
            prop_assert_eq!(space.is_complete(), kept.len() <= 5);
            prop_assert_eq!(space.free_units(), kept.iter().take(5).sum::<u16>());
            for gap in kept.iter().take(5) {
                prop_assert_eq!(space.largest_free(), *gap);
                prop_assert!(space.allocate(*gap, 1).is_some());
            }
        }
    }
}

/// Every sequence of calls out of a small set, on every small capacity.
#[test]
fn all_short_histories_of_small_spaces_agree() {
    let allocate = |from, len, align| Call::Allocate { from, len, align };
    let all = [
        allocate(0, 1, 1),
        allocate(0, 2, 1),
        Call::Free { which: 0 },
        allocate(2, 3, 2),
        Call::Free { which: 1 },
        Call::Reserve { start: 1, len: 3 },
        allocate(3, 1, 4),
        Call::Reserve { start: 3, len: 1 },
        Call::Reserve { start: 0, len: 3 },
        Call::FreeWild { start: 1, len: 2 },
        Call::Rebuild,
    ];
    let (kinds, calls, capacities) = if cfg!(miri) { (3, 2, 7..=7) } else { (all.len(), 4, 0..=8) };
    for capacity in capacities {
        for number in 0..kinds.pow(calls) {
            let history: Vec<Call> = (0..calls).map(|at| all[number / kinds.pow(at) % kinds]).collect();
            agrees(SortedArray::<5>::new(), capacity, &history, false);
            agrees(SortedArray::<2>::new(), capacity, &history, false);
            agrees(LinkedList::<5>::new(), capacity, &history, false);
            agrees(LinkedList::<2>::new(), capacity, &history, false);
            agrees(Buddy::<1>::new(), capacity, &history, true);
        }
    }
}

/// Both allocators that may forget ranges.
fn with_two_ranges(check: fn(&mut dyn OffsetAllocator)) {
    check(&mut SortedArray::<2>::new());
    check(&mut LinkedList::<2>::new());
}

#[test]
fn forgotten_ranges_come_back_with_a_rebuild() {
    with_two_ranges(|space| {
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
    });
}

#[test]
fn without_room_the_smallest_range_is_forgotten() {
    with_two_ranges(|space| {
        space.reset(100);
        space.reserve(0, 100).unwrap();
        for (start, len) in [(0, 20), (30, 5), (50, 10)] {
            space.free(start, len).unwrap();
        }
        assert_eq!((space.free_units(), space.largest_free(), space.is_complete()), (30, 20, false));
        // Splitting the range that is left may cost its smaller part.
        space.reserve(5, 1).unwrap();
        assert_eq!((space.free_units(), space.largest_free()), (24, 14));
        // Nothing is in use any more: nothing can be missing.
        for (start, len) in [(0, 6), (20, 30), (60, 40)] {
            space.free(start, len).unwrap();
        }
        assert_eq!((space.free_units(), space.is_complete()), (100, true));
    });
}

#[test]
fn a_buddy_takes_over_ranges_that_another_allocator_placed() {
    let mut packed = SortedArray::<4>::new();
    packed.reset(16);
    let lens = [3, 5, 1, 4];
    let live: Vec<(u16, u16)> = lens.iter().map(|len| (packed.allocate(*len, 1).unwrap(), *len)).collect();
    let mut space = Buddy::<1>::new();
    space.rebuild(16, &mut live.iter().copied()).unwrap();
    assert_eq!(space.free_units(), 3);
    // The block of the first range would cover part of the second, which stays in use.
    space.free(0, 3).unwrap();
    assert_eq!(space.free(0, 3), Err(RangeError::Overlap));
    assert_eq!(space.reserve(3, 1), Err(RangeError::Overlap));
    assert_eq!(space.free(3, 4), Err(RangeError::Mismatch));
    for (start, len) in &live[1..] {
        space.free(*start, *len).unwrap();
    }
    assert_eq!((space.free_units(), space.largest_free()), (16, 16));
}

#[test]
fn a_rebuild_reports_bad_ranges_and_takes_the_others() {
    fn check(space: &mut dyn OffsetAllocator) {
        for (bad, error) in [
            ((2, 4), RangeError::Overlap),
            ((90, 11), RangeError::OutOfBounds),
            ((u16::MAX, u16::MAX), RangeError::OutOfBounds),
            ((50, 0), RangeError::OutOfBounds),
        ] {
            assert_eq!(space.rebuild(100, &mut [(0, 4), bad, (92, 4)].into_iter()), Err(error));
            assert_eq!(space.reserve(0, 1), Err(RangeError::Overlap));
            assert_eq!(space.reserve(95, 1), Err(RangeError::Overlap));
            assert_eq!(space.reserve(96, 4), Ok(()));
        }
    }
    check(&mut SortedArray::<8>::new());
    check(&mut LinkedList::<8>::new());
    check(&mut Buddy::<4>::new());
}

#[test]
fn odd_arguments_are_refused() {
    fn check(space: &mut dyn OffsetAllocator, largest: u16) {
        assert_eq!((space.capacity(), space.allocate(1, 1), space.largest_free()), (0, None, 0));
        assert_eq!(space.free(0, 1), Err(RangeError::OutOfBounds));
        assert_eq!(space.fragmentation_permille(), 0);
        space.reset(u16::MAX);
        assert_eq!((space.capacity(), space.free_units(), space.largest_free()), (u16::MAX, u16::MAX, largest));
        assert_eq!((space.allocate(0, 1), space.allocate(1, 3)), (None, None));
        assert_eq!(space.reserve(u16::MAX, u16::MAX), Err(RangeError::OutOfBounds));
        assert_eq!(space.allocate_from(u16::MAX, 1, 0), Some(0));
        assert_eq!(space.allocate_from(1, 1, 1 << 15), Some(1 << 15));
        assert_eq!(space.reserve(u16::MAX - 1, 1), Ok(()));
        assert_eq!(space.free_units(), u16::MAX - 3);
    }
    check(&mut SortedArray::<8>::new(), u16::MAX);
    check(&mut LinkedList::<8>::new(), u16::MAX);
    check(&mut Buddy::<2048>::new(), 1 << 15);
}

#[test]
fn a_small_state_cuts_the_capacity_down() {
    let mut space = Buddy::<2>::new();
    space.reset(100);
    assert_eq!((space.capacity(), space.free_units(), space.largest_free()), (64, 64, 64));
    assert_eq!((space.rounded(0), space.rounded(33), space.rounded(40_000)), (0, 64, u16::MAX));
}

#[test]
fn ram_is_as_stated() {
    assert_eq!(size_of::<SortedArray<16>>(), 4 * 16 + 16);
    assert_eq!(size_of::<LinkedList<16>>(), 6 * 16 + 10);
    assert_eq!(size_of::<Buddy<16>>(), 8 * 16 + 4);
}
