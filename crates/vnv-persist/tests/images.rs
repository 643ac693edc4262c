//! Whatever the storage holds: opening and checking it ends, reads a bounded number of bytes, and never panics. Foreign,
//! blank, resized and differently typed storage is refused by name.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{CAPACITY, OPTIONS, Ram, TestHeap, record};
use proptest::prelude::*;
use vnv_persist::{Durable, Error, Heap, LayoutField, Link, Memory, OpenError, Options, verify};
use vnv_sim::TearStorage;

fn survives(image: Vec<u8>) -> Result<(), TestCaseError> {
    let mut device = TearStorage::from_image(image.clone(), 8);
    device.reset_counters();
    let mut memory = Ram::new();
    let opened: Result<TestHeap<'_, _>, _> = Heap::open(device, &mut memory, OPTIONS);
    if let Ok(heap) = opened {
        let read = heap.with_device(|device| device.counters().bytes_read).unwrap();
        prop_assert!(read <= 2 * CAPACITY as u64, "open read {read} bytes");
        let _ = heap.root::<[u32]>("counters").map(|root| root.map(|root| heap.get(root).map(|_| ())));
    }
    let mut memory = Ram::new();
    let _ = verify(TearStorage::from_image(image, 8), &mut memory, OPTIONS, &mut |_| {});
    Ok(())
}

fn cases(full: u32) -> ProptestConfig {
    let cases = if cfg!(miri) { 1 } else { full };
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

fn valid() -> Vec<u8> {
    let (start, trace, _) = record(77, if cfg!(miri) { 6 } else { 200 });
    let mut image = start;
    for (offset, bytes, _) in &trace.borrow().writes {
        image[*offset as usize..*offset as usize + bytes.len()].copy_from_slice(bytes);
    }
    image
}

proptest! {
    #![proptest_config(cases(10_000))]

    #[test]
    fn arbitrary_bytes_open_or_fail(seed in any::<u64>(), superblock in any::<bool>()) {
        let mut state = seed | 1;
        let mut image: Vec<u8> = (0..CAPACITY).map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            (state >> 32) as u8
        }).collect();
        if superblock {
            let mut memory = Ram::new();
            let heap: TestHeap<'_, _> = Heap::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
            image[..64].copy_from_slice(&heap.into_device().into_image()[..64]);
        }
        survives(image)?;
    }
}

#[test]
fn mutated_valid_images_open_or_fail() {
    let image = valid();
    let mut runner = proptest::test_runner::TestRunner::new(cases(10_000));
    let strategy = proptest::collection::vec((0..CAPACITY, any::<u8>()), 1..8);
    runner
        .run(&strategy, |changes| {
            let mut image = image.clone();
            changes.into_iter().for_each(|(at, byte)| image[at] = byte);
            survives(image)
        })
        .unwrap();
}

fn opened(image: Vec<u8>, options: Options) -> Result<(), OpenError<vnv_sim::TearError>> {
    let mut memory = Ram::new();
    let heap: Result<TestHeap<'_, _>, _> = Heap::open(TearStorage::from_image(image, 8), &mut memory, options);
    heap.map(|_| ())
}

