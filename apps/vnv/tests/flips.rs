//! Single flipped bits: `verify` finds each one in what the state depends on; any other changes nothing.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::Rng;
use proptest::test_runner::{RngAlgorithm, TestRng};
use std::cell::RefCell;
use std::rc::Rc;
use vnv::{Contents, Image, verify};
use vnv_persist::{Durable, Heap, Link, Maybe, Memory, Options};
use vnv_sim::{TearError, TearStorage};
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

const CAPACITY: usize = 8192;
const FLIPS: usize = 1000;

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Node {
    number: u32,
    last: Maybe<u16>,
    next: Link<Node>,
}

/// A list, a table of numbers, several commits behind the base; and, on request, a snapshot that waits.
fn image(snapshot: bool) -> Vec<u8> {
    let mut memory = Memory::<24, 16, 4, 2, 128>::new();
    let storage = TearStorage::from_image(vec![0; CAPACITY], 8);
    let heap: Heap<'_, _, _> = Heap::format(storage, &mut memory, Options::new(512)).unwrap();
    let mut first = Link::NULL;
    for number in 0..6 {
        first = heap.allocate(Node { number, last: Maybe::NONE, next: first }).unwrap().into_link();
    }
    let table = heap.allocate_slice_with(50, |at| at as u16).unwrap().into_link();
    heap.set_root("list", Some(first)).unwrap();
    heap.set_root("table", Some(table)).unwrap();
    for round in 0..5u16 {
        heap.get_mut(first).unwrap().last = Maybe::some(round);
        *heap.get_element_mut(table, usize::from(round) * 9).unwrap() = round;
        heap.commit().unwrap();
    }
    if snapshot {
        heap.get_mut(first).unwrap().number = 99;
        *heap.get_element_mut(table, 3).unwrap() = 1;
        heap.snapshot().unwrap();
    }
    heap.into_device().image().to_vec()
}

#[test]
fn every_flip_in_what_is_live_is_found_and_every_other_changes_nothing() {
    for snapshot in [false, true] {
        let sound = image(snapshot);
        let before = Image::from_bytes(sound.clone()).unwrap();
        let verdict = verify(&before).unwrap();
        assert!(verdict.damage.is_empty() && verdict.doubts.is_empty(), "{verdict:?}");
        let contents = Contents::of(&before).unwrap();
        let live: Vec<usize> = verdict
            .live
            .iter()
            .flat_map(|region| region.offset as usize..(region.offset + region.length) as usize)
            .collect();
        let is_live: std::collections::HashSet<usize> = live.iter().copied().collect();
        let mut random = TestRng::deterministic_rng(RngAlgorithm::ChaCha);
        let (mut found, mut unused) = (0, 0);
        for number in 0..2 * FLIPS {
            // First only what is live, then everything.
            let draw = random.next_u64();
            let byte = if number < FLIPS { live[draw as usize % live.len()] } else { draw as usize % CAPACITY };
            let bit = 1 << (draw >> 61);
            let mut flipped = sound.clone();
            flipped[byte] ^= bit;
            let verdict = Image::from_bytes(flipped.clone()).and_then(|image| verify(&image));
            let is_found =
                verdict.as_ref().map_or(true, |verdict| !verdict.damage.is_empty() || !verdict.doubts.is_empty());
            if is_found {
                found += 1;
                continue;
            }
            // What the snapshot, or a change that waits in the log, writes over at recovery is not needed any more.
            assert!(snapshot || !is_live.contains(&byte), "bit {bit:#04x} of byte {byte:#06x} is live: {verdict:?}");
            let after = Contents::of(&Image::from_bytes(flipped).unwrap()).unwrap();
            assert_eq!(after.json(), contents.json(), "bit {bit:#04x} of byte {byte:#06x}, snapshot: {snapshot}");
            unused += 1;
        }
        assert!(found >= FLIPS * 9 / 10 && unused > 0);
        println!("snapshot: {snapshot}: {found} flips found, {unused} in unused bits, which change nothing");
    }
}

/// A storage that is still there when the heap that used it is gone.
struct Kept(Rc<RefCell<TearStorage>>);

impl ReadStorage for Kept {
    type Error = TearError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), TearError> {
        self.0.borrow_mut().read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.0.borrow().capacity()
    }
}

impl Storage for Kept {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), TearError> {
        self.0.borrow_mut().write(offset, bytes)
    }
}

impl Device for Kept {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), TearError> {
        self.0.borrow_mut().write_gather(offset, slices)
    }
    fn sync(&mut self) -> Result<(), TearError> {
        self.0.borrow_mut().sync()
    }
}

/// A list whose objects a snapshot holds as a whole; no changes wait in the log.
fn changed_list() -> Vec<u8> {
    let mut memory = Memory::<24, 16, 4, 2, 128>::new();
    let storage = TearStorage::from_image(vec![0; CAPACITY], 8);
    let heap: Heap<'_, _, _> = Heap::format(storage, &mut memory, Options::new(512)).unwrap();
    let (mut first, mut all) = (Link::NULL, Vec::new());
    for number in 0..6 {
        first = heap.allocate(Node { number, last: Maybe::NONE, next: first }).unwrap().into_link();
        all.push(first);
    }
    heap.set_root("list", Some(first)).unwrap();
    heap.commit().unwrap();
    for node in all {
        heap.get_mut(node).unwrap().number += 100;
    }
    heap.snapshot().unwrap();
    heap.into_device().image().to_vec()
}

#[test]
fn a_recovery_that_was_cut_leaves_no_damage() {
    for image in [image(true), changed_list()] {
        cut_recovery(&image);
    }
}

fn cut_recovery(image: &[u8]) {
    let contents = Contents::of(&Image::from_bytes(image.to_vec()).unwrap()).unwrap();
    let mut cuts = 0;
    for bytes in 0.. {
        let storage = Rc::new(RefCell::new(TearStorage::from_image(image.to_vec(), 8)));
        storage.borrow_mut().cut_after_bytes(bytes);
        let mut memory = Memory::<24, 16, 4, 2, 128>::new();
        let opened: Result<Heap<'_, _, _>, _> = Heap::open(Kept(storage.clone()), &mut memory, Options::new(512));
        if opened.is_ok() {
            break;
        }
        cuts += 1;
        let left = Image::from_bytes(storage.borrow().image().to_vec()).unwrap();
        let verdict = verify(&left).unwrap();
        assert!(verdict.damage.is_empty(), "recovery cut after {bytes} bytes: {:?}", verdict.damage);
        assert_eq!(Contents::of(&left).unwrap().json()["objects"], contents.json()["objects"], "{bytes} bytes");
    }
    assert!(cuts > 50, "{cuts} cuts");
}
