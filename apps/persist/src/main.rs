//! A workload that power-fail alarms interrupt at any instruction: the desktop form of both ways back.

mod host;

use anyhow::Result;
use clap::{Parser, Subcommand};
use std::path::PathBuf;

/// A workload that survives power-fail alarms
#[derive(Parser)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Alarms (SIGUSR1) come many times a second; each overwrites the arena, and the program goes on
    Resume {
        /// Alarms until the end
        #[arg(long, default_value_t = 10_000)]
        alarms: u32,
        /// Time between two alarms in microseconds
        #[arg(long, default_value_t = 100)]
        every: u64,
    },
    /// A program is killed (SIGKILL) right after the snapshot of an alarm, and started again
    Reboot {
        /// Kills until the end
        #[arg(long, default_value_t = 200)]
        kills: u32,
        /// The storage; a temporary file by default
        #[arg(long)]
        file: Option<PathBuf>,
    },
    /// The program that `reboot` kills
    #[command(hide = true)]
    Live {
        /// The storage
        file: PathBuf,
    },
}

fn main() -> Result<()> {
    match Arguments::parse().command {
        Command::Resume { alarms, every } => host::resume::run(alarms, every),
        Command::Reboot { kills, file } => host::reboot::run(kills, file),
        Command::Live { file } => host::reboot::live(&file),
    }
}
