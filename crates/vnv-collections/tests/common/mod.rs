//! A collection, the model that follows it, and lives in which everything fails that can.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod life;
mod spy;

pub use life::{live, step};
pub use spy::Spy;

use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use vnv_collections::{Store, StoreError};
use vnv_persist::{Durable, Error, Heap, Link, Memory, Named, Options, PowerFail};
use vnv_sim::{SharedStorage, TearError, TearStorage};

/// RAM: 40 slots, 20 pending places, 8 types, 2 roots, 96 words (768 bytes) of arena.
pub type Ram = Memory<40, 20, 8, 2, 96>;
pub const OPTIONS: Options = Options::new(400).log_bytes(256);
pub const CAPACITY: usize = 4096;
pub type TestHeap<'m> = Heap<'m, SharedStorage, Ram>;
pub type Fallible<T> = Result<T, Error<TearError>>;

/// A device with these contents.
fn storage(image: Vec<u8>) -> SharedStorage {
    SharedStorage::new(TearStorage::from_image(image, 8))
}

/// A collection under test.
pub trait Subject {
    type Header: Durable + Named;
    type Model: Clone + PartialEq + Debug + Default;
    type Op: Clone + Debug;
    type Output: PartialEq + Debug;

    fn create<S: Store>(store: &S) -> Result<Link<Self::Header>, StoreError<S>>;
    fn apply<S: Store>(store: &S, link: Link<Self::Header>, op: &Self::Op) -> Result<Self::Output, StoreError<S>>;
    fn predict(model: &mut Self::Model, op: &Self::Op) -> Self::Output;
    fn read<S: Store>(store: &S, link: Link<Self::Header>) -> Result<Self::Model, StoreError<S>>;
    fn destroy<S: Store>(store: &S, link: Link<Self::Header>) -> Result<(), StoreError<S>>;
    fn op() -> BoxedStrategy<Self::Op>;
}

pub fn link<C: Subject>(heap: &TestHeap<'_>) -> Option<Link<C::Header>> {
    heap.root("subject").unwrap()
}

/// A fresh heap with an empty subject under its root, committed; and the free units before.
pub fn begin<'m, C: Subject>(device: &SharedStorage, memory: &'m mut Ram) -> (TestHeap<'m>, u16) {
    let heap = TestHeap::format(device.clone(), memory, OPTIONS).unwrap();
    let free = heap.free_space().unwrap().0;
    let link = C::create(&heap).unwrap();
    heap.set_root("subject", Some(link)).unwrap();
    heap.commit().unwrap();
    (heap, free)
}

/// Objects that a collection finds unreachable. One large object, its schema and the marks may not fit into a small arena at once,
/// where something stands between: then nothing is known.
pub fn garbage(heap: &TestHeap<'_>) -> u16 {
    match heap.collect() {
        Err(Error::RamFull) => 0,
        freed => freed.unwrap(),
    }
}

/// Removes the subject: everything it took comes back.
pub fn end<C: Subject>(heap: &TestHeap<'_>, free: u16) {
    assert_eq!(garbage(heap), 0, "an object was lost before the end");
    let link = link::<C>(heap).unwrap();
    heap.set_root::<C::Header>("subject", None).unwrap();
    C::destroy(heap, link).unwrap();
    heap.commit().unwrap();
    assert_eq!(garbage(heap), 0, "an object was lost at the end");
    // After a failed write the heap counts its free units with the next allocation.
    drop(heap.allocate(0u8).unwrap());
    assert_eq!(garbage(heap), 0);
    heap.commit().unwrap();
    assert_eq!(heap.free_space().unwrap().0, free, "units are missing");
}

/// Opens an image and reads the subject.
pub fn reopened<C: Subject>(image: Vec<u8>) -> C::Model {
    let mut memory = Ram::new();
    let heap = TestHeap::open(storage(image), &mut memory, OPTIONS).unwrap();
    assert_eq!(heap.report().damaged, None);
    let model = C::read(&heap, link::<C>(&heap).unwrap()).unwrap_or_else(|error| panic!("read: {error}"));
    assert_eq!(garbage(&heap), 0, "`open` has left garbage");
    model
}

