//! The map against `BTreeMap`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Subject, tests_of};
use proptest::prelude::*;
use std::collections::BTreeMap;
use vnv_collections::{Map, Store, StoreError};
use vnv_persist::{Error, Heap, Link, Memory, Options};
use vnv_storage::RamStorage;

#[derive(Clone, Debug)]
enum Op {
    Insert(u16, Vec<u8>),
    Remove(u16),
    Change(u16, u8),
    Clear,
}

struct Subjected;

impl Subject for Subjected {
    type Header = Map<u16, [u8]>;
    type Model = BTreeMap<u16, Vec<u8>>;
    type Op = Op;
    type Output = bool;

    fn create<S: Store>(store: &S) -> Result<Link<Map<u16, [u8]>>, StoreError<S>> {
        Ok(Map::create(store)?.link())
    }

    fn apply<S: Store>(store: &S, link: Link<Map<u16, [u8]>>, op: &Op) -> Result<bool, StoreError<S>> {
        let mut map = Map::at(store, link);
        match op {
            Op::Insert(key, value) => map.insert_slice(*key, value),
            Op::Remove(key) => map.remove(key),
            Op::Change(key, byte) => {
                let value = map.get_mut(key)?;
                Ok(value.map(|mut value| value.fill(*byte)).is_some())
            }
            Op::Clear => map.clear().map(|()| true),
        }
    }

    fn predict(model: &mut BTreeMap<u16, Vec<u8>>, op: &Op) -> bool {
        match op {
            Op::Insert(key, value) => model.insert(*key, value.clone()).is_some(),
            Op::Remove(key) => model.remove(key).is_some(),
            Op::Change(key, byte) => model.get_mut(key).map(|value| value.fill(*byte)).is_some(),
            Op::Clear => {
                model.clear();
                true
            }
        }
    }

    fn read<S: Store>(store: &S, link: Link<Map<u16, [u8]>>) -> Result<BTreeMap<u16, Vec<u8>>, StoreError<S>> {
        let map = Map::at(store, link);
        let mut found = BTreeMap::new();
        for entry in map.iter()? {
            let (key, value) = entry?;
            assert!(found.insert(key, value.to_vec()).is_none(), "key {key} stands twice in the table");
        }
        assert_eq!((map.len()?, map.is_empty()?), (found.len(), found.is_empty()));
        for key in 0..40 {
            assert_eq!(map.contains_key(&key)?, found.contains_key(&key));
        }
        for (key, value) in &found {
            assert_eq!(map.get(key)?.as_deref(), Some(value.as_slice()));
        }
        Ok(found)
    }

    fn destroy<S: Store>(store: &S, link: Link<Map<u16, [u8]>>) -> Result<(), StoreError<S>> {
        Map::at(store, link).destroy()
    }

    fn op() -> BoxedStrategy<Op> {
        prop_oneof![
            8 => (0u16..40, prop::collection::vec(any::<u8>(), 0..50)).prop_map(|(key, value)| Op::Insert(key, value)),
            5 => (0u16..40).prop_map(Op::Remove),
            3 => (0u16..40, any::<u8>()).prop_map(|(key, byte)| Op::Change(key, byte)),
            1 => Just(Op::Clear),
        ]
        .boxed()
    }
}

fn script() -> Vec<Op> {
    let mut script: Vec<Op> = (0..8).map(|key| Op::Insert(key, vec![key as u8; 3 + 5 * usize::from(key)])).collect();
    script.extend([Op::Remove(3), Op::Insert(2, vec![9; 30]), Op::Change(5, 1), Op::Remove(3), Op::Remove(0)]);
    script.extend([Op::Clear, Op::Insert(1, vec![]), Op::Remove(1), Op::Clear]);
    script
}

tests_of!(Subjected, script(), |number| Op::Insert(number as u16, vec![7; 40]), |number| Op::Remove(number as u16));

type Small = Memory<512, 64, 6, 2, 3072>;
type RamHeap<'m> = Heap<'m, RamStorage<65536>, Small>;

