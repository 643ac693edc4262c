//! Storages that do not keep what is written: smaller than described, of odd sizes, and such that drop a write.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_persist::{Damage, Heap, Layout, Memory, OpenError, Options, StorageFault};
use vnv_sim::{SharedStorage, TearStorage};

type Ram = Memory<10, 6, 3, 2, 64>;
type TestHeap<'m> = Heap<'m, SharedStorage, Ram>;
const OPTIONS: Options = Options::new(160).log_bytes(64);

fn shared(storage: TearStorage) -> SharedStorage {
    SharedStorage::new(storage)
}

#[test]
#[cfg_attr(miri, ignore = "whole storages are read")]
fn a_part_that_is_smaller_than_described_is_not_formatted_whatever_it_holds() {
    for real in [1024usize, 2048, 4096, 8192, 32_768, 65_536, 131_072] {
        for described in [2 * real, 4 * real, 8 * real] {
            for fill in [0x00, 0xFF, 0x5A] {
                let storage = TearStorage::from_image(vec![fill; described], 8).with_real_capacity(real);
                let result = TestHeap::format(shared(storage), &mut Ram::new(), OPTIONS).map(drop);
                let expected = Err(OpenError::Storage(StorageFault::Smaller { capacity: real as u32 }));
                assert_eq!(result, expected, "{real} bytes described as {described}, filled with {fill:#04x}");
            }
        }
    }
}

#[test]
fn a_capacity_beside_a_power_of_two_can_be_formatted() {
    let most = if cfg!(miri) { 1 } else { 5 };
    for power in [2048u32, 4096, 8192, 65_536, 524_288].into_iter().take(most) {
        for capacity in (power - 9..power + 9).step_by(if cfg!(miri) { 8 } else { 1 }) {
            assert!(Layout::new(capacity, 8, (10, 3, 2), OPTIONS).is_ok(), "{capacity}");
            let storage = shared(TearStorage::new(capacity as usize, 8));
            let result = TestHeap::open_or_format(storage, &mut Ram::new(), OPTIONS).map(drop);
            assert_eq!(result, Ok(()), "{capacity} bytes");
        }
    }
}

/// The first half of a superblock was dropped, the magic was not: the superblock of the format before was whole again, and refused for ever.
#[test]
fn a_format_of_which_the_part_drops_a_write_says_so_or_is_whole_and_the_next_start_succeeds() {
    let mut told = 0;
    for number in 0..12 {
        let storage = shared(TearStorage::new(4096, 8));
        drop(TestHeap::format(storage.clone(), &mut Ram::new(), OPTIONS).unwrap());
        let mut dropping = TearStorage::from_image(storage.image(), 8);
        dropping.drop_write_at(number);
        let dropping = shared(dropping);
        let first = TestHeap::format(dropping.clone(), &mut Ram::new(), OPTIONS).map(drop);
        assert!(
            matches!(first, Ok(()) | Err(OpenError::Storage(StorageFault::NotKept { .. }) | OpenError::Blank)),
            "{first:?}"
        );
        told += usize::from(first.is_err());
        let kept = shared(TearStorage::from_image(dropping.image(), 8));
        let next = TestHeap::open_or_format(kept, &mut Ram::new(), OPTIONS).map(drop);
        assert_eq!(next, Ok(()), "write {number} of a format was dropped, which said {first:?}");
    }
    assert!(told >= 5, "{told} formats said that a write was dropped");
}

/// The second superblock still held what the format before had left behind its magic.
#[test]
fn a_repair_of_which_the_part_drops_a_write_keeps_the_heap() {
    let first = shared(TearStorage::new(4096, 8));
    drop(TestHeap::format(first.clone(), &mut Ram::new(), OPTIONS).unwrap());
    let (old, mut new) = (first.image(), {
        let second = shared(TearStorage::from_image(first.image(), 8));
        drop(TestHeap::format(second.clone(), &mut Ram::new(), OPTIONS).unwrap());
        second.image()
    });
    // Cut in the second superblock: its magic is garbage, behind it stands the old one.
    new[64..128].copy_from_slice(&old[64..128]);
    new[64..72].fill(0xA5);
    for number in 0..4 {
        let mut storage = TearStorage::from_image(new.clone(), 8);
        storage.drop_write_at(number);
        let storage = shared(storage);
        drop(TestHeap::open(storage.clone(), &mut Ram::new(), OPTIONS).unwrap());
        let next = shared(TearStorage::from_image(storage.image(), 8));
        let opened = TestHeap::open(next, &mut Ram::new(), OPTIONS).map(drop);
        assert_eq!(opened, Ok(()), "write {number} of the repair was dropped");
    }
}

/// Deltas were applied before the reserves were looked at.
#[test]
fn an_opening_that_says_that_a_record_is_destroyed_has_written_nothing() {
    type Ram = Memory<16, 8, 4, 2, 200>;
    let options = Options::new(700).log_bytes(512);
    let storage = shared(TearStorage::new(8192, 8));
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(storage.clone(), &mut memory, options).unwrap();
    let slice = heap.allocate_slice_with(64, |at| at as u64).unwrap().into_link();
    heap.set_root("slice", Some(slice)).unwrap();
    heap.commit().unwrap();
    *heap.get_element_mut(slice, 8).unwrap() = 200;
    heap.commit().unwrap();
    let before = storage.image();
    *heap.get_element_mut(slice, 16).unwrap() = 201;
    heap.commit().unwrap();
    let after = storage.image();
    *heap.get_element_mut(slice, 24).unwrap() = 202;
    heap.snapshot().unwrap();
    drop(heap);
    let mut image = storage.image();
    // The last record, header and body: what the commit changed.
    let half = Layout::new(8192, 8, (16, 4, 2), options).unwrap().region_bytes().0 as usize;
    let changed = (128..128 + 2 * half).filter(|at| before[*at] != after[*at]);
    changed.for_each(|at| image[at] = 0xC3);
    let damaged = shared(TearStorage::from_image(image.clone(), 8));
    let opened = Heap::<_, Ram>::open(damaged.clone(), &mut Ram::new(), options).map(drop);
    assert_eq!(opened, Err(OpenError::Damaged(Damage::Record)));
    assert!(damaged.image() == image, "it was written to");
}
