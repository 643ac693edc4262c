//! Systems without a heap: everything in RAM, or everything in storage.

use crate::values::{KEYS, LARGEST, SIZES, TOTAL, offsets};
use crate::workload::{Fifo, ITEM, LONGEST, Values};
use core::convert::Infallible;
use core::fmt::Debug;
use vnv_storage::Device;

const OFFSETS: [usize; KEYS] = offsets(&SIZES);
const SLOTS: usize = LONGEST + 1;

/// Values in RAM: nothing outlives power.
#[derive(Debug)]
pub struct RamValues(pub [u8; TOTAL]);

impl Values for RamValues {
    type Error = Infallible;

    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Infallible> {
        fill(&mut self.0[OFFSETS[key]..OFFSETS[key] + SIZES[key]]);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// Values in storage: each update is a write.
#[derive(Debug)]
pub struct StorageValues<D>(pub D);

impl<D: Device<Error: Debug>> Values for StorageValues<D> {
    type Error = D::Error;

    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), D::Error> {
        let mut value = [0; LARGEST];
        let value = &mut value[..SIZES[key]];
        fill(value);
        self.0.write(OFFSETS[key] as u32, value)
    }

    fn commit(&mut self) -> Result<(), D::Error> {
        self.0.sync()
    }
}

/// Which slots of a ring are taken.
#[derive(Clone, Copy, Default, Debug)]
struct Ring {
    first: usize,
    len: usize,
}

impl Ring {
    /// The slot of a new item.
    fn push(&mut self) -> usize {
        self.len += 1;
        (self.first + self.len - 1) % SLOTS
    }

    /// The slot of the oldest item.
    fn pop(&mut self) -> Option<usize> {
        self.len = self.len.checked_sub(1)?;
        let slot = self.first;
        self.first = (slot + 1) % SLOTS;
        Some(slot)
    }
}

/// A ring in RAM: nothing outlives power.
#[derive(Debug)]
pub struct RamQueue {
    ring: Ring,
    items: [[u8; ITEM]; SLOTS],
}

impl RamQueue {
    /// An empty ring, usable in a `static`.
    #[must_use]
    pub const fn new() -> Self {
        Self { ring: Ring { first: 0, len: 0 }, items: [[0; ITEM]; SLOTS] }
    }
}

impl Default for RamQueue {
    fn default() -> Self {
        Self::new()
    }
}

impl Fifo for RamQueue {
    type Error = Infallible;

    fn push(&mut self, item: &[u8; ITEM]) -> Result<(), Infallible> {
        self.items[self.ring.push()] = *item;
        Ok(())
    }

    fn pop(&mut self, item: &mut [u8; ITEM]) -> Result<bool, Infallible> {
        Ok(self.ring.pop().is_some_and(|slot| {
            *item = self.items[slot];
            true
        }))
    }

    fn commit(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

/// A ring in storage: a write for each push, a read for each pop. Where it begins is kept in RAM only.
#[derive(Debug)]
pub struct StorageQueue<D> {
    ring: Ring,
    device: D,
}

impl<D> StorageQueue<D> {
    /// An empty ring.
    pub fn new(device: D) -> Self {
        Self { ring: Ring::default(), device }
    }

    /// Ends the ring and gives the storage back.
    pub fn into_device(self) -> D {
        self.device
    }
}

impl<D: Device<Error: Debug>> Fifo for StorageQueue<D> {
    type Error = D::Error;

    fn push(&mut self, item: &[u8; ITEM]) -> Result<(), D::Error> {
        self.device.write((self.ring.push() * ITEM) as u32, item)
    }

    fn pop(&mut self, item: &mut [u8; ITEM]) -> Result<bool, D::Error> {
        let Some(slot) = self.ring.pop() else { return Ok(false) };
        self.device.read((slot * ITEM) as u32, item)?;
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), D::Error> {
        self.device.sync()
    }
}
