//! The vector against `Vec`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Subject, tests_of};
use proptest::prelude::*;
use vnv_collections::{Store, StoreError, Vector};
use vnv_persist::{Error, Heap, Link, Memory, Options};
use vnv_storage::RamStorage;

#[derive(Clone, Debug)]
enum Op {
    Push(u32),
    Pop,
    Insert(u8, u32),
    Remove(u8),
    SwapRemove(u8),
    Set(u8, u32),
    Extend(Vec<u32>),
    Truncate(u8),
    Fill(u8, u32),
    Reserve(u8),
    Shrink,
}

struct Subjected;

fn of(at: u8, len: usize) -> usize {
    usize::from(at) % len.max(1)
}

impl Subject for Subjected {
    type Header = Vector<u32>;
    type Model = Vec<u32>;
    type Op = Op;
    type Output = Option<u32>;

    fn create<S: Store>(store: &S) -> Result<Link<Vector<u32>>, StoreError<S>> {
        Ok(Vector::create(store)?.link())
    }

    fn apply<S: Store>(store: &S, link: Link<Vector<u32>>, op: &Op) -> Result<Option<u32>, StoreError<S>> {
        let mut vector = Vector::at(store, link);
        let len = vector.len()?;
        match op {
            Op::Push(value) => vector.push(*value)?,
            Op::Pop => return vector.pop(),
            Op::Insert(at, value) => vector.insert(of(*at, len + 1), *value)?,
            Op::Remove(at) if len > 0 => return vector.remove(of(*at, len)).map(Some),
            Op::SwapRemove(at) if len > 0 => return vector.swap_remove(of(*at, len)).map(Some),
            Op::Remove(_) => assert!(matches!(vector.remove(0), Err(Error::OutOfBounds | Error::RamFull))),
            Op::SwapRemove(_) => assert!(vector.swap_remove(0).is_err()),
            Op::Set(at, value) => {
                if let Some(mut element) = vector.get_mut(usize::from(*at))? {
                    *element = *value;
                }
            }
            Op::Extend(values) => vector.extend_from_slice(values)?,
            Op::Truncate(to) => vector.truncate(usize::from(*to))?,
            Op::Fill(from, value) => vector.range_mut(of(*from, len + 1)..len)?.fill(*value),
            Op::Reserve(more) => vector.reserve(usize::from(*more))?,
            Op::Shrink => vector.shrink_to_fit()?,
        }
        Ok(None)
    }

    fn predict(model: &mut Vec<u32>, op: &Op) -> Option<u32> {
        let len = model.len();
        match op {
            Op::Push(value) => model.push(*value),
            Op::Pop => return model.pop(),
            Op::Insert(at, value) => model.insert(of(*at, len + 1), *value),
            Op::Remove(at) if len > 0 => return Some(model.remove(of(*at, len))),
            Op::SwapRemove(at) if len > 0 => return Some(model.swap_remove(of(*at, len))),
            Op::Set(at, value) => {
                if let Some(element) = model.get_mut(usize::from(*at)) {
                    *element = *value;
                }
            }
            Op::Extend(values) => model.extend_from_slice(values),
            Op::Truncate(to) => model.truncate(usize::from(*to)),
            Op::Fill(from, value) => model[of(*from, len + 1)..].fill(*value),
            Op::Remove(_) | Op::SwapRemove(_) | Op::Reserve(_) | Op::Shrink => {}
        }
        None
    }

    fn read<S: Store>(store: &S, link: Link<Vector<u32>>) -> Result<Vec<u32>, StoreError<S>> {
        let vector = Vector::at(store, link);
        let found: Vec<u32> = vector.iter()?.collect();
        assert!(vector.iter()?.rev().eq(found.iter().rev().copied()));
        assert_eq!(vector.as_slice()?.to_vec(), found);
        assert_eq!((vector.len()?, vector.is_empty()?), (found.len(), found.is_empty()));
        assert!(vector.capacity()? >= found.len());
        assert_eq!(vector.last()?.map(|last| *last), found.last().copied());
        assert_eq!(vector.get(found.len())?.map(|none| *none), None);
        Ok(found)
    }

    fn destroy<S: Store>(store: &S, link: Link<Vector<u32>>) -> Result<(), StoreError<S>> {
        Vector::at(store, link).destroy()
    }

    fn op() -> BoxedStrategy<Op> {
        prop_oneof![
            6 => any::<u32>().prop_map(Op::Push),
            3 => Just(Op::Pop),
            3 => (any::<u8>(), any::<u32>()).prop_map(|(at, value)| Op::Insert(at, value)),
            2 => any::<u8>().prop_map(Op::Remove),
            2 => any::<u8>().prop_map(Op::SwapRemove),
            3 => (0u8..40, any::<u32>()).prop_map(|(at, value)| Op::Set(at, value)),
            2 => prop::collection::vec(any::<u32>(), 0..12).prop_map(Op::Extend),
            1 => (0u8..40).prop_map(Op::Truncate),
            1 => (any::<u8>(), any::<u32>()).prop_map(|(from, value)| Op::Fill(from, value)),
            1 => (0u8..20).prop_map(Op::Reserve),
            1 => Just(Op::Shrink),
        ]
        .boxed()
    }
}

fn script() -> Vec<Op> {
    let mut script = vec![Op::Push(1), Op::Extend(vec![2, 3, 4, 5, 6]), Op::Insert(2, 9), Op::Remove(0)];
    script.extend([Op::SwapRemove(1), Op::Pop, Op::Truncate(2), Op::Shrink, Op::Push(4), Op::Reserve(20)]);
    script.extend([Op::Insert(0, 7), Op::Set(1, 5), Op::Truncate(0), Op::Pop]);
    script
}

tests_of!(Subjected, script(), Op::Push, |_| Op::Pop);

type Small = Memory<32, 16, 6, 2, 256>;
type RamHeap<'m> = Heap<'m, RamStorage<8192>, Small>;

/// What left a vector of links is not kept alive by elements that nobody sees.
#[test]
fn removed_links_are_forgotten() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let mut vector = Vector::<Link<u32>>::create(&heap).unwrap();
    heap.set_root("vector", Some(vector.link())).unwrap();
    for value in 0..8 {
        vector.push(heap.allocate(value).unwrap().into_link()).unwrap();
    }
    assert_eq!(heap.collect().unwrap(), 0);
    vector.pop().unwrap();
    vector.remove(1).unwrap();
    vector.swap_remove(0).unwrap();
    vector.truncate(4).unwrap();
    assert_eq!(heap.collect().unwrap(), 4);
    let values: Vec<u32> = vector.iter().unwrap().map(|link| *heap.get(link).unwrap()).collect();
    assert_eq!(values, [6, 2, 3, 4]);
    vector.clear().unwrap();
    assert_eq!(heap.collect().unwrap(), 4);
}

#[test]
fn a_borrowed_slice_is_not_replaced() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let mut vector = Vector::create(&heap).unwrap();
    vector.extend_from_slice(&[1u8, 2, 3, 4]).unwrap();
    vector.shrink_to_fit().unwrap();
    let other = Vector::at(&heap, vector.link());
    let slice = other.as_slice().unwrap();
    assert_eq!(vector.push(5).unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(vector.remove(0).unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(slice[..], [1, 2, 3, 4]);
    drop(slice);
    vector.push(5).unwrap();
    assert_eq!(vector.insert(9, 0).unwrap_err(), Error::OutOfBounds);
    assert_eq!(vector.range_mut(3..6).unwrap_err(), Error::OutOfBounds);
    assert_eq!(size_of::<Vector<u8>>(), 8);
}
