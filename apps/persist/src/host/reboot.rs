//! Reboot: a child is killed as soon as its snapshot is there, and another one opens the same file.

use anyhow::{Context, Result, bail, ensure};
use board::host::{Host, storage};
use persist::STEPS;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use vnv_persist::{Outcome, PowerFail};

static POWER_FAIL: PowerFail = PowerFail::new().with_handler(saved);

/// Tells the parent which step is safe, and dies. Only what signal handlers may call.
fn saved(outcome: Outcome) {
    if outcome != Outcome::Saved {
        return;
    }
    let mut line = *b"\ndies 0000000000\n";
    let mut steps = STEPS.load(Ordering::SeqCst);
    for digit in line[6..16].iter_mut().rev() {
        *digit = b'0' + (steps % 10) as u8;
        steps /= 10;
    }
    // SAFETY: allowed in signal handlers; the line is there.
    unsafe {
        libc::write(1, line.as_ptr().cast(), line.len());
        libc::kill(libc::getpid(), libc::SIGKILL);
    }
}

/// The child.
pub fn live(file: &Path) -> Result<()> {
    let pace = Duration::from_micros(50);
    Ok(persist::run(storage(file, persist::CAPACITY)?, &mut Host::new(u32::MAX).pace(pace), &POWER_FAIL)?)
}

pub fn run(kills: u32, file: Option<PathBuf>) -> Result<()> {
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    let file = file.unwrap_or_else(|| folder.path().join("persist.fram"));
    let mut expected = None;
    let mut snapshots = 0;
    for number in 0..=kills {
        let mut child = Command::new(std::env::current_exe()?).arg("live").arg(&file).stdout(Stdio::piped()).spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("it is piped")?).lines();
        let opened = lines.next().with_context(|| format!("start {number}: the program says nothing"))??;
        let words: Vec<&str> = opened.split(' ').collect();
        let ["opened", steps, snapshot] = words[..] else { bail!("start {number}: `{opened}`") };
        let steps: u64 = steps.parse()?;
        snapshots += u32::from(snapshot == "1");
        if let Some(expected) = expected {
            ensure!(steps == expected, "start {number}: {steps} steps are there, {expected} were saved");
        }
        lines.next().context("it is ready")??;
        // Somewhere in its work.
        std::thread::sleep(Duration::from_micros(500 + u64::from(number) * 7919 % 20_000));
        // SAFETY: the child is not waited for yet, so that its number is its own.
        unsafe { libc::kill(child.id() as libc::pid_t, libc::SIGUSR1) };
        let mut saved = None;
        for line in lines {
            saved = line?.strip_prefix("dies ").map(str::to_string).or(saved);
        }
        let saved: u64 = saved.context("the program dies without having saved")?.parse()?;
        expected = Some(saved);
        child.wait()?;
        if number % 50 == 0 {
            eprintln!("{number} of {kills} kills, {saved} steps");
        }
    }
    println!(
        "rebooted {kills} times, {snapshots} times from a snapshot, {} steps, every check passed, {:.1} s",
        expected.unwrap_or(0),
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
