//! Golden costs: storage transactions and bytes of every operation. Cost is part of the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_alloc::SortedArray;
use vnv_persist::{Durable, Heap, Memory, Options};
use vnv_sim::{Counters, TearStorage};

type Ram = Memory<96, 64, 4, 4, 1024>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const OPTIONS: Options = Options::new(2400).log_bytes(1024);

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Value<const N: usize>([u8; N]);

fn heap(memory: &mut Ram) -> TestHeap<'_> {
    Heap::format(TearStorage::new(16384, 8), memory, OPTIONS).unwrap()
}

fn cost<T>(heap: &TestHeap<'_>, operation: impl FnOnce() -> T) -> (Counters, T) {
    heap.with_device(TearStorage::reset_counters).unwrap();
    let result = operation();
    (heap.with_device(|device| device.counters()).unwrap(), result)
}

fn none(counters: Counters) -> bool {
    counters.reads + counters.writes == 0
}

fn rounded(size: usize) -> u64 {
    size.next_multiple_of(8) as u64
}

#[test]
fn allocate_free_and_hits_do_not_touch_the_bus() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    for round in 0..if cfg!(miri) { 5 } else { 100 } {
        let (counters, mut owned) = cost(&heap, || heap.allocate(Value([round; 24])).unwrap());
        assert!(none(counters), "allocate: {counters:?}");
        let (counters, ()) = cost(&heap, || assert_eq!(heap.get(&owned).unwrap().0[0], round));
        assert!(none(counters), "hit: {counters:?}");
        let (counters, ()) = cost(&heap, || heap.get_mut(&mut owned).unwrap().0[1] = 1);
        assert!(none(counters), "mutable hit: {counters:?}");
        let (counters, ()) = cost(&heap, || drop(owned));
        assert!(none(counters), "free: {counters:?}");
    }
    // An object that is committed is freed without bus traffic too.
    let owned = heap.allocate(Value([1; 24])).unwrap();
    heap.commit().unwrap();
    assert!(none(cost(&heap, || drop(owned)).0));
}

fn load_and_commit<const N: usize>(heap: &TestHeap<'_>) {
    let mut owned = heap.allocate(Value([7; N])).unwrap();
    heap.commit().unwrap();
    heap.evict(&owned).unwrap();
    let (counters, ()) = cost(heap, || assert_eq!(heap.get(&owned).unwrap().0[N - 1], 7));
    assert_eq!((counters.reads, counters.writes), (1, 0), "load of {N}");
    assert!(counters.bytes_read <= rounded(N) + 8, "load of {N}: {counters:?}");
    heap.get_mut(&mut owned).unwrap().0[0] = 8;
    let compactions = heap.compactions();
    let (counters, _) = cost(heap, || heap.commit().unwrap());
    if heap.compactions() == compactions {
        assert_eq!((counters.reads, counters.writes), (0, 2), "commit of {N}: {counters:?}");
        assert!(counters.bytes_written <= rounded(N) + 16 + 40, "commit of {N}: {counters:?}");
    }
    drop(owned);
    heap.commit().unwrap();
    heap.collect().unwrap();
    heap.commit().unwrap();
}

#[test]
fn a_load_is_one_read_and_a_commit_two_writes() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    load_and_commit::<1>(&heap);
    load_and_commit::<4>(&heap);
    load_and_commit::<8>(&heap);
    load_and_commit::<13>(&heap);
    load_and_commit::<64>(&heap);
    load_and_commit::<250>(&heap);
    load_and_commit::<1024>(&heap);
}

