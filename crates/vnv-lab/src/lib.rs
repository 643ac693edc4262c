#![doc = include_str!("../README.md")]
#![allow(clippy::indexing_slicing)]

pub mod access;
pub mod check;
pub mod damaged;
pub mod device;
pub mod faults;
pub mod found;
pub mod fuzz;
pub mod journal;
pub mod life;
#[cfg(feature = "mutants")]
pub mod mutants;
pub mod op;
pub mod player;
pub mod point;
pub mod recording;
pub mod refine;
pub mod report;
pub mod shape;
pub mod splice;
pub mod start;
pub mod state;
pub mod steps;
pub mod stopped;
pub mod sweep;
pub mod types;
