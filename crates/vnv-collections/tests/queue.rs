//! The queue against `VecDeque`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Subject, tests_of};
use proptest::prelude::*;
use std::collections::VecDeque;
use vnv_collections::{Queue, Store, StoreError};
use vnv_persist::{Durable, Error, Heap, Link, Memory, Options};
use vnv_storage::RamStorage;

#[derive(Durable, Clone, Copy, PartialEq, Debug)]
#[repr(C)]
struct Item {
    number: u32,
    copies: [u16; 20],
}

fn item(number: u32) -> Item {
    Item { number, copies: [number as u16; 20] }
}

#[derive(Clone, Debug)]
enum Op {
    Push(u32),
    PushInPlace(u32),
    Pop,
    RemoveFront,
    Change(u8, u32),
    Clear,
}

struct Subjected;

impl Subject for Subjected {
    type Header = Queue<Item>;
    type Model = VecDeque<u32>;
    type Op = Op;
    type Output = Option<u32>;

    fn create<S: Store>(store: &S) -> Result<Link<Queue<Item>>, StoreError<S>> {
        Ok(Queue::create(store)?.link())
    }

    fn apply<S: Store>(store: &S, link: Link<Queue<Item>>, op: &Op) -> Result<Option<u32>, StoreError<S>> {
        let mut queue = Queue::at(store, link);
        Ok(match *op {
            Op::Push(number) => {
                queue.push_back(item(number))?;
                None
            }
            Op::PushInPlace(number) => {
                queue.push_back_with(|slot| slot.zeroed(|new| *new = item(number)).unwrap_or_else(|_| panic!()))?;
                None
            }
            Op::Pop => queue.pop_front()?.map(|item| item.number),
            Op::RemoveFront => queue.remove_front()?.then_some(0),
            Op::Change(at, number) => queue.get_mut(usize::from(at))?.map(|mut found| {
                *found = item(number);
                number
            }),
            Op::Clear => {
                queue.clear()?;
                None
            }
        })
    }

    fn predict(model: &mut VecDeque<u32>, op: &Op) -> Option<u32> {
        match *op {
            Op::Push(number) | Op::PushInPlace(number) => {
                model.push_back(number);
                None
            }
            Op::Pop => model.pop_front(),
            Op::RemoveFront => model.pop_front().map(|_| 0),
            Op::Change(at, number) => model.get_mut(usize::from(at)).map(|found| {
                *found = number;
                number
            }),
            Op::Clear => {
                model.clear();
                None
            }
        }
    }

    fn read<S: Store>(store: &S, link: Link<Queue<Item>>) -> Result<VecDeque<u32>, StoreError<S>> {
        let queue = Queue::at(store, link);
        let mut found = VecDeque::new();
        assert_eq!(queue.iter()?.len(), queue.len()?);
        for next in queue.iter()? {
            let next = *next?;
            assert_eq!(next, item(next.number), "an item is a mixture");
            found.push_back(next.number);
        }
        assert_eq!(found.len(), queue.len()?);
        assert_eq!(queue.front()?.map(|item| item.number), found.front().copied());
        assert_eq!(queue.back()?.map(|item| item.number), found.back().copied());
        Ok(found)
    }

    fn destroy<S: Store>(store: &S, link: Link<Queue<Item>>) -> Result<(), StoreError<S>> {
        Queue::at(store, link).destroy()
    }

    fn op() -> BoxedStrategy<Op> {
        prop_oneof![
            8 => any::<u32>().prop_map(Op::Push),
            2 => any::<u32>().prop_map(Op::PushInPlace),
            6 => Just(Op::Pop),
            2 => Just(Op::RemoveFront),
            2 => (0u8..20, any::<u32>()).prop_map(|(at, number)| Op::Change(at, number)),
            1 => Just(Op::Clear),
        ]
        .boxed()
    }
}

fn script() -> Vec<Op> {
    let mut script: Vec<Op> = (0..6).map(Op::Push).collect();
    script.extend([Op::Pop, Op::RemoveFront, Op::PushInPlace(7), Op::Change(2, 8), Op::Push(9), Op::Pop, Op::Clear]);
    script.extend([Op::Pop, Op::Push(1), Op::Pop, Op::Pop]);
    script
}

