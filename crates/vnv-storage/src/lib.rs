#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

mod device;

pub use device::Device;
pub use embedded_storage;
