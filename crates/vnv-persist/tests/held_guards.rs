//! Random lives in which guards are held across operations, with alarms at random bytes on the bus, both ways back, bus errors and torn
//! writes; every second step the storage is opened as it is, and after each torn write as that left it. A failure prints seed and step:
//! `VNV_SEED=8 VNV_LIVES=1` runs that life alone.

#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::{Cell, RefCell};
use std::ops::ControlFlow;
use vnv_alloc::{Buddy, LinkedList, OffsetAllocator, SortedArray};
use vnv_persist::*;
use vnv_sim::{TearError, TearStorage};
use vnv_storage::Pieces;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

type Legal = (Model, Vec<Model>);
thread_local! {
    static LEGAL: RefCell<Legal> = const { RefCell::new((vec![], vec![])) };
    static TORN: RefCell<Vec<(Vec<u8>, u32, Legal)>> = const { RefCell::new(vec![]) };
    static TORNS: Cell<u32> = const { Cell::new(0) };
    static RNG: Cell<u64> = const { Cell::new(1) };

    static COUNTDOWN: Cell<i64> = const { Cell::new(i64::MAX) };
    static POWER: Cell<*const PowerFail> = const { Cell::new(std::ptr::null()) };
    static PROTECT: Cell<bool> = const { Cell::new(false) };
    static LOST: Cell<u32> = const { Cell::new(0) };
    static SAVED: Cell<u32> = const { Cell::new(0) };
}
struct Dev(TearStorage);
fn guard_sb(o: u32) {
    if !POWER.get().is_null() && o < 64 && PROTECT.get() {
        panic!("superblock overwritten at {o}");
    }
}
fn torn(d: &TearStorage, o: u32, bytes: &[u8]) {
    if !PROTECT.get() || bytes.is_empty() {
        return;
    }
    let mut r = Rng(RNG.get());
    if r.next(6) == 0 {
        let cut = r.next(bytes.len() as u32 + 1);
        let tears: Vec<vnv_sim::Tear> = vnv_sim::Tear::of_writes().collect();
        let tear = tears[r.next(tears.len() as u32) as usize];
        let mut t = TearStorage::from_image(d.image().to_vec(), d.row_size()).with_tear(tear);
        t.cut_after_bytes(u64::from(cut));
        let _ = t.write_gather(o, &[bytes]);
        TORN.with_borrow_mut(|v| v.push((t.into_image(), o, LEGAL.with_borrow(Clone::clone))));
    }
    RNG.set(r.0);
}
fn tick(n: usize) {
    let left = COUNTDOWN.get();
    COUNTDOWN.set(left.saturating_sub(n as i64));
    if left > 0 && left <= n as i64 {
        COUNTDOWN.set(i64::MAX);
        let power = POWER.get();
        if !power.is_null() {
            // SAFETY: in the context of the heap, which the device interrupts; the pointer is taken back before the end.
            let _ = unsafe { (*power).enter() };
        }
    }
}
impl ReadStorage for Dev {
    type Error = TearError;
    fn read(&mut self, o: u32, b: &mut [u8]) -> Result<(), TearError> {
        tick(b.len());
        self.0.read(o, b)
    }
    fn capacity(&self) -> usize {
        self.0.capacity()
    }
}
impl Storage for Dev {
    fn write(&mut self, o: u32, b: &[u8]) -> Result<(), TearError> {
        tick(b.len());
        self.0.write(o, b)
    }
}
impl Device for Dev {
    fn row_size(&self) -> u32 {
        self.0.row_size()
    }
    fn write_gather(&mut self, o: u32, s: &[&[u8]]) -> Result<(), TearError> {
        guard_sb(o);
        torn(&self.0, o, &s.concat());
        tick(s.concat().len());
        self.0.write_gather(o, s)
    }
    fn write_abortable(&mut self, o: u32, s: &[&[u8]], stop: &mut dyn FnMut() -> bool) -> Result<u32, TearError> {
        guard_sb(o);
        torn(&self.0, o, &s.concat());
        tick(s.concat().len());
        self.0.write_abortable(o, s, stop)
    }
    fn write_stream(&mut self, o: u32, l: u32, pieces: Pieces<'_>) -> Result<(), TearError> {
        let mut bytes = vec![];
        let _ = pieces(&mut |p| {
            tick(p.len());
            bytes.extend_from_slice(p);
            ControlFlow::Continue(())
        });
        bytes.truncate(l as usize);
        torn(&self.0, o, &bytes);
        self.0.write_gather(o, &[&bytes])
    }
    fn read_abortable(&mut self, o: u32, b: &mut [u8], stop: &mut dyn FnMut() -> bool) -> Result<u32, TearError> {
        tick(b.len());
        self.0.read_abortable(o, b, stop)
    }
    fn sync(&mut self) -> Result<(), TearError> {
        self.0.sync()
    }
}

