//! A policy of the program's own that panics in the middle of an operation, and a program that goes on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vnv_persist::{Advice, Clock, Heap, Memory, Options, Policy, Residents};
use vnv_storage::RamStorage;

thread_local! {
    /// The choice that panics is so many choices away; 0: none does.
    static CHOICES: Cell<u32> = const { Cell::new(0) };
    /// As many calls of any of its methods.
    static CALLS: Cell<u32> = const { Cell::new(0) };
}

#[derive(Default)]
struct PanicsOnce(Clock);

/// Counts down; panics at the last one.
fn count_down(left: &Cell<u32>) {
    let before = left.get();
    left.set(before.saturating_sub(1));
    assert_ne!(before, 1, "as it should");
}

impl Policy for PanicsOnce {
    fn loaded(&mut self) -> u16 {
        CALLS.with(count_down);
        self.0.loaded()
    }
    fn hit(&mut self, hint: u16) -> u16 {
        CALLS.with(count_down);
        self.0.hit(hint)
    }
    fn used(&mut self, hint: u16) -> u16 {
        CALLS.with(count_down);
        self.0.used(hint)
    }
    fn advised(&mut self, hint: u16, advice: Advice) -> u16 {
        CALLS.with(count_down);
        self.0.advised(hint, advice)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        CALLS.with(count_down);
        CHOICES.with(count_down);
        self.0.victim(residents)
    }
}

type TestHeap<'m, const ARENA: usize> = Heap<'m, RamStorage<16384>, Memory<32, 24, 4, 2, ARENA>, PanicsOnce>;

/// Objects that had been chosen to be written stayed chosen: the next batch wrote them below an open guard, and counted them as clean.
#[test]
fn a_batch_that_unwound_is_forgotten() {
    let mut memory = Memory::new();
    let options = Options::new(400).log_bytes(512);
    let heap = TestHeap::<256>::format(RamStorage::new(), &mut memory, options).unwrap();
    let objects: Vec<_> = (0..12u8).map(|n| heap.allocate([n; 40]).unwrap().into_link()).collect();
    heap.commit().unwrap();
    CHOICES.set(2);
    let unwound = catch_unwind(AssertUnwindSafe(|| {
        objects.iter().for_each(|object| heap.get_mut(*object).unwrap()[0] = 100);
    }));
    assert!(unwound.is_err());
    for object in &objects {
        let mut guard = heap.get_mut(*object).unwrap();
        let bytes: &mut [u8; 40] = &mut guard;
        for other in objects.iter().filter(|other| *other != object) {
            // Makes room below the dirty limit: a batch is written.
            heap.get_mut(*other).unwrap()[0] += 1;
        }
        bytes[1] = 77;
        drop(guard);
        heap.evict(*object).unwrap();
        assert_eq!(heap.get(*object).unwrap()[1], 77);
    }
}

/// An object counted as traced whose links had not been followed: what they lead to was freed.
#[test]
fn a_trace_that_unwound_is_traced_again() {
    let mut unwound = 0;
    for at in 1..8 {
        let mut memory = Memory::new();
        let options = Options::new(600).log_bytes(512);
        let heap = TestHeap::<64>::format(RamStorage::new(), &mut memory, options).unwrap();
        let objects: Vec<_> = (0..8u8).map(|n| heap.allocate([n; 40]).unwrap().into_link()).collect();
        let table = heap.allocate_slice_with(8, |at| objects[at]).unwrap().into_link();
        heap.set_root("table", Some(table)).unwrap();
        heap.commit().unwrap();
        heap.evict_all().unwrap();
        // The arena is full.
        objects.iter().for_each(|object| drop(heap.get(*object).unwrap()));
        CHOICES.set(at);
        unwound += u32::from(catch_unwind(AssertUnwindSafe(|| heap.collect().unwrap())).is_err());
        CHOICES.set(0);
        assert_eq!(heap.collect(), Ok(0), "choice {at}");
        for (n, object) in objects.iter().enumerate() {
            assert_eq!(*heap.get(*object).unwrap(), [n as u8; 40]);
        }
    }
    assert!(unwound > 0);
}

/// Whichever call of the policy panics: what was committed stays, later changes are saved, nothing stays pinned, and what the arena holds
/// is told from what it held before.
#[test]
fn a_call_that_panics_changes_nothing() {
    let step = if cfg!(miri) { 50 } else { 1 };
    for guards in [0, 3] {
        for at in (1..150).step_by(step) {
            any_call_panics(guards, at);
        }
    }
}

fn any_call_panics(guards: u16, at: u32) {
    type Small<'m> = TestHeap<'m, 48>;
    let context = format!("{guards} guards, call {at}");
    let options = Options::new(500).log_bytes(512).guards(guards);
    let mut memory = Memory::new();
    let heap = Small::format(RamStorage::new(), &mut memory, options).unwrap();
    let slice = heap.allocate_slice_with(24, |_| 1u8).unwrap().into_link();
    let pairs: Vec<_> = (0..6u32).map(|n| heap.allocate([n, 0]).unwrap().into_link()).collect();
    let table = heap.allocate_slice_with(6, |at| pairs[at]).unwrap().into_link();
    heap.set_root("table", Some(table)).unwrap();
    heap.set_root("slice", Some(slice)).unwrap();
    heap.commit().unwrap();
    CALLS.set(at);
    let mut panics = 0;
    for round in 1..4u32 {
        for pair in &pairs {
            let mut attempt =
                |operation: &dyn Fn()| panics += u32::from(catch_unwind(AssertUnwindSafe(operation)).is_err());
            attempt(&|| heap.get_mut(*pair).unwrap()[1] = round);
            attempt(&|| heap.get_mut(*pair).unwrap()[1] = round);
            attempt(&|| drop(heap.get(slice).unwrap()));
            attempt(&|| drop(heap.allocate([round; 8]).unwrap()));
            attempt(&|| heap.evict(slice).unwrap());
            attempt(&|| heap.get_range_mut(slice, 3..5).unwrap().fill(round as u8));
        }
        panics += u32::from(catch_unwind(AssertUnwindSafe(|| heap.commit().map(drop).unwrap())).is_err());
        panics += u32::from(catch_unwind(AssertUnwindSafe(|| assert_eq!(heap.collect(), Ok(0)))).is_err());
    }
    CALLS.set(0);
    assert!(panics <= 1, "{context}: {panics} panics");
    // All guards that there may be.
    let first = heap.get_mut(pairs[0]).unwrap();
    let (second, third) = (heap.get(slice).unwrap(), heap.get(pairs[1]).unwrap());
    drop((first, second, third));
    heap.evict_all().unwrap();
    heap.get_mut(pairs[5]).unwrap()[1] = 99;
    assert!(heap.snapshot().is_ok(), "{context}");
    let storage = heap.into_device();
    let mut memory = Memory::new();
    let heap = Small::open(storage, &mut memory, options).unwrap();
    assert_eq!(heap.report().damaged, None, "{context}");
    for (n, pair) in pairs.iter().enumerate() {
        let expected = if n == 5 { 99 } else { 3 };
        let [number, value] = *heap.get(*pair).unwrap();
        assert_eq!(number, n as u32, "{context}");
        // One of the two changes may be what panicked.
        assert_eq!(value, expected, "{context}: {n}");
    }
    assert_eq!(heap.get(slice).unwrap().len(), 24);
    assert_eq!(heap.collect(), Ok(0), "{context}");
}
