//! The smallest dirty limits: little is admitted, but nothing is lost, and nothing goes on for ever.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use vnv_persist::{Error, Heap, Link, Memory, Options};
use vnv_sim::{TearError, TearStorage};

type Ram = Memory<40, 40, 4, 2, 200>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const PLACES: usize = 8;

fn contents(heap: &TestHeap<'_>) -> Vec<Option<Vec<u8>>> {
    let all = heap.root::<[Link<[u8]>]>("all").unwrap().unwrap();
    let links = heap.get(all).unwrap().to_vec();
    links.into_iter().map(|link| (link != Link::NULL).then(|| heap.get(link).unwrap().to_vec())).collect()
}

/// Whether something was refused for the limit.
fn refused<T>(result: Result<T, Error<TearError>>, context: &str) -> bool {
    match result {
        Ok(_) => false,
        Err(Error::DirtyLimit | Error::TooLargeToChange) => true,
        Err(error) => panic!("{context}: {error}"),
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations, none of them unsafe")]
fn what_is_admitted_stays() {
    let (mut made, mut least) = (0, None);
    for limit in 50..150 {
        let mut random = Rng::with_seed(limit.into());
        let options = Options::new(limit).log_bytes(256);
        let mut memory = Ram::new();
        let Ok(heap) = TestHeap::format(TearStorage::new(8192, 8), &mut memory, options) else { continue };
        least = least.or(Some(limit));
        let Ok(all) = heap.allocate_slice_with(PLACES, |_| Link::<[u8]>::NULL) else { continue };
        let all = all.into_link();
        let context = format!("limit {limit}");
        if refused(heap.set_root("all", Some(all)), &context) {
            continue;
        }
        heap.commit().unwrap();
        let mut model: Vec<Option<Vec<u8>>> = vec![None; PLACES];
        for step in 0..200 {
            let context = format!("limit {limit}, step {step}");
            let place = random.usize(..PLACES);
            let link = heap.get(all).unwrap()[place];
            match random.usize(..6) {
                0 | 1 => {
                    let (size, value) = (random.usize(..60), step as u8);
                    let new = match heap.allocate_slice_with(size, |_| value) {
                        Ok(new) => new.into_link(),
                        Err(error) => {
                            assert!(matches!(error, Error::DirtyLimit), "{context}: {error}");
                            continue;
                        }
                    };
                    if refused(heap.get_element_mut(all, place).map(|mut at| *at = new), &context) {
                        heap.free(new).unwrap();
                    } else {
                        if link != Link::NULL {
                            heap.free(link).unwrap();
                        }
                        model[place] = Some(vec![value; size]);
                        made += 1;
                    }
                }
                2 if link != Link::NULL => {
                    if !refused(heap.get_mut(link).map(|mut bytes| bytes.fill(step as u8)), &context) {
                        model[place].as_mut().unwrap().fill(step as u8);
                    }
                }
                3 => heap.evict_all().unwrap(),
                4 => _ = heap.snapshot().unwrap(),
                _ => _ = heap.commit().unwrap(),
            }
            assert!(heap.dirty_bytes().unwrap() <= limit, "{context}");
            assert_eq!(contents(&heap), model, "{context}");
        }
        heap.snapshot().unwrap();
        let image = heap.into_device().image().to_vec();
        let mut memory = Ram::new();
        let heap = TestHeap::open(TearStorage::from_image(image, 8), &mut memory, options).unwrap();
        assert_eq!(heap.report().damaged, None, "{context}");
        assert_eq!(contents(&heap), model, "{context}");
    }
    // 26 bytes, the bitmap of 64 slots, an entry and a root.
    assert_eq!(least, Some(26 + 8 + 26));
    assert!(made > 1000, "{made}");
}

/// One element of a large slice at a time: what was changed before, committed or not, never stands in the way.
#[test]
#[cfg_attr(miri, ignore = "thousands of operations, none of them unsafe")]
fn elements_of_a_large_slice_can_always_be_changed() {
    type Ram = Memory<32, 16, 4, 2, 600>;
    // 26 bytes, a bitmap of 8, a short entry, a run of a granule: 10, 4 and 8.
    const LEAST: u32 = 26 + 8 + 4 + 22;
    for limit in (LEAST..LEAST + 40).chain([150, 200, 250, 256, 280, 300, 320, 400, 512, 2048]) {
        for (log, commits) in [(64, 1), (4096, 1), (4096, 7), (512, u32::MAX)] {
            let mut memory = Ram::new();
            let options = Options::new(limit).log_bytes(log);
            let heap = Heap::<_, Ram>::format(TearStorage::new(32_768, 8), &mut memory, options).unwrap();
            let slice = heap.allocate_slice_with(1000, |_| 0u32).unwrap().into_link();
            heap.commit().unwrap();
            let mut model = vec![0u32; 1000];
            for change in 1..=300u32 {
                let at = change as usize * 377 % 1000;
                *heap.get_element_mut(slice, at).unwrap_or_else(|error| {
                    panic!("limit {limit}, log {log}, commit each {commits}, change {change}: {error}")
                }) = change;
                model[at] = change;
                if change.is_multiple_of(commits) {
                    heap.commit().unwrap();
                }
            }
            heap.set_root("slice", Some(slice)).unwrap();
            heap.snapshot().unwrap();
            let image = heap.into_device().image().to_vec();
            let mut memory = Ram::new();
            let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, options).unwrap();
            let slice = heap.root::<[u32]>("slice").unwrap().unwrap();
            assert_eq!(heap.get(slice).unwrap()[..], model[..], "limit {limit}, log {log}, commit each {commits}");
        }
    }
}

/// A change beside an open guard, of a slice with a committed delta or without: the delta never stands in the way, and a larger limit does not
/// refuse what a smaller one admits.
#[test]
#[cfg_attr(miri, ignore = "thousands of heaps, none of them unsafe")]
fn a_committed_delta_does_not_stand_in_the_way() {
    type Ram = Memory<32, 16, 4, 2, 600>;
    let change = |limit: u32, (len, from): (usize, usize), committed: &[usize]| {
        let mut memory = Ram::new();
        let options = Options::new(limit).log_bytes(4096);
        let heap = Heap::<_, Ram>::format(TearStorage::new(32_768, 8), &mut memory, options).unwrap();
        let slice = heap.allocate_slice_with(len, |_| 0u64).unwrap().into_link();
        let other = heap.allocate(1u32).unwrap().into_link();
        heap.commit().unwrap();
        for at in committed {
            *heap.get_element_mut(slice, *at).unwrap() = 1;
        }
        heap.commit().unwrap();
        let _open = heap.get_mut(other).unwrap();
        heap.get_range_mut(slice, from..len).map(|mut elements| elements.fill(5))
    };
    for (size, committed) in [((8, 5), &[0, 2, 4][..]), ((16, 9), &[0, 2, 4, 6, 8]), ((16, 1), &[0]), ((5, 0), &[1])] {
        let mut admitted = false;
        for limit in 80..260 {
            let alone = change(limit, size, &[]);
            let beside = change(limit, size, committed);
            let context =
                format!("{size:?}, {committed:?}, limit {limit}: {alone:?} without a delta, {beside:?} with one");
            assert_eq!(alone.is_ok(), beside.is_ok(), "{context}");
            assert!(alone.is_ok() >= admitted, "{context}");
            admitted |= alone.is_ok();
        }
        assert!(admitted);
    }
}
