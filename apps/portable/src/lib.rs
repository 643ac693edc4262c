//! A life of a heap that is the same wherever it runs.
#![no_std]

use vnv_persist::{Durable, Error, Heap, Link, Maybe, Memory, OpenError, Options};
use vnv_storage::Device;

/// Capacity of the image in bytes.
pub const CAPACITY: usize = 8192;
type Ram = Memory<32, 12, 8, 2, 80>;
const OPTIONS: Options = Options::new(384).log_bytes(256);

/// A node with padding, an enum, wide and narrow numbers.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Node {
    small: u8,
    wide: u64,
    state: State,
    next: Link<Node>,
    last: Maybe<f32>,
}

/// A tag and payload.
#[derive(Durable, Clone, Copy)]
#[repr(u8)]
pub enum State {
    /// Nothing.
    Idle,
    /// Something.
    Busy(u16),
}

/// Why a life failed.
#[derive(Debug)]
pub enum Failure<E> {
    /// It could not be opened.
    Open(OpenError<E>),
    /// It could not go on.
    Heap(Error<E>),
    /// It held something else.
    Wrong,
}

impl<E> From<Error<E>> for Failure<E> {
    fn from(error: Error<E>) -> Self {
        Self::Heap(error)
    }
}

impl<E> From<OpenError<E>> for Failure<E> {
    fn from(error: OpenError<E>) -> Self {
        Self::Open(error)
    }
}

fn node(number: u32, next: Link<Node>) -> Node {
    let state = if number % 2 == 0 { State::Idle } else { State::Busy(number as u16) };
    let last = if number % 3 == 0 { Maybe::NONE } else { Maybe::some(number as f32) };
    Node { small: number as u8, wide: u64::from(number) << 33, state, next, last }
}

/// Formats the storage and lives a first life: a list, an array, a transaction, a snapshot.
///
/// # Errors
///
/// [`Failure`].
pub fn first_life<D: Device>(device: D) -> Result<D, Failure<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let mut memory = Ram::new();
    let heap: Heap<'_, D, Ram> = Heap::format(device, &mut memory, OPTIONS)?;
    let mut next = Link::NULL;
    for number in 0..12 {
        next = heap.allocate(node(number, next))?.into_link();
        heap.set_root("list", Some(next))?;
    }
    let numbers = heap.allocate_slice_with(60, |at| at as u32)?.into_link();
    heap.set_root("numbers", Some(numbers))?;
    heap.commit()?;
    live(&heap, 20)?;
    Ok(heap.into_device())
}

/// Opens the storage, checks it, and goes on; twice, it is what one longer life would be.
///
/// # Errors
///
/// [`Failure`].
pub fn next_life<D: Device>(device: D) -> Result<D, Failure<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let mut memory = Ram::new();
    let heap: Heap<'_, D, Ram> = Heap::open(device, &mut memory, OPTIONS)?;
    let mut at = heap.root::<Node>("list")?.ok_or(Failure::Wrong)?;
    let mut length = 0;
    while !at.is_null() {
        let node = *heap.get(at)?;
        if node.wide != u64::from(node.small) << 33 {
            return Err(Failure::Wrong);
        }
        length += 1;
        at = node.next;
    }
    if length != 12 {
        return Err(Failure::Wrong);
    }
    live(&heap, 15)?;
    Ok(heap.into_device())
}

fn live<D: Device>(heap: &Heap<'_, D, Ram>, rounds: u32) -> Result<(), Failure<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let list = heap.root::<Node>("list")?.ok_or(Failure::Wrong)?;
    let numbers = heap.root::<[u32]>("numbers")?.ok_or(Failure::Wrong)?;
    for round in 0..rounds {
        *heap.get_element_mut(numbers, (round * 7 % 60) as usize)? += round;
        let mut at = list;
        for _ in 0..round % 12 {
            at = heap.get(at)?.next;
        }
        let transaction = heap.transaction()?;
        let old = *transaction.get(at)?;
        transaction.get_mut(at)?.state = State::Busy(round as u16);
        transaction.get_mut(at)?.last = Maybe::some(round as f32);
        if round % 4 == 0 {
            drop(transaction);
        } else {
            transaction.commit()?;
        }
        if round % 5 == 0 {
            heap.get_mut(at)?.small = old.small;
            heap.snapshot()?;
        }
        if round % 6 == 0 {
            heap.collect()?;
            heap.commit()?;
        }
    }
    // The last state stays in a reserve: the next life has to empty it.
    heap.get_mut(list)?.last = Maybe::NONE;
    heap.snapshot()?;
    Ok(())
}
