//! Emulated boards, as `cargo xtask run` and `cargo xtask cut` use them.

mod boards;
mod cut;
mod gdb;
mod log;
mod machine;
mod qmp;
mod run;

use anyhow::Result;
use boards::Board;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// Runs firmware on emulated boards, and cuts their power
#[derive(Parser)]
#[command(disable_help_subcommand = true)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Runs firmware and prints its log; at the end power is cut
    Run {
        /// The board
        board: Board,
        /// The firmware
        elf: PathBuf,
        /// The memory file; it is made if it is not there
        #[arg(long)]
        memory: PathBuf,
        /// Milliseconds of each pause of the application
        #[arg(long, default_value_t = 250)]
        pace: u32,
        /// Seconds until power is cut; without it: Ctrl-C
        #[arg(long)]
        seconds: Option<f64>,
        /// Lines of its log until power is cut
        #[arg(long)]
        lines: Option<u32>,
        /// Power is cut at the first line that contains this
        #[arg(long, conflicts_with = "lines")]
        until: Option<String>,
    },
    /// Cuts power again and again, at random and at chosen bytes on the bus, and checks each time what is left
    Cut {
        /// The board
        board: Board,
        /// The firmware; its name says what to check: `counter` or `persist`
        elf: PathBuf,
        /// Cuts
        #[arg(long, default_value_t = 100)]
        cuts: u32,
        /// Seed of the instants
        #[arg(long, default_value_t = 1)]
        seed: u64,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Run { board, elf, memory, pace, seconds, lines, until } => {
            run::run(board, &elf, &memory, pace, &run::Until { seconds, lines, text: until })
        }
        Command::Cut { board, elf, cuts, seed } => cut::run(board, &elf, cuts, seed),
    }
}
