//! Images put together of two or three valid ones, of the same storage at other times: of other lives, other layouts.
//!
//! Whatever is found must be a typed error, or a whole state that the life had committed whose superblock is there.

use crate::device::Recorder;
use crate::journal::Journal;
use crate::life::Life;
use crate::player::play;
use crate::shape::Shape;
use crate::start::after;
use crate::state::{State, Unreadable, extract};
use crate::types::{LabHeap, Ram};
use rayon::prelude::*;
use serde::Serialize;
use std::sync::OnceLock;
use vnv_persist::{Heap, OpenError};

/// What came out of the spliced images.
#[derive(Clone, Default, Debug, Serialize)]
pub struct SpliceReport {
    /// Spliced images.
    pub images: u64,
    /// Opened, with a legal state.
    pub opened: u64,
    /// Refused, or read, with a typed error.
    pub noticed: u64,
    /// What was wrong: the number of the image, and what happened.
    pub violations: Vec<(u64, String)>,
}

/// The time between two formattings.
struct Era {
    shape: Shape,
    /// What was committed in it.
    states: Vec<State>,
}

/// A valid image.
struct Whole {
    image: Vec<u8>,
    era: usize,
}

#[derive(Default)]
struct Pool {
    eras: Vec<Era>,
    images: Vec<Whole>,
}

/// Storages that were used again and again, each from other noise on, so that all of their epochs differ. All of them
/// have the same capacity.
const CHAINS: [&str; 4] = [
    "start noise 3; new 0 1; count 0 1; commit; set 0 2; count 0 2; commit; mark 3; commit; snapshot; count 0 4; commit; format; \
     new 0 11; count 0 11; commit; set 0 12; count 0 12; commit; mark 13; commit; snapshot; count 0 14; commit; count 0 15; commit; \
     format; new 0 21; count 0 21; commit; set 0 22; snapshot; set 0 23; commit; settings 1 2; commit; count 0 24; commit",
    "start noise 5; new 0 31; count 0 31; commit; set 0 32; count 0 32; commit; mark 33; commit; snapshot; count 0 34; commit; \
     format dirty 400 log 80; new 0 41; count 0 41; commit; set 0 42; commit; mark 43; snapshot; count 0 44; commit; count 0 45; commit; \
     count 0 46; commit; count 0 47; commit; count 0 48; commit; count 0 49; commit; format; new 0 51; commit; count 0 51; commit; snapshot",
    "log 64; start { start noise 7; new 0 61; count 0 61; commit; set 0 62; commit }; count 0 71; commit; count 0 72; commit; count 0 73; commit; \
     count 0 74; commit; count 0 75; commit; count 0 76; commit; count 0 77; commit; format; count 0 81; commit; count 0 82; commit; \
     count 0 83; commit; count 0 84; commit; count 0 85; commit; count 0 86; commit; snapshot; format log 160; new 0 91; commit; set 0 92; commit",
    "row 32; dirty 640; start noise 9; new 0 101; count 0 101; commit; set 0 102; commit; snapshot; format dirty 600; new 0 111; commit; \
     set 0 112; snapshot; count 0 113; commit; mark 114; commit",
];

impl Pool {
    fn get() -> Result<&'static Self, String> {
        static POOL: OnceLock<Result<Pool, String>> = OnceLock::new();
        POOL.get_or_init(|| {
            let mut pool = Self::default();
            CHAINS.iter().try_for_each(|text| pool.add(text)).map(|()| pool)
        })
        .as_ref()
        .map_err(Clone::clone)
    }

    /// Adds what a storage held after each commit.
    fn add(&mut self, text: &str) -> Result<(), String> {
        let life = Life::parse("spliced", text).map_err(|error| error.to_string())?;
        let begun = life.start.begin(&life)?;
        let (recorder, _, tape) = Recorder::new(begun.image.clone(), life.row);
        tape.recording.set(true);
        let position = || tape.position.get();
        let journal = Journal::new(begun.state, 0, &position);
        drop(play(recorder, &life, 0, &journal, true).map_err(|stopped| stopped.what())?);
        let (writes, states) = (tape.writes.take(), journal.states.take());
        let formats = journal.formats();
        let mut newest = None;
        for moment in journal.moments().iter().filter(|moment| moment.legal.running.is_empty()) {
            let state = moment.legal.acknowledged;
            let Some(format) = formats.iter().rposition(|format| format.new <= state) else { continue };
            if newest.is_some_and(|(newest, _)| newest == state) {
                continue;
            }
            let Some(content) = states.get(state) else { continue };
            let Some(shape) = content.shape() else { continue };
            if newest.is_none_or(|(_, newest)| newest != format) {
                self.eras.push(Era { shape, states: Vec::new() });
            }
            newest = Some((state, format));
            if let Some(era) = self.eras.last_mut() {
                era.states.push(content.clone());
            }
            let image = after(&begun.image, writes.get(..moment.position).unwrap_or_default());
            self.images.push(Whole { image, era: self.eras.len() - 1 });
        }
        Ok(())
    }
}

