//! Operations of a heap, each between two marks. The storage is the memory from 2 MiB on.

#![no_std]
#![no_main]

use core::array::from_fn;
use core::hint::black_box;
use core::ptr::addr_of_mut;
use core::sync::atomic::{AtomicBool, Ordering};
use vnv_persist::{Arena, Durable, Heap, Link, Memory, Options, Outcome, Owned, PowerFail, Resume, ResumeError};
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// A write begins an operation with this number, or ends it with 0.
const MARK: *mut u32 = 0x4000_0000 as *mut u32;
const IMAGE: usize = 0x0020_0000;
const CAPACITY: usize = 512 * 1024;
/// Free ranges that are made in the fragmented heap; the commit leaves up to three more, and there is the rest.
const HOLES: usize = 12;

struct Bytes;

impl ReadStorage for Bytes {
    type Error = ();
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        if offset as usize + bytes.len() > CAPACITY {
            return Err(());
        }
        // SAFETY: the machine has memory for the whole image there, and nothing else lies there.
        unsafe {
            core::ptr::copy_nonoverlapping((IMAGE + offset as usize) as *const u8, bytes.as_mut_ptr(), bytes.len());
        }
        Ok(())
    }
    fn capacity(&self) -> usize {
        CAPACITY
    }
}

impl Storage for Bytes {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        if offset as usize + bytes.len() > CAPACITY {
            return Err(());
        }
        // SAFETY: as in `read`.
        unsafe { core::ptr::copy_nonoverlapping(bytes.as_ptr(), (IMAGE + offset as usize) as *mut u8, bytes.len()) };
        Ok(())
    }
}

