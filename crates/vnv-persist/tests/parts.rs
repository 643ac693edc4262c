//! References to parts of objects, and what may be asked of objects without touching them.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_persist::{Advice, Error, Heap, Memory, Options, Ref};
use vnv_storage::RamStorage;

type Small = Memory<32, 16, 6, 4, 128>;
type TestHeap<'m> = Heap<'m, RamStorage<8192>, Small>;

#[test]
fn a_reference_to_a_part_pins_the_object() {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let link = heap.allocate_slice_with(8, |at| at as u16).unwrap().into_link();
    assert!(!heap.is_borrowed(link).unwrap());
    let third = Ref::map(heap.get(link).unwrap(), |slice| &slice[3]);
    assert_eq!((*third, heap.is_borrowed(link).unwrap()), (3, true));
    assert_eq!(heap.evict(link).unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(heap.free(link).unwrap_err(), Error::AlreadyBorrowed);
    drop(third);
    // A part that is not there: the reference comes back, and counts once.
    let all = Ref::filter_map(heap.get(link).unwrap(), |slice| slice.get(8)).unwrap_err();
    let some = Ref::filter_map(all, |slice| slice.get(2..4)).ok().unwrap();
    assert_eq!(some[..], [2, 3]);
    drop(some);
    *heap.get_element_mut(link, 0).unwrap() = 7;
    heap.free(link).unwrap();
    assert_eq!(heap.is_borrowed(link).unwrap_err(), Error::Stale);
}

#[test]
fn a_transaction_builds_in_place_too() {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let transaction = heap.transaction().unwrap();
    let new = transaction.allocate_with(|slot| slot.write([5u8; 100])).unwrap();
    transaction.advise(&new, Advice::WontNeed).unwrap();
    let weak = new.downgrade();
    let guard = transaction.get(weak).unwrap();
    assert!(transaction.is_borrowed(weak).unwrap());
    assert_eq!(guard[99], 5);
    drop(guard);
    let link = new.into_link();
    transaction.set_root("new", Some(link)).unwrap();
    transaction.commit().unwrap();
    assert_eq!(heap.get(link).unwrap()[0], 5);

    let transaction = heap.transaction().unwrap();
    let lost = transaction.allocate_with(|slot| slot.write(1u32)).unwrap();
    let weak = lost.downgrade();
    drop(transaction);
    assert_eq!(heap.get(weak).unwrap_err(), Error::Stale);
}
