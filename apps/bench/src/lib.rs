//! The workloads that earlier systems were measured with, written once for the host, for boards, for the heap and for what it is
//! compared with. On the host, with the feature `std`: the laboratory that counts traffic.

#![cfg_attr(not(feature = "std"), no_std)]

pub mod access;
pub mod baseline;
pub mod heap;
#[cfg(feature = "std")]
pub mod lab;
pub mod objects;
pub mod queue;
pub mod random;
pub mod target;
pub mod values;
pub mod workload;