fn persisted(base: *mut u8, size: usize) -> Arena {
    LOST.set(LOST.get() + 1);
    if LOST.get() % 3 == 0 {
        return Arena::Kept;
    }
    // SAFETY: the arena is the heap's, which loads it again.
    unsafe { base.write_bytes(0xA5, size) };
    Arena::Lost
}
fn failed(e: ResumeError) -> ! {
    panic!("{e}")
}
fn saved(o: Outcome) {
    if o == Outcome::Saved {
        SAVED.set(SAVED.get() + 1)
    }
}

struct Rng(u64);
impl Rng {
    fn next(&mut self, below: u32) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        ((self.0 >> 33) as u32) % below
    }
}
const SLOTS: usize = 20;
type Model = Vec<Option<Vec<u8>>>;
type Ram = Memory<40, 24, 4, 2, 120>;
type H<'m, P, R> = Heap<'m, Dev, Ram, P, R>;

fn extract<P: Policy, R: OffsetAllocator>(heap: &H<'_, P, R>) -> Result<Model, Error<TearError>> {
    let Some(t) = heap.root::<[Link<[u8]>]>("table")? else { return Ok(vec![]) };
    let links = heap.get(t)?.to_vec();
    links.into_iter().map(|l| if l.is_null() { Ok(None) } else { Ok(Some(heap.get(l)?.to_vec())) }).collect()
}
fn ok_error(e: &Error<TearError>) -> bool {
    matches!(
        e,
        Error::RamFull
            | Error::StorageFull
            | Error::PendingFull
            | Error::DirtyLimit
            | Error::AlreadyBorrowed
            | Error::GuardOpen
            | Error::ObjectsFull
            | Error::TooLargeToChange
            | Error::TooManyGuards
            | Error::Device(TearError::Bus)
    )
}