/// Splices so many images, and opens each.
///
/// # Errors
///
/// If the valid images cannot be made.
pub fn splices(count: u64) -> Result<SpliceReport, String> {
    let pool = Pool::get()?;
    let outcomes: Vec<(u64, Result<bool, String>)> = (0..count)
        .into_par_iter()
        .map(|number| {
            let checked = std::panic::catch_unwind(|| check(pool, number));
            (number, checked.unwrap_or_else(|_| Err("panic".to_string())))
        })
        .collect();
    let mut report = SpliceReport { images: count, ..SpliceReport::default() };
    for (number, outcome) in outcomes {
        match outcome {
            Ok(true) => report.opened += 1,
            Ok(false) => report.noticed += 1,
            Err(what) => report.violations.push((number, what)),
        }
    }
    Ok(report)
}

/// Splices and opens the image with this number alone.
///
/// # Errors
///
/// What is wrong.
pub fn splice(number: u64) -> Result<bool, String> {
    check(Pool::get()?, number)
}

/// Numbers from a seed, by splitmix64.
struct Random(u64);

impl Random {
    fn below(&mut self, end: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.0 ^ self.0 >> 30).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94D0_49BB_1331_11EB);
        ((mixed ^ mixed >> 31) % end.max(1) as u64) as usize
    }
}

/// Whether the superblock of one image stands in another one, whole, as either copy.
fn names(image: &[u8], whole: &[u8], shape: Shape) -> bool {
    let second = 64usize.next_multiple_of(shape.row.max(8) as usize);
    [0, second].into_iter().any(|at| image.get(at..at + 64) == whole.get(at..at + 64))
}

fn check(pool: &Pool, number: u64) -> Result<bool, String> {
    let mut random = Random(number.wrapping_mul(0xA076_1D64_78BD_642F));
    let sources: Vec<&Whole> =
        (0..2 + random.below(2)).filter_map(|_| pool.images.get(random.below(pool.images.len()))).collect();
    let shape = pool.eras[sources[random.below(sources.len())].era].shape;
    let mut image = sources[0].image.clone();
    for _ in 0..=random.below(4) {
        // Rows, larger pieces, and whole regions.
        let grain = [8, 32, 64, 256, 568][random.below(5)];
        let source = sources[random.below(sources.len())];
        let (from, length) = (random.below(image.len() / grain), 1 + random.below(image.len() / grain));
        let range = from * grain..(from * grain + length * grain).min(image.len());
        image[range.clone()].copy_from_slice(&source.image[range]);
    }
    let (recorder, storage, _) = Recorder::new(image.clone(), shape.row);
    let mut memory = Ram::new();
    let opened: Result<LabHeap<'_, Recorder>, _> = Heap::open(recorder, &mut memory, shape.options());
    let read = storage.borrow().total_read() as usize;
    if read > 2 * image.len() {
        return Err(format!("open reads {read} bytes"));
    }
    let heap = match opened {
        Ok(heap) => heap,
        Err(OpenError::Blank) => return Err("it is taken for a blank storage".to_string()),
        Err(OpenError::Heap(error)) => return Err(format!("open: {error:?}")),
        Err(_) => return Ok(false),
    };
    let state = match extract(&heap, shape) {
        Ok(state) => state,
        Err(Unreadable::Error(_)) => return Ok(false),
        Err(Unreadable::Wrong(what)) => return Err(what),
    };
    let named = sources.iter().filter(|source| names(&image, &source.image, pool.eras[source.era].shape));
    let mut eras = named.map(|source| &pool.eras[source.era]);
    if !eras.any(|era| era.shape == shape && era.states.contains(&state)) {
        return Err(format!("found {state:?}, which no life had committed whose superblock is there"));
    }
    if heap.report().damaged.is_some() {
        return Ok(false);
    }
    drop(heap);
    go_on(storage.borrow().image().to_vec(), shape, state).map(|()| true)
}

/// A commit on what was opened: it is there afterwards, and nothing else.
fn go_on(image: Vec<u8>, shape: Shape, state: State) -> Result<(), String> {
    let mut life =
        Life::parse("behind a splice", "reopen; mark 1001; commit; reopen").map_err(|error| error.to_string())?;
    (life.capacity, life.row, life.options) = (shape.capacity, shape.row, shape.options());
    let (recorder, _, tape) = Recorder::new(image, shape.row);
    let position = || tape.position.get();
    let journal = Journal::new(state, 0, &position);
    let played = play(recorder, &life, 0, &journal, true);
    played.map(drop).map_err(|stopped| format!("going on: {}", stopped.what()))
}
