//! Alarms, and programs that are resumed.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use vnv_persist::{
    Arena, Deferred, Durable, Heap, Memory, Options, Outcome, PowerFail, ProtectError, Resume, ResumeError,
};
use vnv_sim::{SharedStorage, TearError, TearStorage};
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

type Ram = Memory<16, 8, 4, 2, 64>;
const OPTIONS: Options = Options::new(512).log_bytes(256);
const RESUME: Options = Options::new(700).log_bytes(256).guards(4);

fn failed(error: ResumeError) -> ! {
    std::panic::panic_any(error)
}

thread_local! {
    static SHARED: RefCell<Option<SharedStorage>> = const { RefCell::new(None) };
    static OTHER: Cell<u8> = const { Cell::new(0) };
    static FAILING: Cell<u64> = const { Cell::new(0) };
}

/// While power is gone another program opens the storage, and evicts, or takes a snapshot; or formats it.
fn another_program(base: *mut u8, size: usize) -> Arena {
    let mut memory = Ram::new();
    let shared = SHARED.with_borrow(|shared| shared.clone().unwrap());
    if OTHER.get() == 2 {
        // Into the first half; the second one, and the reserves, stay as they are.
        Heap::<_, Ram>::format(shared, &mut memory, RESUME).unwrap();
        // SAFETY: the arena is filled again.
        unsafe { base.write_bytes(0xA5, size) };
        return Arena::Lost;
    }
    let heap = Heap::<_, Ram>::open(shared, &mut memory, RESUME).unwrap();
    if OTHER.get() == 0 {
        for _ in 0..3 {
            let new = heap.allocate([9u8; 400]).unwrap();
            heap.evict(&new).unwrap();
            let _ = new.into_link();
        }
    } else {
        let new = heap.allocate(7u32).unwrap().into_link();
        heap.set_root("other", Some(new)).unwrap();
        heap.snapshot().unwrap();
    }
    // SAFETY: the arena is filled again.
    unsafe { base.write_bytes(0xA5, size) };
    Arena::Lost
}

/// A program was resumed although another one had opened the storage since: (0) its evicted objects were overwritten, (1) the
/// other one's snapshot was lost; (2) it had formatted the storage, and the resumed program committed into a half that no longer counts.
fn resumed_behind_another_program(other: u8) {
    OTHER.set(other);
    let shared = SharedStorage::new(TearStorage::new(6000, 8));
    SHARED.set(Some(shared.clone()));
    let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: another_program, failed });
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(shared.clone(), &mut memory, RESUME).unwrap();
    let a = heap.allocate([0u8; 64]).unwrap().into_link();
    heap.set_root("a", Some(a)).unwrap();
    while other == 2 && heap.compactions() == 0 {
        heap.get_mut(a).unwrap()[0] += 1;
        heap.commit().unwrap();
    }
    // The next record goes to the second reserve, so that the other program's snapshot does not overwrite it.
    heap.snapshot().unwrap();
    heap.commit().unwrap();
    let b = heap.allocate([1u8; 64]).unwrap();
    heap.evict(&b).unwrap();
    let resumed = catch_unwind(AssertUnwindSafe(|| {
        let in_a_guard = || {
            let _guard = heap.get_mut(a).unwrap();
            // SAFETY: in the heap's own thread.
            assert_eq!(unsafe { power.enter() }, Outcome::Saved);
        };
        power.protect(&heap, in_a_guard).unwrap();
    }));
    let error = resumed.expect_err("it was resumed").downcast::<ResumeError>().unwrap();
    assert_eq!(*error, ResumeError::StorageMoved);
}

#[test]
#[cfg_attr(miri, ignore = "resuming writes over guarded memory")]
fn what_another_program_has_opened_is_not_resumed() {
    resumed_behind_another_program(0);
    resumed_behind_another_program(1);
    resumed_behind_another_program(2);
}

/// An alarm that came during `with_device` was served by nobody when it ended.
#[test]
fn an_alarm_during_with_device_is_served_at_its_end() {
    let shared = SharedStorage::new(TearStorage::new(16384, 8));
    let power: PowerFail = PowerFail::new();
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(shared.clone(), &mut memory, OPTIONS).unwrap();
    let image = power.protect(&heap, || {
        let a = heap.allocate(7u32).unwrap().into_link();
        heap.set_root("a", Some(a)).unwrap();
        // SAFETY: in the heap's own thread.
        let outcome = heap.with_device(|_| unsafe { power.enter() }).unwrap();
        assert_eq!(outcome, Outcome::Deferred(Deferred::Operation));
        shared.image()
    });
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::open(TearStorage::from_image(image.unwrap(), 8), &mut memory, OPTIONS).unwrap();
    assert!(heap.root::<u32>("a").unwrap().is_some());
}

