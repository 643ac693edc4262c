#![doc = include_str!("../README.md")]

mod bus_counters;
mod chip;
mod fram;
mod shared_storage;
mod tear;
mod tear_storage;
mod violation;

pub use bus_counters::BusCounters;
pub use fram::{BusError, Fram, SimBus, SimChipSelect, SimDelay};
pub use shared_storage::SharedStorage;
pub use tear::{Garbage, Tear};
pub use tear_storage::{Counters, TearError, TearStorage};
pub use violation::Violation;
