//! A heap makes all the room that it can before it refuses: a transaction has the pending list for itself, and an allocation
//! finds the slots, places and rows of what nothing leads to any more. What it refuses says what helps, and it does help.

// Hundreds of collections: too long for Miri, which sees them in other tests.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_persist::{Durable, Error, Heap, Link, Memory, Options, Owned};
use vnv_sim::{TearError, TearStorage};

/// 16 slots of which 11 are the program's, 8 pending places, 4 types, 2 roots.
type Ram = Memory<16, 8, 4, 2, 256>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const OPTIONS: Options = Options::new(512);
const PENDING: usize = 8;
const OBJECTS: usize = 11;

fn formatted(memory: &mut Ram, capacity: usize) -> TestHeap<'_> {
    Heap::format(TearStorage::new(capacity, 8), memory, OPTIONS).unwrap()
}

fn writes(heap: &TestHeap<'_>) -> u64 {
    heap.with_device(|device| device.counters().writes).unwrap()
}

fn reopened(heap: TestHeap<'_>, memory: &mut Ram, see: impl FnOnce(&TestHeap<'_>)) {
    let image = heap.into_device().into_image();
    see(&Heap::open(TearStorage::from_image(image, 8), memory, OPTIONS).unwrap());
}

/// A table with `length` objects, committed.
fn table(heap: &TestHeap<'_>, length: usize) -> Link<[Link<u32>]> {
    let table = heap.allocate_slice_with(length, |_| Link::<u32>::NULL).unwrap().into_link();
    heap.set_root("table", Some(table)).unwrap();
    for number in 0..length {
        let new = heap.allocate(number as u32).unwrap();
        *heap.get_element_mut(table, number).unwrap() = new.into_link();
        heap.commit().unwrap();
    }
    table
}

#[test]
fn what_a_transaction_may_change_does_not_depend_on_what_was_changed_before() {
    let mut most = Vec::new();
    for before in 0..OBJECTS - 1 {
        let mut memory = Ram::new();
        let heap = formatted(&mut memory, 8192);
        let table = table(&heap, OBJECTS - 2);
        let links = heap.get(table).unwrap().to_vec();
        // Not committed: changes, and one object that is freed.
        for link in links.iter().take(before) {
            *heap.get_mut(*link).unwrap() += 100;
        }
        let tx = heap.transaction().unwrap();
        let changed = links.iter().rev().take_while(|link| match tx.get_mut(**link) {
            Ok(mut value) => {
                *value += 1000;
                true
            }
            Err(error) => {
                assert_eq!(error, Error::PendingFull, "{before} changes before");
                false
            }
        });
        let changed = changed.count();
        most.push(changed);
        tx.commit().unwrap();
        // All of both is there.
        let mut memory = Ram::new();
        reopened(heap, &mut memory, |heap| {
            let links = heap.get(heap.root::<[Link<u32>]>("table").unwrap().unwrap()).unwrap().to_vec();
            for (number, link) in links.iter().enumerate() {
                let own = 100 * usize::from(number < before) + 1000 * usize::from(number >= links.len() - changed);
                assert_eq!(*heap.get(*link).unwrap() as usize, number + own, "{before} changes before");
            }
        });
    }
    assert_eq!(most, vec![PENDING; OBJECTS - 1], "changes that a transaction may make, by those made before");
}

#[test]
fn a_rollback_leaves_what_was_changed_before_the_transaction() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let table = table(&heap, 4);
    let links = heap.get(table).unwrap().to_vec();
    let freed = links[3];
    *heap.get_mut(links[0]).unwrap() = 50;
    *heap.get_element_mut(table, 3).unwrap() = Link::NULL;
    heap.free(freed).unwrap();
    let before = heap.sequence();
    let tx = heap.transaction().unwrap();
    *tx.get_mut(links[0]).unwrap() = 60;
    *tx.get_mut(links[1]).unwrap() = 61;
    drop(tx);
    assert_eq!(heap.sequence(), before + 1, "it began with a commit");
    assert_eq!((*heap.get(links[0]).unwrap(), *heap.get(links[1]).unwrap()), (50, 1));
    assert_eq!(heap.get(freed).map(|value| *value).unwrap_err(), Error::Stale);
    let mut memory = Ram::new();
    reopened(heap, &mut memory, |heap| assert_eq!(*heap.get(links[0]).unwrap(), 50));
}

#[test]
fn beginning_a_transaction_right_behind_a_commit_writes_nothing() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let table = table(&heap, 3);
    let (before, sequence) = (writes(&heap), heap.sequence());
    for _ in 0..3 {
        drop(heap.transaction().unwrap());
        let _ = *heap.get(heap.get(table).unwrap()[1]).unwrap();
    }
    // One that is rolled back has written nothing, and the next one has nothing to commit.
    let link = heap.get(table).unwrap()[0];
    let tx = heap.transaction().unwrap();
    *tx.get_mut(link).unwrap() = 9;
    drop(tx);
    drop(heap.transaction().unwrap());
    assert_eq!((writes(&heap), heap.sequence()), (before, sequence));
}

