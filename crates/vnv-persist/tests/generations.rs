//! A link to an object that is gone stays stale, whatever takes its slot, and whether a record or a snapshot told of it.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use fastrand::Rng;
use vnv_persist::{Durable, Error, Heap, Link, Memory, Options};
use vnv_sim::TearStorage;

type Value = [u32; 20];

/// What is alive.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Keep([Link<Value>; PLACES]);

const PLACES: usize = 10;
type Ram = Memory<24, 40, 4, 1, 160>;
type TestHeap<'m> = Heap<'m, TearStorage, Ram>;
const OPTIONS: Options = Options::new(600).log_bytes(512);

/// A few operations, then a commit or a snapshot. Links of objects that are gone are added to `stale`.
fn live(heap: &TestHeap<'_>, random: &mut Rng, stale: &mut Vec<Link<Value>>) {
    let keep = heap.root::<Keep>("keep").unwrap().unwrap();
    for _ in 0..random.usize(..12) {
        let place = random.usize(..PLACES);
        let old = heap.get(keep).unwrap().0[place];
        match random.usize(..6) {
            // Another one takes its place; the former one may have been written since the last record, or moved.
            0 | 1 => {
                let new = heap.allocate([stale.len() as u32; 20]).unwrap().into_link();
                heap.get_mut(keep).unwrap().0[place] = new;
                if old != Link::NULL {
                    heap.free(old).unwrap();
                    stale.push(old);
                }
            }
            2 if old != Link::NULL => heap.get_mut(old).unwrap()[3] += 1,
            3 => heap.evict_all().unwrap(),
            // Freed and allocated, and taken back.
            4 => {
                let transaction = heap.transaction().unwrap();
                // Slots that wait for a commit are not to be had in a transaction.
                let Ok(lost) = transaction.allocate([7; 20]).map(|lost| lost.into_link()) else { continue };
                if random.usize(..2) == 0 {
                    transaction.get_mut(lost).unwrap()[0] = 8;
                }
                if old != Link::NULL {
                    transaction.free(old).unwrap();
                }
                // Room below the dirty limit is made by writing what was allocated.
                let others: Vec<_> = (0..random.usize(..8)).map_while(|_| transaction.allocate([0; 20]).ok()).collect();
                drop(others);
                drop(transaction);
                assert_eq!(heap.get(lost).map(|_| ()), Err(Error::Stale));
                stale.push(lost);
            }
            _ => {
                heap.snapshot().unwrap();
            }
        }
    }
    if random.usize(..2) == 0 {
        heap.commit().unwrap();
    } else {
        heap.snapshot().unwrap();
    }
}

fn none_is_back(heap: &TestHeap<'_>, stale: &[Link<Value>], seed: u64) {
    for link in stale {
        assert_eq!(heap.get(*link).map(|value| value[0]), Err(Error::Stale), "seed {seed}: {link:?}");
    }
}

#[test]
#[cfg_attr(miri, ignore = "thousands of operations, none of them unsafe")]
fn links_stay_stale_across_reboots() {
    for seed in 0..600 {
        let mut random = Rng::with_seed(seed);
        let mut stale = Vec::new();
        let mut memory = Ram::new();
        let heap = TestHeap::format(TearStorage::new(8192, 8), &mut memory, OPTIONS).unwrap();
        let keep = heap.allocate(Keep([Link::NULL; PLACES])).unwrap().into_link();
        heap.set_root("keep", Some(keep)).unwrap();
        heap.commit().unwrap();
        let mut image = heap.into_device().image().to_vec();
        for _ in 0..12 {
            let mut memory = Ram::new();
            let heap = TestHeap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
            none_is_back(&heap, &stale, seed);
            // Every slot gets an object.
            let all: Vec<_> = core::iter::from_fn(|| heap.allocate([0; 20]).ok()).collect();
            assert!(all.len() >= 24 - 6 - PLACES);
            none_is_back(&heap, &stale, seed);
            drop(all);
            live(&heap, &mut random, &mut stale);
            none_is_back(&heap, &stale, seed);
            image = heap.into_device().image().to_vec();
        }
    }
}

/// A link names a slot and its generation, which has 12 bits: counted on beyond them, old links would lead to new objects.
#[test]
#[cfg_attr(miri, ignore = "thousands of commits, none of them unsafe")]
fn a_slot_whose_generations_are_used_up_is_not_used_again() {
    type Small = Memory<4, 4, 2, 1, 64>;
    const OPTIONS: Options = Options::new(160);
    let mut image = vec![0; 4096];
    let mut given = std::collections::HashSet::new();
    loop {
        let mut memory = Small::new();
        let heap = Heap::<_, Small>::open_or_format(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
        let mut is_full = false;
        for _ in 0..1000 {
            match heap.allocate(7u32) {
                Ok(object) => {
                    let link = object.into_link();
                    heap.commit().unwrap();
                    assert!(given.insert(format!("{link:?}")), "{link:?} was given before");
                    heap.free(link).unwrap();
                    heap.commit().unwrap();
                }
                Err(error) => {
                    assert_eq!(error, Error::ObjectsFull);
                    is_full = true;
                    break;
                }
            }
        }
        image = heap.into_device().into_image();
        if is_full {
            break;
        }
    }
    assert!(given.len() >= 4000, "only {} links", given.len());
}
