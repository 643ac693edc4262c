//! Short lives of a heap, step by step, that run the same on the host and on rv32imc.
//!
//! The visible state of a life changes in one instant of each step: a reopening finds the state before or after the step.
#![no_std]

use vnv_persist::{Durable, Error, Heap, Link, Memory, OpenError, Options};
use vnv_storage::Device;

/// Capacity of the image in bytes.
pub const CAPACITY: usize = 8192;
/// RAM of the lives: 40 slots, 24 pending places, 4 types, 2 roots, 2,880 bytes of arena.
pub type Ram = Memory<40, 24, 4, 2, 360>;
/// The heap of the lives.
pub type LifeHeap<'m, D> = Heap<'m, D, Ram>;
/// Number of lives.
pub const LIVES: u32 = 4;
/// Most instructions of rv32imc (opt-level 3) between an alarm and the begin of its snapshot, in these lives: most of them move
/// the chunk that is on the bus. The sweep over all instants checks it.
pub const LONGEST_WAIT_INSTRUCTIONS: u64 = 9_000;
/// Items in a life.
pub const ITEMS: usize = 16;
/// Counters in a life.
pub const COUNTERS: usize = 40;

/// Dirty limit, log and guards of a life, whose program is resumed or rebooted.
#[must_use]
pub const fn options(life: u32, resumes: bool) -> Options {
    let options = match life {
        0 => Options::new(420).log_bytes(320),
        1 => Options::new(360).log_bytes(192),
        2 => Options::new(460).log_bytes(256),
        _ => Options::new(1960).log_bytes(256),
    };
    options.guards(if resumes { 3 } else { 0 })
}

/// An object of 128 bytes, all of which say its number.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Item {
    words: [u32; 32],
}

impl Item {
    const fn new(number: u32) -> Self {
        Self { words: [number; 32] }
    }

    fn number(&self) -> Option<u32> {
        self.words.iter().all(|word| *word == self.words[0]).then_some(self.words[0])
    }
}

/// What can be read through the roots: 0 stands for no item.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct State {
    /// Numbers of the items.
    pub items: [u32; ITEMS],
    /// The counters.
    pub counters: [u32; COUNTERS],
}

impl State {
    /// Of an empty heap.
    pub const EMPTY: Self = Self { items: [0; ITEMS], counters: [0; COUNTERS] };
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

/// One step.
#[derive(Clone, Copy, Debug)]
enum Step {
    /// Changes an item, or makes it.
    Set(usize, u32),
    /// Frees an item.
    Free(usize),
    /// Changes a counter.
    Count(usize, u32),
    /// Reads an item.
    Read(usize),
    /// Evicts an item.
    Evict(usize),
    /// Changes two items together; or not at all.
    Both(usize, usize, u32, bool),
    /// Changes an item under a guard that is open while another is read.
    Held(usize, usize, u32),
    Commit,
    Snapshot,
    Collect,
}

use Step::{Both, Collect, Commit, Count, Evict, Free, Held, Read, Set, Snapshot};

/// Items come and go, some more than the arena and the dirty limit hold.
const OBJECTS: [Step; 15] = [
    Set(0, 10),
    Set(1, 11),
    Commit,
    Set(0, 12),
    Set(2, 13),
    Set(3, 14),
    Read(1),
    Evict(0),
    Set(1, 15),
    Free(2),
    Commit,
    Set(4, 16),
    Read(0),
    Snapshot,
    Set(0, 17),
];
/// Counters of one slice: deltas, compactions.
const SLICES: [Step; 16] = [
    Count(0, 1),
    Count(1, 2),
    Commit,
    Count(30, 3),
    Count(7, 4),
    Commit,
    Count(8, 5),
    Set(0, 9),
    Commit,
    Count(9, 6),
    Commit,
    Count(39, 7),
    Read(0),
    Commit,
    Count(10, 8),
    Commit,
];
/// Transactions, a rollback, guards that stay open, a collection.
const TRANSACTIONS: [Step; 12] = [
    Set(0, 20),
    Set(1, 21),
    Commit,
    Both(0, 1, 30, true),
    Set(0, 22),
    Both(0, 1, 40, false),
    Held(0, 1, 23),
    Both(1, 0, 50, true),
    Free(1),
    Collect,
    Held(0, 0, 24),
    Commit,
];
/// As much as the dirty limit admits, then a commit of it.
const BULK: [Step; 17] = [
    Set(0, 100),
    Set(1, 101),
    Set(2, 102),
    Set(3, 103),
    Set(4, 104),
    Set(5, 105),
    Set(6, 106),
    Set(7, 107),
    Set(8, 108),
    Set(9, 109),
    Set(10, 110),
    Set(11, 111),
    Set(12, 112),
    Set(13, 113),
    Commit,
    Set(3, 115),
    Commit,
];

const fn steps(life: u32) -> &'static [Step] {
    match life {
        0 => &OBJECTS,
        1 => &SLICES,
        2 => &TRANSACTIONS,
        _ => &BULK,
    }
}

