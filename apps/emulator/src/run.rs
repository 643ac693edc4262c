//! Running firmware for a person to watch.

use crate::boards::{Board, Time};
use crate::machine::Machine;
use anyhow::Result;
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

/// How long it runs.
pub struct Until {
    /// Seconds of our time.
    pub seconds: Option<f64>,
    /// Lines of its log.
    pub lines: Option<u32>,
}

/// Runs firmware and prints its log until Ctrl-C, or `until`; then cuts power.
pub fn run(board: Board, elf: &Path, memory: &Path, pace: u32, until: &Until) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone())?;
    signal_hook::flag::register(signal_hook::consts::SIGTERM, interrupted.clone())?;
    signal_hook::flag::register(signal_hook::consts::SIGHUP, interrupted.clone())?;
    println!("{}: {} with its memory in {}; Ctrl-C cuts power", board.name(), elf.display(), memory.display());
    let mut machine = Machine::new(board, elf, memory, Time::Real, pace)?;
    machine.run()?;
    let start = Instant::now();
    let mut lines = 0;
    while !interrupted.load(Ordering::SeqCst)
        && until.seconds.is_none_or(|seconds| start.elapsed().as_secs_f64() < seconds)
        && until.lines.is_none_or(|limit| lines < limit)
    {
        match machine.lines.recv_timeout(Duration::from_millis(50)) {
            // Whoever reads it may go away.
            Ok(line) if writeln!(std::io::stdout(), "{line}").is_err() => break,
            Ok(_) => lines += 1,
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the emulator has ended by itself"),
        }
    }
    machine.cut()?;
    while let Ok(line) = machine.lines.recv() {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let _ = writeln!(std::io::stdout(), "power is cut; run it again, and it goes on");
    Ok(())
}
