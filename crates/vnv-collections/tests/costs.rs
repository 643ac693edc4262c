//! Golden costs: storage transactions and bytes of operations. Cost is part of the API.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_collections::{List, Map, Queue, Vector};
use vnv_persist::{Adaptive, Clock, Durable, Heap, Memory, Options, Policy};
use vnv_sim::{Counters, TearStorage};

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Item([u32; 64]);

type Ram = Memory<96, 64, 12, 4, 1024>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const OPTIONS: Options = Options::new(2400).log_bytes(1024);

fn heap(memory: &mut Ram) -> TestHeap<'_> {
    Heap::format(TearStorage::new(32768, 8), memory, OPTIONS).unwrap()
}

fn cost<T>(heap: &TestHeap<'_>, operation: impl FnOnce() -> T) -> (Counters, T) {
    heap.with_device(TearStorage::reset_counters).unwrap();
    let result = operation();
    (heap.with_device(|device| device.counters()).unwrap(), result)
}

fn free<T>(heap: &TestHeap<'_>, operation: impl FnOnce() -> T) -> T {
    let (counters, result) = cost(heap, operation);
    assert_eq!(counters.reads + counters.writes, 0, "{counters:?}");
    result
}

#[test]
fn nothing_touches_the_bus_while_all_is_resident() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    free(&heap, || {
        let mut queue = Queue::create(&heap).unwrap();
        let mut vector = Vector::create(&heap).unwrap();
        let mut map = Map::create(&heap).unwrap();
        let mut list = List::create(&heap).unwrap();
        for number in 0..10u32 {
            queue.push_back(number).unwrap();
            vector.push(number).unwrap();
            map.insert(number, number).unwrap();
            list.push_back(number).unwrap();
        }
        for number in 0..10 {
            assert_eq!(vector.get(number as usize).unwrap().map(|element| *element), Some(number));
            *map.get_mut(&number).unwrap().unwrap() += 1;
            assert_eq!(map.get(&number).unwrap().map(|value| *value), Some(number + 1));
            assert_eq!(queue.pop_front().unwrap(), Some(number));
            assert_eq!(list.pop_front().unwrap(), Some(number));
            assert!(map.remove(&number).unwrap());
        }
        queue.destroy().unwrap();
        vector.destroy().unwrap();
        map.destroy().unwrap();
        list.destroy().unwrap();
    });
}

/// What a commit writes after one operation: each changed object's block (its bytes and 8), and a record, padded to 8 bytes: 24, an
/// entry of 8 of each new object, of 4 of each other one that was changed or freed, and a delta of 24 for the first 8 bytes of a
/// slice that change.
#[test]
fn a_commit_writes_little_more_than_the_item() {
    const RECORD: u64 = 24;
    const NEW: u64 = 8;
    const MOVED: u64 = 4;
    const DELTA: u64 = 12 + 4 + 8;
    const HEADER: u64 = 16;
    const ITEM: u64 = 264;
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut queue = Queue::with_capacity(&heap, 32).unwrap();
    let mut vector = Vector::with_capacity(&heap, 64).unwrap();
    let mut map = Map::create(&heap).unwrap();
    let mut list = List::create(&heap).unwrap();
    heap.set_root("queue", Some(queue.link())).unwrap();
    heap.set_root("vector", Some(vector.link())).unwrap();
    heap.set_root("map", Some(map.link())).unwrap();
    heap.set_root("list", Some(list.link())).unwrap();
    // The types, and the first table.
    queue.push_back(Item([0; 64])).unwrap();
    assert!(queue.remove_front().unwrap());
    map.insert(0u32, [0u32; 4]).unwrap();
    list.push_back(0u32).unwrap();
    heap.commit().unwrap();
    let commit = |operation: &mut dyn FnMut()| {
        operation();
        let compactions = heap.compactions();
        let (counters, _) = cost(&heap, || heap.commit().unwrap());
        assert_eq!(heap.compactions(), compactions);
        assert!(counters.reads == 0 && counters.writes <= 2, "{counters:?}");
        counters.bytes_written
    };
    let changed = |blocks: u64, entries: u64| blocks + (RECORD + entries).next_multiple_of(8);
    let push = commit(&mut || queue.push_back(Item([9; 64])).unwrap());
    assert_eq!(push, changed(ITEM + HEADER, NEW + MOVED + DELTA));
    // The item that is gone costs its entry.
    assert_eq!(commit(&mut || assert!(queue.remove_front().unwrap())), changed(HEADER, 2 * MOVED + DELTA));
    assert_eq!(commit(&mut || vector.push(1u32).unwrap()), changed(HEADER, MOVED + DELTA));
    assert_eq!(commit(&mut || *vector.get_mut(0).unwrap().unwrap() = 9), changed(0, DELTA));
    // The delta of the same slice is taken along until it is applied.
    assert_eq!(commit(&mut || vector.push(2).unwrap()), changed(HEADER, MOVED + DELTA));
    assert_eq!(commit(&mut || vector.push(3).unwrap()), changed(HEADER, MOVED + DELTA + 8));
    assert_eq!(commit(&mut || map.get_mut(&0).unwrap().unwrap()[0] += 1), changed(24, MOVED));
    // Two nodes of 12 bytes and the header of 12.
    assert_eq!(commit(&mut || list.push_back(1).unwrap()), changed(3 * 24, NEW + 2 * MOVED));
}

