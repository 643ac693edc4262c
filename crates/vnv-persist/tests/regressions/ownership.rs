//! Who owns an object, when its slot is free, and what a transaction that freed it leaves.

use vnv_persist::{Error, Heap, Link, Memory, Options};
use vnv_sim::TearStorage;

type Ram = Memory<16, 8, 4, 2, 64>;

fn heap(memory: &mut Ram) -> Heap<'_, TearStorage, Ram> {
    Heap::format(TearStorage::new(16384, 8), memory, Options::new(512).log_bytes(256)).unwrap()
}

/// A rollback brought the object back, but not that its handle owns it: `collect` freed it.
#[test]
fn a_rollback_gives_an_object_back_to_its_owner() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut owned = heap.allocate(5u32).unwrap();
    let transaction = heap.transaction().unwrap();
    transaction.free(&mut owned).unwrap();
    drop(transaction);
    assert_eq!(heap.collect(), Ok(0));
    assert_eq!(*heap.get(&owned).unwrap(), 5);
    // An owner that is gone, before or behind a call of `free`, owns nothing after the rollback.
    let transaction = heap.transaction().unwrap();
    drop(owned);
    drop(transaction);
    assert_eq!(heap.collect(), Ok(1));
    let mut owned = heap.allocate(6u32).unwrap();
    let transaction = heap.transaction().unwrap();
    transaction.free(&mut owned).unwrap();
    drop(owned);
    drop(transaction);
    assert_eq!(heap.collect(), Ok(1));
}

/// `into_link` of an object that the running transaction had freed: after the rollback it counted as owned for ever.
#[test]
fn a_freed_handle_that_became_a_link_owns_nothing_after_a_rollback() {
    let mut memory = Ram::new();
    let heap = heap(&mut memory);
    let mut owned = heap.allocate(6u32).unwrap();
    let transaction = heap.transaction().unwrap();
    transaction.free(&mut owned).unwrap();
    let _ = owned.into_link();
    drop(transaction);
    assert_eq!(heap.collect(), Ok(1));
}

/// A slot whose last guard was dropped behind the commit that had recorded its object as freed stayed taken.
#[test]
fn a_slot_is_free_when_its_last_guard_is_gone() {
    type Ram = Memory<8, 8, 2, 2, 64>;
    let mut memory = Ram::new();
    let heap: Heap<'_, TearStorage, Ram> =
        Heap::format(TearStorage::new(8192, 8), &mut memory, Options::new(512).log_bytes(256)).unwrap();
    let mut all = Vec::new();
    while let Ok(owned) = heap.allocate(all.len() as u32) {
        all.push(owned);
    }
    heap.commit().unwrap();
    let last = all.pop().unwrap();
    let guard = heap.get(Link::<u32>::from_id(last.id())).unwrap();
    drop(last);
    heap.commit().unwrap();
    assert_eq!(heap.allocate(7u32).map(drop), Err(Error::ObjectsFull));
    drop(guard);
    assert!(heap.allocate(7u32).is_ok());
}

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
        transaction.set_root("a", None::<Link<u32>>).unwrap();
        if commits {
            transaction.commit().unwrap();
        }
    }
    assert_eq!(heap.root::<u32>("a"), Ok(None));
}

/// A mutable guard that was forgotten in a transaction counted as open for ever, although the rollback had dropped its copy: there was
/// no commit, transaction or snapshot any more.
#[test]
fn a_guard_forgotten_in_a_transaction_counts_until_the_rollback() {
    for guards in [0, 2] {
        let mut memory = Ram::new();
        let options = Options::new(512).log_bytes(256).guards(guards);
        let heap = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut memory, options).unwrap();
        let (a, b) = (heap.allocate(5u32).unwrap().into_link(), heap.allocate(7u32).unwrap().into_link());
        heap.set_root("a", Some(a)).unwrap();
        heap.set_root("b", Some(b)).unwrap();
        heap.commit().unwrap();
        for _ in 0..4 {
            let transaction = heap.transaction().unwrap();
            let (mut first, mut second) = (transaction.get_mut(a).unwrap(), transaction.get_mut(b).unwrap());
            (*first, *second) = (6, 8);
            std::mem::forget((first, second));
            assert_eq!(transaction.commit(), Err(Error::GuardOpen));
            assert_eq!((*heap.get(a).unwrap(), *heap.get(b).unwrap()), (5, 7));
            assert_eq!(heap.commit().map(drop), Ok(()));
            assert_eq!(heap.snapshot().map(drop), Ok(()));
        }
        // All of the guards that may be open at once are to be had.
        let (first, second) = (heap.get_mut(a).unwrap(), heap.get_mut(b).unwrap());
        assert_eq!((*first, *second), (5, 7));
    }
}
