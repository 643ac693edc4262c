//! The list against `Vec`.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{Subject, tests_of};
use proptest::prelude::*;
use vnv_collections::{List, OpenList, Store, StoreError};
use vnv_persist::{Error, Heap, Link, Memory, Options};
use vnv_storage::RamStorage;

type Value = [u32; 5];

fn value(number: u32) -> Value {
    [number; 5]
}

#[derive(Clone, Debug)]
enum Op {
    PushFront(u32),
    PushBack(u32),
    PopFront,
    PopBack,
    Remove(u8),
    InsertBefore(u8, u32),
    InsertAfter(u8, u32),
    Set(u8, u32),
}

struct Subjected;

/// Calls `then` with a cursor at the item `at`, from whichever end is nearer; `None`: behind the last one.
fn cursor<'l, 's, S: Store>(
    list: &'l mut OpenList<'s, Value, S>,
    at: usize,
) -> Result<vnv_collections::Cursor<'l, 's, Value, S>, StoreError<S>> {
    let len = list.len()?;
    let at = at % (len + 1);
    if at <= len / 2 {
        let mut cursor = list.cursor_front()?;
        for _ in 0..at {
            cursor.move_next()?;
        }
        Ok(cursor)
    } else {
        let mut cursor = list.cursor_back()?;
        cursor.move_next()?;
        for _ in at..len {
            cursor.move_previous()?;
        }
        Ok(cursor)
    }
}

impl Subject for Subjected {
    type Header = List<Value>;
    type Model = Vec<u32>;
    type Op = Op;
    type Output = Option<u32>;

    fn create<S: Store>(store: &S) -> Result<Link<List<Value>>, StoreError<S>> {
        Ok(List::create(store)?.link())
    }

    fn apply<S: Store>(store: &S, link: Link<List<Value>>, op: &Op) -> Result<Option<u32>, StoreError<S>> {
        let mut list = List::at(store, link);
        match *op {
            Op::PushFront(number) => list.push_front(value(number))?,
            Op::PushBack(number) => list.push_back(value(number))?,
            Op::PopFront => return Ok(list.pop_front()?.map(|value| value[0])),
            Op::PopBack => return Ok(list.pop_back()?.map(|value| value[0])),
            Op::Remove(at) => {
                return Ok(cursor(&mut list, at.into())?.remove_current()?.map(|value| value[0]));
            }
            Op::InsertBefore(at, number) => cursor(&mut list, at.into())?.insert_before(value(number))?,
            Op::InsertAfter(at, number) => cursor(&mut list, at.into())?.insert_after(value(number))?,
            Op::Set(at, number) => {
                if let Some(mut item) = cursor(&mut list, at.into())?.current_mut()? {
                    item.copy_from_slice(&value(number));
                }
            }
        }
        Ok(None)
    }

    fn predict(model: &mut Vec<u32>, op: &Op) -> Option<u32> {
        let len = model.len();
        let of = |at: u8| usize::from(at) % (len + 1);
        match *op {
            Op::PushFront(number) => model.insert(0, number),
            Op::PushBack(number) => model.push(number),
            Op::PopFront if len == 0 => {}
            Op::PopFront => return Some(model.remove(0)),
            Op::PopBack => return model.pop(),
            Op::Remove(at) if of(at) == len => {}
            Op::Remove(at) => return Some(model.remove(of(at))),
            Op::InsertBefore(at, number) => model.insert(of(at), number),
            Op::InsertAfter(at, number) => model.insert((of(at) + 1) % (len + 1), number),
            Op::Set(at, number) => {
                if let Some(item) = model.get_mut(of(at)) {
                    *item = number;
                }
            }
        }
        None
    }

    fn read<S: Store>(store: &S, link: Link<List<Value>>) -> Result<Vec<u32>, StoreError<S>> {
        let mut list = List::at(store, link);
        let mut found = Vec::new();
        for item in list.iter()? {
            let item = *item?;
            assert_eq!(item, value(item[0]));
            found.push(item[0]);
        }
        assert_eq!((list.len()?, list.is_empty()?), (found.len(), found.is_empty()));
        assert_eq!(list.front()?.map(|item| item[0]), found.first().copied());
        assert_eq!(list.back()?.map(|item| item[0]), found.last().copied());
        // The other way round.
        let mut cursor = list.cursor_back()?;
        for number in found.iter().rev() {
            assert_eq!(cursor.current()?.map(|item| item[0]), Some(*number));
            cursor.move_previous()?;
        }
        assert!(cursor.current()?.is_none());
        Ok(found)
    }

    fn destroy<S: Store>(store: &S, link: Link<List<Value>>) -> Result<(), StoreError<S>> {
        List::at(store, link).destroy()
    }

    fn op() -> BoxedStrategy<Op> {
        prop_oneof![
            4 => any::<u32>().prop_map(Op::PushFront),
            4 => any::<u32>().prop_map(Op::PushBack),
            3 => Just(Op::PopFront),
            3 => Just(Op::PopBack),
            4 => any::<u8>().prop_map(Op::Remove),
            3 => (any::<u8>(), any::<u32>()).prop_map(|(at, number)| Op::InsertBefore(at, number)),
            3 => (any::<u8>(), any::<u32>()).prop_map(|(at, number)| Op::InsertAfter(at, number)),
            2 => (any::<u8>(), any::<u32>()).prop_map(|(at, number)| Op::Set(at, number)),
        ]
        .boxed()
    }
}

fn script() -> Vec<Op> {
    let mut script: Vec<Op> = (0..3).map(Op::PushBack).collect();
    script.extend([Op::PushFront(9), Op::InsertBefore(2, 8), Op::InsertAfter(1, 7), Op::Remove(3), Op::Set(2, 6)]);
    script.extend([Op::Remove(0), Op::PopFront, Op::PopBack, Op::PopBack, Op::PopFront, Op::PopFront]);
    script
}

tests_of!(Subjected, script(), Op::PushBack, |number| if number % 2 == 0 { Op::PopFront } else { Op::PopBack });

#[test]
fn what_is_not_kept_is_freed() {
    type Small = Memory<32, 16, 6, 2, 256>;
    let mut memory = Small::new();
    let heap: Heap<'_, _, Small> = Heap::format(RamStorage::<8192>::new(), &mut memory, Options::new(512)).unwrap();
    let mut list = List::create(&heap).unwrap();
    heap.set_root("list", Some(list.link())).unwrap();
    for number in 0..10u8 {
        list.push_back(number).unwrap();
    }
    list.retain(|number| number % 3 == 1).unwrap();
    let kept: Vec<u8> = list.iter().unwrap().map(|item| *item.unwrap()).collect();
    assert_eq!(kept, [1, 4, 7]);
    assert_eq!(heap.collect().unwrap(), 0);
    let other = List::at(&heap, list.link());
    let middle = other.iter().unwrap().nth(1).unwrap().unwrap();
    assert_eq!(list.pop_front().unwrap_err(), Error::AlreadyBorrowed, "its neighbour changes");
    drop(middle);
    assert_eq!(list.pop_front().unwrap(), Some(1));
}
