//! The counter on the host.

use anyhow::Result;
use board::host::{Host, storage};
use clap::Parser;
use std::path::PathBuf;

/// A count that outlives power: run it, cut it, run it again
#[derive(Parser)]
struct Arguments {
    /// A file that stands for an FRAM of 8 KiB; it is made if it is not there
    #[arg(default_value = "counter.fram")]
    file: PathBuf,
    /// Steps until it ends
    #[arg(default_value_t = 5)]
    steps: u32,
}

fn main() -> Result<()> {
    let Arguments { file, steps } = Arguments::parse();
    Ok(counter::run(storage(&file, 8192)?, &mut Host::new(steps))?)
}
