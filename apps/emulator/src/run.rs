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
    /// A line of its log that contains this.
    pub text: Option<String>,
}

/// Runs firmware and prints its log until Ctrl-C, or `until`; then cuts power. It fails if the time is up before the lines or the text.
pub fn run(board: Board, elf: &Path, memory: &Path, pace: u32, until: &Until) -> Result<()> {
    let interrupted = Arc::new(AtomicBool::new(false));
    signal_hook::flag::register(signal_hook::consts::SIGINT, interrupted.clone())?;
    signal_hook::flag::register(signal_hook::consts::SIGTERM, interrupted.clone())?;
    signal_hook::flag::register(signal_hook::consts::SIGHUP, interrupted.clone())?;
    println!("{}: {} with its memory in {}; Ctrl-C cuts power", board.name(), elf.display(), memory.display());
    let mut machine = Machine::new(board, elf, memory, Time::Real, pace)?;
    machine.run()?;
    let start = Instant::now();
    let (mut lines, mut found) = (0, false);
    while !interrupted.load(Ordering::SeqCst)
        && until.seconds.is_none_or(|seconds| start.elapsed().as_secs_f64() < seconds)
        && until.lines.is_none_or(|limit| lines < limit)
        && !found
    {
        match machine.lines.recv_timeout(Duration::from_millis(50)) {
            Ok(line) => {
                lines += 1;
                found = until.text.as_ref().is_some_and(|text| line.contains(text));
                // Whoever reads it may go away.
                if writeln!(std::io::stdout(), "{line}").is_err() {
                    interrupted.store(true, Ordering::SeqCst);
                }
            }
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => anyhow::bail!("the emulator has ended by itself"),
        }
    }
    let unfinished = until.lines.is_some_and(|limit| lines < limit) || until.text.is_some();
    let too_slow = unfinished && !found && !interrupted.load(Ordering::SeqCst);
    machine.cut()?;
    while let Ok(line) = machine.lines.recv() {
        let _ = writeln!(std::io::stdout(), "{line}");
    }
    let _ = writeln!(std::io::stdout(), "power is cut; run it again, and it goes on");
    match &until.text {
        Some(text) if too_slow => anyhow::bail!("{lines} lines, none with \"{text}\", until the end"),
        None if too_slow => anyhow::bail!("only {lines} lines until the end"),
        _ => Ok(()),
    }
}
