//! Objects, types and roots.

use vnv_core::block::{BlockHeader, HEADER, Identity, block_crc, seed};
use vnv_persist::schema::Schema;
use vnv_persist::{Durable, Error, Heap, Link, Memory, Options};
use vnv_storage::RamStorage;

type Small = Memory<32, 16, 6, 4, 512>;
const OPTIONS: Options = Options::new(1024);
type Device = RamStorage<8192>;
type TestHeap<'m> = Heap<'m, Device, Small>;

fn with_precious(then: impl FnOnce(&TestHeap<'_>)) -> Device {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    let precious = heap.allocate(7u32).unwrap().into_link();
    heap.set_root("precious", Some(precious)).unwrap();
    heap.commit().unwrap();
    then(&heap);
    heap.commit().unwrap();
    heap.into_device()
}

fn check_precious(device: Device) {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::open(device, &mut memory, OPTIONS).unwrap();
    assert_eq!(*heap.get(heap.root::<u32>("precious").unwrap().unwrap()).unwrap(), 7);
}

/// An allocation that fails with `TooLarge` leaves a schema behind that `open` refuses: all is lost.
#[test]
fn a_refused_allocation_of_more_than_65535_bytes() {
    check_precious(with_precious(|heap| {
        let refused = heap.allocate_with::<[u8; 70_000]>(|slot| slot.zeroed(|_| ()).ok().unwrap());
        assert_eq!(refused.map(|_| ()).unwrap_err(), Error::TooLarge);
    }));
}

/// The size of a slice of links that does not fit into an address went into the check whether it can be traced: overflow.
#[test]
fn a_refused_allocation_of_more_links_than_there_are_addresses() {
    check_precious(with_precious(|heap| {
        for len in [usize::MAX, usize::MAX / size_of::<Link<u32>>(), 1 << 20, 1 << 14] {
            let refused = heap.allocate_slice_with(len, |_| vnv_persist::Maybe::<Link<u32>>::NONE);
            assert_eq!(refused.map(|_| ()).unwrap_err(), Error::TooLarge);
        }
    }));
}

/// The same with an empty slice, which is not even refused.
#[test]
fn an_empty_slice_of_elements_of_more_than_65535_bytes() {
    check_precious(with_precious(|heap| {
        let empty = heap.allocate_slice_with(0, |_| [0u8; 70_000]).map(|empty| empty.into_link());
        heap.set_root("empty", empty.ok()).unwrap();
    }));
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct W<T> {
    x: T,
}

type D4<T> = W<W<W<W<T>>>>;
type D16 = D4<D4<D4<D4<u8>>>>;

/// A type nested deeper than 16 compiles and is committed; then `open` refuses the image: all is lost.
#[test]
fn a_type_nested_more_than_16_deep() {
    assert!(Schema::parse(<D16 as Durable>::SCHEMA).is_ok());
    check_precious(with_precious(|heap| {
        // SAFETY: zeros are a valid value.
        let deep: W<D16> = unsafe { core::mem::zeroed() };
        if let Ok(deep) = heap.allocate(deep) {
            heap.set_root("deep", Some(deep.into_link())).unwrap();
        }
    }));
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Flagged {
    flag: bool,
    next: Link<Flagged>,
}

/// An object that the tracer of `open` finds damaged stays resident, and `get` then gives it out unchecked:
/// a `bool` that is 2 (undefined behaviour). Without the link the same image is `Damaged`.
#[test]
fn an_object_that_was_found_damaged_is_given_out() {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    let link = heap.allocate(Flagged { flag: true, next: Link::NULL }).unwrap().into_link();
    heap.set_root("flagged", Some(link)).unwrap();
    heap.commit().unwrap();
    let mut image = heap.into_device().into_bytes();
    // The flag becomes 2, the checksum is made right.
    let (type_index, generation) = (1, link.generation());
    let mut forged = 0;
    for at in (0..image.len() - 16).step_by(8) {
        let header = BlockHeader::from_bytes(&image[at..]);
        let identity = Identity { index: link.index(), generation, type_index, place: (at / 8) as u16 };
        if header.size == 6
            && header.crc == block_crc(seed(1), identity, header.tag, &image[at + HEADER..at + HEADER + 6])
        {
            image[at + HEADER] = 2;
            let crc = block_crc(seed(1), identity, header.tag, &image[at + HEADER..at + HEADER + 6]);
            image[at..at + 8].copy_from_slice(&BlockHeader { crc, ..header }.to_bytes());
            forged += 1;
        }
    }
    assert_eq!(forged, 1);
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::open(Device::from_bytes(image), &mut memory, OPTIONS).unwrap();
    assert_eq!(heap.report().damaged, Some(link.index()));
    assert_eq!(heap.get(link).map(|_| ()).unwrap_err(), Error::Damaged { index: link.index() });
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Many {
    link: Link<u8>,
    many: [[u8; 0]; 100_000_000],
}

/// The walk over a value takes one step per element of no size: 5 s here, hours with a forged count of 2^32 - 1.
#[test]
#[cfg_attr(miri, ignore = "it measures time")]
fn elements_of_no_size() {
    let device = with_precious(|heap| {
        let many = heap.allocate(Many { link: Link::NULL, many: [[]; 100_000_000] }).unwrap().into_link();
        heap.set_root("many", Some(many)).unwrap();
    });
    let start = std::time::Instant::now();
    check_precious(device);
    println!("open took {:?}", start.elapsed());
    assert!(start.elapsed().as_millis() < 200);
}

/// A row was taken for another type while a guard on a freed object of the former type was open.
#[test]
fn a_row_taken_while_a_guard_on_a_freed_object_is_open() {
    let mut memory = Memory::<32, 16, 1, 4, 512>::new();
    let heap: Heap<'_, _, Memory<32, 16, 1, 4, 512>> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    let owned = heap.allocate(1u8).unwrap();
    let guard = heap.get(owned.downgrade()).unwrap();
    drop(owned);
    heap.collect().unwrap();
    // The guard still needs the row.
    assert_eq!(heap.allocate(2u16).map(|_| ()).unwrap_err(), Error::PendingFull);
    drop(guard);
    drop(heap.allocate(2u16).unwrap());
}

/// `TypesFull` although a commit makes room: it is not tried, as it is for all other limits.
#[test]
fn a_commit_would_free_a_row() {
    let mut memory = Memory::<32, 16, 1, 4, 512>::new();
    let heap: Heap<'_, _, Memory<32, 16, 1, 4, 512>> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    let owned = heap.allocate(1u8).unwrap();
    heap.commit().unwrap();
    drop(owned);
    heap.collect().unwrap();
    drop(heap.allocate(2u16).unwrap());
}

/// What the derive says of links and what the schema says of them differ for arrays of no elements.
#[test]
fn links_in_no_elements() {
    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    struct None {
        none: [Link<u8>; 0],
        x: u8,
    }
    assert_eq!(Schema::parse(<None as Durable>::SCHEMA).unwrap().has_links(), <None as Durable>::HAS_LINKS);
}

/// A slice changed by a delta and freed before the next compaction: `open` held the delta against the slot as it is
/// now, which has no room for it, and refused the whole image.
#[test]
fn a_delta_of_an_object_that_was_freed_later() {
    for reused in [false, true] {
        check_precious(with_precious(|heap| {
            let mut slice = heap.allocate_slice_with(64, |at| at as u32).unwrap();
            heap.commit().unwrap();
            *heap.get_element_mut(&mut slice, 60).unwrap() = 0;
            heap.commit().unwrap();
            drop(slice);
            heap.commit().unwrap();
            if reused {
                let small = heap.allocate_slice_with(1, |_| 1u32).unwrap().into_link();
                heap.set_root("small", Some(small)).unwrap();
            }
        }));
    }
}

/// Colours, schema and object fit into the arena together, but did not find room between each other: `open` failed with `RamFull` on an
/// image that the same configuration had written. What cannot be traced at all is not admitted.
#[test]
#[cfg_attr(miri, ignore = "hundreds of heaps, with nothing in them that other tests do not have")]
fn what_was_admitted_can_be_traced() {
    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    struct Node {
        next: Link<Node>,
        data: [u32; 6],
    }
    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    struct Place {
        a_rather_long_name: u16,
        another_rather_long_name: u16,
        link: Link<Node>,
    }
    type Ram = Memory<40, 20, 8, 2, 96>;
    let options = Options::new(900);
    for count in 0..16 {
        let mut admitted = 0;
        for len in 50..90 {
            let mut memory = Ram::new();
            let heap: Heap<'_, RamStorage<8192>, Ram> = Heap::format(RamStorage::new(), &mut memory, options).unwrap();
            let mut first = Link::NULL;
            for at in 0..count {
                first = heap.allocate(Node { next: first, data: [at; 6] }).unwrap().into_link();
            }
            heap.commit().unwrap();
            let place = Place { a_rather_long_name: 1, another_rather_long_name: 2, link: first };
            let places = match heap.allocate_slice_with(len, |_| place) {
                Ok(places) => places.into_link(),
                Err(Error::RamFull) => break,
                Err(error) => panic!("{error}"),
            };
            admitted = len;
            heap.set_root("places", Some(places)).unwrap();
            heap.set_root("first", Some(first)).unwrap();
            heap.commit().unwrap();
            assert_eq!(heap.collect(), Ok(0), "{count} nodes, {len} places");
            let device = heap.into_device();
            let mut memory = Ram::new();
            let opened = Heap::<'_, RamStorage<8192>, Ram>::open(device, &mut memory, options);
            let opened = opened.unwrap_or_else(|error| panic!("{count} nodes, {len} places: {error}"));
            assert_eq!(opened.get(places).unwrap().len(), len);
        }
        assert!((60..85).contains(&admitted), "{admitted}");
    }
}

/// A heap formatted over an older one with the same layout began with the same base: the older log went on behind it, and `open` found the
/// old objects.
#[test]
fn nothing_is_left_of_a_heap_that_was_formatted_over() {
    type Ram = Memory<40, 20, 8, 2, 96>;
    let options = Options::new(900);
    let mut storage = RamStorage::<8192>::new();
    for commits in 0..8 {
        let mut memory = Ram::new();
        let heap: Heap<'_, RamStorage<8192>, Ram> = Heap::format(storage, &mut memory, options).unwrap();
        let report = heap.report();
        assert_eq!((report.objects, report.sequence, report.damaged), (0, 1, None), "before {commits} commits");
        assert_eq!(heap.root::<u32>("value"), Ok(None));
        let value = heap.allocate(0u32).unwrap().into_link();
        heap.set_root("value", Some(value)).unwrap();
        for number in 0..commits {
            *heap.get_mut(value).unwrap() = number;
            heap.commit().unwrap();
        }
        storage = heap.into_device();
    }
}

/// A transaction that was given up had left less room for the next one, which failed for ever: nobody committed.
#[test]
fn a_transaction_that_was_given_up_does_not_stand_in_the_way() {
    type Ram = Memory<40, 8, 4, 2, 200>;
    type Kept<'m> = Heap<'m, RamStorage<8192>, Ram>;
    fn add(heap: &Kept<'_>, links: &[Link<[u32; 24]>]) -> Result<(), Error<vnv_storage::RamError>> {
        let transaction = heap.transaction()?;
        for link in links {
            transaction.get_mut(*link)?[0] += 1;
        }
        transaction.commit().map(|_| ())
    }
    let mut memory = Ram::new();
    let heap = Kept::format(RamStorage::new(), &mut memory, Options::new(300)).unwrap();
    let links: Vec<Link<[u32; 24]>> = (0..12).map(|_| heap.allocate([0; 24]).unwrap().into_link()).collect();
    heap.commit().unwrap();
    let transaction = heap.transaction().unwrap();
    for link in &links[..5] {
        transaction.get_mut(*link).unwrap()[0] = 99;
    }
    drop(transaction);
    let commits = heap.sequence();
    assert_eq!(heap.sequence(), commits, "nothing is committed inside a transaction");
    assert_eq!(add(&heap, &links[..5]), Ok(()), "the next one begins with a commit");
    assert_eq!(heap.sequence(), commits + 2);
    assert_eq!(heap.get(links[0]).unwrap()[0], 1);
    // One that is too large for any commit is refused each time.
    assert_eq!(add(&heap, &links), Err(Error::PendingFull));
    for _ in 0..3 {
        assert_eq!(add(&heap, &links), Err(Error::PendingFull));
    }
    assert_eq!(add(&heap, &links[..5]), Ok(()));
}

/// Setting a root to what it is was a change, and removing one that is not there needed a free one.
#[test]
fn a_root_that_stays_as_it_is_costs_nothing() {
    let mut memory = Small::new();
    let heap: TestHeap<'_> = Heap::format(Device::new(), &mut memory, OPTIONS).unwrap();
    let value = heap.allocate(7u32).unwrap().into_link();
    for name in 0..16 {
        match heap.set_root(&format!("{name}"), Some(value)) {
            Ok(()) => {}
            Err(error) => {
                assert_eq!(error, Error::RootsFull);
                break;
            }
        }
    }
    heap.commit().unwrap();
    let (dirty, sequence) = (heap.dirty_bytes().unwrap(), heap.sequence());
    heap.set_root("0", Some(value)).unwrap();
    heap.set_root::<u32>("absent", None).unwrap();
    assert_eq!(heap.set_root::<u32>("", None), Err(Error::BadName));
    assert_eq!((heap.dirty_bytes().unwrap(), heap.sequence()), (dirty, sequence));
    heap.commit().unwrap();
    assert_eq!(heap.sequence(), sequence);
}