tests_of!(Subjected, script(), Op::Push, |_| Op::Pop);

type Small = Memory<32, 16, 6, 2, 256>;
type RamHeap<'m> = Heap<'m, RamStorage<8192>, Small>;

#[test]
fn items_may_be_slices_of_any_length() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let mut queue = Queue::<[u8]>::with_capacity(&heap, 3).unwrap();
    for len in [3, 0, 40, 7] {
        queue.push_back_slice_with(len, |at| at as u8).unwrap();
    }
    assert_eq!(queue.capacity().unwrap(), 6);
    for len in [3, 0, 40, 7] {
        assert_eq!(queue.pop_front_with(<[u8]>::len).unwrap(), Some(len));
    }
    queue.destroy().unwrap();
    assert_eq!(heap.collect().unwrap(), 0);
}

#[test]
fn what_is_borrowed_is_not_removed() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let mut queue = Queue::create(&heap).unwrap();
    queue.push_back(1u32).unwrap();
    queue.push_back(2u32).unwrap();
    let other = Queue::at(&heap, queue.link());
    let front = other.front().unwrap().unwrap();
    assert_eq!(queue.pop_front().unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(queue.remove_front().unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!(queue.clear().unwrap_err(), Error::AlreadyBorrowed);
    assert_eq!((*front, queue.len().unwrap()), (1, 2));
    drop(front);
    assert_eq!(queue.pop_front().unwrap(), Some(1));
}

/// Such an item is written when it is allocated; it is read, and removed, like any other.
#[test]
fn items_may_be_larger_than_the_dirty_limit() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(256)).unwrap();
    let mut queue = Queue::create(&heap).unwrap();
    heap.set_root("queue", Some(queue.link())).unwrap();
    for byte in 0..4u8 {
        queue.push_back_with(|slot| slot.write([byte; 1000])).unwrap();
    }
    for byte in 0..4u8 {
        assert_eq!(queue.pop_front_with(|item| item[999]).unwrap(), Some(byte));
    }
    assert_eq!(heap.collect().unwrap(), 0);
}

/// In a transaction everything is undone by dropping it, and nothing is committed in between.
#[test]
fn a_transaction_moves_items_between_queues_or_does_not() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let mut from = Queue::create(&heap).unwrap();
    let to = Queue::<u32>::create(&heap).unwrap();
    heap.set_root("from", Some(from.link())).unwrap();
    heap.set_root("to", Some(to.link())).unwrap();
    (0..6u32).for_each(|number| from.push_back(number).unwrap());
    heap.commit().unwrap();
    for commit in [false, true] {
        let transaction = heap.transaction().unwrap();
        // What a rollback left behind, the next one commits when it begins.
        let sequence = heap.sequence();
        let (mut source, mut target) = (Queue::at(&transaction, from.link()), Queue::at(&transaction, to.link()));
        for _ in 0..4 {
            target.push_back(source.pop_front().unwrap().unwrap()).unwrap();
        }
        assert_eq!((source.len().unwrap(), target.len().unwrap(), heap.sequence()), (2, 4, sequence));
        if commit {
            transaction.commit().unwrap();
        } else {
            drop(transaction);
        }
        assert_eq!((from.len().unwrap(), to.len().unwrap()), if commit { (2, 4) } else { (6, 0) });
        assert_eq!(heap.collect().unwrap(), 0);
    }
    let moved: Vec<u32> = to.iter().unwrap().map(|item| *item.unwrap()).collect();
    assert_eq!(moved, [0, 1, 2, 3]);
}

/// A queue of another type below the same root is refused.
#[test]
fn the_type_of_the_items_is_part_of_the_type() {
    let mut memory = Small::new();
    let heap: RamHeap<'_> = Heap::format(RamStorage::new(), &mut memory, Options::new(512)).unwrap();
    let queue = Queue::<u32>::create(&heap).unwrap();
    heap.set_root("queue", Some(queue.link())).unwrap();
    assert_eq!(heap.root::<Queue<u16>>("queue").unwrap_err(), Error::TypeMismatch);
    assert_eq!(size_of::<Queue<u32>>(), 8);
}
