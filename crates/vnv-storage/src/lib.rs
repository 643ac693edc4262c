#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

mod adapter;
mod bounds;
mod device;
#[doc(hidden)]
pub mod fault;
#[cfg(feature = "std")]
mod file;
mod ram;
mod spi;

pub use adapter::{Adapter, AdapterError};
pub use device::{Device, Pieces, Sink, StorageFault, buffered};
pub use embedded_storage;
#[cfg(feature = "std")]
pub use file::{FileError, FileStorage};
pub use ram::{RamError, RamStorage};
pub use spi::{
    AddressWidth, BlockProtect, Error, Fram, Header, Owned, OwnedSpiFram, Part, PartError, ProbeError, Shared,
    SleepError, SleepMode, SpiFram, Status, StatusError, Stop, Transport, WakeUp,
};