#[test]
fn a_commit_of_k_changes_is_two_writes_where_places_adjoin() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut owned: Vec<_> = (0..40).map(|at| heap.allocate(Value([at; 20])).unwrap()).collect();
    heap.commit().unwrap();
    for k in [1u64, 2, 7, 40] {
        for owned in owned.iter_mut().take(k as usize) {
            heap.get_mut(owned).unwrap().0[0] ^= 1;
        }
        let compactions = heap.compactions();
        let (counters, _) = cost(&heap, || heap.commit().unwrap());
        assert_eq!(heap.compactions(), compactions, "the log has room");
        assert_eq!((counters.reads, counters.writes), (0, 2), "k = {k}");
        assert!(counters.bytes_written <= k * rounded(20) + 16 * k + 40, "k = {k}: {counters:?}");
    }
    // Allocated, freed and root changes together.
    let dropped: Vec<_> = owned.drain(..5).collect();
    drop(dropped);
    let link = owned.remove(0).into_link();
    heap.set_root("first", Some(link)).unwrap();
    let new = heap.allocate(Value([9; 20])).unwrap();
    let compactions = heap.compactions();
    let (counters, _) = cost(&heap, || heap.commit().unwrap());
    assert_eq!(heap.compactions(), compactions);
    assert!(counters.writes <= 2);
    assert!(counters.bytes_written <= rounded(20) + 16 * 7 + 40, "{counters:?}");
    drop(new);
    // With nothing changed, nothing is written.
    heap.commit().unwrap();
    assert!(none(cost(&heap, || heap.commit().unwrap()).0));
}

#[test]
fn one_changed_element_of_a_kibibyte_costs_at_most_96_bytes() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut owned = heap.allocate_slice_with(256, |at| at as u32).unwrap();
    heap.commit().unwrap();
    for at in [0usize, 1, 100, 255] {
        heap.with_device(TearStorage::reset_counters).unwrap();
        *heap.get_element_mut(&mut owned, at).unwrap() += 1;
        heap.commit().unwrap();
        // The later application: the object leaves the arena clean.
        heap.evict(&owned).unwrap();
        let counters = heap.with_device(|device| device.counters()).unwrap();
        assert!(counters.bytes_written <= 96, "element {at}: {counters:?}");
        assert_eq!(heap.get(&owned).unwrap()[at], at as u32 + 1);
    }
}

#[test]
fn compactions_are_rare_and_bounded() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut owned: Vec<_> = (0..40u8).map(|at| heap.allocate(Value([at; 20])).unwrap()).collect();
    heap.commit().unwrap();
    let before = heap.compactions();
    let mut most = 0;
    let rounds = if cfg!(miri) { 60 } else { 1000usize };
    for round in 0..rounds {
        heap.get_mut(&mut owned[round % 40]).unwrap().0[0] ^= 1;
        let compactions = heap.compactions();
        let (counters, _) = cost(&heap, || heap.commit().unwrap());
        if heap.compactions() != compactions {
            most = most.max(counters.bytes_written);
        }
    }
    let compactions = heap.compactions() - before;
    println!("{rounds} commits of one object: {compactions} compactions, the dearest commit wrote {most} bytes");
    assert!(most <= rounded(20) + 16 + 40 + 12 * 96 + 64);
    assert!(compactions as usize <= 1 + rounds / 25, "{compactions}");
}

#[test]
fn ram_is_as_published() {
    // 8 KiB part: 64 slots, 24 pending places, 8 types, 4 roots; the arena is the application's choice.
    type Small = Memory<64, 24, 8, 4, 0>;
    // A type: 16 bytes here, 12 with pointers of 4; what the interrupt looks at: 24 bytes here, 16 there.
    assert_eq!(size_of::<Small>(), 64 * 8 + 24 * 4 + 8 * 16 + 4 * 16 + 24);
    // The handle: 4 bytes per free range of an allocator, and a fixed part: 280 bytes with pointers of 4 (`apps/bench/src/queue.rs`
    // does not build otherwise).
    type WithRanges<const R: usize, const S: usize> =
        Heap<'static, (), Small, vnv_persist::Adaptive, SortedArray<R>, SortedArray<S>>;
    assert_eq!(size_of::<WithRanges<24, 32>>(), size_of::<Heap<'_, (), Small>>());
    assert_eq!(size_of::<WithRanges<24, 32>>(), size_of::<WithRanges<4, 8>>() + 4 * (24 + 32 - 4 - 8));
}

#[test]
fn usable_bytes_are_as_the_readme_says() {
    let usable = |limit, log| {
        vnv_persist::Layout::new(8192, 8, (48, 6, 4), Options::new(limit).log_bytes(log)).unwrap().usable_bytes()
    };
    assert_eq!([usable(256, 256), usable(512, 256), usable(1024, 512)], [6096, 5584, 4048]);
}
