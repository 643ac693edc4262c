//! Where collections end: the largest object, and the smallest dirty limit.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_collections::{List, OpenQueue, Queue, Vector};
use vnv_persist::{Error, Heap, Memory, Options};
use vnv_sim::TearStorage;
use vnv_storage::RamStorage;

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn a_vector_grows_up_to_the_largest_object() {
    type Ram = Memory<40, 60, 8, 2, 20_000>;
    let mut memory = Ram::new();
    let heap: Heap<'_, TearStorage, Ram> =
        Heap::format(TearStorage::new(262_144, 8), &mut memory, Options::new(8192).log_bytes(4096)).unwrap();
    let mut vector = Vector::create(&heap).unwrap();
    heap.set_root("vector", Some(vector.link())).unwrap();
    let mut len = 0;
    let error = loop {
        match vector.push(len as u32) {
            Ok(()) => len += 1,
            Err(error) => break error,
        }
    };
    // 4,094 units of 8 bytes, less the block header.
    assert_eq!((error, len), (Error::TooLarge, (4094 * 8 - 8) / 4));
    assert_eq!(vector.len().unwrap(), len);
    assert_eq!(*vector.get(len - 1).unwrap().unwrap(), len as u32 - 1);
}

/// With any dirty limit, what fails once fails again: nothing is admitted by chance.
#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn a_small_dirty_limit_fails_always_or_never() {
    type Ram = Memory<48, 60, 8, 2, 400>;
    let mut least = None;
    for limit in (56..320).step_by(8) {
        let mut memory = Ram::new();
        let formatted = Heap::format(TearStorage::new(16_384, 8), &mut memory, Options::new(limit));
        let Ok(heap) = formatted else { continue };
        let heap: Heap<'_, TearStorage, Ram> = heap;
        let Ok(mut list) = List::create(&heap) else { continue };
        if heap.set_root("list", Some(list.link())).is_err() {
            continue;
        }
        let results: Vec<_> =
            (0..6u8).map(|number| list.push_back([number; 40]).map_err(|error| format!("{error:?}"))).collect();
        // The first item has no neighbour.
        assert!(
            results[0].is_ok() && results[1..].iter().all(|result| *result == results[1]),
            "limit {limit}: {results:?}"
        );
        if results[1].is_ok() && least.is_none() {
            least = Some(limit);
        }
    }
    // Header, old and new last node.
    assert_eq!(least, Some(112));
}

type Work = Memory<60, 40, 8, 2, 400>;

/// A worker looks at the front item and pushes what follows from it.
#[test]
fn what_is_pushed_while_the_front_is_looked_at_stays() {
    for before in [1usize, 3, 4] {
        let mut memory = Work::new();
        let heap = Heap::<_, Work>::format(RamStorage::<8192>::new(), &mut memory, Options::new(800)).unwrap();
        let mut queue: OpenQueue<'_, u32, _> = Queue::create(&heap).unwrap();
        let link = queue.link();
        for n in 0..before {
            queue.push_back(n as u32).unwrap();
        }
        let popped = queue.pop_front_with(|item| {
            Queue::at(&heap, link).push_back(100 + *item).unwrap();
            *item
        });
        let mut rest = vec![];
        while let Some(n) = queue.pop_front().unwrap() {
            rest.push(n);
        }
        let mut expected: Vec<u32> = (1..before as u32).collect();
        expected.push(100);
        assert_eq!((popped.ok().flatten(), rest), (Some(0), expected), "{before}");
    }
}

/// With a commit after each operation, what succeeds once succeeds always: deltas that wait in the log do not use the limit up.
#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn committed_changes_do_not_use_a_small_limit_up() {
    type Ram = Memory<300, 64, 8, 2, 3000>;
    for (limit, log) in [(120, 512), (128, 512), (160, 4096), (256, 512), (256, 2048), (280, 2048)] {
        let mut memory = Ram::new();
        let options = Options::new(limit).log_bytes(log);
        let heap = Heap::<_, Ram>::format(TearStorage::new(65_536, 8), &mut memory, options).unwrap();
        let mut vector = Vector::<u32>::with_capacity(&heap, 500).unwrap();
        heap.set_root("vector", Some(vector.link())).unwrap();
        for number in 0..500 {
            vector.push(number).unwrap();
        }
        heap.commit().unwrap();
        let mut queue = Queue::<u32>::with_capacity(&heap, 200).unwrap();
        heap.set_root("queue", Some(queue.link())).unwrap();
        heap.commit().unwrap();
        for number in 0..1000u32 {
            *vector.get_mut(number as usize * 37 % 500).unwrap().unwrap() += 1;
            heap.commit().unwrap();
            if number % 2 == 0 {
                queue.push_back(number).unwrap_or_else(|error| panic!("limit {limit}, {number}: {error}"));
            } else {
                assert_eq!(queue.pop_front().unwrap(), Some(number - 1));
            }
            heap.commit().unwrap();
        }
    }
}
