//! The counter on the host.
//!
//! `counter [FILE] [STEPS]` counts STEPS times (default 5) on the heap in FILE (default `counter.fram`), an 8 KiB
//! stand-in for an FRAM.

use anyhow::{Context, Result};
use board::host::{Host, storage};
use std::path::Path;

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "counter.fram".into());
    let steps = arguments.next().map_or(Ok(5), |steps| steps.parse()).context("STEPS is a number")?;
    Ok(counter::run(storage(Path::new(&file), 8192)?, &mut Host::new(steps))?)
}
