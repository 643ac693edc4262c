//! The tour on the host.
//!
//! `sample [FILE] [ROUNDS]` goes ROUNDS rounds (default 8) on the heap in FILE (default `sample.fram`), an 8 KiB stand-in for
//! an FRAM.

use anyhow::{Context, Result};
use board::host::{Host, storage};
use std::path::Path;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "sample.fram".into());
    let rounds = arguments.next().map_or(Ok(8), |rounds| rounds.parse()).context("ROUNDS is a number")?;
    Ok(sample::run(storage(Path::new(&file), 8192)?, &mut Host::new(rounds))?)
}
