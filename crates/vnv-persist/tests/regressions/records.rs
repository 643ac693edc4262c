//! What is taken for a record, and what is written beside a doubtful one.

use crate::forge::{Seed, sign_header};
use vnv_persist::{Heap, Layout, Link, Memory, Options, format};
use vnv_sim::{SharedStorage, Tear, TearStorage};

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
        sign_header(&mut head, Seed::first(0, salt));
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
