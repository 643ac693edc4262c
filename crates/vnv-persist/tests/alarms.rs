//! A power-fail alarm at every byte on the bus of a life, in idle moments, guards and transactions: what was saved is the state
//! at that moment, and after a false alarm life goes on as if nothing had happened.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{CAPACITY, Life, Model, OPTIONS, Ram, TestHeap, extract};
use fastrand::Rng;
use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use std::rc::Rc;
use vnv_persist::{Arena, Deferred, Error, Event, Heap, Options, Outcome, PowerFail, Resume, ResumeError};
use vnv_sim::{Garbage, Tear, TearStorage};
use vnv_storage::embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, Pieces};

const CHUNK: usize = 64;

/// What device, observer and handler tell the test.
#[derive(Default)]
struct Watch {
    image: RefCell<Vec<u8>>,
    /// Writes since the alarm, with the image before them.
    before: RefCell<Vec<u8>>,
    writes: RefCell<Vec<(u32, Vec<u8>)>>,
    /// Bytes on the bus until the alarm; and until a second one.
    alarms: RefCell<Vec<u64>>,
    bytes: Cell<u64>,
    raised: Cell<bool>,
    outcome: Cell<Option<Outcome>>,
    committing: RefCell<Model>,
    committed: RefCell<Model>,
    model: RefCell<Model>,
    saved: RefCell<Vec<(Vec<u8>, Model)>>,
    deferred: RefCell<Vec<Deferred>>,
    resumed: Cell<u32>,
    quiescent: Cell<bool>,
    write_frames: Cell<u32>,
    frames_of_snapshot: Cell<u32>,
    /// The last commit began after the alarm.
    own: Cell<bool>,
}

thread_local! {
    static WATCH: RefCell<Option<Rc<Watch>>> = const { RefCell::new(None) };
}

fn handler(outcome: Outcome) {
    WATCH.with_borrow(|watch| {
        let Some(watch) = watch else { return };
        match outcome {
            // A resume record inside a guard or transaction is nothing that `open` knows.
            Outcome::Saved if watch.resumed.get() != 0 && !watch.quiescent.replace(false) => watch.raised.set(false),
            Outcome::Saved => {
                let model = watch.committing.borrow().clone();
                watch.saved.borrow_mut().push((watch.image.borrow().clone(), model));
                if watch.own.replace(false) {
                    watch.frames_of_snapshot.set(watch.write_frames.get().max(watch.frames_of_snapshot.get()));
                }
                watch.raised.set(false);
            }
            Outcome::Deferred(why) => watch.deferred.borrow_mut().push(why),
            Outcome::Failed => panic!("nothing fails here"),
        }
        watch.outcome.set(Some(outcome));
    });
}

/// The persist-finished handler of a system that resumes: power is gone, RAM is garbage afterwards; or a false alarm.
fn persisted(base: *mut u8, size: usize) -> Arena {
    let lost = WATCH.with_borrow(|watch| {
        let watch = watch.as_ref().unwrap();
        watch.resumed.set(watch.resumed.get() + 1);
        if watch.own.replace(false) {
            watch.frames_of_snapshot.set(watch.write_frames.get().max(watch.frames_of_snapshot.get()));
        }
        watch.resumed.get() % 3 != 0
    });
    if !lost {
        return Arena::Kept;
    }
    // SAFETY: the arena is the handler's until it returns.
    unsafe { base.write_bytes(0xA5, size) };
    Arena::Lost
}

fn failed(error: ResumeError) -> ! {
    panic!("{error}")
}

/// What happens after power has failed.
#[derive(Clone, Copy, PartialEq)]
enum Back {
    Reboot,
    Resume,
}

impl Back {
    fn options(self) -> Options {
        if self == Self::Resume { OPTIONS.guards(4) } else { OPTIONS }
    }

    fn outcome(self, why: Deferred) -> Outcome {
        if self == Self::Resume { Outcome::Saved } else { Outcome::Deferred(why) }
    }

    fn power_fail(self) -> PowerFail {
        let power_fail = PowerFail::new().with_handler(handler);
        if self == Self::Resume { power_fail.with_resume(Resume { persisted, failed }) } else { power_fail }
    }
}

/// A storage that counts bytes on the bus, and raises the alarm at some of them.
struct Alarming<'p> {
    watch: Rc<Watch>,
    power_fail: &'p PowerFail,
}

