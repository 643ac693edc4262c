//! What an application needs of the thing it runs on. Applications are written against [`Board`] and a storage, and know no chip.

#![cfg_attr(not(feature = "std"), no_std)]

mod failure;
#[cfg(feature = "std")]
pub mod host;
mod log;

pub use failure::{Failure, Reason};
use vnv_persist::PowerFail;

/// A board, as an application sees it.
pub trait Board {
    /// Waits as long as the pace of the board says. `false`: the application shall end.
    fn pause(&mut self) -> bool;

    /// From now on the board's power-fail source enters `power_fail`, which protects the heap already.
    fn watch_power(&mut self, power_fail: &'static PowerFail);
}
