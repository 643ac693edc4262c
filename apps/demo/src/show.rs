//! Kills the program, reopens its storage, checks it, and shows what came back.

use crate::Arguments;
use crate::life::{ARENA_WORDS, HELD, Ram, check, open};
use anyhow::{Context, Result, bail};
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use vnv_storage::FileStorage;

/// What a life of the program acknowledged.
#[derive(Default)]
struct Acknowledged {
    round: u32,
    transactions: u64,
    bytes: u64,
}

pub fn run(arguments: &Arguments) -> Result<bool> {
    let (file, temporary) = match &arguments.file {
        Some(file) => (file.clone(), false),
        None => (std::env::temp_dir().join(format!("vnv-demo-{}.fram", std::process::id())), true),
    };
    drop(FileStorage::create(&file, 8192).with_context(|| format!("{} cannot be created", file.display()))?);
    let result = show(arguments, &file);
    if temporary {
        let _ = std::fs::remove_file(&file);
    }
    result
}

fn show(arguments: &Arguments, file: &Path) -> Result<bool> {
    println!(
        "A program keeps {HELD} bytes of objects on a simulated 8 KiB FRAM, with an arena of {} bytes of RAM",
        ARENA_WORDS * 8
    );
    println!(
        "(and {} bytes of tables). Each round changes three blocks, a note and the ledger in one",
        size_of::<Ram>() - ARENA_WORDS * 8
    );
    println!(
        "transaction. Power is cut {} times: by SIGKILL, and inside a burst so that a row turns to garbage.",
        arguments.cuts
    );
    println!("After each cut the storage is opened anew, and every byte is compared with what it must be.\n");
    println!(
        "{:>4}  {:<26} {:>12} {:>14} {:>10} {:>12}  came back",
        "cut", "how", "acknowledged", "transactions", "bytes", "open reads"
    );
    let mut random = arguments.seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1;
    let mut next = |below: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        (random >> 20) % below
    };
    let (mut acknowledged, mut wrong, mut ahead) = (0, 0, 0);
    for cut in 1..=arguments.cuts {
        let inside = cut % 2 == 0;
        let cut_after = inside.then(|| 2_000 + next(60_000));
        let pause = Duration::from_millis(40 + next(160));
        let how = match cut_after {
            Some(byte) => format!("power cut at byte {byte}"),
            None => format!("SIGKILL after {} ms", pause.as_millis()),
        };
        let life = live_and_die(file, cut_after, pause)?;
        acknowledged = life.round.max(acknowledged);
        let mut memory = Ram::new();
        let heap = open(FileStorage::open(file)?, &mut memory, None)?;
        let reads = heap.with_device(|device| device.transactions)?;
        let outcome = match check(&heap) {
            Ok(found) => {
                let found = found.unwrap_or(0);
                if found == acknowledged {
                    format!("round {found}: the last commit")
                } else if found == acknowledged + 1 {
                    ahead += 1;
                    acknowledged = found;
                    format!("round {found}: the commit that was running, whole")
                } else {
                    wrong += 1;
                    format!("round {found}: WRONG, {acknowledged} was acknowledged")
                }
            }
            Err(error) => {
                wrong += 1;
                format!("WRONG: {error:#}")
            }
        };
        println!(
            "{cut:>4}  {how:<26} {:>12} {:>14} {:>10} {reads:>12}  {outcome}",
            life.round, life.transactions, life.bytes
        );
    }
    println!(
        "\n{} rounds survived {} power cuts; {ahead} cuts fell into a commit that was already complete.",
        acknowledged, arguments.cuts
    );
    if wrong == 0 {
        println!("VERDICT: nothing acknowledged was lost, nothing was mixed.");
    } else {
        println!("VERDICT: FAILED: {wrong} of {} reopenings were wrong.", arguments.cuts);
    }
    Ok(wrong == 0)
}

/// Starts the program, and kills it or waits until its power is cut.
fn live_and_die(file: &Path, cut_after: Option<u64>, pause: Duration) -> Result<Acknowledged> {
    let program: PathBuf = std::env::current_exe()?;
    let mut command = Command::new(program);
    command.arg("--child").arg("--file").arg(file).stdout(Stdio::piped());
    if let Some(byte) = cut_after {
        command.arg("--cut-after").arg(byte.to_string());
    }
    let mut child = command.spawn()?;
    let output = child.stdout.take().context("the program's output is piped")?;
    let reader = std::thread::spawn(move || {
        let mut last = Acknowledged::default();
        for line in BufReader::new(output).split(b'\n').map_while(Result::ok) {
            // A line that was cut by the kill has no third number, or is shorter than the one before.
            let text = String::from_utf8_lossy(&line).into_owned();
            let numbers: Vec<u64> = text.split(' ').filter_map(|number| number.parse().ok()).collect();
            if let [round, transactions, bytes] = numbers[..] {
                last = Acknowledged { round: round as u32, transactions, bytes };
            }
        }
        last
    });
    if cut_after.is_some() {
        wait(&mut child)?;
    } else {
        std::thread::sleep(pause);
        child.kill()?;
        child.wait()?;
    }
    reader.join().map_err(|_| anyhow::anyhow!("the reader failed"))
}

fn wait(child: &mut Child) -> Result<()> {
    let start = Instant::now();
    while child.try_wait()?.is_none() {
        if start.elapsed() > Duration::from_secs(60) {
            child.kill()?;
            bail!("the program did not reach its power cut within a minute");
        }
        std::thread::sleep(Duration::from_millis(2));
    }
    Ok(())
}
