//! Records with valid checksums that no heap writes: they are refused, and nothing is overwritten.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[path = "common/forge.rs"]
mod forge;

use crc::{CRC_32_ISO_HDLC, Crc};
use forge::{FIRST_EPOCH, Seed, sign, sign_superblock};
use vnv_persist::{Damage, Heap, Memory, OpenError, Options};
use vnv_sim::{SharedStorage, TearStorage};

type Ram = Memory<24, 16, 4, 2, 200>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const OPTIONS: Options = Options::new(900).log_bytes(800);
/// Where the log begins.
const LOG: usize = 128;

fn word(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes([bytes[at], bytes[at + 1]])
}

fn long(bytes: &[u8], at: usize) -> usize {
    u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Where the last record of the first half begins.
fn last_record(image: &[u8]) -> usize {
    let mut at = LOG;
    loop {
        let next = at + long(image, at + 16).next_multiple_of(8);
        if !(24..900).contains(&long(image, next + 16)) {
            return at;
        }
        at = next;
    }
}

fn is_refused(image: Vec<u8>) {
    let storage = SharedStorage::new(TearStorage::from_image(image.clone(), 8));
    let mut memory = Ram::new();
    let opened = Heap::<_, Ram>::open(storage.clone(), &mut memory, OPTIONS);
    assert_eq!(opened.map(drop), Err(OpenError::Damaged(Damage::Content)));
    assert!(storage.image() == image, "it was written to");
}

#[test]
fn half_of_a_whole_entry() {
    let mut memory = Ram::new();
    let heap = TestHeap::format(TearStorage::new(10_240, 8), &mut memory, OPTIONS).unwrap();
    let object = heap.allocate([2u32; 9]).unwrap();
    let index = object.id().index;
    let object = object.into_link();
    heap.commit().unwrap();
    heap.get_mut(object).unwrap()[0] = 3;
    heap.commit().unwrap();
    let mut image = heap.into_device().image().to_vec();
    let at = last_record(&image);
    // One short entry.
    assert_eq!((word(&image, at + 20), word(&image, at + 24)), (1, index | 0x8000));
    put(&mut image, at + 24, &[index as u8, 0, 0, 0]);
    let salt = u64::from_le_bytes(image[LOG + 8..LOG + 16].try_into().unwrap());
    sign(&mut image[at..], Seed::first(at, salt));
    is_refused(image);
}

#[test]
fn half_an_entry_in_a_base() {
    let mut memory = Ram::new();
    let heap = TestHeap::format(TearStorage::new(10_240, 8), &mut memory, OPTIONS).unwrap();
    let mut image = heap.into_device().image().to_vec();
    let words = word(&image, LOG + 20) + 1;
    put(&mut image, LOG + 20, &words.to_le_bytes());
    let length = long(&image, LOG + 16) as u32 + 4;
    put(&mut image, LOG + 16, &length.to_le_bytes());
    sign(&mut image[LOG..], Seed::first(LOG, 1));
    is_refused(image);
}

#[test]
fn a_snapshot_of_more_objects_than_entries() {
    let mut memory = Ram::new();
    let heap = TestHeap::format(TearStorage::new(10_240, 8), &mut memory, OPTIONS).unwrap();
    let object = heap.allocate([1u32; 9]).unwrap().into_link();
    heap.set_root("a", Some(object)).unwrap();
    heap.commit().unwrap();
    *heap.get_mut(object).unwrap() = [5; 9];
    heap.snapshot().unwrap();
    let mut image = heap.into_device().image().to_vec();
    // Behind the log, whose half is in the superblock.
    let at = LOG + 2 * long(&image, 24);
    assert_eq!((image[at + 6], word(&image, at + 20), word(&image, at + 28)), (3, 1, 1), "a snapshot of one object");
    let length = long(&image, at + 16);
    let object = image[at + 32..at + length].to_vec();
    put(&mut image, at + 28, &[2, 0, 36, 0, 36, 0]);
    put(&mut image, at + 34, &object);
    put(&mut image, at + 16, &(length as u32 + 2).to_le_bytes());
    let salt = u64::from_le_bytes(image[at + 8..at + 16].try_into().unwrap());
    sign(&mut image[at..], Seed::first(at, salt));
    is_refused(image);
}

/// A sound base with the last sequence number that there is: what counted on from it overflowed.
#[test]
fn the_last_sequence_number_is_not_accepted() {
    let mut memory = Ram::new();
    let heap = TestHeap::format(TearStorage::new(10_240, 8), &mut memory, OPTIONS).unwrap();
    let formatted = heap.into_device().into_image();
    for (sequence, accepted) in [(1, true), (1 << 62, true), ((1 << 63) - 2, true), (1 << 63, false), (u64::MAX, false)]
    {
        let mut image = formatted.clone();
        image[LOG + 8..LOG + 16].copy_from_slice(&u64::to_le_bytes(sequence));
        sign(&mut image[LOG..], Seed::first(LOG, sequence));
        let mut memory = Ram::new();
        match TestHeap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS) {
            Ok(heap) => {
                assert!(accepted);
                assert!(heap.allocate(5u32).is_ok_and(|five| heap.set_root("x", Some(five.into_link())).is_ok()));
                assert!(heap.commit().is_ok());
                let image = heap.into_device().into_image();
                let mut memory = Ram::new();
                let heap = TestHeap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
                assert!(heap.root::<u32>("x").unwrap().is_some(), "what was committed is lost");
            }
            Err(error) => assert!(!accepted && matches!(error, OpenError::Damaged(_)), "{error:?}"),
        }
    }
}

/// An epoch that had wrapped around would be that of the first life again, whose commits are all still there.
#[test]
fn the_epoch_after_the_last_one_is_not_that_of_an_earlier_life() {
    let mut memory = Ram::new();
    let heap = TestHeap::format(TearStorage::new(10_240, 8), &mut memory, OPTIONS).unwrap();
    let five = heap.allocate(5u32).unwrap().into_link();
    heap.set_root("x", Some(five)).unwrap();
    heap.commit().unwrap();
    let lived = heap.into_device().into_image();
    let last = u32::MAX.to_le_bytes();
    let (mut whole, mut begun) = (lived.clone(), lived);
    for at in [0, 64] {
        // A heap of the last epoch, and one over which a format of the last epoch was begun.
        put(&mut whole, at + 40, &last);
        sign_superblock(&mut whole[at..at + 64]);
        let checksum = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&[&b"vnv: being formatted"[..], &last].concat());
        put(&mut begun, at, &last);
        put(&mut begun, at + 4, &checksum.to_le_bytes());
    }
    for (image, is_begun) in [(whole, false), (begun, true)] {
        let (storage, mut memory) = (TearStorage::from_image(image, 8), Ram::new());
        let heap = match is_begun {
            true => TestHeap::open_or_format(storage, &mut memory, OPTIONS),
            false => TestHeap::format(storage, &mut memory, OPTIONS),
        };
        let heap = heap.unwrap();
        assert_eq!(heap.root::<u32>("x"), Ok(None));
        let image = heap.into_device().into_image();
        let epoch = long(&image, 40) as u32;
        assert!(![0, FIRST_EPOCH, u32::MAX].contains(&epoch), "epoch {epoch}; half formatted: {is_begun}");
    }
}