#[test]
fn a_transaction_that_is_refused_has_committed_nothing() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let links = heap.get(table(&heap, 3)).unwrap().to_vec();
    *heap.get_mut(links[0]).unwrap() = 7;
    let before = (writes(&heap), heap.sequence());
    let guard = heap.get_mut(links[1]).unwrap();
    assert_eq!(heap.transaction().map(drop).unwrap_err(), Error::GuardOpen);
    drop(guard);
    assert_eq!((writes(&heap), heap.sequence()), before);
    let tx = heap.transaction().unwrap();
    assert_eq!(heap.transaction().map(drop).unwrap_err(), Error::TransactionRunning);
    drop(tx);
}

#[test]
fn a_commit_that_fails_is_the_error_of_the_transaction_that_begins_with_it() {
    let mut failures = 0;
    for at in 0.. {
        let mut memory = Ram::new();
        let heap = formatted(&mut memory, 8192);
        let links = heap.get(table(&heap, 3)).unwrap().to_vec();
        *heap.get_mut(links[0]).unwrap() = 7;
        let before = heap.sequence();
        heap.with_device(|device| device.fail_write_at(at, 0)).unwrap();
        let begun = heap.transaction().map(drop);
        heap.with_device(TearStorage::power_on).unwrap();
        match begun {
            Ok(()) => break,
            Err(error) => assert_eq!(error, Error::Device(TearError::Bus)),
        }
        failures += 1;
        assert_eq!(heap.sequence(), before);
        assert_eq!(*heap.get(links[0]).unwrap(), 7, "write {at}");
        // No transaction runs; all goes on.
        *heap.get_mut(links[1]).unwrap() = 8;
        drop(heap.transaction().unwrap());
        let mut memory = Ram::new();
        reopened(heap, &mut memory, |heap| {
            assert_eq!((*heap.get(links[0]).unwrap(), *heap.get(links[1]).unwrap()), (7, 8), "write {at}");
        });
    }
    assert!(failures >= 2, "{failures}");
}

/// Fills the table with what nothing leads to, but for one object.
fn littered(heap: &TestHeap<'_>) -> Link<u32> {
    let kept = heap.allocate(1u32).unwrap().into_link();
    heap.set_root("kept", Some(kept)).unwrap();
    for number in 1..OBJECTS {
        let _ = heap.allocate(number as u32).unwrap().into_link();
    }
    heap.commit().unwrap();
    kept
}

#[test]
fn an_allocation_finds_the_slots_of_garbage() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let kept = littered(&heap);
    let mut owned: Vec<Owned<'_, u32>> = Vec::new();
    for number in 1..OBJECTS {
        owned.push(heap.allocate(100 + number as u32).unwrap_or_else(|error| panic!("object {number}: {error}")));
    }
    // Handles own: now there is no garbage, and each object is as it was.
    assert_eq!(heap.allocate(0u32).map(drop).unwrap_err(), Error::ObjectsFull);
    assert!(owned.iter().zip(101..).all(|(owned, value)| *heap.get(owned).unwrap() == value));
    assert_eq!(*heap.get(kept).unwrap(), 1);
    // Freeing helps, as the message says.
    owned.pop();
    assert!(heap.allocate(0u32).is_ok());
}

#[test]
fn an_allocation_finds_the_places_of_garbage() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 3072);
    let kept = heap.allocate(1u32).unwrap().into_link();
    heap.set_root("kept", Some(kept)).unwrap();
    heap.commit().unwrap();
    for allocated in 0..200 {
        let link = heap.allocate_slice_with(200, |_| 7u8).unwrap_or_else(|error| panic!("object {allocated}: {error}"));
        let _ = link.into_link();
    }
    let mut owned = Vec::new();
    let full = loop {
        match heap.allocate_slice_with(200, |_| 8u8) {
            Ok(new) => owned.push(new),
            Err(error) => break error,
        }
    };
    assert_eq!(full, Error::StorageFull);
    assert!(owned.iter().all(|owned| heap.get(owned).unwrap().iter().all(|byte| *byte == 8)));
    assert_eq!(*heap.get(kept).unwrap(), 1);
    owned.pop();
    assert!(heap.allocate_slice_with(200, |_| 9u8).is_ok());
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Pair {
    low: u16,
    high: u16,
}

#[test]
fn an_allocation_finds_the_rows_of_types_without_objects() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let _ = (heap.allocate(1u8).unwrap(), heap.allocate(1u16).unwrap(), heap.allocate(1u64).unwrap());
    let kept = heap.allocate(1u32).unwrap().into_link();
    heap.set_root("kept", Some(kept)).unwrap();
    heap.commit().unwrap();
    let pair = heap.allocate(Pair { low: 3, high: 4 }).unwrap();
    assert_eq!((heap.get(&pair).unwrap().low, heap.get(&pair).unwrap().high, *heap.get(kept).unwrap()), (3, 4, 1));
    let all = (heap.allocate(1u8).unwrap(), heap.allocate(1u16).unwrap());
    assert_eq!(heap.allocate(1u64).map(drop).unwrap_err(), Error::TypesFull);
    drop(all);
    assert!(heap.allocate(1u64).is_ok());
}

