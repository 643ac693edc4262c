//! What an attack on the whole design has found: each of these failed once.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::panic::{AssertUnwindSafe, catch_unwind};
use vnv_alloc::Buddy;
use vnv_persist::{Adaptive, Error, Heap, Layout, Link, Memory, Options, Outcome, PowerFail, format};
use vnv_sim::{SharedStorage, Tear, TearStorage};

/// CRC-16/IBM-3740.
fn crc16(bytes: impl Iterator<Item = u8>) -> u16 {
    let bit = |crc: u16, _| if crc & 0x8000 != 0 { crc << 1 ^ 0x1021 } else { crc << 1 };
    bytes.fold(0xFFFF, |crc, byte| (0..8).fold(crc ^ u16::from(byte) << 8, bit))
}

/// The program's own bytes, in old deltas behind the log's end, looked like the header of a later record: the image was refused.
#[test]
#[cfg_attr(miri, ignore = "hundreds of commits")]
fn data_may_look_like_a_record() {
    type Ram = Memory<16, 8, 4, 2, 200>;
    const OPTIONS: Options = Options::new(1024).log_bytes(512);
    fn life(words: [u64; 3]) -> (u64, Vec<u8>) {
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::format(TearStorage::new(8192, 8), &mut memory, OPTIONS).unwrap();
        let slice = heap.allocate_slice_with(64, |_| 0u64).unwrap().into_link();
        heap.set_root("slice", Some(slice)).unwrap();
        while heap.compactions() < 2 {
            heap.get_range_mut(slice, 10..13).unwrap().copy_from_slice(&words);
            heap.commit().unwrap();
        }
        (heap.sequence(), heap.into_device().into_image())
    }
    let (salt, _) = life([0; 3]);
    // With a sequence that no record of this half can have, and with one that it could have, but the wrong checksum; too long, and not.
    for (sequence, length) in [(1 << 40, 24), (salt + 100, 24), (salt + 100, 1 << 20), (salt + 100, 32)] {
        let mut head = [0u8; 24];
        head[6] = 2;
        head[8..16].copy_from_slice(&u64::to_le_bytes(sequence));
        head[16..20].copy_from_slice(&u32::to_le_bytes(length));
        let crc = crc16(salt.to_le_bytes().into_iter().chain(head[6..].iter().copied()));
        head[4..6].copy_from_slice(&crc.to_le_bytes());
        let word = |at: usize| u64::from_le_bytes(head[at..at + 8].try_into().unwrap());
        let (_, image) = life([word(0), word(8), word(16)]);
        let mut memory = Ram::new();
        let opened = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS);
        assert!(opened.is_ok(), "sequence {sequence}, {length} bytes: {:?}", opened.err());
    }
}

/// The write of a base reports an error, but is stored. Evictions then went over places that it names: a mixture.
#[test]
#[cfg_attr(miri, ignore = "dozens of lives")]
fn nothing_is_written_beside_a_doubtful_base() {
    type Ram = Memory<16, 8, 4, 2, 400>;
    const OPTIONS: Options = Options::new(1000).log_bytes(256);
    let layout = Layout::new(1 << 16, 8, (16, 4, 2), OPTIONS).unwrap();
    let mut failed = 0;
    for more in [560, 600, 640, 700] {
        for at in 0..12 {
            let size = (1 << 16) - layout.usable_bytes() as usize + more;
            let mut memory = Ram::new();
            let heap = Heap::<_, Ram>::format(TearStorage::new(size, 8), &mut memory, OPTIONS).unwrap();
            let table = heap.allocate_slice_with(2, |_| Link::<[u8]>::NULL).unwrap().into_link();
            heap.set_root("table", Some(table)).unwrap();
            let large = heap.allocate_slice_with(300, |_| 1u8).unwrap().into_link();
            *heap.get_element_mut(table, 0).unwrap() = large;
            heap.commit().unwrap();
            heap.get_mut(large).unwrap().fill(2);
            let new = heap.allocate_slice_with(40, |_| 1u8).unwrap().into_link();
            *heap.get_element_mut(table, 1).unwrap() = new;
            // Stored, but reports an error.
            heap.with_device(|device| device.fail_write_at(at, 1 << 20)).unwrap();
            let committed = heap.commit().is_ok();
            failed += u32::from(!committed);
            heap.get_mut(large).unwrap().fill(3);
            heap.get_mut(new).unwrap().fill(9);
            let _ = heap.evict(new);
            let image = heap.with_device(|device| device.image().to_vec()).unwrap();
            let mut memory = Ram::new();
            let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
            let links = heap.get(heap.root::<[Link<[u8]>]>("table").unwrap().unwrap()).unwrap().to_vec();
            let first = |link: Link<[u8]>| (!link.is_null()).then(|| heap.get(link).unwrap()[0]);
            let found = (first(links[0]), first(links[1]));
            let legal = [(Some(1), None), (Some(2), Some(1))];
            assert!(legal.contains(&found), "{more} more, write {at}: {found:?}");
            assert!(!committed || found == legal[1], "{more} more, write {at}: what was committed is lost");
        }
    }
    assert!(failed > 10, "{failed}");
}

