//! Random lives against the model, without cuts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

#[test]
fn lives_equal_their_model() {
    let lives = match std::env::var_os("VNV_FULL") {
        _ if cfg!(miri) => 1,
        Some(_) => 500,
        None => 150,
    };
    let steps = if cfg!(miri) { 25 } else { 500 };
    for seed in 1..=lives {
        common::record(seed * 7919, steps);
    }
}
