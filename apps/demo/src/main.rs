//! A program on a simulated 8 KiB FRAM is killed again and again, and goes on: the heap at work.

mod device;
mod life;
mod show;

use anyhow::Result;
use clap::Parser;
use std::path::PathBuf;
use std::process::ExitCode;

/// A program whose objects total more than its RAM is killed at random moments; each reopening is checked.
#[derive(Parser)]
#[command(name = "demo")]
pub struct Arguments {
    /// How often power is cut
    #[arg(long, default_value_t = 16)]
    cuts: u32,
    /// Where the simulated FRAM is kept; must not exist yet [default: a file among the temporary ones]
    #[arg(long)]
    file: Option<PathBuf>,
    /// Seed of the moments at which power is cut
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Runs the program itself, until it is killed
    #[arg(long, hide = true)]
    child: bool,
    /// Cuts power inside the burst that writes this byte
    #[arg(long, hide = true)]
    cut_after: Option<u64>,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let result: Result<bool> = match (&arguments.file, arguments.child) {
        (Some(file), true) => life::run(file, arguments.cut_after).map(|()| true),
        _ => show::run(&arguments),
    };
    match result {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("demo: {error:#}");
            ExitCode::FAILURE
        }
    }
}
