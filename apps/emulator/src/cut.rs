//! Power is cut again and again; each time the firmware's own words and the image on the host must agree on a legal state.

use crate::boards::{Board, Time};
use crate::machine::Machine;
use anyhow::{Context, Result, bail, ensure};
use fastrand::Rng;
use std::path::Path;
use std::time::{Duration, Instant};
use vnv::{Contents, Image, verify};

/// What an application says of its state, in the lines of one life.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Said {
    /// What it found when it started.
    opened: Option<u64>,
    /// What it was told is durable.
    safe: Option<u64>,
    /// The furthest it may have come.
    begun: Option<u64>,
}

/// An application whose state is a number that only rises.
struct App {
    /// The root, and the field below it.
    root: &'static str,
    field: &'static str,
    /// Whether power-fail alarms come while it works.
    has_alarms: bool,
    /// Whether what it found when it started was durable before it said so.
    opened_is_durable: bool,
    read: fn(&str, &mut Said),
}

fn number(line: &str, before: &str) -> Option<u64> {
    line.strip_prefix(before)?.split([' ', '(']).next()?.parse().ok()
}

const COUNTER: App = App {
    root: "counter",
    field: "count",
    has_alarms: false,
    opened_is_durable: false,
    read: |line, said| {
        if line.starts_with("start number") {
            said.opened = line.rsplit(' ').next().and_then(|count| count.parse().ok());
            said.begun = said.opened.map(|count| count + 1);
        } else if let Some(count) = number(line, "counted to ") {
            said.safe = Some(count);
            said.begun = Some(count + 1);
        }
    },
};

const PERSIST: App = App {
    root: "book",
    field: "steps",
    has_alarms: true,
    opened_is_durable: true,
    read: |line, said| {
        if let Some(steps) = number(line, "opened ") {
            said.opened = Some(steps);
            said.begun = said.begun.max(Some(steps));
        } else if let Some(steps) = number(line, "begins ") {
            said.begun = Some(steps);
        } else if let Some(steps) = number(line, "committed ").or_else(|| number(line, "saved ")) {
            said.safe = said.safe.max(Some(steps));
        }
    },
};

/// Where power is cut.
#[derive(Clone, Copy, Debug)]
enum Cut {
    /// So long after power-on.
    After(Duration),
    /// So many bytes on the bus after power-on: in the recovery.
    AtByte(u32),
    /// The application is at work for so long, then so many bytes go over the bus (0: at once).
    AtWork(Duration, u32),
}

impl Cut {
    /// The next one of a sequence.
    fn draw(round: u32, random: &mut Rng) -> Self {
        let mut time = || Duration::from_micros(random.u64(..120_000));
        match round % 4 {
            0 => Self::After(time()),
            1 => Self::AtByte(1 + random.u32(..5_000)),
            // In a pause, most often.
            3 if round / 4 % 2 == 1 => Self::AtWork(time(), 0),
            _ => Self::AtWork(time(), 1 + random.u32(..1_500)),
        }
    }
}

/// Longest time until an application says its first word.
const PATIENCE: Duration = Duration::from_secs(30);

/// One life: from power-on to the cut. Returns its words, which it prints if it is `aloud`, and whether the part was selected.
fn live(
    board: Board,
    elf: &Path,
    memory: &Path,
    app: &App,
    (cut, pace): (Cut, u32),
    aloud: bool,
) -> Result<(Said, bool)> {
    let mut machine = Machine::new(board, elf, memory, Time::Fast, pace)?;
    let mut first = None;
    match cut {
        Cut::After(time) => {
            machine.run()?;
            std::thread::sleep(time);
        }
        Cut::AtByte(count) => machine.run_until_byte(count)?,
        Cut::AtWork(time, count) => {
            machine.run()?;
            first = Some(machine.lines.recv_timeout(PATIENCE).context("the firmware says nothing")?);
            std::thread::sleep(time);
            machine.run_until_byte(count)?;
        }
    }
    let is_selected = machine.cut()?;
    let mut said = Said::default();
    for line in first.into_iter().chain(std::iter::from_fn(|| machine.lines.recv().ok())) {
        if aloud {
            println!("    {line}");
        }
        ensure!(!line.starts_with("ERROR"), "the firmware says: {line}");
        (app.read)(&line, &mut said);
    }
    Ok((said, is_selected))
}

