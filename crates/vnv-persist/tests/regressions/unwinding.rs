//! A policy of the program's own that panics in the middle of an operation, and a program that goes on.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};
use vnv_persist::{Advice, Clock, Heap, Memory, Options, Policy, Residents};
use vnv_storage::RamStorage;

thread_local! {
    /// The choice that panics is so many choices away; 0: none does.
    static CHOICES: Cell<u32> = const { Cell::new(0) };
}

#[derive(Default)]
struct PanicsOnce(Clock);

impl Policy for PanicsOnce {
    fn loaded(&mut self) -> u16 {
        self.0.loaded()
    }
    fn hit(&mut self, hint: u16) -> u16 {
        self.0.hit(hint)
    }
    fn advised(&mut self, hint: u16, advice: Advice) -> u16 {
        self.0.advised(hint, advice)
    }
    fn victim(&mut self, residents: &mut dyn Residents) -> Option<u16> {
        let left = CHOICES.get();
        CHOICES.set(left.saturating_sub(1));
        assert_ne!(left, 1, "as it should");
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