impl Alarming<'_> {
    fn byte(&self) {
        self.watch.bytes.set(self.watch.bytes.get() + 1);
        let due = self.watch.alarms.borrow().first().is_some_and(|first| *first < self.watch.bytes.get());
        if due {
            self.watch.alarms.borrow_mut().remove(0);
            alarm(&self.watch, self.power_fail);
        }
    }

    fn store(&self, offset: usize, bytes: &[u8]) {
        if self.watch.raised.get() {
            self.watch.writes.borrow_mut().push((offset as u32, bytes.to_vec()));
        }
        self.watch.write_frames.set(self.watch.write_frames.get() + 1);
        self.watch.image.borrow_mut()[offset..offset + bytes.len()].copy_from_slice(bytes);
    }
}

fn alarm(watch: &Watch, power_fail: &PowerFail) -> Outcome {
    if !watch.raised.replace(true) {
        watch.before.replace(watch.image.borrow().clone());
        watch.writes.borrow_mut().clear();
        watch.write_frames.set(0);
    }
    // SAFETY: in the heap's own thread.
    unsafe { power_fail.enter() }
}

impl ReadStorage for Alarming<'_> {
    type Error = ();
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        self.read_abortable(offset, bytes, &mut || false).map(|_| ())
    }
    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl Storage for Alarming<'_> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Alarming<'_> {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), ()> {
        self.write_abortable(offset, slices, &mut || false).map(|_| ())
    }
    fn write_abortable(&mut self, offset: u32, slices: &[&[u8]], stop: &mut dyn FnMut() -> bool) -> Result<u32, ()> {
        let bytes = slices.concat();
        let mut sent = 0;
        for chunk in bytes.chunks(CHUNK) {
            if sent != 0 && stop() {
                break;
            }
            chunk.iter().for_each(|_| self.byte());
            sent += chunk.len();
        }
        self.store(offset as usize, &bytes[..sent]);
        Ok(sent as u32)
    }
    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), ()> {
        let mut bytes = Vec::new();
        let _ = pieces(&mut |piece| {
            bytes.extend_from_slice(piece);
            ControlFlow::Continue(())
        });
        assert_eq!(bytes.len(), length as usize);
        self.write_gather(offset, &[&bytes])
    }
    fn read_abortable(&mut self, offset: u32, bytes: &mut [u8], stop: &mut dyn FnMut() -> bool) -> Result<u32, ()> {
        let mut offset = offset as usize;
        let mut read = 0;
        for chunk in bytes.chunks_mut(CHUNK) {
            if read != 0 && stop() {
                break;
            }
            chunk.iter().for_each(|_| self.byte());
            chunk.copy_from_slice(&self.watch.image.borrow()[offset..offset + chunk.len()]);
            offset += chunk.len();
            read += chunk.len();
        }
        Ok(read as u32)
    }
    fn sync(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

#[derive(Default, Debug)]
struct Counts {
    alarms: u64,
    saved: u64,
    operation: u64,
    guard: u64,
    transaction: u64,
    in_snapshot: u64,
    cuts: u64,
    most_frames: u32,
}

fn reopened(image: &[u8]) -> Result<Model, Error<vnv_sim::TearError>> {
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> =
        Heap::open(TearStorage::from_image(image.to_vec(), 8), &mut memory, OPTIONS).expect("it opens");
    assert_eq!(heap.report().damaged, None);
    extract(&heap)
}

/// Lives a life with alarms after so many bytes on the bus, and in idle moments of some steps. Returns the bytes on the bus.
fn live(back: Back, (seed, steps): (u64, u32), alarms: &[u64], idle: Option<u32>, counts: &mut Counts) -> u64 {
    let watch = Rc::new(Watch { image: RefCell::new(vec![0xFF; CAPACITY]), ..Watch::default() });
    WATCH.set(Some(watch.clone()));
    let power_fail = back.power_fail();
    let mut memory = Ram::new();
    let device = Alarming { watch: watch.clone(), power_fail: &power_fail };
    let heap: TestHeap<'_, _> = Heap::format(device, &mut memory, back.options()).unwrap();
    let observer = |event: Event| match event {
        Event::Committing => {
            watch.committing.replace(watch.model.borrow().clone()).clear();
            watch.write_frames.set(0);
            watch.own.set(watch.raised.get());
            watch.quiescent.set(watch.raised.get());
        }
        Event::Committed(_) => watch.committed.replace(watch.committing.borrow().clone()).clear(),
        _ => {}
    };
    heap.set_observer(Some(&observer));
    let mut life = Life {
        heap: &heap,
        model: &watch.model,
        random: Rng::with_seed(seed),
        operations: Cell::new(0),
        full: Cell::new(0),
    };
    life.begin().unwrap();
    watch.bytes.set(0);
    watch.alarms.replace(alarms.to_vec());
    power_fail
        .protect(&heap, || {
            for step in 0..steps {
                if idle == Some(step) {
                    idle_alarms(back, &heap, &watch, &power_fail);
                }
                life.step().unwrap_or_else(|error| panic!("step {step}: {error:?}"));
            }
            heap.commit().unwrap();
        })
        .unwrap();
    counts.alarms += alarms.len() as u64;
    for why in watch.deferred.borrow().iter() {
        match why {
            Deferred::Snapshot => counts.in_snapshot += 1,
            Deferred::Operation => counts.operation += 1,
            Deferred::Guard => counts.guard += 1,
            Deferred::Transaction => counts.transaction += 1,
            _ => panic!("no interval is set"),
        }
    }
    assert!(!watch.raised.get(), "an alarm was never served");
    counts.most_frames = counts.most_frames.max(watch.frames_of_snapshot.get());
    for (image, model) in watch.saved.borrow().iter() {
        counts.saved += 1;
        let found =
            reopened(image).unwrap_or_else(|error| panic!("life {seed}, {steps} steps, alarms {alarms:?}: {error}"));
        assert_eq!(found, *model, "life {seed}, {steps} steps, alarms {alarms:?}: what was saved");
    }
    let bytes = watch.bytes.get();
    heap.set_observer(None);
    assert_eq!(extract(&heap).unwrap(), *watch.model.borrow(), "after the false alarms");
    assert_eq!(reopened(&watch.image.borrow()).unwrap(), *watch.model.borrow(), "at the end");
    bytes
}

/// Alarms while the heap is idle, in a guard, in an initialiser and in a transaction.
fn idle_alarms(back: Back, heap: &TestHeap<'_, Alarming<'_>>, watch: &Watch, power_fail: &PowerFail) {
    assert_eq!(alarm(watch, power_fail), Outcome::Saved);
    let writes = watch.writes.borrow().len();
    assert_eq!(alarm(watch, power_fail), Outcome::Saved);
    assert!(back == Back::Resume || watch.writes.borrow().len() <= writes, "nothing changed: nothing is written");
    let counters = heap.root::<[u32]>("counters").unwrap().unwrap();
    {
        let mut counter = heap.get_element_mut(counters, 5).unwrap();
        assert_eq!(alarm(watch, power_fail), back.outcome(Deferred::Guard));
        *counter += 1;
        watch.model.borrow_mut().counters[5] += 1;
        assert!(back == Back::Resume || watch.raised.get());
        alarm(watch, power_fail);
    }
    assert!(!watch.raised.get(), "the end of the guard takes the snapshot");
    {
        let transaction = heap.transaction().unwrap();
        match transaction.get_element_mut(counters, 6) {
            Ok(mut counter) => *counter += 1,
            Err(error) => assert!(error.commit_may_help(), "{error:?}"),
        }
        assert_eq!(alarm(watch, power_fail), back.outcome(Deferred::Transaction));
        // Rolled back: what was saved must not hold it.
    }
    assert!(!watch.raised.get(), "the end of the transaction takes the snapshot");
    match heap.allocate_slice_with(9, |_| {
        alarm(watch, power_fail);
        7u32
    }) {
        Ok(owned) => drop(owned),
        Err(Error::ObjectsFull | Error::StorageFull) => {}
        Err(error) => panic!("{error:?}"),
    }
    // A withdrawn alarm is not served.
    {
        let _counter = heap.get_element_mut(counters, 5).unwrap();
        power_fail.request();
        power_fail.power_good();
        watch.raised.set(false);
        watch.outcome.set(None);
    }
    assert_eq!(watch.outcome.get(), None);
}

impl Clear for Model {}

/// The value that was replaced is not needed.
trait Clear: Sized {
    fn clear(self) {}
}

#[test]
fn an_alarm_at_every_byte_on_the_bus_saves_the_state_of_that_moment() {
    at_every_byte(Back::Reboot);
}

#[test]
fn a_program_is_resumed_after_an_alarm_at_every_byte_on_the_bus() {
    at_every_byte(Back::Resume);
}

fn at_every_byte(back: Back) {
    let mut counts = Counts::default();
    let full = std::env::var_os("VNV_FULL").is_some();
    let lives: &[(u64, u32, usize)] = match (cfg!(miri), full) {
        (true, _) => &[(1, 3, 9973)],
        (_, true) => &[(1, 90, 1), (2, 90, 3), (3, 300, 41)],
        _ => &[(1, 90, 7), (2, 90, 23), (3, 300, 293)],
    };
    for (seed, steps, stride) in lives {
        let bytes = live(back, (*seed, *steps), &[], None, &mut counts);
        for at in (0..bytes).step_by(*stride) {
            live(back, (*seed, *steps), &[at], None, &mut counts);
        }
    }
    println!("{counts:?}");
    assert!(back == Back::Resume || counts.saved >= counts.alarms, "each alarm is served");
    assert!(counts.most_frames <= 3);
    assert!(cfg!(miri) || counts.operation > 300);
}

#[test]
#[cfg_attr(miri, ignore = "minutes, with nothing unsafe in them that the others do not have")]
fn several_alarms_and_alarms_inside_snapshots() {
    several(Back::Reboot);
}

#[test]
fn a_program_is_resumed_after_several_alarms() {
    several(Back::Resume);
}

fn several(back: Back) {
    let mut counts = Counts::default();
    let rounds = match std::env::var_os("VNV_FULL") {
        _ if cfg!(miri) => 1,
        Some(_) => 1500,
        None => 170,
    };
    for round in 0..rounds {
        let mut random = Rng::with_seed(round);
        let mut at = 0;
        let alarms: Vec<u64> = (0..if cfg!(miri) { 3 } else { 12 })
            .map(|_| {
                at += u64::from(random.u32(..400));
                at
            })
            .collect();
        live(back, (round % 10 + 1, if cfg!(miri) { 6 } else { 80 }), &alarms, Some(random.u32(..60)), &mut counts);
    }
    println!("{counts:?}");
    assert!(cfg!(miri) || counts.in_snapshot > 300, "alarms met snapshots and guards");
}

#[test]
#[cfg_attr(miri, ignore = "minutes, with nothing unsafe in them that the others do not have")]
fn power_may_fail_inside_the_emergency_snapshot() {
    let mut counts = Counts::default();
    let bytes = live(Back::Reboot, (1, if cfg!(miri) { 4 } else { 60 }), &[], None, &mut counts);
    for at in (0..bytes).step_by(if cfg!(miri) { 19_997 } else { 193 }) {
        cut_in_snapshot(1, if cfg!(miri) { 4 } else { 60 }, at, &mut counts);
    }
    println!("{} alarms, {} cuts", counts.alarms, counts.cuts);
    assert!(cfg!(miri) || counts.cuts > 5_000);
}

/// Cuts the writes between an alarm and its snapshot's end.
fn cut_in_snapshot(seed: u64, steps: u32, at: u64, counts: &mut Counts) {
    let watch = Rc::new(Watch { image: RefCell::new(vec![0xFF; CAPACITY]), ..Watch::default() });
    WATCH.set(Some(watch.clone()));
    let power_fail = PowerFail::new().with_handler(handler);
    let mut memory = Ram::new();
    let device = Alarming { watch: watch.clone(), power_fail: &power_fail };
    let heap: TestHeap<'_, _> = Heap::format(device, &mut memory, OPTIONS).unwrap();
    let legal = RefCell::new(Vec::<Model>::new());
    let observer = |event: Event| match event {
        Event::Committing => {
            watch.committing.replace(watch.model.borrow().clone()).clear();
            legal.borrow_mut().push(watch.model.borrow().clone());
        }
        Event::Committed(_) => {
            watch.committed.replace(watch.committing.borrow().clone()).clear();
            if !watch.raised.get() && watch.saved.borrow().is_empty() {
                legal.replace(vec![watch.committed.borrow().clone()]);
            }
        }
        _ => {}
    };
    heap.set_observer(Some(&observer));
    let mut life = Life {
        heap: &heap,
        model: &watch.model,
        random: Rng::with_seed(seed),
        operations: Cell::new(0),
        full: Cell::new(0),
    };
    life.begin().unwrap();
    watch.bytes.set(0);
    watch.alarms.replace(vec![at]);
    let armed = power_fail.protect(&heap, || {
        for _ in 0..steps {
            life.step().unwrap();
            if !watch.saved.borrow().is_empty() {
                break;
            }
        }
    });
    armed.unwrap();
    counts.alarms += 1;
    // Everything that was written since the alarm, up to the end of its snapshot (and of the step).
    let mut image = watch.before.borrow().clone();
    for (offset, bytes) in watch.writes.borrow().iter() {
        for cut in (0..=bytes.len()).step_by(if cfg!(miri) { 97 } else { 1 }) {
            for tear in [Tear::T0, Tear::T2(Garbage::Inverted), Tear::T3(Garbage::Seeded(3))] {
                let mut torn = TearStorage::from_image(image.clone(), 8).with_tear(tear);
                torn.cut_after_bytes(cut as u64);
                let _ = torn.write_gather(*offset, &[bytes]);
                let found = reopened(&torn.into_image()).unwrap();
                assert!(legal.borrow().contains(&found), "alarm at byte {at}, cut at {offset} + {cut}: {found:?}");
                counts.cuts += 1;
            }
        }
        image[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
    }
    heap.set_observer(None);
}