#[test]
fn nothing_is_collected_in_a_transaction_or_beside_a_mutable_guard() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let kept = littered(&heap);
    let before = (writes(&heap), heap.sequence());
    let guard = heap.get_mut(kept).unwrap();
    assert_eq!(heap.allocate(0u32).map(drop).unwrap_err(), Error::ObjectsFull);
    drop(guard);
    let tx = heap.transaction().unwrap();
    let now = (writes(&heap), heap.sequence());
    assert_eq!(tx.allocate(0u32).map(drop).unwrap_err(), Error::ObjectsFull);
    assert_eq!((writes(&heap), heap.sequence()), now);
    drop(tx);
    // Either message names what helps: the guard is dropped, the transaction has ended.
    assert!(now.1 <= before.1 + 1);
    assert!(heap.allocate(0u32).is_ok());
}

#[test]
fn a_shared_guard_keeps_its_object_through_a_collection() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let kept = littered(&heap);
    let guard = heap.get(kept).unwrap();
    assert!(heap.allocate(5u32).is_ok());
    assert_eq!(*guard, 1);
}

#[test]
fn a_collection_in_steps_is_begun_anew_when_slots_run_out() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let table = table(&heap, OBJECTS - 1);
    // A cycle has reached everything when the objects become garbage.
    for _ in 0..OBJECTS {
        heap.collect_step().unwrap();
    }
    heap.get_mut(table).unwrap().fill(Link::NULL);
    heap.commit().unwrap();
    assert!(heap.allocate(5u32).is_ok());
}

#[test]
fn a_damaged_object_keeps_its_garbage_and_the_error_is_that_of_the_allocation() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    let table = table(&heap, 3);
    for _ in 0..OBJECTS - 4 {
        let _ = heap.allocate(77u32).unwrap().into_link();
    }
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    // The table itself: what it leads to is not known.
    let image = heap.with_device(|device| device.image().to_vec()).unwrap();
    let link = heap.get(table).unwrap()[1];
    heap.evict_all().unwrap();
    let id = vnv_persist::Handle::object_id(&link);
    let bytes = [id.index.to_le_bytes(), id.generation.to_le_bytes()].concat();
    let found = (0..image.len() - 4).filter(|at| image[*at..at + 4] == bytes).collect::<Vec<_>>();
    heap.with_device(|device| found.iter().for_each(|at| device.stray_write(*at as u32, &[0x55]))).unwrap();
    assert!(matches!(heap.collect(), Err(Error::Damaged { .. })));
    assert_eq!(heap.allocate(0u32).map(drop).unwrap_err(), Error::ObjectsFull);
    // As the message of the damage says.
    heap.free(table).unwrap();
    heap.set_root::<[Link<u32>]>("table", None).unwrap();
    assert!(heap.allocate(0u32).is_ok());
    assert!(heap.collect().is_ok());
}

#[test]
fn a_full_heap_without_garbage_refuses_each_time_after_bounded_work() {
    let mut memory = Ram::new();
    let heap = formatted(&mut memory, 8192);
    table(&heap, OBJECTS - 1);
    for _ in 0..3 {
        let before = heap.with_device(|device| device.counters()).unwrap();
        assert_eq!(heap.allocate(0u32).map(drop).unwrap_err(), Error::ObjectsFull);
        let after = heap.with_device(|device| device.counters()).unwrap();
        assert!(after.reads - before.reads <= 2 * OBJECTS as u64, "{} reads", after.reads - before.reads);
        assert_eq!(after.writes, before.writes);
    }
}

#[test]
fn each_refusal_names_what_helps() {
    let text = |error: Error<TearError>| error.to_string();
    for (error, remedies) in [
        (Error::PendingFull, &["transaction smaller", "mutable guards", "PENDING"][..]),
        (Error::DirtyLimit, &["transaction smaller", "mutable guards", "limit"]),
        (Error::ObjectsFull, &["mutable guards", "end the transaction", "free objects", "OBJECTS"]),
        (Error::StorageFull, &["mutable guards", "end the transaction", "free objects", "larger part"]),
        (Error::TypesFull, &["mutable guards", "end the transaction", "TYPES"]),
        (Error::RootsFull, &["remove one", "ROOTS"]),
        (Error::RamFull, &["guards", "arena"]),
        (Error::TooLarge, &["several objects"]),
        (Error::TooLargeToChange, &["elements", "replace", "limit"]),
        (Error::GuardOpen, &["drop it"]),
        (Error::AlreadyBorrowed, &["drop it"]),
        (Error::TooManyGuards, &["drop guards", "Options::guards"]),
        (Error::TransactionRunning, &["its handle", "end it"]),
        (Error::Damaged { index: 9 }, &["object 9", "free it"]),
    ] {
        let text = text(error);
        for remedy in remedies {
            assert!(text.contains(remedy), "{error:?}: {text:?} does not name {remedy:?}");
        }
    }
    // What the heap does itself is no remedy.
    assert!(!text(Error::PendingFull).contains("commit or"));
}
