#![doc = include_str!("../README.md")]
#![cfg_attr(not(test), no_std)]

mod allocator;
mod buddy;
mod linked_list;
mod sorted_array;

pub use allocator::{OffsetAllocator, RangeError};
pub use buddy::Buddy;
pub use linked_list::LinkedList;
pub use sorted_array::SortedArray;
