#![doc = include_str!("../README.md")]

mod tear;
mod tear_storage;

pub use tear::{Garbage, Tear};
pub use tear_storage::{Counters, TearError, TearStorage};