/// A storage that was cut while it was formatted could be neither opened nor formatted by `open_or_format`.
#[test]
#[cfg_attr(miri, ignore = "thousands of images")]
fn formatting_may_be_cut_anywhere() {
    type Ram = Memory<16, 8, 4, 2, 64>;
    let options = Options::new(600).log_bytes(64);
    for row in [1, 8, 64, 128] {
        let blank = vec![0xFF; 16384];
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::format(TearStorage::new(16384, row), &mut memory, options).unwrap();
        let value = heap.allocate(5u32).unwrap().into_link();
        heap.set_root("value", Some(value)).unwrap();
        heap.commit().unwrap();
        let old = heap.into_device().into_image();
        for (name, before) in [("blank", &blank), ("zeros", &vec![0; 16384]), ("a heap", &old)] {
            for tear in Tear::of_writes() {
                for cut in 0.. {
                    let shared = SharedStorage::new(TearStorage::from_image(before.clone(), row).with_tear(tear));
                    shared.borrow_mut().cut_after_bytes(cut);
                    let (mut memory, mut device) = (Ram::new(), shared.clone());
                    let done = format(&mut device, &mut memory, options).is_ok();
                    let mut memory = Ram::new();
                    let storage = TearStorage::from_image(shared.image(), row);
                    let opened = Heap::<_, Ram>::open_or_format(storage, &mut memory, options)
                        .unwrap_or_else(|error| panic!("rows of {row}, {name}, {tear:?} after {cut} bytes: {error}"));
                    // Nothing of the old heap, or all of it.
                    match opened.root::<u32>("value").unwrap() {
                        Some(value) => assert_eq!(*opened.get(value).unwrap(), 5),
                        None => assert_eq!(opened.report().objects, 0),
                    }
                    if done {
                        assert_eq!(opened.root::<u32>("value").unwrap(), None);
                        break;
                    }
                }
            }
        }
    }
}

/// An allocator that takes more than it is asked for: what was admitted could not be traced by `open`.
#[test]
#[cfg_attr(miri, ignore = "a hundred heaps")]
fn what_a_buddy_admits_can_be_traced() {
    type Ram = Memory<16, 8, 4, 2, 256>;
    type Kept<'m> = Heap<'m, TearStorage, Ram, Adaptive, Buddy<32>>;
    let options = Options::new(2048).log_bytes(256);
    let mut admitted = 0;
    for len in (1..300).step_by(3) {
        let mut memory = Ram::new();
        let heap = Kept::format(TearStorage::new(16384, 8), &mut memory, options).unwrap();
        let links = match heap.allocate_slice_with(len, |_| Link::<[u8]>::NULL) {
            Ok(links) => links.into_link(),
            Err(error) => {
                assert_eq!(error, Error::RamFull, "{len}");
                continue;
            }
        };
        admitted = len;
        heap.set_root("links", Some(links)).unwrap();
        heap.commit().unwrap();
        assert_eq!(heap.collect(), Ok(0), "{len}");
        let image = heap.into_device().into_image();
        let mut memory = Ram::new();
        let opened = Kept::open(TearStorage::from_image(image, 8), &mut memory, options);
        assert!(opened.is_ok(), "{len}: {:?}", opened.err());
    }
    assert!(admitted > 100, "{admitted}");
}

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

/// The colours of a collection stood in the middle of the arena, and an object that had been admitted could not be read.
#[test]
fn a_collection_does_not_stand_in_the_way() {
    let mut memory = Ram::new();
    let heap: Heap<'_, TearStorage, Ram> =
        Heap::format(TearStorage::new(16384, 8), &mut memory, Options::new(1024).log_bytes(256)).unwrap();
    let mut large = heap.allocate_slice_with(300, |at| at as u8).unwrap();
    let (small, _other) = (heap.allocate([1u8; 200]).unwrap(), heap.allocate([2u8; 8]).unwrap());
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    let _ = heap.get(&small).unwrap();
    heap.collect_step().unwrap();
    assert_eq!(heap.get(&large).unwrap()[7], 7);
    heap.get_mut(&mut large).unwrap()[7] = 8;
    assert_eq!(heap.collect(), Ok(0));
    assert_eq!(heap.get(&large).unwrap()[7], 8);
}

/// An initialiser that unwound, of an object above the dirty limit, deferred all later alarms.
#[test]
fn an_initialiser_that_unwinds_is_over() {
    type Ram = Memory<16, 8, 4, 2, 200>;
    let mut memory = Ram::new();
    let power: PowerFail = PowerFail::new();
    let heap: Heap<'_, TearStorage, Ram> =
        Heap::format(TearStorage::new(8192, 8), &mut memory, Options::new(200).log_bytes(256)).unwrap();
    let protected = || {
        let _owned = heap.allocate(5u32).unwrap();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _ = heap.allocate_slice_with(600, |at| if at == 5 { panic!("as it should") } else { 0u8 });
        }));
        assert!(unwound.is_err());
        // SAFETY: no other alarm, no other thread.
        assert_eq!(unsafe { power.enter() }, Outcome::Saved);
        heap.snapshot().unwrap();
    };
    power.protect(&heap, protected).unwrap();
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
