//! Sizes and limits at their ends.

use std::collections::HashMap;
use vnv_alloc::{Buddy, LinkedList, OffsetAllocator, SortedArray};
use vnv_persist::{Adaptive, Error, Heap, Layout, LayoutError, Link, Memory, OpenError, Options, format};
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

/// Above 2 GiB the unit would be 65,536, which the superblock holds as 0: it was formatted, and held nothing.
#[test]
#[cfg_attr(miri, ignore = "megabytes")]
fn a_part_has_at_most_2_gib() {
    type Ram = Memory<16, 8, 4, 2, 20_000>;
    let options = Options::new(200_000);
    // A heap was there: its superblock tells the epoch, so that not all of it has to be read.
    let mut small = TearStorage::new(1 << 20, 8);
    format(&mut small, &mut Ram::new(), options).unwrap();
    let written = || (0..).zip(small.image()[..64].iter().copied()).collect();
    let mut device = Sparse(written(), (1 << 31) + 0x8000);
    let refused = format(&mut device, &mut Ram::new(), options);
    assert!(matches!(refused, Err(OpenError::Layout(LayoutError::CapacityTooLarge))), "{refused:?}");
    for capacity in [(1 << 31) - 1, 1 << 31] {
        let mut memory = Box::new(Ram::new());
        let heap = Heap::<_, Ram>::format(Sparse(written(), capacity), &mut memory, options).unwrap();
        let _ = heap.allocate(5u32).unwrap().into_link();
        let layout = Layout::read(&mut heap.into_device()).unwrap();
        assert_eq!(layout.unit(), 0x8000);
    }
}

/// Exactly 65,536 units have places of 16 bits too: a part of 512 KiB was given units of 16 bytes.
#[test]
fn the_unit_of_a_part_is_no_larger_than_its_places_need() {
    let unit = |capacity, row| Layout::new(capacity, row, (16, 4, 2), Options::new(9000)).unwrap().unit();
    for row in [1, 4, 8, 16, 64] {
        let least = row.max(8);
        for shift in 0..4 {
            let capacity = (least << 16) << shift;
            assert_eq!(unit(capacity - 1, row), least << shift, "{capacity} bytes less one, rows of {row}");
            assert_eq!(unit(capacity, row), least << shift, "{capacity} bytes, rows of {row}");
            assert_eq!(unit(capacity + (least << shift), row), least << (shift + 1), "a unit more, rows of {row}");
        }
    }
}

/// Fills a part of 512 KiB to its last unit, number 65,535, and changes, frees and allocates what stands there.
fn use_the_last_unit<S: OffsetAllocator + Default>(name: &str) {
    type Ram = Memory<96, 80, 4, 2, 12_000>;
    type Full<'m, S> = Heap<'m, TearStorage, Ram, Adaptive, SortedArray<24>, S>;
    const CAPACITY: usize = 512 * 1024;
    const OPTIONS: Options = Options::new(20_000);
    let layout = Layout::new(CAPACITY as u32, 8, (96, 4, 2), OPTIONS).unwrap();
    assert_eq!(layout.unit(), 8);
    let mut memory = Box::new(Ram::new());
    let heap: Full<'_, S> = Full::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let table = heap.allocate_slice_with(90, |_| Link::<[u8]>::NULL).unwrap().into_link();
    heap.set_root("table", Some(table)).unwrap();
    heap.commit().unwrap();
    let mut all: Vec<Link<[u8]>> = Vec::new();
    // A block of whole units for each range that is free, the header's 8 bytes included.
    while let (free @ 1.., largest) = heap.free_space().unwrap() {
        assert!(largest > 0, "{name}: {free} units");
        let number = all.len();
        let size = usize::from(largest.min(2048)) * 8 - 8;
        let new = heap.allocate_slice_with(size, |_| number as u8 + 1);
        let new = new.unwrap_or_else(|error| panic!("{name}: {size} bytes of {free} units: {error}"));
        *heap.get_element_mut(table, number).unwrap() = new.into_link();
        all.push(heap.get(table).unwrap()[number]);
        heap.commit().unwrap();
    }
    let last_bytes = |heap: &Full<'_, S>| heap.with_device(|device| device.image()[CAPACITY - 8..].to_vec()).unwrap();
    let last = usize::from(last_bytes(&heap)[0]) - 1;
    assert_eq!(last_bytes(&heap), [last as u8 + 1; 8], "{name}");
    // Another object is written over its own place, as the last one of a commit: nothing else is free.
    heap.get_mut(all[last]).unwrap().fill(200);
    heap.commit().unwrap();
    assert_eq!(last_bytes(&heap), [200; 8], "{name}");
    let reopened = |image: Vec<u8>, expected: u8| {
        let mut memory = Box::new(Ram::new());
        let heap: Full<'_, S> = Full::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
        assert_eq!(heap.report().damaged, None);
        for (number, link) in heap.get(table).unwrap().iter().enumerate().take(all.len()) {
            let value = if number == last { expected } else { number as u8 + 1 };
            assert!(heap.get(*link).unwrap().iter().all(|byte| *byte == value), "{name}: object {number}");
        }
        assert_eq!(heap.free_space().unwrap().0, 0, "{name}");
    };
    let image = |heap: &Full<'_, S>| heap.with_device(|device| device.image().to_vec()).unwrap();
    reopened(image(&heap), 200);
    // Freed, and allocated anew.
    let size = heap.get(all[last]).unwrap().len();
    heap.free(all[last]).unwrap();
    heap.commit().unwrap();
    assert_eq!(usize::from(heap.free_space().unwrap().0), size / 8 + 1, "{name}");
    let new = heap.allocate_slice_with(size, |_| 201).unwrap();
    *heap.get_element_mut(table, last).unwrap() = new.into_link();
    heap.commit().unwrap();
    assert_eq!(last_bytes(&heap), [201; 8], "{name}");
    reopened(image(&heap), 201);
    // Two neighbours in one write that ends with the last unit; a buddy's last block may be too small for two.
    if size < 32 {
        return;
    }
    heap.free(heap.get(table).unwrap()[last]).unwrap();
    *heap.get_element_mut(table, last).unwrap() = Link::NULL;
    heap.commit().unwrap();
    let half = (size / 16 - 1) * 8;
    let pair = [half, size - half - 8].map(|size| heap.allocate_slice_with(size, |_| 202).unwrap().into_link());
    *heap.get_element_mut(table, last).unwrap() = pair[0];
    *heap.get_element_mut(table, 89).unwrap() = pair[1];
    heap.commit().unwrap();
    assert_eq!(last_bytes(&heap), [202; 8], "{name}");
    reopened(image(&heap), 202);
}

#[test]
#[cfg_attr(miri, ignore = "megabytes")]
fn the_last_of_65536_units_is_used_as_any_other() {
    use_the_last_unit::<SortedArray<32>>("SortedArray");
    use_the_last_unit::<LinkedList<32>>("LinkedList");
    use_the_last_unit::<Buddy<2048>>("Buddy");
}
