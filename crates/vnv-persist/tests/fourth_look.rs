//! What a third attack has found, on small and large geometries: each of these failed once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use vnv_alloc::{RangeError, SortedArray};
use vnv_persist::{Adaptive, Error, Heap, Layout, LayoutError, Memory, OffsetAllocator, Options};
use vnv_sim::TearStorage;

/// The copy of a freed object was evicted after its guard was dropped: its slot stayed taken, and no commit freed it.
#[test]
fn a_slot_whose_buried_copy_was_evicted_is_free() {
    // One free slot.
    type Ram = Memory<4, 8, 2, 2, 64>;
    for evict in [false, true] {
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::format(TearStorage::new(4096, 8), &mut memory, Options::new(256)).unwrap();
        let owned = heap.allocate(1u32).unwrap();
        heap.commit().unwrap();
        let guard = heap.get(owned.downgrade()).unwrap();
        drop(owned);
        heap.commit().unwrap();
        drop(guard);
        if evict {
            heap.evict_all().unwrap();
        }
        heap.commit().unwrap();
        assert_eq!(heap.allocate(3u32).map(drop), Ok(()), "evicted: {evict}");
    }
}

/// A root led to an object that the running transaction had freed, and could be made to.
#[test]
fn a_root_does_not_lead_to_what_the_transaction_has_freed() {
    type Ram = Memory<8, 8, 2, 2, 64>;
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(4096, 8), &mut memory, Options::new(256)).unwrap();
    let object = heap.allocate(1u32).unwrap().into_link();
    heap.set_root("a", Some(object)).unwrap();
    heap.commit().unwrap();
    for commits in [false, true] {
        let transaction = heap.transaction().unwrap();
        transaction.free(object).unwrap();
        assert_eq!(transaction.root::<u32>("a"), Err(Error::Stale));
        assert_eq!(transaction.set_root("b", Some(object)), Err(Error::Stale));
        // It can be taken away.
        transaction.set_root("a", None::<vnv_persist::Link<u32>>).unwrap();
        if commits {
            transaction.commit().unwrap();
        }
    }
    assert_eq!(heap.root::<u32>("a"), Ok(None));
}

/// Limits were accepted under which nothing could ever be changed.
#[test]
fn the_smallest_dirty_limit_admits_changes() {
    type Ram = Memory<16, 8, 4, 2, 600>;
    for row in [1, 8, 16, 32, 64, 128, 256] {
        for guards in [0, 1, 2] {
            let layout = |limit| Layout::new(65_536, row, (16, 4, 2), Options::new(limit).guards(guards));
            let least = (24..2000).find(|limit| layout(*limit).is_ok()).unwrap();
            assert_eq!(layout(least - 1), Err(LayoutError::DirtyLimitTooSmall));
            let mut memory = Box::new(Ram::new());
            let options = Options::new(least).guards(guards);
            let heap = Heap::<_, Ram>::format(TearStorage::new(65_536, row), &mut memory, options).unwrap();
            let one = heap.allocate(1u32).unwrap().into_link();
            heap.set_root("one", Some(one)).unwrap();
            let many = heap.allocate_slice_with(400, |at| at as u32).unwrap().into_link();
            heap.set_root("many", Some(many)).unwrap();
            heap.commit().unwrap();
            let context = format!("rows of {row}, {guards} guards, limit {least}");
            for at in [0, 1, 200, 399] {
                assert_eq!(heap.get_mut(one).map(|mut one| *one += 1), Ok(()), "{context}");
                let changed = heap.get_element_mut(many, at).map(|mut element| *element += 1);
                assert_eq!(changed, Ok(()), "{context}, element {at}");
                heap.commit().unwrap();
            }
            let image = heap.into_device().into_image();
            let mut memory = Box::new(Ram::new());
            let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, row), &mut memory, options).unwrap();
            assert_eq!(*heap.get(one).unwrap(), 5);
            assert_eq!(heap.get(many).unwrap()[399], 400);
        }
    }
}

thread_local! {
    static REBUILDS: Cell<u32> = const { Cell::new(0) };
}

/// Counts rebuilds.
#[derive(Default)]
struct Counting(SortedArray<24>);

// SAFETY: what it hands out is the array's.
unsafe impl OffsetAllocator for Counting {
    fn reset(&mut self, capacity: u16) {
        self.0.reset(capacity);
    }
    fn capacity(&self) -> u16 {
        self.0.capacity()
    }
    fn allocate_from(&mut self, from: u16, len: u16, align: u16) -> Option<u16> {
        self.0.allocate_from(from, len, align)
    }
    fn reserve(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.0.reserve(start, len)
    }
    fn free(&mut self, start: u16, len: u16) -> Result<(), RangeError> {
        self.0.free(start, len)
    }
    fn free_units(&self) -> u16 {
        self.0.free_units()
    }
    fn largest_free(&self) -> u16 {
        self.0.largest_free()
    }
    fn is_complete(&self) -> bool {
        self.0.is_complete()
    }
    fn rebuild(&mut self, capacity: u16, live: &mut dyn Iterator<Item = (u16, u16)>) -> Result<(), RangeError> {
        REBUILDS.set(REBUILDS.get() + 1);
        self.0.rebuild(capacity, live)
    }
}

/// With more gaps in the arena than its allocator has ranges, nearly each miss rebuilt the allocator, in residents times slots.
#[test]
#[cfg_attr(miri, ignore = "thousands of misses")]
fn a_fragmented_arena_is_seldom_gone_through() {
    type Ram = Memory<700, 64, 4, 1, 2048>;
    const OBJECTS: usize = 600;
    const MISSES: u32 = 4000;
    let mut memory = Box::new(Ram::new());
    let storage = TearStorage::new(131_072, 8);
    let heap = Heap::<_, Ram, Adaptive, Counting>::format(storage, &mut memory, Options::new(4096)).unwrap();
    let mut random = fastrand::Rng::with_seed(1);
    let links: Vec<_> = (0..OBJECTS)
        .map(|at| heap.allocate_slice_with(random.usize(1..80), |_| at as u8).unwrap().into_link())
        .collect();
    heap.commit().unwrap();
    REBUILDS.set(0);
    for _ in 0..MISSES {
        let at = random.usize(..OBJECTS);
        assert!(heap.get(links[at]).unwrap().iter().all(|byte| *byte == at as u8));
    }
    assert!(REBUILDS.get() < MISSES / 10, "{} rebuilds", REBUILDS.get());
}
