//! What was wrong once, each with the least that shows it: each of these failed.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod arena;
#[path = "../common/forge.rs"]
mod forge;
mod geometry;
mod interleavings;
mod objects;
mod ownership;
mod power_fail;
mod records;
mod unwinding;
