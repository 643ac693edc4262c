//! Golden costs of making room: several objects go out in one burst.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use vnv_persist::{Adaptive, Clock, Durable, Event, FirstFound, Heap, Link, Memory, Options, Policy};
use vnv_sim::{Counters, TearStorage};

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Value<const N: usize>([u8; N]);

fn cost<W: vnv_persist::Workspace, P: Policy + Default, T>(
    heap: &Heap<'_, TearStorage, W, P>,
    operation: impl FnOnce() -> T,
) -> (Counters, T) {
    heap.with_device(TearStorage::reset_counters).unwrap();
    let result = operation();
    (heap.with_device(|device| device.counters()).unwrap(), result)
}

/// `get_max_old` of the published workloads: 1 KiB of RAM is full of dirty objects of 4 bytes, and 1,024 bytes are wanted. The prior heap
/// needs 43 writes.
fn many_small_ones_make_room_for_a_large_one<P: Policy + Default>() {
    type Ram = Memory<120, 100, 4, 1, 140>;
    let mut memory = Ram::new();
    let device = TearStorage::new(16384, 8);
    let heap = Heap::<_, Ram, P>::format(device, &mut memory, Options::new(2400)).unwrap();
    let mut large = heap.allocate(Value([1; 1024])).unwrap();
    let mut small: Vec<_> = (0..46u32).map(|value| heap.allocate(value).unwrap()).collect();
    heap.commit().unwrap();
    heap.evict(&large).unwrap();
    for value in &mut small {
        *heap.get_mut(value).unwrap() += 1;
    }
    let (counters, ()) = cost(&heap, || heap.get_mut(&mut large).unwrap().0[0] = 2);
    assert!((1..=2).contains(&counters.writes) && counters.reads == 1, "{counters:?}");
    for (index, value) in small.iter().enumerate() {
        assert_eq!(*heap.get(value).unwrap(), index as u32 + 1);
    }
    assert_eq!(heap.get(&large).unwrap().0[0], 2);
}

#[test]
fn many_small_ones_leave_in_one_or_two_writes() {
    many_small_ones_make_room_for_a_large_one::<FirstFound>();
    many_small_ones_make_room_for_a_large_one::<Clock>();
    many_small_ones_make_room_for_a_large_one::<Adaptive>();
}

/// `get_max`: RAM holds one dirty object of 1,024 bytes, and another one is wanted.
#[test]
fn a_large_one_leaves_for_another_with_one_write_and_one_read() {
    type Ram = Memory<20, 16, 4, 1, 140>;
    let mut memory = Ram::new();
    let device = TearStorage::new(16384, 8);
    let heap = Heap::<_, Ram>::format(device, &mut memory, Options::new(2400)).unwrap();
    let mut first = heap.allocate(Value([1; 1024])).unwrap();
    heap.commit().unwrap();
    let mut second = heap.allocate(Value([2; 1024])).unwrap();
    heap.commit().unwrap();
    for _ in 0..10 {
        for value in [&mut first, &mut second] {
            let (counters, ()) = cost(&heap, || heap.get_mut(value).unwrap().0[0] += 1);
            let bytes = (counters.bytes_written, counters.bytes_read);
            assert!(counters.writes <= 1 && counters.reads == 1 && bytes.0 <= 1032 && bytes.1 == 1032, "{counters:?}");
        }
    }
    assert_eq!(heap.get(&first).unwrap().0[0], 11);
    assert_eq!(heap.get(&second).unwrap().0[0], 12);
}

type Ram = Memory<80, 250, 4, 1, 2000>;
const LIMIT: u32 = 3000;

