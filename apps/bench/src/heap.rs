//! The key-value store on the heap.

use crate::values::{KEYS, SIZES};
use crate::workload::Values;
use core::fmt::Debug;
use vnv_alloc::{FirstFit, OffsetAllocator};
use vnv_persist::{Durable, Error, Heap, Link, Memory, Options, Policy, Workspace};
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
pub const STORE_OPTIONS: Options = Options::new(11_878).log_bytes(4096);

/// Bytes of the handle on a 32-bit target, its storage apart.
pub const STORE_HANDLE: usize = 1952;

// On the targets that the limits are for: handles and pointers are larger elsewhere.
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(size_of::<StoreMemory>() + STORE_HANDLE <= STORE_RAM);
    assert!(size_of::<Store<'_, (), vnv_persist::Adaptive>>() <= STORE_HANDLE);
    assert!(size_of::<Store<'_, (), vnv_persist::Clock>>() <= STORE_HANDLE);
    assert!(size_of::<Store<'_, (), vnv_persist::FirstFound>>() <= STORE_HANDLE);
};

/// An entry of the map.
#[derive(Durable)]
#[durable(crate = vnv_persist)]
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
