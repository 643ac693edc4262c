//! The queue on the heap: 4,096 bytes of RAM in all, and 16 KiB of storage, laid out for its length.

use crate::workload::{Fifo, ITEM, LONGEST};
use core::fmt::Debug;
use vnv_alloc::SortedArray;
use vnv_collections::{OpenQueue, Queue};
use vnv_core::Parts;
use vnv_persist::{Error, Heap, Memory, Options, Policy, Workspace};
use vnv_storage::Device;

/// Bytes of RAM that the queue may take: arena, tables and handle.
pub const QUEUE_RAM: usize = 4096;
/// Bytes of storage of the queue.
pub const QUEUE_CAPACITY: u32 = 16 * 1024;
/// Bytes of the handle on a 32-bit target, its storage apart.
pub const QUEUE_HANDLE: usize = 344;
/// Types: of the queue, of its ring, and of the items.
const TYPES: usize = 3;
/// Items that may be freed and not yet reusable, in a queue that is committed now and then.
const FREED: usize = 10;
/// Blocks of old items that wait for a commit: with fewer the heap commits for want of room, with more there is less for the dirty limit.
const WAITING: u32 = 5;
/// Slots of a short queue whose generations are used up in 10,000 iterations: 4,095 objects each.
const RETIRED: usize = 3;
/// Slots besides those of items: one of the table itself, one per type, ring and queue.
const SLOTS: usize = 1 + TYPES + 2;
/// The largest tables.
type Tables = Memory<{ SLOTS + LONGEST + 1 + FREED }, { SLOTS + LONGEST + 1 + 2 * FREED }, TYPES, 1, 464>;
/// Bytes of a memory besides slots, pending places and arena, on a 32-bit target: types, the root, what an interrupt looks at, and at
/// most 4 for alignment.
const FIXED: usize = 12 * TYPES + 16 + 16 + 4;

/// The heap of the queue.
pub type QueueHeap<'m, D, P> = Heap<'m, D, QueueMemory, P, SortedArray<4>, SortedArray<8>>;

// On the targets that the limit is for: handles are larger elsewhere.
#[cfg(target_pointer_width = "32")]
const _: () = assert!(size_of::<Memory<{ TYPES + 2 }, 4, TYPES, 1, 0>>() <= 8 * (TYPES + 2) + 4 * 4 + FIXED);
#[cfg(target_pointer_width = "32")]
const _: () = assert!(size_of::<QueueHeap<'_, (), vnv_persist::Adaptive>>() == QUEUE_HANDLE);

/// RAM of a queue of a certain length: as many slots and pending places as it needs, and the rest of the 4,096 bytes as arena.
pub struct QueueMemory {
    tables: Tables,
    slots: usize,
    pending: usize,
}

impl QueueMemory {
    /// For the longest queue.
    #[must_use]
    pub const fn new() -> Self {
        Self { tables: Tables::new(), slots: SLOTS + LONGEST + 1, pending: SLOTS + LONGEST }
    }

    /// For a queue of `length` items and one more; `committed`: it is committed now and then, and not only by snapshots.
    #[must_use]
    pub fn of(length: usize, committed: bool) -> Self {
        let mut memory = Self::new();
        memory.fit(length, committed);
        memory
    }

    /// Fits the tables to a length, before the heap is formatted.
    pub fn fit(&mut self, length: usize, committed: bool) {
        let freed = if committed { FREED } else { 0 };
        self.slots = SLOTS + length.clamp(RETIRED, LONGEST) + 1 + freed;
        self.pending = self.slots + freed - 1;
    }

    /// Words of the arena.
    #[must_use]
    pub const fn words(&self) -> usize {
        (QUEUE_RAM - QUEUE_HANDLE - FIXED - 8 * self.slots - 4 * self.pending) / 8
    }

    /// The options: the dirty limit is what the arena can hold, or what the storage leaves for two reserves.
    #[must_use]
    pub const fn options(&self, length: usize, committed: bool) -> Options {
        const LOG: u32 = 64;
        let logs = 2 * (24 + 8 * self.slots as u32 + 16 + 8 + LOG);
        let items = length as u32 + 2;
        // Blocks of the items, of one more because of holes, and of old ones that wait for a commit; the ring in two places, the queue likewise, the schemas.
        let blocks = items + if committed { WAITING } else { 0 };
        let data = (ITEM as u32 + 8) * blocks + 2 * (8 + 4 * items + 7) + 2 * 16 + 136;
        let room = (QUEUE_CAPACITY - 128 - logs - data) / 2;
        // The arena full of dirty items, and an entry for each slot.
        let most = 8 * (self.words() + self.slots) as u32;
        Options::new(if room < most { room } else { most } & !7).log_bytes(LOG)
    }
}

impl Default for QueueMemory {
    fn default() -> Self {
        Self::new()
    }
}

impl Workspace for QueueMemory {
    type Entries = <Tables as Workspace>::Entries;
    type Roots = <Tables as Workspace>::Roots;

    fn record_entries() -> Self::Entries {
        Tables::record_entries()
    }
    fn record_roots() -> Self::Roots {
        Tables::record_roots()
    }
    fn parts(&mut self) -> Parts<'_> {
        let words = self.words();
        let parts = self.tables.parts();
        Parts {
            entries: parts.entries.get_mut(..self.slots).unwrap_or_default(),
            items: parts.items.get_mut(..self.pending).unwrap_or_default(),
            arena: parts.arena.get_mut(..words).unwrap_or_default(),
            ..parts
        }
    }
}

/// A queue in the heap.
pub struct HeapQueue<'h, 'm, D, P> {
    heap: &'h QueueHeap<'m, D, P>,
    queue: OpenQueue<'h, [u8; ITEM], QueueHeap<'m, D, P>>,
}

impl<'h, 'm, D: Device<Error: Debug>, P: Policy> HeapQueue<'h, 'm, D, P> {
    /// Makes an empty queue with room for `length` items and one more, and commits.
    ///
    /// # Errors
    ///
    /// The heap's.
    pub fn new(heap: &'h QueueHeap<'m, D, P>, length: usize) -> Result<Self, Error<D::Error>> {
        let mut queue = Queue::with_capacity(heap, length + 1)?;
        heap.set_root("queue", Some(queue.link()))?;
        heap.commit()?;
        // The types are known from here on.
        queue.push_back([0; ITEM])?;
        queue.remove_front()?;
        heap.commit()?;
        // Ring and header come back side by side, and leave no hole too small for an item.
        heap.evict_all()?;
        queue.is_empty()?;
        queue.capacity()?;
        Ok(Self { heap, queue })
    }
}

impl<D: Device<Error: Debug>, P: Policy> Fifo for HeapQueue<'_, '_, D, P> {
    type Error = Error<D::Error>;

    fn push(&mut self, item: &[u8; ITEM]) -> Result<(), Self::Error> {
        self.queue.push_back(*item)
    }

    fn pop(&mut self, item: &mut [u8; ITEM]) -> Result<bool, Self::Error> {
        Ok(self.queue.pop_front_with(|front| *item = *front)?.is_some())
    }

    fn commit(&mut self) -> Result<(), Self::Error> {
        self.heap.commit().map(|_| ())
    }
}
