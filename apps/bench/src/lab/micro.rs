//! What the workloads of single operations share: a heap with an arena of any size.

use super::cost::Traffic;
use super::counting::Counting;
use super::medium::{Medium, Meter};
use super::simulated::Simulated;
use crate::objects::Narrow;
use anyhow::{Result, anyhow, ensure};
use std::fmt::Debug;
use vnv_persist::{Heap, Memory, Options, Policy};

/// Tables for all of these workloads.
type Tables = Memory<256, 224, 2, 1, 512>;
/// Bytes of storage.
const CAPACITY: u32 = 256 * 1024;

/// The heap of these workloads.
pub type Small<'m, D, P> = Heap<'m, D, Narrow<Tables>, P>;

/// An error as text: heaps on two storages have two types of them.
pub fn text(error: impl Debug) -> anyhow::Error {
    anyhow!("{error:?}")
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
