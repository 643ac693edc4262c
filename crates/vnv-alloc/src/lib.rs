#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

mod allocator;
mod buddy;
mod first_fit;

pub use allocator::{OffsetAllocator, RangeError};
pub use buddy::Buddy;
pub use first_fit::FirstFit;