impl Device for Bytes {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, mut offset: u32, slices: &[&[u8]]) -> Result<(), ()> {
        for slice in slices {
            self.write(offset, slice)?;
            offset += slice.len() as u32;
        }
        Ok(())
    }
    fn sync(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Large {
    words: [u32; 64],
}

type Ram = Memory<1100, 64, 4, 2, 16000>;
/// With room for all changes in one commit.
type Listed = Memory<1100, 1100, 4, 2, 16000>;
type Measured = Heap<'static, Bytes, Ram>;

/// Guards that are open when power fails.
const GUARDS: usize = 64;
/// What the handler says: the arena was lost.
static LOST: AtomicBool = AtomicBool::new(false);
static RESUMING: PowerFail = PowerFail::new().with_resume(Resume { persisted, failed });

fn persisted(_: *mut u8, _: usize) -> Arena {
    if LOST.load(Ordering::Relaxed) { Arena::Lost } else { Arena::Kept }
}

fn failed(_: ResumeError) -> ! {
    mark(u32::MAX - 3);
    stop()
}

static mut MEMORY: Ram = Ram::new();
static mut LISTED: Listed = Listed::new();

fn mark(value: u32) {
    // SAFETY: the machine has this register.
    unsafe { MARK.write_volatile(value) }
}

/// Runs an operation between its marks.
#[inline(always)]
fn measure<T>(number: u32, operation: impl FnOnce() -> T) -> T {
    mark(number);
    let value = operation();
    mark(0);
    value
}

/// Number of an operation: `number` for 4 bytes and one resident, + 1 for 256 bytes, + 2 for 1,000 residents, + 4 for these and
/// up to 16 free ranges, + 6 for a place behind most of them, + 8 for several sizes in random order.
fn run() -> Option<()> {
    // SAFETY: taken once.
    let memory = unsafe { &mut *addr_of_mut!(MEMORY) };
    let heap: Measured = Heap::format(Bytes, memory, Options::new(16 * 1024).log_bytes(2048)).ok()?;
    for _ in 0..4 {
        measure(1, || black_box(()));
    }
    let small = heap.allocate(7u32).ok()?.into_link();
    let large = heap.allocate(Large { words: [1; 64] }).ok()?.into_link();
    heap.set_root("small", Some(small)).ok()?;
    heap.set_root("large", Some(large)).ok()?;
    heap.commit().ok()?;
    operations(&heap, small, large, 0)?;
    let many: Link<[Link<u32>]> = heap.allocate_slice_with(1000, |_| Link::NULL).ok()?.into_link();
    let roots: Link<[Link<u32>]> = many;
    heap.set_root("small", None::<Link<u32>>).ok()?;
    heap.set_root("small", Some(roots)).ok()?;
    for at in 0..1000 {
        let value = heap.allocate(at as u32).ok()?.into_link();
        *heap.get_element_mut(many, at).ok()? = value;
        if at % 16 == 0 {
            heap.commit().ok()?;
        }
    }
    heap.commit().ok()?;
    let last = heap.get(many).ok()?[999];
    operations(&heap, last, large, 2)?;
    heap.commit().ok()?;
    // All over the table.
    for at in 0..50 {
        let small = heap.get(many).ok()?[20 * at];
        heap.get_mut(small).map(|mut value| *value += 1).ok()?;
    }
    measure(102, || heap.snapshot()).ok()?;
    measure(112, || heap.commit()).ok()?;
    // More than there are pending places: the snapshot has a bitmap of freed slots.
    for at in 300..500 {
        let small = heap.get(many).ok()?[at];
        heap.free(small).ok()?;
    }
    measure(142, || heap.snapshot()).ok()?;
    // SAFETY: taken once.
    fragmented(unsafe { &mut *addr_of_mut!(LISTED) })?;
    // SAFETY: that heap is gone.
    resumed(unsafe { &mut *addr_of_mut!(LISTED) })
}

/// Power fails while guards are open, and the program is resumed.
#[inline(never)]
fn resumed(memory: &'static mut Listed) -> Option<()> {
    let options = Options::new(48 * 1024).log_bytes(2048).guards(GUARDS as u16);
    let heap: Heap<'static, Bytes, Listed> = Heap::format(Bytes, memory, options).ok()?;
    let mut many = [Link::NULL; 1000];
    for link in &mut many {
        *link = heap.allocate(7u32).ok()?.into_link();
    }
    heap.commit().ok()?;
    let guarded = || many.iter().step_by(1000 / GUARDS);
    // SAFETY: the program stands still meanwhile.
    let fail = |number: u32| (measure(number, || unsafe { RESUMING.enter() }) == Outcome::Saved).then_some(());
    let measured = RESUMING.protect(&heap, || {
        fail(152)?;
        let shared: [_; GUARDS] = from_fn(|at| heap.get(*guarded().nth(at)?).ok());
        fail(162)?;
        LOST.store(true, Ordering::Relaxed);
        fail(172)?;
        LOST.store(false, Ordering::Relaxed);
        drop(shared);
        let mutable: [_; GUARDS] = from_fn(|at| heap.get_mut(*guarded().nth(at)?).ok());
        fail(182)?;
        LOST.store(true, Ordering::Relaxed);
        fail(192)?;
        (mutable.iter().all(|guard| guard.as_ref().is_some_and(|value| **value == 7))).then_some(())
    });
    measured.ok()?
}

/// Arena and storage of 1,000 objects with up to 16 free ranges each: all are written in one burst, and every second one of the last
/// objects is freed.
fn fragmented(memory: &'static mut Listed) -> Option<()> {
    let heap: Heap<'static, Bytes, Listed> =
        Heap::format(Bytes, memory, Options::new(48 * 1024).log_bytes(2048)).ok()?;
    let (mut many, mut last) = ([Link::NULL; 1000], [Link::NULL; 2 * HOLES]);
    for link in many.iter_mut().chain(&mut last) {
        *link = heap.allocate(7u32).ok()?.into_link();
    }
    drop(heap.allocate(Large { words: [0; 64] }).ok()?);
    heap.commit().ok()?;
    for pair in last.chunks(2) {
        heap.free(pair[0]).ok()?;
    }
    heap.commit().ok()?;
    for round in 0..8u32 {
        let owned: Owned<'_, u32> = measure(84, || heap.allocate(round)).ok()?;
        measure(94, || drop(owned));
        let owned: Owned<'_, Large> = measure(85, || heap.allocate(Large { words: [round; 64] })).ok()?;
        measure(95, || drop(owned));
    }
    churn(&heap)?;
    // Behind all of these ranges but one.
    measure(96, || heap.free(last[last.len() - 3])).ok()?;
    heap.commit().ok()?;
    for link in many {
        heap.get_mut(link).map(|mut value| *value += 1).ok()?;
    }
    measure(122, || heap.snapshot()).ok()?;
    heap.evict_all().ok()?;
    measure(132, || heap.snapshot()).ok()?;
    Some(())
}

/// Objects of 4, 16 and 64 bytes come and go in random order: 12 of them, so that no more than 16 free ranges can be between them and those
/// of others.
#[inline(never)]
fn churn(heap: &Heap<'static, Bytes, Listed>) -> Option<()> {
    enum Live<'h> {
        Small(Owned<'h, u32>),
        Middle(Owned<'h, [u32; 4]>),
        Large(Owned<'h, [u32; 16]>),
    }
    // The first of a type enters its schema.
    drop((heap.allocate([0u32; 4]).ok()?, heap.allocate([0u32; 16]).ok()?));
    let mut live: [Option<Live<'_>>; 12] = [const { None }; 12];
    let mut random = 1u32;
    for round in 0..600 {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        let slot = live.get_mut((random >> 16) as usize % 12)?;
        match slot.take() {
            Some(Live::Small(owned)) => measure(98, || drop(owned)),
            Some(Live::Middle(owned)) => measure(98, || drop(owned)),
            Some(Live::Large(owned)) => measure(98, || drop(owned)),
            None => {
                *slot = Some(match (random >> 24) % 3 {
                    0 => Live::Small(measure(88, || heap.allocate(round)).ok()?),
                    1 => Live::Middle(measure(88, || heap.allocate([round; 4])).ok()?),
                    _ => Live::Large(measure(88, || heap.allocate([round; 16])).ok()?),
                });
            }
        }
    }
    Some(())
}

#[inline(never)]
fn operations(heap: &Measured, small: Link<u32>, large: Link<Large>, residents: u32) -> Option<()> {
    for round in 0..8u32 {
        let (small, large) = (black_box(small), black_box(large));
        // Loaded, if it was not there.
        measure(10 + residents, || heap.get(small).map(|value| *value)).ok()?;
        measure(11 + residents, || heap.get(large).map(|value| value.words[0])).ok()?;
        heap.get_mut(small).map(|mut value| *value += 1).ok()?;
        heap.get_mut(large).map(|mut value| value.words[0] += 1).ok()?;
        measure(20 + residents, || heap.get_mut(small).map(|mut value| *value += 1)).ok()?;
        measure(21 + residents, || heap.get_mut(large).map(|mut value| value.words[0] += 1)).ok()?;
        measure(30 + residents, || heap.commit()).ok()?;
        measure(40 + residents, || heap.get_mut(small).map(|mut value| *value += 1)).ok()?;
        measure(31 + residents, || heap.commit()).ok()?;
        measure(41 + residents, || heap.get_mut(large).map(|mut value| value.words[0] += 1)).ok()?;
        measure(50 + residents, || heap.snapshot()).ok()?;
        heap.commit().ok()?;
        measure(60 + residents, || heap.evict(small)).ok()?;
        measure(61 + residents, || heap.evict(large)).ok()?;
        measure(70 + residents, || heap.get(small).map(|value| *value)).ok()?;
        measure(71 + residents, || heap.get(large).map(|value| value.words[0])).ok()?;
        let owned: Owned<'_, u32> = measure(80 + residents, || heap.allocate(round)).ok()?;
        measure(90 + residents, || drop(owned));
        let owned: Owned<'_, Large> = measure(81 + residents, || heap.allocate(Large { words: [round; 64] })).ok()?;
        measure(91 + residents, || drop(owned));
    }
    Some(())
}

// SAFETY: the only symbol of this name; the machine starts here with a stack.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    mark(if run().is_some() { u32::MAX } else { u32::MAX - 1 });
    stop()
}

struct OneCore;
critical_section::set_impl!(OneCore);

// SAFETY: one core, no interrupts.
unsafe impl critical_section::Impl for OneCore {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release(_: critical_section::RawRestoreState) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    mark(u32::MAX - 2);
    stop()
}

fn stop() -> ! {
    loop {
        // SAFETY: stops the machine.
        unsafe { core::arch::asm!("ebreak") };
    }
}