fn life<P: Policy + Default, R: OffsetAllocator + Default>(seed: u64, steps: u32, resume: bool, faults: bool) {
    let mut r = Rng(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let opt = if resume {
        Options::new(if seed % 5 == 0 { 1800 } else { 900 }).guards(6).log_bytes(256)
    } else {
        Options::new(if seed % 5 == 0 { 1400 } else { 700 }).log_bytes(256)
    };
    let mut memory = Ram::new();
    let model: RefCell<Model> = RefCell::new(vec![]);
    LEGAL.set((vec![], vec![]));
    RNG.set(seed | 1);
    TORN.with_borrow_mut(Vec::clear);
    PROTECT.set(false);
    COUNTDOWN.set(i64::MAX);
    let row = if seed % 5 == 0 { 32 } else { 8 };
    let mut dev = TearStorage::new([8192, 4600, 5000, 5400][(seed % 4) as usize] * if row == 32 { 3 } else { 1 }, row);
    dev.set_chunk_size(16);
    let power: PowerFail = if resume {
        PowerFail::new().with_handler(saved).with_resume(Resume { persisted, failed })
    } else {
        PowerFail::new().with_handler(saved)
    };
    POWER.set(&power);
    let observer = |event: Event| {
        LEGAL.with_borrow_mut(|legal| match event {
            Event::Committing => {
                let m = model.borrow().clone();
                legal.1.push(m);
            }
            Event::Committed(_) => {
                let m = legal.1.pop().unwrap();
                legal.1.clear();
                legal.0 = m;
            }
            _ => {}
        })
    };
    let heap: H<'_, P, R> = Heap::format(Dev(dev), &mut memory, opt).unwrap();
    heap.set_observer(Some(&observer));
    let table = heap.allocate_slice_with(SLOTS, |_| Link::<[u8]>::NULL).unwrap().into_link();
    heap.set_root("table", Some(table)).unwrap();
    *model.borrow_mut() = vec![None; SLOTS];
    heap.commit().unwrap();
    PROTECT.set(true);
    power
        .protect(&heap, || {
            let mut shared: Vec<(Vec<u8>, Ref<'_, [u8]>)> = vec![];
            let mut mutable: Vec<(Vec<u8>, RefMut<'_, [u8]>)> = vec![];
            for step in 0..steps {
                let ctx = || format!("seed {seed} step {step} resume {resume}");
                if r.next(4) == 0 {
                    COUNTDOWN.set(1 + i64::from(r.next(300)));
                }
                if faults && r.next(12) == 0 {
                    let (n, bytes) =
                        (u64::from(r.next(3)), if r.next(2) == 0 { 1 << 20 } else { r.next(100) as usize });
                    let _ = heap.with_device(|d| d.0.fail_write_at(n, bytes));
                }
                let slot = r.next(SLOTS as u32) as usize;
                let which = r.next(100);
                let link = || -> Result<Link<[u8]>, Error<TearError>> { Ok(heap.get(table)?[slot]) };
                let result = (|| -> Result<(), Error<TearError>> {
                    match which {
                        0..20 => {
                            let len = [3, 8, 20, 60, 130, 250][r.next(6) as usize];
                            let byte = r.next(256) as u8;
                            let old = link()?;
                            let new = heap.allocate_slice_with(len, |at| byte.wrapping_add(at as u8))?.into_link();
                            let mut e = heap.get_element_mut(table, slot)?;
                            *e = new;
                            model.borrow_mut()[slot] = Some((0..len).map(|at| byte.wrapping_add(at as u8)).collect());
                            drop(e);
                            if !old.is_null() {
                                heap.free(old)?;
                            }
                        }
                        20..28 => {
                            let old = link()?;
                            if !old.is_null() && !heap.is_borrowed(old)? {
                                let mut e = heap.get_element_mut(table, slot)?;
                                *e = Link::NULL;
                                model.borrow_mut()[slot] = None;
                                drop(e);
                                if r.next(2) == 0 {
                                    heap.free(old)?;
                                }
                            }
                        }
                        28..45 => {
                            let l = link()?;
                            if !l.is_null() {
                                let mut g = heap.get_mut(l)?;
                                let byte = r.next(256) as u8;
                                g.fill(byte);
                                model.borrow_mut()[slot].as_mut().unwrap().fill(byte);
                                let copy = g.to_vec();
                                if r.next(3) == 0 && mutable.len() < 2 {
                                    mutable.push((copy, g));
                                }
                            }
                        }
                        45..60 => {
                            let l = link()?;
                            if !l.is_null() {
                                let len = model.borrow()[slot].as_ref().unwrap().len();
                                let from = r.next(len as u32) as usize;
                                let to = (from + 1 + r.next(12) as usize).min(len);
                                let mut g = heap.get_range_mut(l, from..to)?;
                                let byte = r.next(256) as u8;
                                g.fill(byte);
                                model.borrow_mut()[slot].as_mut().unwrap()[from..to].fill(byte);
                                let copy = g.to_vec();
                                if r.next(4) == 0 && mutable.len() < 2 {
                                    mutable.push((copy, g));
                                }
                            }
                        }
                        60..70 => {
                            let l = link()?;
                            if !l.is_null() {
                                let g = heap.get(l)?;
                                assert_eq!(&*g, &model.borrow()[slot].as_ref().unwrap()[..], "{}", ctx());
                                let copy = g.to_vec();
                                if r.next(2) == 0 && shared.len() < 3 {
                                    shared.push((copy, g));
                                }
                            }
                        }
                        70..76 => {
                            if !shared.is_empty() {
                                let n = r.next(shared.len() as u32) as usize;
                                shared.swap_remove(n);
                            }
                        }
                        76..83 => {
                            if !mutable.is_empty() {
                                let n = r.next(mutable.len() as u32) as usize;
                                mutable.swap_remove(n);
                            }
                        }
                        83..85 => heap.evict_all()?,
                        85..88 => {
                            let l = link()?;
                            if !l.is_null() {
                                heap.evict(l)?;
                            }
                        }
                        88..91 => {
                            heap.commit()?;
                        }
                        91..92 => {
                            heap.snapshot()?;
                        }
                        92..94 => {
                            heap.collect()?;
                        }
                        94..95 => {
                            // SAFETY: between two operations, in the context of the heap.
                            let _ = unsafe { power.enter() };
                        }
                        _ => {
                            let keep = model.borrow().clone();
                            let tx = heap.transaction()?;
                            let mut next = keep.clone();
                            let commit = r.next(2) == 0;
                            let mut body = || -> Result<(), Error<TearError>> {
                                for _ in 0..1 + r.next(4) {
                                    let s = r.next(SLOTS as u32) as usize;
                                    let l = tx.get(table)?[s];
                                    match r.next(5) {
                                        0 => {
                                            let len = [5, 40, 100][r.next(3) as usize];
                                            let byte = r.next(256) as u8;
                                            let new = tx.allocate_slice_with(len, |_| byte)?.into_link();
                                            if !l.is_null() {
                                                tx.free(l)?;
                                            }
                                            *tx.get_element_mut(table, s)? = new;
                                            next[s] = Some(vec![byte; len]);
                                        }
                                        1 if !l.is_null() => {
                                            tx.free(l)?;
                                            *tx.get_element_mut(table, s)? = Link::NULL;
                                            next[s] = None;
                                        }
                                        2 if !l.is_null() => {
                                            assert_eq!(&*tx.get(l)?, &next[s].as_ref().unwrap()[..], "{}", ctx());
                                        }
                                        3 if !l.is_null() => {
                                            let byte = r.next(256) as u8;
                                            tx.get_element_mut(l, 1)?.clone_from(&byte);
                                            next[s].as_mut().unwrap()[1] = byte;
                                        }
                                        _ if !l.is_null() => {
                                            let byte = r.next(256) as u8;
                                            tx.get_mut(l)?.fill(byte);
                                            next[s].as_mut().unwrap().fill(byte);
                                        }
                                        _ => {}
                                    }
                                }
                                Ok(())
                            };
                            body()?;
                            if commit {
                                *model.borrow_mut() = next;
                                tx.commit()?;
                            }
                        }
                    }
                    Ok(())
                })();
                if let Err(e) = &result {
                    assert!(ok_error(e), "{}: {e}", ctx());
                }
                for (copy, g) in &shared {
                    assert_eq!(copy[..], g[..], "{}: shared guard", ctx());
                }
                for (copy, g) in &mutable {
                    assert_eq!(copy[..], g[..], "{}: mutable guard", ctx());
                }
                assert!(heap.dirty_bytes().unwrap() <= opt.dirty_limit, "{}", ctx());
                if mutable.is_empty() && r.next(3) == 0 {
                    let mut now = extract(&heap);
                    for _ in 0..4 {
                        if matches!(now, Err(Error::Device(_))) {
                            now = extract(&heap);
                        }
                    }
                    match now {
                        Ok(now) => assert_eq!(now, *model.borrow(), "{}: in RAM", ctx()),
                        Err(e) => assert!(ok_error(&e), "{}: {e}", ctx()),
                    }
                }
                if step % 2 == 0 {
                    let image = heap.with_device(|d| d.0.image().to_vec()).unwrap();
                    PROTECT.set(false);
                    let before = COUNTDOWN.replace(i64::MAX);
                    let mut memory = Ram::new();
                    let opened: H<'_, P, R> = Heap::open(Dev(TearStorage::from_image(image, row)), &mut memory, opt)
                        .unwrap_or_else(|e| panic!("{}: {e}", ctx()));
                    assert_eq!(opened.report().damaged, None, "{}", ctx());
                    assert!(!opened.report().repaired, "{}: repaired", ctx());
                    let found = extract(&opened).unwrap_or_else(|e| panic!("{}: {e}", ctx()));
                    COUNTDOWN.set(before);
                    LEGAL.with_borrow(|legal| {
                        assert!(
                            legal.0 == found || legal.1.contains(&found),
                            "{}: illegal state after {which}: {result:?}\nfound {found:?}\nlast {:?}",
                            ctx(),
                            legal.0
                        )
                    });
                    PROTECT.set(false);
                    let before = COUNTDOWN.replace(i64::MAX);
                    for (image, at, legal) in TORN.take() {
                        let mut memory = Ram::new();
                        let opened: H<'_, P, R> =
                            Heap::open(Dev(TearStorage::from_image(image, row)), &mut memory, opt)
                                .unwrap_or_else(|e| panic!("{}: torn at {at}: {e}", ctx()));
                        let found = extract(&opened).unwrap_or_else(|e| panic!("{}: torn at {at}: {e}", ctx()));
                        assert!(
                            legal.0 == found || legal.1.contains(&found),
                            "{}: torn at {at}: {which}: illegal state",
                            ctx()
                        );
                        TORNS.set(TORNS.get() + 1);
                    }
                    COUNTDOWN.set(before);
                    PROTECT.set(true);
                }
            }
        })
        .unwrap();
    heap.set_observer(None);
    POWER.set(std::ptr::null());
    PROTECT.set(false);
}

fn lives() -> u64 {
    std::env::var("VNV_LIVES").ok().and_then(|n| n.parse().ok()).unwrap_or(25)
}
fn first() -> u64 {
    std::env::var("VNV_SEED").ok().and_then(|n| n.parse().ok()).unwrap_or(1)
}

#[test]
fn reboot() {
    for seed in first()..first() + lives() {
        life::<Adaptive, SortedArray<24>>(seed, 300, false, false);
        life::<Clock, LinkedList<3>>(seed, 300, false, false);
        life::<FirstFound, Buddy<32>>(seed, 300, false, false);
    }
    println!("{} saved {} torn", SAVED.get(), TORNS.get());
}
#[test]
fn reboot_faults() {
    for seed in first()..first() + lives() {
        life::<Adaptive, SortedArray<24>>(seed, 300, false, true);
        life::<Clock, LinkedList<3>>(seed, 300, false, true);
        life::<FirstFound, Buddy<32>>(seed, 300, false, true);
    }
}
#[test]
fn resume() {
    for seed in first()..first() + lives() {
        life::<Adaptive, SortedArray<24>>(seed, 300, true, false);
        life::<Clock, LinkedList<3>>(seed, 300, true, false);
        life::<FirstFound, Buddy<32>>(seed, 300, true, false);
    }
    println!("{} saved, {} resumed", SAVED.get(), LOST.get());
}