/// A device that raises alarms in its transfers.
struct Alarming<'p> {
    storage: TearStorage,
    power: &'p PowerFail,
    /// Alarms to come.
    alarms: Rc<Cell<u32>>,
    /// Reads that were begun.
    reads: Rc<Cell<u32>>,
    outcomes: Rc<RefCell<Vec<Outcome>>>,
}

impl Alarming<'_> {
    fn alarm(&self) {
        if let Some(left) = self.alarms.get().checked_sub(1) {
            self.alarms.set(left);
            // SAFETY: in the heap's own thread.
            self.outcomes.borrow_mut().push(unsafe { self.power.enter() });
        }
    }
}

impl ReadStorage for Alarming<'_> {
    type Error = TearError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), TearError> {
        self.alarm();
        self.storage.read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.storage.capacity()
    }
}

impl Storage for Alarming<'_> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), TearError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Alarming<'_> {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), TearError> {
        self.alarm();
        self.storage.write_gather(offset, slices)
    }
    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        self.reads.set(self.reads.get() + 1);
        for (at, chunk) in (0..).step_by(64).zip(bytes.chunks_mut(64)) {
            if at != 0 && stop() {
                return Ok(at);
            }
            self.read(offset + at, chunk)?;
        }
        Ok(bytes.len() as u32)
    }
    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, TearError> {
        for (at, chunk) in (0..).step_by(64).zip(slices.concat().chunks(64)) {
            if at != 0 && stop() {
                return Ok(at);
            }
            self.write(offset + at, chunk)?;
        }
        Ok(slices.concat().len() as u32)
    }
    fn sync(&mut self) -> Result<(), TearError> {
        Ok(())
    }
}

/// A comparator that chatters, with a minimum interval: each alarm ended the operation that ran, which never came to its end.
#[test]
fn an_alarm_that_comes_too_soon_ends_no_operation() {
    let power: PowerFail = PowerFail::new().with_minimum_interval(1000, || 0);
    let (alarms, reads, outcomes) = (Rc::new(Cell::new(0)), Rc::new(Cell::new(0)), Rc::<RefCell<Vec<_>>>::default());
    let device = Alarming {
        storage: TearStorage::new(16384, 8),
        power: &power,
        alarms: alarms.clone(),
        reads: reads.clone(),
        outcomes: outcomes.clone(),
    };
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(device, &mut memory, OPTIONS).unwrap();
    let chattering = || {
        let a = heap.allocate([7u8; 200]).unwrap();
        // SAFETY: in the heap's own thread.
        assert_eq!(unsafe { power.enter() }, Outcome::Saved);
        heap.evict_all().unwrap();
        alarms.set(100);
        reads.set(0);
        assert_eq!(heap.get(&a).unwrap()[0], 7);
        assert_eq!(reads.get(), 1, "reads of one object");
    };
    power.protect(&heap, chattering).unwrap();
    let outcomes = outcomes.borrow();
    assert!(outcomes.len() >= 4 && outcomes.iter().all(|outcome| *outcome == Outcome::Deferred(Deferred::TooSoon)));
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Wide {
    a_rather_long_name: u32,
    another_rather_long_name: u32,
    a_third_rather_long_name: u32,
    yet_another_long_name: u32,
}

/// In resume mode an alarm ended the write of a schema larger than the dirty limit, in a transaction: its row was taken until the end of that.
#[test]
fn alarms_while_a_type_is_entered_in_a_transaction() {
    type Ram = Memory<16, 4, 1, 2, 200>;
    let options = Options::new(150).guards(2);
    for count in 0..6 {
        for commits in [false, true] {
            let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: nothing, failed });
            let alarms = Rc::new(Cell::new(0));
            let (reads, outcomes) = (Rc::default(), Rc::<RefCell<Vec<_>>>::default());
            let storage = TearStorage::new(16384, 8);
            let device = Alarming { storage, power: &power, alarms: alarms.clone(), reads, outcomes: outcomes.clone() };
            let mut memory = Ram::new();
            let heap = Heap::<_, Ram>::format(device, &mut memory, options).unwrap();
            let value = Wide {
                a_rather_long_name: 1,
                another_rather_long_name: 2,
                a_third_rather_long_name: 3,
                yet_another_long_name: 4,
            };
            let entered = || {
                let transaction = heap.transaction().unwrap();
                alarms.set(count);
                let wide = transaction.allocate(value).unwrap().into_link();
                transaction.set_root("wide", Some(wide)).unwrap();
                if commits {
                    transaction.commit().unwrap();
                }
            };
            power.protect(&heap, entered).unwrap();
            assert!(outcomes.borrow().iter().all(|outcome| *outcome != Outcome::Failed));
            // The row is free after a rollback, and used after a commit.
            let again = heap.allocate(value).unwrap();
            assert_eq!(heap.get(&again).unwrap().yet_another_long_name, 4);
            drop(again);
            heap.commit().unwrap();
            let image = heap.into_device().storage.into_image();
            let mut memory = Ram::new();
            let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, options).unwrap();
            assert_eq!(heap.root::<Wide>("wide").unwrap().is_some(), commits, "{count} alarms");
        }
    }
}