#[test]
fn what_is_no_image_of_this_heap_is_refused_by_name() {
    assert_eq!(opened(vec![0; CAPACITY], OPTIONS), Err(OpenError::Blank));
    assert_eq!(opened(vec![0xFF; CAPACITY], OPTIONS), Err(OpenError::Blank));
    assert_eq!(opened(vec![0x5A; CAPACITY], OPTIONS), Err(OpenError::Foreign));
    let image = valid();
    assert_eq!(opened(image.clone(), OPTIONS), Ok(()));
    let mut larger = image.clone();
    larger.resize(2 * CAPACITY, 0);
    let other = |differs, image| Err(OpenError::OtherLayout { differs, image });
    assert_eq!(opened(larger, OPTIONS), other(LayoutField::Capacity, CAPACITY as u32));
    let limited = opened(image.clone(), Options { dirty_limit: 1024, ..OPTIONS });
    assert_eq!(limited, other(LayoutField::DirtyLimit, OPTIONS.dirty_limit));
    let logged = opened(image.clone(), OPTIONS.log_bytes(OPTIONS.log_bytes + 8));
    assert!(matches!(logged, Err(OpenError::OtherLayout { differs: LayoutField::LogHalf, .. })));
    let mut memory = Memory::<7, 4, 2, 2, 64>::new();
    let heap: Result<Heap<'_, _, _>, _> = Heap::open(TearStorage::from_image(image.clone(), 8), &mut memory, OPTIONS);
    let objects = heap.err().unwrap();
    assert!(matches!(objects, OpenError::OtherLayout { differs: LayoutField::Objects, .. }));
    assert!(objects.to_string().contains("another number of objects ("), "{objects}");
    assert!(matches!(opened(image[..64].to_vec(), OPTIONS), Err(OpenError::Layout(_))));
    // A lost superblock is repaired from its copy.
    let mut torn = image.clone();
    torn[..64].fill(0x33);
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> = Heap::open(TearStorage::from_image(torn, 8), &mut memory, OPTIONS).unwrap();
    assert!(heap.report().repaired);
    assert_eq!(heap.into_device().into_image()[..64], image[..64]);
    // Errors say what to do.
    assert!(OpenError::<()>::Blank.to_string().contains("format"));
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
#[durable(name = "Node")]
struct Node {
    value: u32,
    next: Link<Node>,
}

/// The firmware's next version of `Node`, with the same name and size.
mod later {
    use super::*;

    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    #[durable(name = "Node")]
    pub struct Node {
        pub low: u16,
        pub high: u16,
        pub next: Link<Node>,
    }

    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    #[durable(name = "Top")]
    pub struct Top {
        pub first: Link<Node>,
    }
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
#[durable(name = "Top")]
struct Top {
    first: Link<Node>,
}

type Small = Memory<32, 8, 6, 2, 128>;

#[test]
fn a_changed_type_below_an_unchanged_root_is_an_error() {
    let mut memory = Small::new();
    let heap: Heap<'_, _, Small> = Heap::format(TearStorage::new(CAPACITY, 8), &mut memory, Options::new(256)).unwrap();
    let node = heap.allocate(Node { value: 7, next: Link::NULL }).unwrap().into_link();
    let top = heap.allocate(Top { first: node }).unwrap().into_link();
    heap.set_root("top", Some(top)).unwrap();
    heap.commit().unwrap();
    let image = heap.into_device().into_image();
    let mut memory = Small::new();
    let heap: Heap<'_, _, Small> =
        Heap::open(TearStorage::from_image(image, 8), &mut memory, Options::new(256)).unwrap();
    let top = heap.root::<later::Top>("top").unwrap().unwrap();
    let first = heap.get(top).unwrap().first;
    assert_eq!(heap.get(first).map(|node| node.low).unwrap_err(), Error::TypeMismatch);
    assert_eq!(heap.root::<Node>("top").unwrap_err(), Error::TypeMismatch);
}

#[test]
fn a_stale_handle_is_an_error_across_reboots() {
    let mut memory = Small::new();
    let heap: Heap<'_, _, Small> = Heap::format(TearStorage::new(CAPACITY, 8), &mut memory, Options::new(256)).unwrap();
    let old = heap.allocate(5u32).unwrap();
    let weak = old.downgrade();
    heap.commit().unwrap();
    drop(old);
    heap.commit().unwrap();
    // The slot is used again by an object of the same type.
    let new = heap.allocate(6u32).unwrap();
    assert_eq!(new.id().index, weak.index());
    let link = new.into_link();
    heap.set_root("six", Some(link)).unwrap();
    heap.commit().unwrap();
    assert_eq!(heap.get(weak).map(|value| *value).unwrap_err(), Error::Stale);
    let image = heap.into_device().into_image();
    let mut memory = Small::new();
    let heap: Heap<'_, _, Small> =
        Heap::open(TearStorage::from_image(image, 8), &mut memory, Options::new(256)).unwrap();
    assert_eq!(heap.get(weak).map(|value| *value).unwrap_err(), Error::Stale);
    assert_eq!(*heap.get(heap.root::<u32>("six").unwrap().unwrap()).unwrap(), 6);
}
