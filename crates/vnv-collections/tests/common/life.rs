//! Lives with reboots, cuts, alarms, transactions and bus errors in any order.

use super::{CAPACITY, OPTIONS, Ram, Spy, Subject, TestHeap, begin, end, is_expected, link, reopened, storage};
use proptest::prelude::*;
use std::cell::{Cell, RefCell};
use vnv_persist::{Error, Event, PowerFail};
use vnv_sim::{Garbage, SharedStorage, Tear, TearError};

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
            // It may begin with a commit.
            let transaction = match heap.transaction() {
                Ok(transaction) => transaction,
                Err(error) => {
                    expect(error);
                    return false;
                }
            };
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
