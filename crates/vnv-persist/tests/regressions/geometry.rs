//! Sizes and limits at their ends.

use std::collections::HashMap;
use vnv_alloc::{Buddy, SortedArray};
use vnv_persist::{Adaptive, Error, Heap, Layout, LayoutError, Memory, OpenError, Options, format};
use vnv_sim::TearStorage;
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// The directory of a snapshot has 15 bits for a size: a larger object was admitted, and a snapshot with it could not be opened.
#[test]
#[cfg_attr(miri, ignore = "hundreds of kilobytes")]
fn the_largest_object_is_in_a_snapshot() {
    type Ram = Memory<16, 8, 4, 2, 5000>;
    for (limit, size) in [(40_000, 0x7FFF), (1000, 0x7FFF), (40_000, 0x8000), (1000, 0x8000)] {
        let options = Options::new(limit);
        let mut memory = Box::new(Ram::new());
        let heap = Heap::<_, Ram>::format(TearStorage::new(1 << 20, 8), &mut memory, options).unwrap();
        let large = match heap.allocate_slice_with(size, |at| at as u8) {
            Ok(large) => large.into_link(),
            Err(error) => {
                assert_eq!((size, error), (0x8000, Error::TooLarge));
                continue;
            }
        };
        assert!(size < 0x8000);
        heap.set_root("large", Some(large)).unwrap();
        if limit < 0x8000 {
            // Only a granule of it is in the snapshot.
            heap.commit().unwrap();
            *heap.get_element_mut(large, 17).unwrap() = 99;
        }
        heap.snapshot().unwrap();
        let image = heap.into_device().into_image();
        let mut memory = Box::new(Ram::new());
        let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, options).unwrap();
        let expected = |at: usize| if limit < 0x8000 && at == 17 { 99 } else { at as u8 };
        assert!(heap.get(large).unwrap().iter().enumerate().all(|(at, byte)| *byte == expected(at)));
    }
}

/// Limits were accepted under which nothing could ever be changed.
#[test]
fn the_smallest_dirty_limit_admits_changes() {
    type Ram = Memory<16, 8, 4, 2, 600>;
    for row in [1, 8, 16, 32, 64, 128, 256] {
        for guards in [0, 1, 2] {
            let layout = |limit| Layout::new(65_536, row, (16, 4, 2), Options::new(limit).guards(guards));
            let least = (24..2000).find(|limit| layout(*limit).is_ok()).unwrap();
            assert_eq!(layout(least - 1), Err(LayoutError::DirtyLimitTooSmall));
            let mut memory = Box::new(Ram::new());
            let options = Options::new(least).guards(guards);
            let heap = Heap::<_, Ram>::format(TearStorage::new(65_536, row), &mut memory, options).unwrap();
            let one = heap.allocate(1u32).unwrap().into_link();
            heap.set_root("one", Some(one)).unwrap();
            let many = heap.allocate_slice_with(400, |at| at as u32).unwrap().into_link();
            heap.set_root("many", Some(many)).unwrap();
            heap.commit().unwrap();
            let context = format!("rows of {row}, {guards} guards, limit {least}");
            for at in [0, 1, 200, 399] {
                assert_eq!(heap.get_mut(one).map(|mut one| *one += 1), Ok(()), "{context}");
                let changed = heap.get_element_mut(many, at).map(|mut element| *element += 1);
                assert_eq!(changed, Ok(()), "{context}, element {at}");
                heap.commit().unwrap();
            }
            let image = heap.into_device().into_image();
            let mut memory = Box::new(Ram::new());
            let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, row), &mut memory, options).unwrap();
            assert_eq!(*heap.get(one).unwrap(), 5);
            assert_eq!(heap.get(many).unwrap()[399], 400);
        }
    }
}

/// A storage allocator that is too small for the image called it damaged.
#[test]
fn a_small_allocator_is_told_from_damage() {
    type Ram = Memory<16, 8, 4, 2, 64>;
    const OPTIONS: Options = Options::new(512).log_bytes(256);
    const LARGE: usize = 64;
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(16384, 8), &mut memory, OPTIONS).unwrap();
    for _ in 0..12 {
        let large = heap.allocate([5u8; 400]).unwrap().into_link();
        heap.set_root("last", Some(large)).unwrap();
        heap.commit().unwrap();
        heap.collect().unwrap();
    }
    let image = heap.into_device().into_image();
    let storage = || TearStorage::from_image(image.clone(), 8);
    let mut memory = Ram::new();
    let small = Heap::<_, Ram, Adaptive, SortedArray<16>, Buddy<2>>::open(storage(), &mut memory, OPTIONS).map(drop);
    assert_eq!(small.err(), Some(OpenError::AllocatorTooSmall));
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram, Adaptive, SortedArray<16>, Buddy<LARGE>>::open(storage(), &mut memory, OPTIONS).unwrap();
    let last = heap.root::<[u8; 400]>("last").unwrap().unwrap();
    assert_eq!(*heap.get(last).unwrap(), [5; 400]);
}

/// A device of gigabytes, zeros but for what was written.
struct Sparse(HashMap<u32, u8>, usize);

impl ReadStorage for Sparse {
    type Error = ();
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        (offset..).zip(bytes).for_each(|(at, to)| *to = self.0.get(&at).copied().unwrap_or(0));
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.1
    }
}

impl Storage for Sparse {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Sparse {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), ()> {
        self.0.extend((offset..).zip(slices.concat()));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

/// From 2 GiB on the unit is 65,536, which the superblock holds as 0: it was formatted, and held nothing.
#[test]
#[cfg_attr(miri, ignore = "megabytes")]
fn a_part_is_below_2_gib() {
    type Ram = Memory<16, 8, 4, 2, 20_000>;
    let options = Options::new(200_000);
    let mut device = Sparse(HashMap::new(), 1 << 31);
    let refused = format(&mut device, &mut Ram::new(), options);
    assert!(matches!(refused, Err(OpenError::Layout(LayoutError::CapacityTooLarge))), "{refused:?}");
    let mut memory = Box::new(Ram::new());
    let heap = Heap::<_, Ram>::format(Sparse(HashMap::new(), (1 << 31) - 1), &mut memory, options).unwrap();
    let _ = heap.allocate(5u32).unwrap().into_link();
    let layout = Layout::read(&mut heap.into_device()).unwrap();
    assert_eq!(layout.unit(), 0x8000);
}
