//! The tour on the host.

use anyhow::Result;
use board::host::{Host, storage};
use clap::Parser;
use std::path::PathBuf;

/// A tour of the heap; each run goes on where the last one ended
#[derive(Parser)]
struct Arguments {
    /// A file that stands for an FRAM of 8 KiB; it is made if it is not there
    #[arg(default_value = "sample.fram")]
    file: PathBuf,
    /// Rounds until it ends
    #[arg(default_value_t = 8)]
    rounds: u32,
}

fn main() -> Result<()> {
    let Arguments { file, rounds } = Arguments::parse();
    Ok(sample::run(storage(&file, 8192)?, &mut Host::new(rounds))?)
}