#[test]
fn many_keys_come_and_go() {
    let count = if cfg!(miri) { 20 } else { 300 };
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(4096)).unwrap();
    let mut map = Map::<[u8; 8], u64>::create(&heap).unwrap();
    heap.set_root("map", Some(map.link())).unwrap();
    let key = |number: u64| (number * number).to_le_bytes();
    for number in 0..count {
        assert!(!map.insert(key(number), number).unwrap());
    }
    for number in 0..count {
        assert_eq!(map.get(&key(number)).unwrap().as_deref(), Some(&number));
        assert_eq!(map.take(&key(number)).unwrap(), Some(number));
        assert!(number % 3 != 0 || !map.insert(key(number), number + 1).unwrap());
    }
    assert_eq!(map.len().unwrap() as u64, count.div_ceil(3));
    let found: Vec<u64> = map.iter().unwrap().map(|entry| *entry.unwrap().1).collect();
    assert_eq!(found.iter().sum::<u64>(), (0..count).filter(|number| number % 3 == 0).map(|number| number + 1).sum());
    assert_eq!(heap.collect().unwrap(), 0);
    map.clear().unwrap();
    assert_eq!(heap.collect().unwrap(), 0);
    assert!(map.insert_with([1; 8], |slot| slot.write(5)).is_ok_and(|replaced| !replaced));
}

#[test]
fn what_is_borrowed_is_not_removed() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(4096)).unwrap();
    let mut map = Map::create(&heap).unwrap();
    map.insert(1u8, 10u32).unwrap();
    let other = Map::at(&heap, map.link());
    let value = other.get(&1).unwrap().unwrap();
    assert_eq!(map.remove(&1).unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(map.insert(1, 11).unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(map.clear().unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!((*value, map.len().unwrap()), (10, 1));
    drop(value);
    assert!(map.remove(&1).unwrap());
    assert_eq!(size_of::<Map<u8, u32>>(), 8);
}

#[test]
fn retained_entries_and_keys_are_those_of_a_hash_map() {
    let mut memory = Memory::<160, 160, 6, 2, 2500>::new();
    let heap = Heap::<_, _>::format(RamStorage::<65_536>::new(), &mut memory, Options::new(4096)).unwrap();
    let mut map = Map::<u16, [u8]>::create(&heap).unwrap();
    heap.set_root("map", Some(map.link())).unwrap();
    let mut model = BTreeMap::new();
    for (round, modulus) in [2u16, 3, 5, 7, 1].into_iter().enumerate() {
        for key in 0..32u16 {
            let value = vec![key as u8; usize::from(key % 9)];
            map.insert_slice(key * 31 + round as u16, &value).unwrap();
            model.insert(key * 31 + round as u16, value);
        }
        let mut looked_at = Vec::new();
        map.retain(|key, value| {
            looked_at.push((*key, value.to_vec()));
            !(key + value.len() as u16).is_multiple_of(modulus)
        })
        .unwrap();
        looked_at.sort_unstable();
        assert_eq!(looked_at, model.clone().into_iter().collect::<Vec<_>>(), "each once");
        model.retain(|key, value| !(key + value.len() as u16).is_multiple_of(modulus));
        heap.evict_all().unwrap();
        let mut keys: Vec<u16> = map.keys().unwrap().collect::<Result<_, _>>().unwrap();
        keys.sort_unstable();
        assert_eq!(keys, model.keys().copied().collect::<Vec<_>>());
        assert_eq!(map.keys().unwrap().len(), model.len());
        assert!(model.iter().all(|(key, value)| map.get(key).unwrap().as_deref() == Some(&value[..])));
    }
    assert!(map.is_empty().unwrap());
}

#[test]
fn a_table_with_a_capacity_does_not_grow_before() {
    for entries in [0usize, 1, 6, 7, 12, 13, 100] {
        let mut memory = Memory::<160, 160, 6, 2, 2500>::new();
        let heap = Heap::<_, _>::format(RamStorage::<65_536>::new(), &mut memory, Options::new(4096)).unwrap();
        let mut map = Map::<u16, u8>::with_capacity(&heap, entries).unwrap();
        assert_eq!((map.len().unwrap(), map.capacity().unwrap()), (0, 0));
        let mut capacity = None;
        for key in 0..entries as u16 {
            map.insert(key * 57, 1).unwrap();
            let now = map.capacity().unwrap();
            assert!(now >= entries && *capacity.get_or_insert(now) == now, "{entries}: {now}");
        }
        map.insert(u16::MAX, 2).unwrap();
        assert_eq!(map.len().unwrap(), entries + 1);
    }
    let mut memory = Memory::<16, 16, 6, 2, 64>::new();
    let heap = Heap::<_, _>::format(RamStorage::<8192>::new(), &mut memory, Options::new(512)).unwrap();
    assert_eq!(Map::<u16, u8>::with_capacity(&heap, 12_289).map(|_| ()), Err(Error::TooLarge));
}