/// Whether a heap that is simply too small, or cut off from its storage, may say so.
fn is_expected(error: &Error<TearError>) -> bool {
    error.commit_may_help() || matches!(error, Error::RamFull | Error::Device(_) | Error::TooLargeToChange)
}

/// A script, or the beginning of it under Miri.
fn few<O>(script: &[O]) -> &[O] {
    script.get(..2).filter(|_| cfg!(miri)).unwrap_or(script)
}

/// Each call of each operation fails in its turn, once: the subject is as before, and nothing is lost.
pub fn every_call_may_fail<C: Subject>(script: &[C::Op]) {
    let script = few(script);
    let mut memory = Ram::new();
    let (heap, free) = begin::<C>(&storage(vec![0xFF; CAPACITY]), &mut memory);
    let link = link::<C>(&heap).unwrap();
    let mut model = C::Model::default();
    let mut failures = 0;
    for (number, op) in script.iter().enumerate() {
        let errors = [(Error::DirtyLimit, false), (Error::RamFull, false), (Error::PendingFull, true)];
        for (error, stubborn) in errors.into_iter().take(if cfg!(miri) { 1 } else { 3 }) {
            for failing in 0.. {
                let calls = Cell::new(0);
                let fail = || {
                    calls.set(calls.get() + 1);
                    (calls.get() == failing + 1 || stubborn && calls.get() > failing + 1).then_some(error)
                };
                let spy = Spy::new(&heap, &fail, &|| ());
                let mut next = model.clone();
                let expected = C::predict(&mut next, op);
                let result = C::apply(&spy, link, op);
                if let Ok(output) = &result {
                    assert_eq!(*output, expected, "operation {number} {op:?}, call {failing} fails with {error:?}");
                    model = next;
                }
                let now = C::read(&heap, link).unwrap();
                assert_eq!(now, model, "operation {number} {op:?}, call {failing} fails with {error:?}: {result:?}");
                assert_eq!(garbage(&heap), 0, "operation {number} {op:?}, call {failing}: garbage");
                failures += 1;
                if calls.get() <= failing || result.is_ok() && stubborn {
                    break;
                }
            }
        }
    }
    println!("{} operations, {failures} failures", script.len());
    end::<C>(&heap, free);
}

/// A commit, a snapshot or an alarm at every instant at which one may come: each image is the state before the
/// operation, or the state after it.
pub fn every_commit_point_is_legal<C: Subject>(script: &[C::Op]) {
    let mut images = 0;
    for how in 0..3 {
        let device = storage(vec![0xFF; CAPACITY]);
        let mut memory = Ram::new();
        let (heap, free) = begin::<C>(&device, &mut memory);
        let link = link::<C>(&heap).unwrap();
        let power = PowerFail::<1>::new();
        let legal = RefCell::new(Vec::new());
        let saved = Cell::new(0u32);
        power
            .protect(&heap, || {
                let mut model = C::Model::default();
                for (number, op) in script.iter().enumerate() {
                    let mut next = model.clone();
                    let expected = C::predict(&mut next, op);
                    legal.replace(vec![model.clone(), next.clone()]);
                    let check = || {
                        let found = reopened::<C>(device.image());
                        assert!(
                            legal.borrow().contains(&found),
                            "operation {number} {op:?}: found {found:?}, legal {:?}",
                            legal.borrow()
                        );
                        saved.set(saved.get() + 1);
                    };
                    let disturb = || match how {
                        0 => {
                            if heap.commit().is_ok() {
                                check();
                            }
                        }
                        1 => {
                            if heap.snapshot().is_ok() {
                                check();
                            }
                        }
                        _ => {
                            // Served when the last guard is dropped; seen at the next call.
                            check();
                            power.request();
                        }
                    };
                    let before = || {
                        disturb();
                        None
                    };
                    let spy = Spy::new(&heap, &before, &disturb);
                    match C::apply(&spy, link, op) {
                        Ok(output) => {
                            assert_eq!(output, expected, "operation {number} {op:?}");
                            model = next;
                        }
                        Err(error) => assert!(is_expected(&error), "operation {number} {op:?}: {error}"),
                    }
                    if how == 2 {
                        check();
                    }
                    assert_eq!(C::read(&heap, link).unwrap(), model, "operation {number} {op:?}");
                    legal.replace(vec![model.clone()]);
                    heap.commit().unwrap();
                    check();
                }
            })
            .unwrap();
        images += saved.get();
        end::<C>(&heap, free);
    }
    println!("{images} images");
    assert!(images as usize > 10 * script.len());
}

