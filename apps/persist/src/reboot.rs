//! Reboot: a child is killed as soon as its snapshot is there, and another one opens the same file.

use crate::workload::{CAPACITY, Ledger, Ram, STEPS, book, check, step};
use anyhow::{Context, Result, bail, ensure};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};
use vnv_persist::{Heap, Options, Outcome, PowerFail, signal::Signal};
use vnv_storage::FileStorage;

static POWER_FAIL: PowerFail = PowerFail::new().with_handler(saved);
const OPTIONS: Options = Options::new(1024);

/// Tells the parent which step is safe, and dies. Only what signal handlers may call.
fn saved(outcome: Outcome) {
    if outcome != Outcome::Saved {
        return;
    }
    let mut line = *b"saved 0000000000\n";
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
    let storage = FileStorage::open(file)?;
    let mut memory = Ram::new();
    let heap: Ledger<'_, _> = Heap::open_or_format(storage, &mut memory, OPTIONS)?;
    let book = book(&heap)?;
    let steps = check(&heap, book)?;
    STEPS.store(steps, Ordering::SeqCst);
    println!("opened {steps} {}", u8::from(heap.report().snapshot));
    // SAFETY: this thread runs the heap.
    let _signal = unsafe { Signal::new(&POWER_FAIL, libc::SIGUSR1)? };
    POWER_FAIL.protect(&heap, || {
        println!("ready");
        loop {
            step(&heap, book)?;
        }
    })?
}

pub fn run(kills: u32, file: Option<PathBuf>) -> Result<()> {
    let started = Instant::now();
    let folder = tempfile::tempdir()?;
    let file = file.unwrap_or_else(|| folder.path().join("persist.fram"));
    if !file.exists() {
        drop(FileStorage::create(&file, CAPACITY)?);
    }
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
        let saved = lines.next().context("the program dies without having saved")??;
        let saved = saved.strip_prefix("saved ").with_context(|| format!("start {number}: `{saved}`"))?;
        expected = Some(saved.parse()?);
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
