//! The workloads on the heap. The only place that knows how a map and a queue are built of objects.

use crate::values::{KEYS, SIZES};
use crate::workload::{Fifo, ITEM, LONGEST, Values};
use core::fmt::Debug;
use vnv_alloc::{FirstFit, OffsetAllocator};
use vnv_persist::{Advice, Durable, Error, Heap, Link, Memory, Options, Policy, Workspace};
use vnv_storage::Device;

/// Bytes of RAM that the store may take.
pub const STORE_RAM: usize = 120_000;
/// Bytes of storage of the store.
pub const STORE_CAPACITY: u32 = 256 * 1024;
/// RAM of the store: the handle takes the rest. All values are resident.
pub type StoreMemory = Memory<272, 512, 4, 1, 13_500>;
/// The heap of the store.
pub type Store<'m, D, P> = Heap<'m, D, StoreMemory, P, FirstFit<24>, FirstFit<256>>;
/// The dirty limit counts all metadata.
pub const STORE_OPTIONS: Options = Options::new(11_878).log_bytes(16 * 1024);

/// Bytes of RAM that the queue may take.
pub const QUEUE_RAM: usize = 4096;
/// Bytes of storage of the queue.
pub const QUEUE_CAPACITY: u32 = 16 * 1024;
/// RAM of the queue: the handle takes the rest.
pub type QueueMemory = Memory<38, 20, 2, 1, 415>;
/// The heap of the queue.
pub type Queue<'m, D, P> = Heap<'m, D, QueueMemory, P, FirstFit<4>, FirstFit<8>>;
/// What 33 items and as many old places leave for the reserves.
pub const QUEUE_OPTIONS: Options = Options::new(3072).log_bytes(128);

/// Bytes of the handle on a 32-bit target, its storage apart.
pub const STORE_HANDLE: usize = 1944;
/// Bytes of the handle on a 32-bit target, its storage apart.
pub const QUEUE_HANDLE: usize = 336;

// On the targets that the limits are for: handles and pointers are larger elsewhere.
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(size_of::<StoreMemory>() + STORE_HANDLE <= STORE_RAM);
    assert!(size_of::<QueueMemory>() + QUEUE_HANDLE <= QUEUE_RAM);
    assert!(size_of::<Store<'_, (), vnv_persist::Clock>>() <= STORE_HANDLE);
    assert!(size_of::<Store<'_, (), vnv_persist::FirstFound>>() <= STORE_HANDLE);
    assert!(size_of::<Queue<'_, (), vnv_persist::Clock>>() <= QUEUE_HANDLE);
    assert!(size_of::<Queue<'_, (), vnv_persist::FirstFound>>() <= QUEUE_HANDLE);
};

/// An entry of the map.
#[derive(Durable)]
#[repr(C)]
pub struct Entry {
    value: Link<[u8]>,
}

/// A map of 256 values: a slice object of links.
pub struct HeapValues<'h, 'm, D, W, P, R, S> {
    heap: &'h Heap<'m, D, W, P, R, S>,
    entries: Link<[Entry]>,
}

impl<'h, 'm, D, W, P, R, S> HeapValues<'h, 'm, D, W, P, R, S>
where
    D: Device<Error: Debug>,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Makes the map, with values of zeros, and commits.
    ///
    /// # Errors
    ///
    /// The heap's.
    pub fn new(heap: &'h Heap<'m, D, W, P, R, S>) -> Result<Self, Error<D::Error>> {
        let entries = heap.allocate_slice_with(KEYS, |_| Entry { value: Link::NULL })?.into_link();
        heap.set_root("map", Some(entries))?;
        for (key, size) in SIZES.into_iter().enumerate() {
            let value = heap.allocate_slice_with(size, |_| 0u8)?.into_link();
            heap.get_element_mut(entries, key)?.value = value;
        }
        heap.commit()?;
        Ok(Self { heap, entries })
    }
}

impl<D, W, P, R, S> Values for HeapValues<'_, '_, D, W, P, R, S>
where
    D: Device<Error: Debug>,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    type Error = Error<D::Error>;

    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Self::Error> {
        let value = self.heap.get(self.entries)?.get(key).map_or(Link::NULL, |entry| entry.value);
        fill(&mut self.heap.get_mut(value)?);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Self::Error> {
        self.heap.commit().map(|_| ())
    }
}

/// A slot of the ring.
#[derive(Durable)]
#[repr(C)]
pub struct Place {
    item: Link<[u8; ITEM]>,
}

/// One place stays empty: the ring says by itself where it begins.
const PLACES: usize = LONGEST + 2;

/// A queue: a ring of links to items.
pub struct HeapQueue<'h, 'm, D, W, P, R, S> {
    heap: &'h Heap<'m, D, W, P, R, S>,
    ring: Link<[Place]>,
    first: usize,
    len: usize,
    newest: Link<[u8; ITEM]>,
}

impl<'h, 'm, D, W, P, R, S> HeapQueue<'h, 'm, D, W, P, R, S>
where
    D: Device<Error: Debug>,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Makes an empty queue, and commits.
    ///
    /// # Errors
    ///
    /// The heap's.
    pub fn new(heap: &'h Heap<'m, D, W, P, R, S>) -> Result<Self, Error<D::Error>> {
        let ring = heap.allocate_slice_with(PLACES, |_| Place { item: Link::NULL })?.into_link();
        heap.set_root("queue", Some(ring))?;
        heap.commit()?;
        Ok(Self { heap, ring, first: 0, len: 0, newest: Link::NULL })
    }
}

impl<D, W, P, R, S> Fifo for HeapQueue<'_, '_, D, W, P, R, S>
where
    D: Device<Error: Debug>,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    type Error = Error<D::Error>;

    fn push(&mut self, item: &[u8; ITEM]) -> Result<(), Self::Error> {
        let link = self.heap.allocate(*item)?.into_link();
        self.heap.get_element_mut(self.ring, (self.first + self.len) % PLACES)?.item = link;
        self.len += 1;
        // The newest item is the one that is needed last.
        if !self.newest.is_null() {
            self.heap.advise(self.newest, Advice::WillNeed)?;
        }
        self.heap.advise(link, Advice::WontNeed)?;
        self.newest = link;
        Ok(())
    }

    fn pop(&mut self, item: &mut [u8; ITEM]) -> Result<bool, Self::Error> {
        if self.len == 0 {
            return Ok(false);
        }
        let link = self.heap.get(self.ring)?.get(self.first).map_or(Link::NULL, |place| place.item);
        *item = *self.heap.get(link)?;
        self.heap.get_element_mut(self.ring, self.first)?.item = Link::NULL;
        self.heap.free(link)?;
        if link == self.newest {
            self.newest = Link::NULL;
        }
        self.first = (self.first + 1) % PLACES;
        self.len -= 1;
        Ok(true)
    }

    fn commit(&mut self) -> Result<(), Self::Error> {
        self.heap.commit().map(|_| ())
    }
}

/// Bytes of the queue's memory besides its arena.
#[must_use]
pub const fn queue_tables() -> usize {
    size_of::<Memory<38, 20, 2, 1, 0>>()
}
