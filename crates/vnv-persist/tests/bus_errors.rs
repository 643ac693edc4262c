//! The bus fails in the middle of any operation: the error reaches the caller, the heap stays consistent, a retry works.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{CAPACITY, Life, Model, OPTIONS, Ram, TestHeap, extract};
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use vnv_persist::{Error, Heap};
use vnv_sim::{TearError, TearStorage};

/// A life in which the `fault`th write (from its start) fails after some bytes; returns whether it was reached.
fn life(seed: u64, steps: u32, fault: u64) -> bool {
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> = Heap::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let model = RefCell::new(Model::default());
    let mut life =
        Life { heap: &heap, model: &model, random: Rng::with_seed(seed), operations: Cell::new(0), full: Cell::new(0) };
    life.begin().unwrap();
    heap.commit().unwrap();
    heap.with_device(|device| device.fail_write_at(fault, (fault % 23) as usize)).unwrap();
    let mut reached = false;
    for step in 0..steps {
        match life.step() {
            Ok(()) => {}
            Err(Error::Device(TearError::Bus)) => reached = true,
            Err(error) => panic!("seed {seed}, fault {fault}, step {step}: {error}"),
        }
        // Reading may have to write first, and meet the fault.
        let state = extract(&heap).or_else(|error| {
            assert_eq!(error, Error::Device(TearError::Bus));
            reached = true;
            extract(&heap)
        });
        assert_eq!(state.unwrap(), *model.borrow(), "seed {seed}, fault {fault}, step {step}");
    }
    heap.commit().or_else(|_| heap.commit()).unwrap();
    let image = heap.into_device().into_image();
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> = Heap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
    assert_eq!(extract(&heap).unwrap(), *model.borrow(), "seed {seed}, fault {fault}, after the reboot");
    reached
}

#[test]
fn a_failing_write_anywhere_loses_nothing() {
    let (faults, stride) = if cfg!(miri) { (12, 11) } else { (400, 1) };
    let mut reached = 0;
    for fault in (0..faults).step_by(stride) {
        reached += u32::from(life(5, if cfg!(miri) { 12 } else { 250 }, fault));
    }
    println!("{reached} of {faults} injected faults were reached");
    assert!(reached > 0);
}
