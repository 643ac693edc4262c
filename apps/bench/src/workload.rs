//! The workloads, for whatever keeps values or items.

use crate::access::{Accesses, Pattern};
use crate::random::Random;

/// Bytes of an item of the queue.
pub const ITEM: usize = 256;
/// Items that the queue is prefilled with at most.
pub const LONGEST: usize = 32;

/// What keeps 256 values that are replaced as a whole.
pub trait Values {
    /// Why an operation failed.
    type Error;

    /// Replaces the value of `key`: `fill` is given all of its bytes.
    ///
    /// # Errors
    ///
    /// The system's.
    fn update(&mut self, key: usize, fill: &mut dyn FnMut(&mut [u8])) -> Result<(), Self::Error>;

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// The system's.
    fn commit(&mut self) -> Result<(), Self::Error>;
}

/// What keeps items of [`ITEM`] bytes, first in, first out, at least [`LONGEST`] and one more.
pub trait Fifo {
    /// Why an operation failed.
    type Error;

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// The system's.
    fn push(&mut self, item: &[u8; ITEM]) -> Result<(), Self::Error>;

    /// Takes the oldest item out; `false`: there is none.
    ///
    /// # Errors
    ///
    /// The system's.
    fn pop(&mut self, item: &mut [u8; ITEM]) -> Result<bool, Self::Error>;

    /// Makes everything durable.
    ///
    /// # Errors
    ///
    /// The system's.
    fn commit(&mut self) -> Result<(), Self::Error>;
}

/// Updates values with random bytes, and commits each `commit` updates, or never.
///
/// # Errors
///
/// The system's.
pub fn update<V: Values>(
    values: &mut V,
    (pattern, seed): (Pattern, u64),
    updates: u32,
    commit: Option<u32>,
) -> Result<(), V::Error> {
    Updates::new(pattern, seed).run(values, updates, commit)
}

/// Updates that go on where the last ones ended.
pub struct Updates {
    keys: Accesses,
    contents: Random,
}

impl Updates {
    /// From the beginning of a pattern.
    #[must_use]
    pub const fn new(pattern: Pattern, seed: u64) -> Self {
        Self { keys: Accesses::new(pattern, seed), contents: Random::new(!seed) }
    }

    /// The next ones, as [`update`] makes them.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn run<V: Values>(&mut self, values: &mut V, updates: u32, commit: Option<u32>) -> Result<(), V::Error> {
        for (number, key) in (1..=updates).zip(&mut self.keys) {
            values.update(key, &mut |bytes| self.contents.fill(bytes))?;
            if commit.is_some_and(|commit| number % commit == 0) {
                values.commit()?;
            }
        }
        Ok(())
    }
}

/// A queue at work: what it should hold is known at any time.
#[derive(Debug)]
pub struct Passing {
    pushed: Random,
    popped: Random,
    /// Items that came out otherwise than they went in, or not at all.
    pub wrong: u32,
}

impl Passing {
    /// With contents of this seed.
    #[must_use]
    pub const fn new(seed: u64) -> Self {
        Self { pushed: Random::new(seed), popped: Random::new(seed), wrong: 0 }
    }

    /// Appends an item.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn push<F: Fifo>(&mut self, queue: &mut F) -> Result<(), F::Error> {
        let mut item = [0; ITEM];
        self.pushed.fill(&mut item);
        queue.push(&item)
    }

    /// Takes the oldest item out, and looks whether it is the right one.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn pop<F: Fifo>(&mut self, queue: &mut F) -> Result<(), F::Error> {
        let (mut item, mut expected) = ([0; ITEM], [0; ITEM]);
        self.popped.fill(&mut expected);
        let found = queue.pop(&mut item)?;
        self.wrong += u32::from(!found || item != expected);
        Ok(())
    }

    /// Pushes and pops, and commits each `commit` times, or never.
    ///
    /// # Errors
    ///
    /// The system's.
    pub fn run<F: Fifo>(&mut self, queue: &mut F, times: u32, commit: Option<u32>) -> Result<(), F::Error> {
        for number in 1..=times {
            self.push(queue)?;
            self.pop(queue)?;
            if commit.is_some_and(|commit| number % commit == 0) {
                queue.commit()?;
            }
        }
        Ok(())
    }
}
