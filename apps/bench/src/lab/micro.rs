//! What the workloads of single operations share: a heap with an arena of any size, and ways to fill it.

use super::cost::Traffic;
use super::counting::Counting;
use super::medium::{Medium, Meter};
use super::simulated::Simulated;
use anyhow::{Result, anyhow, ensure};
use std::fmt::Debug;
use vnv_persist::{Heap, Link, Memory, Options, Policy, Workspace};

/// Tables for all of these workloads.
type Tables = Memory<256, 224, 2, 1, 512>;
/// Bytes of storage.
const CAPACITY: u32 = 256 * 1024;
/// Bytes of the arena that objects of one size fill in the workloads of single operations.
pub const BUFFER: usize = 1024;

/// Tables with only a part of their arena.
pub struct Narrow {
    tables: Tables,
    words: usize,
}

impl Workspace for Narrow {
    type Entries = <Tables as Workspace>::Entries;
    type Roots = <Tables as Workspace>::Roots;

    fn record_entries() -> Self::Entries {
        Tables::record_entries()
    }
    fn record_roots() -> Self::Roots {
        Tables::record_roots()
    }
    fn parts(&mut self) -> vnv_core::Parts<'_> {
        let parts = self.tables.parts();
        let (arena, _) = parts.arena.split_at_mut(self.words.min(parts.arena.len()));
        vnv_core::Parts { arena, ..parts }
    }
}

/// The heap of these workloads.
pub type Small<'m, D, P> = Heap<'m, D, Narrow, P>;

/// An error as text: heaps on two storages have two types of them.
pub fn text(error: impl Debug) -> anyhow::Error {
    anyhow!("{error:?}")
}

/// Words of the arena that an object takes.
#[must_use]
pub const fn words(size: usize, is_slice: bool) -> usize {
    let block = (size + 8).div_ceil(8);
    1 + block + if is_slice { block.div_ceil(64) } else { 0 }
}

/// Bytes of the largest slice that takes at most so many words.
#[must_use]
pub fn largest_slice(room: usize) -> Option<usize> {
    (0..=8 * room).rev().find(|size| words(*size, true) <= room)
}

/// A workload of one operation on a heap.
pub trait Operation {
    /// Words of the arena.
    fn words(&self) -> usize;
    /// Options of the heap.
    fn options(&self) -> Options;
    /// Brings the heap into the state before the operation, and measures the operation.
    ///
    /// # Errors
    ///
    /// The heap's; a state that was not reached.
    fn measure<M: Medium, P: Policy>(&self, heap: &Small<'_, M, P>, meter: &Meter) -> Result<Traffic>;
}

fn on<M: Medium, P: Policy + Default>(operation: &impl Operation) -> Result<Traffic> {
    let medium = M::new(CAPACITY);
    let meter = medium.meter();
    let mut memory = Box::new(Narrow { tables: Tables::new(), words: operation.words() });
    let heap = Small::<M, P>::format(medium, &mut memory, operation.options()).map_err(text)?;
    operation.measure(&heap, &meter)
}

/// Traffic of an operation, the same on the counting storage and on the simulated part.
///
/// # Errors
///
/// The operation's; different traffic.
pub fn measure<P: Policy + Default>(operation: &impl Operation) -> Result<Traffic> {
    let (counted, clocked) = (on::<Counting, P>(operation)?, on::<Simulated, P>(operation)?);
    ensure!(counted == clocked, "the simulated part: {clocked:?}, counted: {counted:?}");
    Ok(counted)
}

/// Fills the arena with dirty objects of 4 bytes. Both types are in the image before.
///
/// # Errors
///
/// The heap's.
pub fn fill_small<M: Medium, P: Policy>(heap: &Small<'_, M, P>, words_free: usize) -> Result<Vec<Link<u32>>> {
    let number = words_free / words(4, false);
    (0..number).map(|value| Ok(heap.allocate(value as u32).map_err(text)?.into_link())).collect()
}

/// Enters the types into the image and lets their schemas leave the arena, so that all of it is free.
///
/// # Errors
///
/// The heap's.
pub fn enter_types<M: Medium, P: Policy>(heap: &Small<'_, M, P>, arena: usize) -> Result<()> {
    drop(heap.allocate(0u32).map_err(text)?);
    drop(heap.allocate_slice_with(8, |_| 0u8).map_err(text)?);
    heap.commit().map_err(text)?;
    // An object as large as the arena drives them out.
    let all = largest_slice(arena).ok_or_else(|| anyhow!("the arena is too small"))?;
    drop(heap.allocate_slice_with(all, |_| 0u8).map_err(text)?);
    heap.commit().map_err(text)?;
    Ok(())
}
