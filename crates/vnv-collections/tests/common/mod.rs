//! A collection, the model that follows it, and lives in which everything fails that can.
#![allow(dead_code, clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::ops::Range;
use vnv_collections::{Store, StoreError};
use vnv_persist::{
    Advice, Durable, DurableObject, Error, Event, Filled, Heap, Link, Memory, Named, Options, Owned, PowerFail, Ref,
    RefMut, Slot,
};
use vnv_sim::{Garbage, SharedStorage, Tear, TearError, TearStorage};

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

/// Sees and disturbs every call of a collection.
pub struct Spy<'a, S> {
    store: &'a S,
    /// Before each call; an error is returned instead of it.
    before: &'a dyn Fn() -> Option<Error<TearError>>,
    after: &'a dyn Fn(),
}

impl<'a, S: Store<DeviceError = TearError>> Spy<'a, S> {
    pub fn new(store: &'a S, before: &'a dyn Fn() -> Option<Error<TearError>>, after: &'a dyn Fn()) -> Self {
        Self { store, before, after }
    }
    fn watch<T>(&self, call: impl FnOnce() -> Fallible<T>) -> Fallible<T> {
        if let Some(error) = (self.before)() {
            return Err(error);
        }
        let result = call();
        (self.after)();
        result
    }
}

impl<S: Store<DeviceError = TearError>> Store for Spy<'_, S> {
    type DeviceError = TearError;

    fn get<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<Ref<'_, T>> {
        self.watch(|| self.store.get(handle))
    }
    fn get_mut<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<RefMut<'_, T>> {
        self.watch(|| self.store.get_mut(handle))
    }
    fn get_element_mut<T: Durable>(&self, handle: Link<[T]>, index: usize) -> Fallible<RefMut<'_, T>> {
        self.watch(|| self.store.get_element_mut(handle, index))
    }
    fn get_range_mut<T: Durable>(&self, handle: Link<[T]>, range: Range<usize>) -> Fallible<RefMut<'_, [T]>> {
        self.watch(|| self.store.get_range_mut(handle, range))
    }
    fn allocate<T: Durable>(&self, value: T) -> Fallible<Owned<'_, T>> {
        self.watch(|| self.store.allocate(value))
    }
    fn allocate_with<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Fallible<Owned<'_, T>> {
        self.watch(|| self.store.allocate_with(fill))
    }
    fn allocate_slice_with<T: Durable>(&self, len: usize, element: impl FnMut(usize) -> T) -> Fallible<Owned<'_, [T]>> {
        self.watch(|| self.store.allocate_slice_with(len, element))
    }
    fn free<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<()> {
        // Infallible by contract: looked at, never made to fail.
        (self.after)();
        let result = self.store.free(handle);
        (self.after)();
        result
    }
    fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<bool> {
        self.watch(|| self.store.is_borrowed(handle))
    }
    fn advise<T: ?Sized + DurableObject>(&self, handle: Link<T>, advice: Advice) -> Fallible<()> {
        self.watch(|| self.store.advise(handle, advice))
    }
    fn make_room(&self) -> Fallible<bool> {
        self.watch(|| self.store.make_room())
    }
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

/// A step of a life.
#[derive(Clone, Debug)]
pub enum Step<O> {
    Op(O),
    /// An operation; an alarm comes at its nth call.
    Alarmed(O, u8),
    Transaction(Vec<O>, bool),
    Commit,
    Snapshot,
    Collect,
    /// Off and on; with or without a commit before.
    Reboot(bool),
    /// Power fails when so many more bytes are written, torn like this.
    Cut(u16, u8),
    /// A later write, or read, fails on the bus.
    BusError(bool, u8, u8),
}

pub fn step<C: Subject>() -> impl Strategy<Value = Step<C::Op>>
where
    C::Op: 'static,
{
    prop_oneof![
        30 => C::op().prop_map(Step::Op),
        3 => (C::op(), 0u8..8).prop_map(|(op, at)| Step::Alarmed(op, at)),
        3 => (prop::collection::vec(C::op(), 0..6), any::<bool>()).prop_map(|(ops, commit)| Step::Transaction(ops, commit)),
        3 => Just(Step::Commit),
        1 => Just(Step::Snapshot),
        1 => Just(Step::Collect),
        1 => any::<bool>().prop_map(Step::Reboot),
        2 => (0u16..600, any::<u8>()).prop_map(|(bytes, tear)| Step::Cut(bytes, tear)),
        1 => (any::<bool>(), 0u8..3, 0u8..40).prop_map(|(write, at, bytes)| Step::BusError(write, at, bytes)),
    ]
}

/// States that a reopening may find.
struct Legal<M> {
    /// Before and after the running operation.
    now: Vec<M>,
    /// Of commits that were begun since the last complete one: also one that failed may be complete in storage.
    running: Vec<M>,
    last: Vec<M>,
}

