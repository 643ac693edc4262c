//! G11: what was admitted can be read, changed, committed and freed, at any fill and fragmentation; and the dirty
//! limit holds after every operation.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use vnv_alloc::{Buddy, SortedArray};
use vnv_persist::{Error, FirstFound, Heap, Memory, Options, Owned};
use vnv_sim::TearStorage;

type Ram = Memory<128, 24, 4, 2, 160>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const LIMIT: u32 = 640;

/// Fills the storage to the last admitted object, then changes, reads, commits, frees and refills at random.
fn full_storage<H: Fn() -> Option<usize>>(seed: u64, sizes: H, operations: usize) {
    let mut memory = Ram::new();
    let heap: TestHeap<'_> =
        Heap::format(TearStorage::new(6144, 8), &mut memory, Options::new(LIMIT).log_bytes(128)).unwrap();
    let mut random = Rng::with_seed(seed);
    // Owned: what only a link in RAM leads to is garbage for an allocation that finds no room.
    let mut objects: Vec<(Owned<'_, [u8]>, Vec<u8>)> = Vec::new();
    let fill = |objects: &mut Vec<_>, random: &mut Rng| loop {
        let len = sizes().unwrap_or_else(|| 1 + random.usize(..200));
        let bytes = vec![random.usize(..256) as u8; len];
        match heap.allocate_slice_with(len, |at| bytes[at]) {
            Ok(owned) => objects.push((owned, bytes)),
            Err(Error::StorageFull | Error::ObjectsFull) => break,
            Err(error) => panic!("seed {seed}: allocate: {error}"),
        }
    };
    fill(&mut objects, &mut random);
    assert!(objects.len() > 2, "seed {seed}: {} objects admitted", objects.len());
    heap.commit().unwrap();
    for step in 0..operations {
        let context = |what: &str, error: Error<_>| -> ! { panic!("seed {seed}, step {step}: {what}: {error}") };
        if objects.is_empty() {
            fill(&mut objects, &mut random);
        }
        let at = random.usize(..objects.len());
        match random.usize(..20) {
            0..8 => {
                let value = random.usize(..256) as u8;
                let (object, bytes) = &mut objects[at];
                let mut guard = heap.get_mut(object).unwrap_or_else(|error| context("get_mut", error));
                guard.fill(value);
                bytes.fill(value);
            }
            8..11 => {
                let (object, bytes) = &mut objects[at];
                let element = random.usize(..bytes.len());
                let mut guard = heap.get_element_mut(object, element).unwrap_or_else(|error| context("element", error));
                *guard ^= 0x55;
                bytes[element] ^= 0x55;
            }
            11..15 => {
                let (object, bytes) = &objects[at];
                let guard = heap.get(object).unwrap_or_else(|error| context("get", error));
                assert_eq!(&guard[..], &bytes[..], "seed {seed}, step {step}");
            }
            15..17 => {
                heap.commit().unwrap_or_else(|error| context("commit", error));
            }
            17 => {
                drop(objects.swap_remove(at));
            }
            18 => fill(&mut objects, &mut random),
            _ => {
                heap.snapshot().unwrap_or_else(|error| context("snapshot", error));
            }
        }
        assert!(heap.dirty_bytes().unwrap() <= LIMIT, "seed {seed}, step {step}: the dirty limit is exceeded");
    }
    for (object, bytes) in &objects {
        assert_eq!(&heap.get(object).unwrap()[..], &bytes[..]);
    }
    // A commit that only frees succeeds.
    objects.clear();
    heap.commit().unwrap();
}

#[test]
fn a_full_storage_never_deadlocks_for_any_object_size() {
    let operations = if cfg!(miri) { 30 } else { 10_000 };
    // Every size up to what the dirty limit lets change, in steps that meet all remainders of 8.
    let full = std::env::var_os("VNV_FULL").is_some();
    let step = match full {
        _ if cfg!(miri) => 500,
        true => 3,
        false => 11,
    };
    for size in (1..=520).step_by(step) {
        full_storage(size as u64, || Some(size), operations);
    }
}

#[test]
fn a_full_storage_never_deadlocks_under_random_fragmentation() {
    let (seeds, operations) = if cfg!(miri) { (1, 30) } else { (10, 10_000) };
    for seed in 100..100 + seeds {
        full_storage(seed, || None, operations);
    }
}

#[test]
fn other_policies_and_allocators_plug_in() {
    let mut memory = Ram::new();
    let options = Options::new(LIMIT);
    let heap: Heap<'_, _, Ram, FirstFound, Buddy<5>, Buddy<64>> =
        Heap::format(TearStorage::new(8192, 8), &mut memory, options).unwrap();
    let objects: Vec<_> = (0..20u8).map(|at| heap.allocate([at; 100]).unwrap().into_link()).collect();
    heap.commit().unwrap();
    for (at, link) in objects.iter().enumerate() {
        heap.get_mut(*link).unwrap()[0] = 200;
        assert_eq!(heap.get(*link).unwrap()[1], at as u8);
    }
    heap.commit().unwrap();
    let _ = SortedArray::<2>::new();
}