#[test]
fn a_value_that_is_not_resident_is_one_read() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut map = Map::create(&heap).unwrap();
    for number in 0..20u16 {
        map.insert(number, Item([number.into(); 64])).unwrap();
    }
    heap.commit().unwrap();
    let value = map.value(&7).unwrap().unwrap();
    heap.evict(value).unwrap();
    let (counters, found) = cost(&heap, || map.get(&7).unwrap().unwrap().0[5]);
    assert_eq!((found, counters.reads, counters.writes, counters.bytes_read), (7, 1, 0, 264));
    heap.evict(value).unwrap();
    // Neither the search nor a removal loads values.
    let (counters, ()) = cost(&heap, || assert!(map.contains_key(&7).unwrap() && map.remove(&7).unwrap()));
    assert_eq!(counters.reads + counters.writes, 0);
}

/// A queue of 32 items of 256 bytes with RAM for 12 of them, a push and a pop at a time: items read, and bytes written, per push and
/// pop.
fn short_of_ram<P: Policy + Default, const WORDS: usize>(policy: &str) -> (f64, f64) {
    let mut memory = Memory::<224, 200, 8, 1, WORDS>::new();
    let heap: Heap<'_, TearStorage, Memory<224, 200, 8, 1, WORDS>, P> =
        Heap::format(TearStorage::new(131_072, 8), &mut memory, Options::new(8192).log_bytes(4096)).unwrap();
    let mut queue = Queue::with_capacity(&heap, 33).unwrap();
    heap.set_root("queue", Some(queue.link())).unwrap();
    for number in 0..32 {
        queue.push_back(Item([number; 64])).unwrap();
    }
    let rounds = 31 * 20;
    heap.with_device(TearStorage::reset_counters).unwrap();
    for number in 0..rounds {
        queue.push_back(Item([number + 32; 64])).unwrap();
        assert_eq!(queue.pop_front_with(|item| item.0[63]).unwrap(), Some(number));
    }
    let counters = heap.with_device(|device| device.counters()).unwrap();
    let rounds = f64::from(rounds);
    let (reads, bytes) = (counters.bytes_read as f64 / 264.0 / rounds, counters.bytes_written as f64 / rounds);
    println!(
        "{policy}: {reads:.3} items read, {bytes:.1} bytes written per push and pop; {:.3} + {:.3} transactions",
        counters.reads as f64 / rounds,
        counters.writes as f64 / rounds,
    );
    (reads, bytes)
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn a_queue_that_does_not_fit_into_ram() {
    // Twelve items of 272 bytes, the ring with 160, the header with 24, and less than an item for holes between them.
    const WORDS: usize = 12 * 34 + 20 + 3 + 30;
    let (reads, bytes) = short_of_ram::<Adaptive, WORDS>("adaptive");
    // Eleven items stay, one frame passes on the others.
    assert!(reads <= 1.0 - 11.0 / 31.0 + 0.05, "{reads}");
    assert!(bytes <= 264.0 * (1.0 - 11.0 / 31.0 + 0.05) + 8.0, "{bytes}");
    // A clock keeps nothing that is used in turn.
    let (reads, bytes) = short_of_ram::<Clock, WORDS>("clock");
    assert!(reads <= 1.0 && bytes <= 264.0 * 1.1);
}
