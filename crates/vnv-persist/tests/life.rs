//! Random lives against the model, without cuts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

#[test]
fn lives_equal_their_model() {
    let lives = if cfg!(miri) { 1 } else { 500 };
    let steps = if cfg!(miri) { 25 } else { 500 };
    for seed in 1..=lives {
        common::record(seed * 7919, steps);
    }
}
