//! Room in the arena.

use std::cell::Cell;
use vnv_alloc::{Buddy, RangeError, SortedArray};
use vnv_persist::{Adaptive, Error, Heap, Link, Memory, OffsetAllocator, Options};
use vnv_sim::TearStorage;

/// An allocator that takes more than it is asked for: what was admitted could not be traced by `open`.
#[test]
#[cfg_attr(miri, ignore = "a hundred heaps")]
fn what_a_buddy_admits_can_be_traced() {
    type Ram = Memory<16, 8, 4, 2, 256>;
    type Kept<'m> = Heap<'m, TearStorage, Ram, Adaptive, Buddy<32>>;
    let options = Options::new(2048).log_bytes(256);
    let mut admitted = 0;
    for len in (1..300).step_by(3) {
        let mut memory = Ram::new();
        let heap = Kept::format(TearStorage::new(16384, 8), &mut memory, options).unwrap();
        let links = match heap.allocate_slice_with(len, |_| Link::<[u8]>::NULL) {
            Ok(links) => links.into_link(),
            Err(error) => {
                assert_eq!(error, Error::RamFull, "{len}");
                continue;
            }
        };
        admitted = len;
        heap.set_root("links", Some(links)).unwrap();
        heap.commit().unwrap();
        assert_eq!(heap.collect(), Ok(0), "{len}");
        let image = heap.into_device().into_image();
        let mut memory = Ram::new();
        let opened = Kept::open(TearStorage::from_image(image, 8), &mut memory, options);
        assert!(opened.is_ok(), "{len}: {:?}", opened.err());
    }
    assert!(admitted > 100, "{admitted}");
}

/// The colours of a collection stood in the middle of the arena, and an object that had been admitted could not be read.
#[test]
fn a_collection_does_not_stand_in_the_way() {
    type Ram = Memory<16, 8, 4, 2, 64>;
    let mut memory = Ram::new();
    let heap: Heap<'_, TearStorage, Ram> =
        Heap::format(TearStorage::new(16384, 8), &mut memory, Options::new(1024).log_bytes(256)).unwrap();
    let mut large = heap.allocate_slice_with(300, |at| at as u8).unwrap();
    let (small, _other) = (heap.allocate([1u8; 200]).unwrap(), heap.allocate([2u8; 8]).unwrap());
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    let _ = heap.get(&small).unwrap();
    heap.collect_step().unwrap();
    assert_eq!(heap.get(&large).unwrap()[7], 7);
    heap.get_mut(&mut large).unwrap()[7] = 8;
    assert_eq!(heap.collect(), Ok(0));
    assert_eq!(heap.get(&large).unwrap()[7], 8);
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