fn nothing(_: *mut u8, _: usize) -> Arena {
    Arena::Kept
}

/// With two heaps the persist-finished handler was called before the second was saved, and again behind it.
#[test]
fn one_heap_is_resumed() {
    let power: PowerFail<2> = PowerFail::new().with_resume(Resume { persisted: nothing, failed });
    let (mut m1, mut m2) = (Ram::new(), Ram::new());
    let first = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut m1, RESUME).unwrap();
    let second = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut m2, RESUME).unwrap();
    let both = power.protect(&first, || power.protect(&second, || ()));
    assert_eq!(both, Ok(Err(ProtectError::OneHeap)));
    assert_eq!(power.protect(&second, || ()), Ok(()));
}

/// A false alarm; the next write meets one error.
fn false_alarm(_: *mut u8, _: usize) -> Arena {
    SHARED.with_borrow(|shared| shared.as_ref().unwrap().borrow_mut().fail_write_at(0, 0));
    Arena::Kept
}

/// A false alarm, and one bus error while a committed delta was applied: the program, which had lost nothing, was given up.
#[test]
#[cfg_attr(miri, ignore = "resuming writes over guarded memory")]
fn one_bus_error_after_a_false_alarm_is_tried_again() {
    let shared = SharedStorage::new(TearStorage::new(16384, 8));
    SHARED.set(Some(shared.clone()));
    let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: false_alarm, failed });
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(shared, &mut memory, RESUME).unwrap();
    let a = heap.allocate_slice_with(40, |_| 0u32).unwrap().into_link();
    heap.commit().unwrap();
    *heap.get_element_mut(a, 3).unwrap() = 5;
    heap.commit().unwrap();
    // SAFETY: in the heap's own thread.
    let survived = catch_unwind(AssertUnwindSafe(|| power.protect(&heap, || unsafe { power.enter() })));
    assert!(survived.is_ok());
}

/// Power was gone; one of the reads with which the arena is filled again fails.
fn power_was_gone(base: *mut u8, size: usize) -> Arena {
    // SAFETY: the arena, which is filled again.
    unsafe { base.write_bytes(0xA5, size) };
    SHARED.with_borrow(|shared| shared.as_ref().unwrap().borrow_mut().fail_read_at(FAILING.get()));
    Arena::Lost
}

/// One bus error at any read while the arena was filled again: the program was given up.
#[test]
#[cfg_attr(miri, ignore = "resuming writes over guarded memory")]
fn one_bus_error_while_the_arena_is_filled_again_is_tried_again() {
    for read in 0..20 {
        FAILING.set(read);
        let shared = SharedStorage::new(TearStorage::new(16384, 8));
        SHARED.set(Some(shared.clone()));
        let power: PowerFail = PowerFail::new().with_resume(Resume { persisted: power_was_gone, failed });
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::format(shared.clone(), &mut memory, RESUME).unwrap();
        let a = heap.allocate_slice_with(40, |at| at as u32).unwrap().into_link();
        let b = heap.allocate(7u32).unwrap().into_link();
        heap.commit().unwrap();
        let resumed = catch_unwind(AssertUnwindSafe(|| {
            let in_guards = || {
                let (shared_guard, mut guard) = (heap.get(a).unwrap(), heap.get_mut(b).unwrap());
                *guard += 1;
                // SAFETY: in the heap's own thread.
                assert_eq!(unsafe { power.enter() }, Outcome::Saved);
                assert!(shared_guard.iter().enumerate().all(|(at, value)| *value == at as u32));
                assert_eq!(*guard, 8);
            };
            power.protect(&heap, in_guards).unwrap();
        }));
        assert!(resumed.is_ok(), "read {read}");
        shared.borrow_mut().power_on();
        heap.commit().unwrap();
        assert_eq!(heap.get(b).map(|value| *value), Ok(8));
    }
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