/// A life: the model follows, through reboots and cuts.
pub fn live<C: Subject>(steps: &[Step<C::Op>]) {
    let mut device = storage(vec![0xFF; CAPACITY]);
    let mut memory = Ram::new();
    let (heap, free) = begin::<C>(&device, &mut memory);
    drop(heap);
    let mut model = C::Model::default();
    let mut left = steps;
    loop {
        let legal = RefCell::new(Legal { now: vec![model.clone()], running: vec![], last: vec![model.clone()] });
        let observer = |event: Event| {
            let mut legal = legal.borrow_mut();
            match event {
                Event::Committing => {
                    let now = legal.now.clone();
                    legal.running.extend(now);
                }
                Event::Committed(_) => {
                    legal.running.clear();
                    legal.last = legal.now.clone();
                }
                _ => {}
            }
        };
        let mut memory = Ram::new();
        let heap = TestHeap::open(device.clone(), &mut memory, OPTIONS).unwrap();
        assert_eq!(heap.report().damaged, None);
        heap.set_observer(Some(&observer));
        let power = PowerFail::<1>::new();
        let rebooted = power
            .protect(&heap, || {
                while let Some((step, rest)) = left.split_first() {
                    left = rest;
                    if run_step::<C>(&heap, &power, &device, step, &mut model, &legal) {
                        return true;
                    }
                    if device.borrow().is_powered() {
                        let now = C::read(&heap, link::<C>(&heap).unwrap());
                        match now {
                            Ok(now) => assert_eq!(now, model, "after {step:?}"),
                            Err(Error::Device(_)) => {}
                            Err(error) => panic!("after {step:?}: {error}"),
                        }
                    }
                    if !device.borrow().is_powered() {
                        return true;
                    }
                }
                false
            })
            .unwrap();
        if !rebooted {
            device.borrow_mut().power_on();
            heap.set_observer(None);
            end::<C>(&heap, free);
            return;
        }
        heap.set_observer(None);
        drop(heap);
        device = storage(device.image());
        model = reopened::<C>(device.image());
        let legal = legal.into_inner();
        assert!(
            legal.last.contains(&model) || legal.running.contains(&model),
            "found {model:?}\nlast {:?}\nrunning {:?}",
            legal.last,
            legal.running
        );
    }
}

/// Runs one step; `true`: power went off.
fn run_step<C: Subject>(
    heap: &TestHeap<'_>,
    power: &PowerFail,
    device: &SharedStorage,
    step: &Step<C::Op>,
    model: &mut C::Model,
    legal: &RefCell<Legal<C::Model>>,
) -> bool {
    let link = link::<C>(heap).unwrap();
    let expect = |error: Error<TearError>| assert!(is_expected(&error), "{step:?}: {error}");
    match step {
        Step::Op(op) | Step::Alarmed(op, _) => {
            let calls = Cell::new(0);
            let before = || {
                calls.set(calls.get() + 1);
                if matches!(step, Step::Alarmed(_, at) if *at == calls.get()) {
                    power.request();
                }
                None
            };
            let mut next = model.clone();
            let expected = C::predict(&mut next, op);
            legal.borrow_mut().now = vec![model.clone(), next.clone()];
            match C::apply(&Spy::new(heap, &before, &|| ()), link, op) {
                Ok(output) => {
                    assert_eq!(output, expected, "{op:?}");
                    *model = next;
                }
                Err(error) => expect(error),
            }
            legal.borrow_mut().now = vec![model.clone()];
        }
        Step::Transaction(ops, commit) => {
            let transaction = heap.transaction().unwrap();
            let mut next = model.clone();
            let done = ops.iter().try_for_each(|op| {
                let before = next.clone();
                let expected = C::predict(&mut next, op);
                match C::apply(&transaction, link, op) {
                    Ok(output) => assert_eq!(output, expected, "{op:?}"),
                    Err(error) => {
                        expect(error);
                        next = before;
                        return Err(error);
                    }
                }
                Ok(())
            });
            if done.is_ok() || device.borrow().is_powered() {
                match C::read(&transaction, link) {
                    Ok(now) => assert_eq!(now, next, "in {step:?}"),
                    Err(error) => expect(error),
                }
            }
            if *commit && done.is_ok() {
                legal.borrow_mut().now = vec![model.clone(), next.clone()];
                // The device's error: the changes stand, and a later commit makes them durable.
                if let Err(error) = transaction.commit() {
                    expect(error);
                }
                *model = next;
                legal.borrow_mut().now = vec![model.clone()];
            }
        }
        Step::Commit => {
            if let Err(error) = heap.commit() {
                expect(error);
            }
        }
        Step::Snapshot => {
            if let Err(error) = heap.snapshot() {
                expect(error);
            }
        }
        Step::Collect => match heap.collect() {
            Ok(freed) => assert_eq!(freed, 0, "garbage"),
            Err(error) => expect(error),
        },
        Step::Reboot(commit) => {
            if *commit && heap.commit().is_ok() {
                legal.borrow_mut().last = vec![model.clone()];
            }
            return true;
        }
        Step::Cut(bytes, tear) => {
            let tears: Vec<Tear> = Tear::of_writes().collect();
            let mut device = device.borrow_mut();
            device.set_tear(tears.get(usize::from(*tear) % tears.len()).copied().unwrap_or(Tear::T2(Garbage::Ones)));
            device.cut_after_bytes(u64::from(*bytes));
        }
        Step::BusError(write, at, bytes) => {
            let mut device = device.borrow_mut();
            if *write {
                device.fail_write_at(u64::from(*at), usize::from(*bytes));
            } else {
                device.fail_read_at(u64::from(*at));
            }
        }
    }
    false
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