/// 64 objects of 128 bytes below a limit for about 20 of them, changed one after the other: `(writes, commits)`.
fn changed_in_turn(rounds: usize) -> (u64, u32) {
    let commits = Cell::new(0);
    let observer = |event| commits.set(commits.get() + u32::from(matches!(event, Event::Committed(_))));
    let mut memory = Ram::new();
    let device = TearStorage::new(65536, 8);
    let heap = Heap::<_, Ram>::format(device, &mut memory, Options::new(LIMIT).log_bytes(4096)).unwrap();
    let mut values: Vec<_> = (0..64).map(|_| heap.allocate(Value([0; 128])).unwrap()).collect();
    heap.commit().unwrap();
    heap.set_observer(Some(&observer));
    let (counters, ()) = cost(&heap, || {
        for round in 0..rounds {
            for value in &mut values {
                heap.get_mut(value).unwrap().0[127] = round as u8 + 1;
                assert!(heap.dirty_bytes().unwrap() <= LIMIT);
            }
        }
    });
    heap.set_observer(None);
    for value in &values {
        assert_eq!(heap.get(value).unwrap().0[127], rounds as u8);
    }
    (counters.writes, commits.get())
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn the_dirty_limit_is_kept_by_bursts_and_not_by_commits() {
    let (writes, commits) = changed_in_turn(10);
    // At least 512 bytes in each burst: four objects of 136 bytes.
    assert_eq!(commits, 0);
    assert!((100..=160).contains(&writes), "{writes} writes for 640 changes");
}

/// A chain that is read from the root.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Node {
    value: [u8; 124],
    next: Link<Node>,
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations")]
fn a_snapshot_outlives_the_bursts_that_follow_it() {
    let mut memory = Ram::new();
    let options = Options::new(LIMIT).log_bytes(4096);
    // Little free space, so that places are reused soon.
    let heap = Heap::<_, Ram>::format(TearStorage::new(40960, 8), &mut memory, options).unwrap();
    let mut first = Link::NULL;
    for _ in 0..64 {
        first = heap.allocate(Node { value: [0; 124], next: first }).unwrap().into_link();
    }
    heap.set_root("first", Some(first)).unwrap();
    heap.commit().unwrap();
    let change = |heap: &Heap<'_, TearStorage, Ram>, value: u8| {
        let mut next = first;
        while !next.is_null() {
            let mut node = heap.get_mut(next).unwrap();
            node.value.fill(value);
            next = node.next;
        }
    };
    let mut opened_from_snapshots = 0;
    for round in 1..20 {
        change(&heap, 2 * round);
        let sequence = heap.snapshot().unwrap();
        change(&heap, 2 * round + 1);
        // The program ends here, if nothing was committed since.
        if heap.sequence() == sequence {
            let image = heap.with_device(|device| device.image().to_vec()).unwrap();
            let mut memory = Ram::new();
            let opened = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, options).unwrap();
            assert!(opened.report().snapshot && opened.sequence() >= sequence);
            opened_from_snapshots += 1;
            let mut next = opened.root::<Node>("first").unwrap().unwrap();
            while !next.is_null() {
                let node = *opened.get(next).unwrap();
                assert_eq!(node.value, [2 * round; 124]);
                next = node.next;
            }
        }
    }
    assert!(opened_from_snapshots >= 5, "{opened_from_snapshots}");
}

/// Where in storage a value stands, the only one of its bytes.
fn place<W: vnv_persist::Workspace>(heap: &Heap<'_, TearStorage, W>, byte: u8) -> Option<usize> {
    let image = heap.with_device(|device| device.image().to_vec()).unwrap();
    image.windows(128).position(|bytes| bytes.iter().all(|other| *other == byte))
}

/// To make room below the limit, new objects whose places adjoin are written there, in one burst: no second range is needed beside
/// the one that they have.
#[test]
#[cfg_attr(miri, ignore = "it searches the whole image, again and again")]
fn new_objects_make_room_at_their_own_places() {
    let mut memory = Ram::new();
    let device = TearStorage::new(65536, 8);
    let heap = Heap::<_, Ram>::format(device, &mut memory, Options::new(LIMIT)).unwrap();
    let mut values = vec![heap.allocate(Value([1; 128])).unwrap()];
    // With the schema, which comes first.
    heap.commit().unwrap();
    let first = place(&heap, 1).unwrap();
    for byte in 2.. {
        let (counters, value) = cost(&heap, || heap.allocate(Value([byte; 128])).unwrap());
        values.push(value);
        if counters.writes != 0 {
            assert_eq!(counters.writes, 1);
            break;
        }
    }
    let written: Vec<usize> = (2..values.len()).filter(|at| place(&heap, *at as u8).is_some()).collect();
    assert!(written.len() >= 4, "at least 512 bytes: {written:?}");
    for at in written {
        assert_eq!(place(&heap, at as u8), Some(first + 136 * (at - 1)));
    }
}

/// Places that were written rotate; one that was not is the next one again.
#[test]
#[cfg_attr(miri, ignore = "it searches the whole image, again and again")]
fn places_rotate_once_they_were_written() {
    let mut memory = Ram::new();
    let device = TearStorage::new(65536, 8);
    let heap = Heap::<_, Ram>::format(device, &mut memory, Options::new(LIMIT)).unwrap();
    let mut last = 0;
    for byte in 1..=20 {
        drop(heap.allocate(Value([100 + byte; 128])).unwrap());
        let value = heap.allocate(Value([byte; 128])).unwrap();
        heap.evict(&value).unwrap();
        let at = place(&heap, byte).unwrap();
        assert!(last == 0 || at == last + 136, "{byte}: {at} behind {last}");
        last = at;
    }
}
