//! A storage of plain bytes that keeps the writes made to it, what a power cut leaves of such a write, and sweeps that
//! use all processors and report how many of their cases failed with the first of them.
#![allow(dead_code)]

use std::cell::RefCell;
use std::hash::{BuildHasher, BuildHasherDefault, DefaultHasher};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use vnv_persist::Device;
use vnv_sim::{Tear, TearStorage};
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// A write that was made: where, and what.
pub type Write = (u32, Vec<u8>);

/// The bytes of a storage, and every write since they were handed in.
pub struct Recorded {
    pub image: RefCell<Vec<u8>>,
    pub writes: RefCell<Vec<Write>>,
    row: u32,
}

impl Recorded {
    pub fn new(image: Vec<u8>, row: u32) -> Self {
        Self { image: RefCell::new(image), writes: RefCell::new(Vec::new()), row }
    }

    pub fn into_image(self) -> Vec<u8> {
        self.image.into_inner()
    }

    pub fn into_writes(self) -> Vec<Write> {
        self.writes.into_inner()
    }
}

/// A hand on a [`Recorded`] for a heap to own: the bytes outlive a heap that could not be opened.
#[derive(Clone, Copy)]
pub struct Hand<'r>(pub &'r Recorded);

impl ReadStorage for Hand<'_> {
    type Error = &'static str;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), Self::Error> {
        let image = self.0.image.borrow();
        let from = image.get(offset as usize..offset as usize + bytes.len()).ok_or("read beyond the end")?;
        bytes.copy_from_slice(from);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.0.image.borrow().len()
    }
}

impl Storage for Hand<'_> {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), Self::Error> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Hand<'_> {
    fn row_size(&self) -> u32 {
        self.0.row
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), Self::Error> {
        let bytes = slices.concat();
        let mut image = self.0.image.borrow_mut();
        let to = image.get_mut(offset as usize..offset as usize + bytes.len()).ok_or("write beyond the end")?;
        to.copy_from_slice(&bytes);
        self.0.writes.borrow_mut().push((offset, bytes));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// `image` after `write`.
pub fn apply(image: &mut [u8], (offset, bytes): &Write) {
    image[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
}

/// `image` after the first `stored` bytes of `write`, with the next one in flight when power fails.
pub fn torn(image: &[u8], (offset, bytes): &Write, stored: usize, tear: Tear, row: u32) -> Vec<u8> {
    // Only the rows that the write reaches: the rest is copied once.
    let row_bytes = row as usize;
    let from = *offset as usize / row_bytes * row_bytes;
    let to = (*offset as usize + bytes.len()).next_multiple_of(row_bytes).min(image.len());
    let mut whole = image.to_vec();
    let mut device = TearStorage::from_image(image[from..to].to_vec(), row).with_tear(tear.moved(from));
    device.cut_after_bytes(stored as u64);
    let _ = device.write_gather(*offset - from as u32, &[bytes]);
    whole[from..to].copy_from_slice(device.image());
    whole
}

/// A tear whose noise depends on where the piece stands that is torn.
trait Moved {
    fn moved(self, from: usize) -> Self;
}

impl Moved for Tear {
    fn moved(self, from: usize) -> Self {
        use vnv_sim::Garbage::Seeded;
        let add = |seed: u64| seed.wrapping_add((from as u64).wrapping_mul(0x9E37_79B9_7F4A_7C15));
        match self {
            Self::T1(Seeded(seed)) => Self::T1(Seeded(add(seed))),
            Self::T2(Seeded(seed)) => Self::T2(Seeded(add(seed))),
            Self::T3(Seeded(seed)) => Self::T3(Seeded(add(seed))),
            other => other,
        }
    }
}

pub fn hash(bytes: &[u8]) -> u64 {
    BuildHasherDefault::<DefaultHasher>::default().hash_one(bytes)
}

/// How much is swept: everything with `VNV_FULL=1`, next to nothing under Miri.
pub fn by_extent<T>(full: T, usual: T, least: T) -> T {
    if cfg!(miri) {
        least
    } else if std::env::var_os("VNV_FULL").is_some() {
        full
    } else {
        usual
    }
}

/// What a sweep found.
#[derive(Default, Debug)]
pub struct Findings {
    /// Cases that were looked at.
    pub cases: u64,
    /// Whatever else is worth counting.
    pub counts: std::collections::BTreeMap<&'static str, u64>,
    pub failed: u64,
    /// The failed case with the lowest number, in one line.
    first: Option<(usize, String)>,
}

impl Findings {
    pub fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    /// One case: what is wrong with it, and how to see it again.
    pub fn check(&mut self, result: Result<(), String>, replay: impl FnOnce() -> String) {
        self.cases += 1;
        if let Err(error) = result {
            self.failed += 1;
            if self.first.is_none() {
                self.first = Some((0, format!("{}: {error}", replay())));
            }
        }
    }

    fn add(&mut self, other: Self, number: usize) {
        self.cases += other.cases;
        self.failed += other.failed;
        for (what, count) in other.counts {
            *self.counts.entry(what).or_default() += count;
        }
        if let Some((_, line)) = other.first
            && self.first.as_ref().is_none_or(|(first, _)| number < *first)
        {
            self.first = Some((number, line));
        }
    }

    /// Panics with the first failed case, and with how many there are.
    pub fn report(self, name: &str) -> Self {
        println!("{name}: {} cases, {:?}", self.cases, self.counts);
        if let Some((_, first)) = &self.first {
            panic!("{} of {} failed; the first: {first}", self.failed, self.cases);
        }
        self
    }
}

/// Runs `sweep` on each of `jobs` numbers, on all processors.
pub fn sweep(jobs: usize, one: impl Fn(usize, &mut Findings) + Sync) -> Findings {
    let next = AtomicUsize::new(0);
    let all = Mutex::new(Findings::default());
    let threads = if cfg!(miri) { 1 } else { std::thread::available_parallelism().map_or(1, usize::from) };
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let number = next.fetch_add(1, Ordering::Relaxed);
                    if number >= jobs {
                        break;
                    }
                    let mut found = Findings::default();
                    one(number, &mut found);
                    all.lock().unwrap().add(found, number);
                }
            });
        }
    });
    all.into_inner().unwrap()
}
