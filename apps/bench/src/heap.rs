//! The key-value store on the heap.

use crate::values::KEYS;
use crate::workload::Values;
use core::fmt::Debug;
use vnv_alloc::SortedArray;
use vnv_collections::{Map, OpenMap};
use vnv_persist::{Error, Heap, Memory, Options, Policy};
use vnv_storage::Device;

/// Bytes of RAM that the store may take.
pub const STORE_RAM: usize = 120_000;
/// Bytes of storage of the store.
pub const STORE_CAPACITY: u32 = 256 * 1024;
/// RAM of the store: the handle takes the rest. All values are resident.
pub type StoreMemory = Memory<272, 512, 4, 1, 13_500>;
/// The heap of the store.
pub type Store<'m, D, P> = Heap<'m, D, StoreMemory, P, SortedArray<24>, SortedArray<256>>;
/// The dirty limit counts all metadata.
pub const STORE_OPTIONS: Options = Options::new(11_878).log_bytes(4096);

/// Bytes of the handle on a 32-bit target, its storage apart.
pub const STORE_HANDLE: usize = 1416;

// On the targets that the limits are for: handles and pointers are larger elsewhere.
#[cfg(target_pointer_width = "32")]
const _: () = {
    assert!(size_of::<StoreMemory>() + STORE_HANDLE <= STORE_RAM);
    assert!(size_of::<Store<'_, (), vnv_persist::Adaptive>>() == STORE_HANDLE);
    assert!(size_of::<Store<'_, (), vnv_persist::Clock>>() <= STORE_HANDLE);
    assert!(size_of::<Store<'_, (), vnv_persist::FirstFound>>() <= STORE_HANDLE);
};

/// 256 values in a map.
pub struct HeapValues<'h, H> {
    heap: &'h H,
    map: OpenMap<'h, u16, [u8], H>,
}

impl<'h, 'm, D, P> HeapValues<'h, Store<'m, D, P>>
where
    D: Device<Error: Debug>,
    P: Policy,
{
    /// Makes the map, with values of zeros of these sizes, and commits.
    ///
    /// # Errors
    ///
    /// The heap's.
    pub fn new(heap: &'h Store<'m, D, P>, sizes: &[usize; KEYS]) -> Result<Self, Error<D::Error>> {
        let mut map = Map::create(heap)?;
        heap.set_root("map", Some(map.link()))?;
        for (key, size) in (0u16..).zip(sizes) {
            map.insert_slice_with(key, *size, |_| 0u8)?;
        }
        heap.commit()?;
        Ok(Self { heap, map })
    }
}

impl<D, P> Values for HeapValues<'_, Store<'_, D, P>>
where
    D: Device<Error: Debug>,
    P: Policy,
{
    type Error = Error<D::Error>;

    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Self::Error> {
        let mut value = self.map.get_mut(&(key as u16))?.ok_or(Error::Stale)?;
        fill(&mut value);
        Ok(())
    }

    fn commit(&mut self) -> Result<(), Self::Error> {
        self.heap.commit().map(|_| ())
    }
}
