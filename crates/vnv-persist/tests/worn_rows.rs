//! A row that takes no writes any more: what failed is written elsewhere by the next try.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::cell::Cell;
use std::rc::Rc;
use vnv_persist::{Error, Heap, Memory, Options};
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WriteError;

/// The row, once there is one: the first that is written after it was armed.
#[derive(Clone, Default)]
struct Worn {
    armed: Rc<Cell<bool>>,
    row: Rc<Cell<Option<u32>>>,
}

struct Part {
    image: Vec<u8>,
    worn: Worn,
}

impl ReadStorage for Part {
    type Error = WriteError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), WriteError> {
        bytes.copy_from_slice(&self.image[offset as usize..][..bytes.len()]);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.image.len()
    }
}

impl Storage for Part {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), WriteError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Part {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), WriteError> {
        let bytes = slices.concat();
        if self.worn.armed.take() {
            self.worn.row.set(Some(offset));
        }
        if self.worn.row.get().is_some_and(|row| (offset..offset + bytes.len() as u32).contains(&row)) {
            return Err(WriteError);
        }
        self.image[offset as usize..][..bytes.len()].copy_from_slice(&bytes);
        Ok(())
    }
    fn sync(&mut self) -> Result<(), WriteError> {
        Ok(())
    }
}

type Ram = Memory<40, 16, 6, 4, 400>;

fn heap<'m>(memory: &'m mut Ram, worn: &Worn) -> Heap<'m, Part, Ram> {
    let part = Part { image: vec![0; 16384], worn: worn.clone() };
    Heap::format(part, memory, Options::new(1024).log_bytes(256)).unwrap()
}

#[test]
fn new_objects_are_written_elsewhere_by_the_next_commit() {
    let (mut memory, worn) = (Ram::new(), Worn::default());
    let heap = heap(&mut memory, &worn);
    let first = heap.allocate([1u32; 16]).unwrap();
    heap.commit().unwrap();
    let others = [heap.allocate([7u32; 16]).unwrap(), heap.allocate([8u32; 16]).unwrap()];
    worn.armed.set(true);
    assert_eq!(heap.commit(), Err(Error::Device(WriteError)));
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    assert_eq!((*heap.get(&first).unwrap(), *heap.get(&others[1]).unwrap()), ([1; 16], [8; 16]));
}

/// The same for a burst that makes room: it stays at the places of new objects as long as nothing fails.
#[test]
fn room_is_made_elsewhere_by_the_next_try() {
    let (mut memory, worn) = (Ram::new(), Worn::default());
    let heap = heap(&mut memory, &worn);
    let mut all = vec![heap.allocate([0u32; 32]).unwrap()];
    heap.commit().unwrap();
    worn.armed.set(true);
    let mut failed = 0;
    for number in 1..11 {
        all.push(heap.allocate([number; 32]).unwrap_or_else(|error| {
            assert_eq!(error, Error::Device(WriteError));
            failed += 1;
            heap.allocate([number; 32]).unwrap()
        }));
    }
    assert_eq!(failed, 1);
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    for (number, value) in (0..).zip(&all) {
        assert_eq!(*heap.get(value).unwrap(), [number; 32]);
    }
}

/// Objects above the dirty limit are written through by `allocate`.
#[test]
fn a_large_object_is_written_elsewhere_by_the_next_try() {
    let (mut memory, worn) = (Ram::new(), Worn::default());
    let heap = heap(&mut memory, &worn);
    // The schema is known from here on.
    drop(heap.allocate_slice_with(1200, |_| 1u8).unwrap());
    heap.commit().unwrap();
    worn.armed.set(true);
    assert_eq!(heap.allocate_slice_with(1200, |_| 2u8).err(), Some(Error::Device(WriteError)));
    let large = heap.allocate_slice_with(1200, |_| 3u8).unwrap();
    heap.commit().unwrap();
    heap.evict_all().unwrap();
    assert_eq!(*heap.get(&large).unwrap(), [3; 1200]);
}
