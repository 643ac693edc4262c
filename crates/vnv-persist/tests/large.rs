//! Objects larger than the dirty limit: written through, read, freed; elements can be changed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_persist::{Error, Heap, Memory, Options};
use vnv_sim::TearStorage;

type Ram = Memory<24, 8, 4, 2, 300>;
const OPTIONS: Options = Options::new(256);

#[test]
fn an_object_larger_than_the_dirty_limit_is_written_through() {
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::format(TearStorage::new(8192, 8), &mut memory, OPTIONS).unwrap();
    // The type enters the image with a small object.
    drop(heap.allocate_slice_with(1, |_| 0u32).unwrap());
    heap.commit().unwrap();
    heap.with_device(TearStorage::reset_counters).unwrap();
    let large = heap.allocate_slice_with(400, |at| at as u32).unwrap();
    let counters = heap.with_device(|device| device.counters()).unwrap();
    assert_eq!((counters.writes, counters.bytes_written), (1, 1608));
    assert!(heap.dirty_bytes().unwrap() <= 256);
    let link = large.into_link();
    heap.set_root("large", Some(link)).unwrap();
    heap.commit().unwrap();
    assert_eq!(heap.get_mut(link).map(|_| ()).unwrap_err(), Error::TooLargeToChange);
    *heap.get_element_mut(link, 399).unwrap() = 7;
    assert!(heap.dirty_bytes().unwrap() <= 256);
    heap.commit().unwrap();
    let image = heap.into_device().into_image();
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
    let link = heap.root::<[u32]>("large").unwrap().unwrap();
    {
        let values = heap.get(link).unwrap();
        assert_eq!((values[398], values[399], values.len()), (398, 7, 400));
    }
    heap.set_root::<[u32]>("large", None).unwrap();
    heap.free(link).unwrap();
    heap.commit().unwrap();
    assert_eq!(heap.get(link).map(|_| ()).unwrap_err(), Error::Stale);
}

#[test]
fn a_forgotten_guard_makes_commits_fail() {
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::format(TearStorage::new(8192, 8), &mut memory, OPTIONS).unwrap();
    let link = heap.allocate(1u32).unwrap().into_link();
    core::mem::forget(heap.get_mut(link).unwrap());
    assert_eq!(heap.commit(), Err(Error::GuardOpen));
    assert_eq!(heap.snapshot(), Err(Error::GuardOpen));
    assert_eq!(heap.transaction().map(|_| ()).unwrap_err(), Error::GuardOpen);
    assert_eq!(heap.get(link).map(|_| ()).unwrap_err(), Error::AlreadyBorrowed);
}

#[test]
fn nothing_is_committed_while_an_object_is_being_filled() {
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::format(TearStorage::new(8192, 8), &mut memory, OPTIONS).unwrap();
    let large = heap.allocate_slice_with(80, |at| {
        assert_eq!(heap.commit(), Err(Error::GuardOpen));
        at as u32
    });
    heap.set_root("large", Some(large.unwrap().into_link())).unwrap();
    heap.commit().unwrap();
    let image = heap.into_device().into_image();
    let mut memory = Ram::new();
    let heap: Heap<'_, _, Ram> = Heap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
    let link = heap.root::<[u32]>("large").unwrap().unwrap();
    assert_eq!(heap.get(link).unwrap()[79], 79);
}