/// What the host finds in the memory file: the number, or nothing if nothing was ever made durable.
fn on_the_host(memory: &Path, app: &App) -> Result<(Option<u64>, bool)> {
    let image = match Image::read(memory) {
        Ok(image) => image,
        Err(error) if format!("{error:#}").contains("blank") => return Ok((None, false)),
        Err(error) => return Err(error),
    };
    let verdict = verify(&image)?;
    ensure!(verdict.damage.is_empty(), "`vnv verify`: {:?}", verdict.damage);
    let contents = Contents::of(&image)?;
    let value = contents.root(app.root).and_then(|object| object.value.get(app.field)?.as_u64());
    Ok((value, contents.snapshot))
}

/// Cuts power `cuts` times.
pub fn run(board: Board, elf: &Path, cuts: u32, seed: u64) -> Result<()> {
    let app = match elf.file_name().and_then(|name| name.to_str()) {
        Some("counter") => &COUNTER,
        Some("persist") => &PERSIST,
        _ => bail!("it is not known what to check of {}; `counter` and `persist` are", elf.display()),
    };
    let start = Instant::now();
    let folder = tempfile::tempdir()?;
    let memory = folder.path().join("fram.bin");
    let mut random = Rng::with_seed(seed);
    // What the last life left.
    let mut left = None;
    let (mut snapshots, mut silent, mut selected) = (0, 0, 0);
    for round in 0..cuts {
        let cut = Cut::draw(round, &mut random);
        let replay = format!("cut {round} of seed {seed}, {cut:?}");
        let aloud = round < 4;
        if aloud {
            println!("  life {round}, {cut:?}");
        }
        // In every other life there are pauses, in which alarms find the heap quiescent.
        let pace = round / 4 % 2;
        let (said, is_selected) = live(board, elf, &memory, app, (cut, pace), aloud).with_context(|| replay.clone())?;
        selected += u32::from(is_selected);
        let (found, snapshot) = on_the_host(&memory, app).with_context(|| replay.clone())?;
        snapshots += u32::from(snapshot);
        if let Some(opened) = said.opened {
            ensure!(opened == left.unwrap_or(0), "{replay}: the firmware found {opened}, the host {left:?} before");
        } else {
            silent += 1;
        }
        let opened = said.opened.filter(|_| app.opened_is_durable || left.is_some());
        let safe = said.safe.max(opened).max(left);
        let begun = said.begun.max(left).max(Some(0));
        ensure!(
            found >= safe && found <= begun,
            "{replay}: the image holds {found:?}; {safe:?} was durable, {begun:?} begun; {said:?}"
        );
        left = found;
        if (round + 1) % 25 == 0 {
            eprintln!("{} of {cuts} cuts, {} is {}", round + 1, app.field, left.unwrap_or(0));
        }
    }
    // A last life, that what the last cut left is opened too.
    let (said, _) = live(board, elf, &memory, app, (Cut::AtWork(Duration::ZERO, 1), 0), false)?;
    ensure!(
        said.opened == Some(left.unwrap_or(0)),
        "at the end the firmware found {:?}, the host {left:?}",
        said.opened
    );
    if cuts >= 50 {
        ensure!(selected > 0, "no cut fell into a frame: the cuts do not test what they shall");
        ensure!(snapshots > 0 || !app.has_alarms, "no cut left a snapshot: the cuts do not test what they shall");
    }
    println!(
        "{}: {cuts} cuts, {selected} of them inside a frame, {snapshots} left a snapshot, {silent} came before the first word; {} came \
         to {}; every image verified, every state legal; {:.1} s",
        board.name(),
        app.field,
        left.unwrap_or(0),
        start.elapsed().as_secs_f64()
    );
    Ok(())
}
