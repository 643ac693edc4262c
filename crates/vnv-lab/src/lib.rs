#![doc = include_str!("../README.md")]
#![allow(clippy::indexing_slicing)]

pub mod access;
pub mod check;
pub mod device;
pub mod faults;
pub mod fuzz;
pub mod journal;
pub mod life;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod op;
pub mod player;
pub mod point;
pub mod recording;
pub mod report;
pub mod state;
pub mod sweep;
pub mod types;