/// Adds until the heap is full, of objects, storage or RAM; removes all; and finds the same room again.
pub fn fills_and_empties<C: Subject>(add: impl Fn(u32) -> C::Op, remove: impl Fn(u32) -> C::Op) {
    let mut memory = Ram::new();
    let (heap, free) = begin::<C>(&storage(vec![0xFF; CAPACITY]), &mut memory);
    let link = link::<C>(&heap).unwrap();
    let mut first = None;
    for round in 0..if cfg!(miri) { 3 } else { 8 } {
        let mut model = C::Model::default();
        let mut count = 0;
        let error = loop {
            let mut next = model.clone();
            let expected = C::predict(&mut next, &add(count));
            match C::apply(&heap, link, &add(count)) {
                Ok(output) => assert_eq!(output, expected),
                Err(error) => break error,
            }
            model = next;
            count += 1;
        };
        assert_eq!(C::read(&heap, link).unwrap(), model, "after {count} and {error}");
        assert_eq!(garbage(&heap), 0, "after {count} and {error}");
        println!("round {round}: {count}, then {error}");
        // Storage is divided up anew: a gap or two more or less, but not fewer each time.
        assert!(first.get_or_insert(count).abs_diff(count) <= 2, "round {round}");
        for number in 0..count {
            // Removing never needs room, in RAM and at the power-fail path.
            let expected = C::predict(&mut model, &remove(number));
            assert_eq!(C::apply(&heap, link, &remove(number)).unwrap(), expected);
        }
        assert_eq!(C::read(&heap, link).unwrap(), model);
        heap.commit().unwrap();
    }
    end::<C>(&heap, free);
}

/// Cases of a property: as `PROPTEST_CASES` says; few under Miri, many with `VNV_FULL`.
pub fn cases(usual: u32) -> ProptestConfig {
    let given = std::env::var_os("PROPTEST_CASES").is_some();
    let full = std::env::var_os("VNV_FULL").is_some();
    let default = ProptestConfig::default();
    let cases = match (cfg!(miri), given) {
        (true, _) => 1,
        (_, true) => default.cases,
        _ => usual * if full { 30 } else { 1 },
    };
    ProptestConfig { cases, failure_persistence: None, max_shrink_iters: 20_000, ..default }
}

/// The tests of a subject: of its script, of filling it with one kind of operation and emptying it with another, and of lives.
macro_rules! tests_of {
    ($subject:ty, $script:expr, $add:expr, $remove:expr) => {
        #[test]
        fn every_call_of_an_operation_may_fail() {
            common::every_call_may_fail::<$subject>(&$script);
        }

        #[test]
        #[cfg_attr(miri, ignore = "hundreds of images")]
        fn every_commit_point_is_a_legal_state() {
            common::every_commit_point_is_legal::<$subject>(&$script);
        }

        #[test]
        #[cfg_attr(miri, ignore = "hundreds of operations")]
        fn a_full_heap_is_an_error_and_no_harm() {
            common::fills_and_empties::<$subject>($add, $remove);
        }

        proptest! {
            #![proptest_config(common::cases(1000))]

            #[test]
            fn lives(steps in prop::collection::vec(common::step::<$subject>(), 0..if cfg!(miri) { 6 } else { 120 })) {
                common::live::<$subject>(&steps);
            }
        }
    };
}
pub(crate) use tests_of;