/// Steps of a life.
#[must_use]
pub const fn step_count(life: u32) -> usize {
    steps(life).len()
}

/// The state after so many steps of a life.
#[must_use]
pub fn state_after(life: u32, count: usize) -> State {
    let mut state = State::EMPTY;
    for step in steps(life).iter().take(count) {
        match *step {
            Set(at, number) | Held(at, _, number) => state.items[at] = number,
            Free(at) => state.items[at] = 0,
            Count(at, number) => state.counters[at] = number,
            Both(first, second, number, true) => {
                state.items[first] = number;
                state.items[second] = number + 1;
            }
            _ => {}
        }
    }
    state
}

/// Makes the roots, and commits them.
///
/// # Errors
///
/// The heap's.
pub fn begin<D: Device>(heap: &LifeHeap<'_, D>) -> Result<(), Error<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let table = heap.allocate_slice_with(ITEMS, |_| Link::<Item>::NULL)?.into_link();
    heap.set_root("items", Some(table))?;
    let counters = heap.allocate_slice_with(COUNTERS, |_| 0u32)?.into_link();
    heap.set_root("counters", Some(counters))?;
    heap.commit()?;
    Ok(())
}

/// Reads the state back.
///
/// # Errors
///
/// The heap's; [`Failure::Wrong`] for a mixture.
pub fn read<D: Device>(heap: &LifeHeap<'_, D>) -> Result<State, Failure<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let mut state = State::EMPTY;
    let table = heap.root::<[Link<Item>]>("items")?.ok_or(Failure::Wrong)?;
    for at in 0..ITEMS {
        let link = heap.get(table)?[at];
        if !link.is_null() {
            state.items[at] = heap.get(link)?.number().ok_or(Failure::Wrong)?;
        }
    }
    let counters = heap.root::<[u32]>("counters")?.ok_or(Failure::Wrong)?;
    state.counters.copy_from_slice(&heap.get(counters)?);
    Ok(state)
}

/// One step of a life.
///
/// # Errors
///
/// The heap's.
pub fn step<D: Device>(heap: &LifeHeap<'_, D>, life: u32, number: usize) -> Result<(), Failure<D::Error>>
where
    D::Error: core::fmt::Debug,
{
    let table = heap.root::<[Link<Item>]>("items")?.ok_or(Failure::Wrong)?;
    let link = |at: usize| heap.get(table).map(|table| table[at]);
    match *steps(life).get(number).ok_or(Failure::Wrong)? {
        Set(at, number) => {
            let old = link(at)?;
            if old.is_null() {
                let new = heap.allocate(Item::new(number))?;
                // From here on the table's change makes it visible: an item that nothing links to yet is kept by its handle.
                let mut element = heap.get_element_mut(table, at)?;
                *element = new.into_link();
            } else {
                *heap.get_mut(old)? = Item::new(number);
            }
        }
        Free(at) => {
            let old = link(at)?;
            *heap.get_element_mut(table, at)? = Link::NULL;
            heap.free(old)?;
        }
        Count(at, number) => {
            let counters = heap.root::<[u32]>("counters")?.ok_or(Failure::Wrong)?;
            *heap.get_element_mut(counters, at)? = number;
        }
        Read(at) => {
            heap.get(link(at)?)?.number().ok_or(Failure::Wrong)?;
        }
        Evict(at) => heap.evict(link(at)?)?,
        Both(first, second, number, keep) => {
            let (first, second) = (link(first)?, link(second)?);
            let transaction = heap.transaction()?;
            *transaction.get_mut(first)? = Item::new(number);
            *transaction.get_mut(second)? = Item::new(number + 1);
            if keep {
                transaction.commit()?;
            }
        }
        Held(at, other, number) => {
            let (item, other) = (link(at)?, link(other)?);
            let mut guard = heap.get_mut(item)?;
            guard.words[..16].fill(number);
            if item != other {
                heap.get(other)?.number().ok_or(Failure::Wrong)?;
            }
            guard.words[16..].fill(number);
        }
        Commit => {
            heap.commit()?;
        }
        Snapshot => {
            heap.snapshot()?;
        }
        Collect => {
            heap.collect()?;
        }
    }
    Ok(())
}
