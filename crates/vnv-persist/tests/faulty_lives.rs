//! Random lives with bus errors anywhere, records that arrive although the device reports an error among them; after each step the storage
//! is opened as it is. A failure prints seed and step.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;
use common::{CAPACITY, Life, Model, OPTIONS, Ram, TestHeap, extract};
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use vnv_persist::{Error, Event, Heap};
use vnv_sim::{TearError, TearStorage};

fn life(seed: u64, steps: u32, rate: u32) -> u32 {
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> = Heap::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let model = RefCell::new(Model::default());
    let legal = RefCell::new((vec![Model::default()], vec![]));
    let observer = |event: Event| {
        let mut legal = legal.borrow_mut();
        match event {
            Event::Committing => {
                let m = model.borrow().clone();
                legal.1.push(m);
            }
            Event::Committed(_) => {
                let m = legal.1.pop().unwrap();
                legal.1.clear();
                legal.0 = vec![m];
            }
            _ => {}
        }
    };
    heap.set_observer(Some(&observer));
    let mut life =
        Life { heap: &heap, model: &model, random: Rng::with_seed(seed), operations: Cell::new(0), full: Cell::new(0) };
    life.begin().unwrap();
    heap.commit().unwrap();
    let mut random = Rng::with_seed(seed + 1000);
    let mut reached = 0;
    for step in 0..steps {
        if random.u32(..rate) == 0 {
            let n = u64::from(random.u32(..4));
            let bytes = if random.u32(..2) == 0 { 1 << 20 } else { random.u32(..200) as usize };
            heap.with_device(|d| if random.u32(..6) == 0 { d.fail_read_at(n) } else { d.fail_write_at(n, bytes) })
                .unwrap();
        }
        match life.step() {
            Ok(()) => {}
            Err(Error::Device(TearError::Bus)) => reached += 1,
            Err(error) => panic!("seed {seed}, step {step}: {error}"),
        }
        let mut state = extract(&heap);
        for _ in 0..5 {
            if state.is_err() {
                state = extract(&heap);
            }
        }
        assert_eq!(state.unwrap(), *model.borrow(), "seed {seed}, step {step}: in RAM");
        let image = heap.with_device(|d| d.image().to_vec()).unwrap();
        let mut memory = Ram::new();
        let opened: TestHeap<'_, _> = Heap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS)
            .unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        let found = extract(&opened).unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        let legal = legal.borrow();
        assert!(legal.0.contains(&found) || legal.1.contains(&found), "seed {seed} step {step}: illegal state");
    }
    heap.set_observer(None);
    reached
}

#[test]
fn lives() {
    let n: u64 = std::env::var("VNV_LIVES").ok().and_then(|n| n.parse().ok()).unwrap_or(40);
    let mut all = 0;
    for seed in 1..n {
        all += life(seed, 250, 2 + (seed % 12) as u32);
    }
    println!("{all} faults");
}
