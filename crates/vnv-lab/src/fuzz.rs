//! What the fuzz targets do with arbitrary bytes, the first of which says what the storage holds before. Each function
//! panics on a violation, and only then.

// A panic is how a fuzz target reports.
#![allow(clippy::panic)]

use crate::check::{Checker, Expected, Extent, Suspect};
use crate::device::{Recorder, SpiPart, Write, torn};
use crate::found::{Found, found};
use crate::journal::{Journal, at};
use crate::life::Life;
use crate::op::Op;
use crate::player::play;
use crate::point::Point;
use crate::refine::{Traffic, refine};
use crate::shape::Shape;
use crate::start::{Start, after};
use crate::state::{Held, State, Unreadable, extract};
use crate::stopped::Stopped;
use crate::types::{LabHeap, Ram};
use std::sync::Arc;
use std::sync::OnceLock;
use vnv_persist::{Heap, Options, format, verify};
use vnv_sim::{Fram, Tear};

/// What the storage may hold before: the first one is a new part.
const STARTS: [&str; 10] = [
    "ff",
    "00",
    "noise 7",
    "{ new 0 1; count 0 2; commit; set 0 3; commit; count 1 4; snapshot; halt }",
    "{ count 0 1; commit; count 0 2; commit; count 0 3; commit; count 0 4; commit; count 0 5; commit; count 0 6; commit; count 0 7; commit; count 0 8; commit; count 0 9; commit; count 0 10; commit; count 0 11; commit }",
    "{ log 96; new 0 1; blob 0 20; commit; mark 2; commit; set 0 3; snapshot; halt }",
    "{ dirty 480; log 200; settings 1 2; new 1 1; commit; count 3 4; commit }",
    "{ new 0 1; commit; format } last1.5@T2-ones",
    "{ new 0 1; commit; format dirty 480 } last2.3@T3-noise",
    "{ start { log 96; mark 1; commit; snapshot }; count 0 1; commit; set 0 2; commit } stray40@noise",
];

fn start(byte: u8, life: &Life) -> Start {
    let text = STARTS[usize::from(byte) % STARTS.len()];
    Start::parse(text, life).unwrap_or_else(|error| panic!("{error}"))
}

/// Bytes taken from the front, zeros when there are none left.
struct Bytes<'b>(&'b [u8]);

impl Bytes<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.0.split_first() else { return 0 };
        self.0 = rest;
        *first
    }

    fn half(&mut self) -> u16 {
        u16::from_le_bytes([self.byte(), self.byte()])
    }

    fn op(&mut self) -> Op {
        let (kind, slot, value) = (self.byte(), self.byte() % 8, u32::from(self.byte()));
        match kind % 25 {
            0 => Op::New(slot, value),
            1 => Op::Push(slot, value),
            2 => Op::Pop(slot),
            3 | 4 => Op::Set(slot, value),
            5 => Op::Blob(slot, value as u16 % 80),
            6 => Op::Drop(slot),
            7 => Op::Count(value as u8 % 48, u32::from(self.byte())),
            8 => Op::Span(value as u8 % 48, slot * 3, u32::from(kind)),
            9 => Op::Mark(value),
            10 => Op::Unmark,
            11 => Op::Settings(value as u16, u16::from(slot)),
            12 => Op::Migrate,
            13 => Op::Read(slot),
            14 => Op::Evict(slot),
            15 => Op::Held(slot, value),
            16 => Op::Collect,
            17 | 18 => Op::Commit,
            19 => Op::Snapshot,
            20 => Op::Reopen,
            21 => Op::Begin,
            22 => {
                if slot % 3 == 0 {
                    Op::Rollback
                } else {
                    Op::End
                }
            }
            23 => Op::Busfail(slot % 4, value as u8),
            // With the life's own layout, or one of two others.
            _ => match slot % 3 {
                0 => Op::Format(0, 0),
                1 => Op::Format(0, 96),
                _ => Op::Format(400 + 8 * value % 240, 0),
            },
        }
    }

    fn ops(&mut self, most: usize) -> Vec<Op> {
        let mut ops = Vec::new();
        while ops.len() < most && self.0.len() > 4 {
            ops.push(self.op());
        }
        ops
    }
}

/// Lives whose last images are changed: on a new part, and on used ones.
fn references() -> &'static [(Shape, Vec<u8>)] {
    static IMAGES: OnceLock<Vec<(Shape, Vec<u8>)>> = OnceLock::new();
    IMAGES.get_or_init(|| {
        let ops = "new 0 1; blob 0 20; count 3 4; settings 1 2; commit; set 0 2; mark 3; commit; count 5 6; snapshot; halt";
        let former = "{ new 0 7; blob 0 24; count 3 9; settings 5 6; commit; set 0 8; mark 5; commit; count 5 7; commit; snapshot }";
        let other = "{ dirty 400; log 80; new 0 7; count 3 9; commit; set 0 8; mark 5; commit; snapshot }";
        let texts = [
            format!("capacity 2560; {ops}"),
            format!("capacity 2560; start {former}; {ops}"),
            format!("capacity 2560; start {other}; {ops}"),
            format!("capacity 2560; {ops}; format"),
        ];
        let image = |text: &String| {
            let life = Life::parse("reference", text).unwrap_or_else(|error| panic!("{error}"));
            let start = Start::after(life.clone(), &[]);
            let begun = start.begin(&life).unwrap_or_else(|what| panic!("{what}"));
            (life.shape(), begun.image)
        };
        texts.iter().map(image).collect()
    })
}

/// Arbitrary bytes as an image, or changes of a valid one: `open` and `verify` end, read at most twice the capacity
/// (and each object once more), and what opens can be read and committed. What does not open can be formatted, and is
/// empty then.
pub fn image(data: &[u8]) {
    let mut bytes = Bytes(data);
    let kind = bytes.byte();
    let references = references();
    let (shape, valid) = &references[usize::from(kind / 4) % references.len()];
    // The program may be one of another layout.
    let shape = Shape { log: if kind >= 0xC0 { 80 } else { shape.log }, ..*shape };
    let mut image = valid.clone();
    if kind.is_multiple_of(4) {
        image.fill(0);
        image.iter_mut().zip(bytes.0).for_each(|(to, from)| *to = *from);
    } else {
        while bytes.0.len() > 2 {
            let at = usize::from(bytes.half()) % image.len();
            image[at] = bytes.byte();
        }
    }
    let (recorder, storage, _) = Recorder::new(image.clone(), shape.row);
    let mut memory = Ram::new();
    let _ = verify(recorder, &mut memory, shape.options(), &mut |_| {});
    let read = storage.borrow().total_read() as usize;
    assert!(read <= 2 * image.len(), "verify reads {read} bytes");
    assert_eq!(storage.borrow().total_written(), 0, "verify writes");
    let (recorder, storage, _) = Recorder::new(image.clone(), shape.row);
    let mut memory = Ram::new();
    let opened: Result<LabHeap<'_, Recorder>, _> = Heap::open(recorder, &mut memory, shape.options());
    let read = storage.borrow().total_read() as usize;
    assert!(read <= 2 * image.len(), "open reads {read} bytes");
    if let Ok(heap) = opened {
        let _ = extract(&heap, shape);
        let _ = heap.allocate(7u32).map(|owned| heap.set_root("mark", Some(owned.into_link())));
        let _ = heap.commit();
        let _ = heap.collect();
        let _ = heap.snapshot();
        return;
    }
    let (mut recorder, storage, _) = Recorder::new(storage.borrow().image().to_vec(), shape.row);
    format(&mut recorder, &mut Ram::new(), shape.options()).unwrap_or_else(|error| panic!("format: {error:?}"));
    match found(Recorder::new(storage.borrow().image().to_vec(), shape.row).0, shape) {
        Found::State(state) if state == State::empty(shape) => {}
        other => panic!("a formatted storage holds {other:?}"),
    }
}

/// A sequence of operations, cut at some byte of some write under some tear, reopened, gone on with.
pub fn operations(data: &[u8]) {
    let mut bytes = Bytes(data);
    let before = bytes.byte();
    let (write, byte, tear) = (bytes.half(), bytes.byte(), bytes.byte());
    let (capacity, row) = match bytes.byte() % 4 {
        0 => (2560, 8),
        1 => (4096, 8),
        2 => (4096, 4),
        _ => (8192, 32),
    };
    let mut life = Life::new("fuzzed", bytes.ops(60));
    (life.capacity, life.row) = (capacity, row);
    life.options.dirty_limit = if row == 32 { 640 } else { 320 };
    life.start = start(before, &life);
    let begun = life.start.begin(&life).unwrap_or_else(|what| panic!("{what}; the life: {life}"));
    let (recorder, storage, tape) = Recorder::new(begun.image.clone(), row);
    tape.recording.set(true);
    let position = || tape.position.get();
    let journal = Journal::new(begun.state, 0, &position);
    if let Err(stopped) = play(recorder, &life, 0, &journal, true) {
        panic!("{}; the life: {life}", stopped.what());
    }
    drop(storage);
    // What is damaged so that it is refused has no state that a cut format could bring back.
    let (untouched, ..) = Recorder::new(begun.image.clone(), row);
    if matches!(found(untouched, life.shape_at(0)), Found::Unreadable(_)) {
        return;
    }
    let writes = tape.writes.take();
    let number = usize::from(write) % writes.len().max(1);
    let Some(cut) = writes.get(number) else { return };
    let tears: Vec<Tear> = Tear::of_writes().collect();
    let tear = tears[usize::from(tear) % tears.len()];
    let byte = usize::from(byte) % cut.bytes.len().max(1);
    let image = torn(&after(&begun.image, &writes[..number]), row, cut, byte, tear);
    let states: Vec<Arc<State>> = journal.states.take().into_iter().map(Arc::new).collect();
    let numbered: Vec<(usize, Write)> = writes.iter().cloned().enumerate().collect();
    let formats = journal.formats();
    let traffic = Traffic { image: &begun.image, writes: &numbered, formats: &formats, states: &states };
    let moments = refine(&life, &traffic, journal.moments()).unwrap_or_else(|what| panic!("{what}; the life: {life}"));
    let Expected { legal, former, op } = Expected::of(&at(&moments, number), &states);
    let path = vec![Point::GoingOn(number, byte, tear)];
    // Second cuts, which take a hundred times as long, for some.
    let depth = if byte % 16 == 0 { 2 } else { 1 };
    let extent = Extent { depth, rung: None, full: false, coarse: false, sparse: 1, only: None };
    let checker = Checker::new(&life, &extent, true);
    checker.check(&Suspect { image, legal, former, older: Vec::new(), op, path, number: 0 });
    let violations = checker.violations.lock().map(|found| found.clone()).unwrap_or_default();
    assert!(violations.is_empty(), "{violations:?}; the life: {life}");
}

/// The conversation with the part fails in every way a bus can: bytes and edges that fail, lines that are stuck, the
/// wrong part. Afterwards the storage opens to a state that was, or to a typed error.
pub fn conversation(data: &[u8]) {
    let mut bytes = Bytes(data);
    let before = bytes.byte();
    let life = Life::new("fuzzed", Vec::new());
    let begun = start(before, &life).begin(&life).unwrap_or_else(|what| panic!("{what}"));
    let part = life.part();
    let fram = Fram::from_image(part, begun.image);
    let foreign = part.with_id([bytes.byte(), 0x7F, 3, 2]);
    if SpiPart::new(&fram, foreign).is_ok() {
        panic!("a part without an id passes for another one");
    }
    let position = || 0;
    let journal = Journal::new(begun.state, 0, &position);
    let Ok(mut device) = SpiPart::new(&fram, part) else { panic!("the right part is refused") };
    let mut shape = life.shape();
    journal.formatting(shape);
    format(&mut device, &mut Ram::new(), life.options).unwrap_or_else(|error| panic!("format: {error:?}"));
    journal.formatted();
    let (mut may_be_damaged, mut was_stuck) = (false, false);
    for _ in 0..8 {
        if bytes.0.len() < 8 {
            break;
        }
        let (kind, after) = (bytes.byte(), u64::from(bytes.half()));
        match kind % 6 {
            0 => fram.fail_bus_after_bytes(after),
            // With chip select stuck low, what follows is written as data.
            1 => {
                fram.fail_chip_select_at(after % 64);
                may_be_damaged = true;
            }
            // Records are read twice when the storage is opened, and checked the first time only.
            2 => {
                fram.stick_miso(kind & 0x40 != 0, after);
                was_stuck = true;
            }
            3 => {
                fram.truncate_next_write(usize::from(after as u8));
                may_be_damaged = true;
            }
            4 => fram.set_write_protect_low(kind & 0x40 != 0),
            _ => {}
        }
        let mut round = Life::new("fuzzed", bytes.ops(12));
        round.options = Options { ..shape.options() };
        // The first operation would format.
        match play(device, &round, 1, &journal, true) {
            Err(Stopped::Violation(what)) if what.contains("mixture") => panic!("{what}"),
            // What else it says does not matter here: in any case the program starts again.
            _ => match restart(&fram, &journal, &life, may_be_damaged || was_stuck) {
                Some((after, found)) => (device, shape) = (after, found),
                None => return,
            },
        }
    }
}

/// Power cycles the part: what opens is a state that was. A storage that is to be formatted is.
fn restart(fram: &Fram, journal: &Journal<'_>, life: &Life, may_be_damaged: bool) -> Option<(SpiPart, Shape)> {
    fram.power_on();
    journal.in_transaction.set(false);
    let part = || SpiPart::new(fram, life.part()).unwrap_or_else(|error| panic!("{error}"));
    // The newest layout first, as the program that formatted last has it.
    let mut shapes: Vec<Shape> = journal.states.borrow().iter().rev().filter_map(State::shape).collect();
    shapes.dedup();
    for shape in shapes {
        let state = match found(part(), shape) {
            Found::OtherLayout => continue,
            Found::State(state) => state,
            Found::Unreadable(Unreadable::Wrong(what)) => panic!("{what}"),
            Found::Unreadable(Unreadable::Error(what)) if !may_be_damaged => panic!("{what}"),
            Found::Unreadable(_) => return None,
        };
        let known = journal.resolve(&state) || (may_be_damaged && journal.states.borrow().contains(&state));
        if state.held == Held::Foreign && may_be_damaged {
            return None;
        }
        assert!(known, "found a state that never was: {state:?}");
        let blank = state.held == Held::Blank;
        *journal.now.borrow_mut() = state;
        let mut device = part();
        if blank {
            journal.formatting(shape);
            format(&mut device, &mut Ram::new(), shape.options()).unwrap_or_else(|error| panic!("format: {error:?}"));
            journal.formatted();
        }
        return Some((device, shape));
    }
    assert!(may_be_damaged, "no layout that was opens the storage");
    None
}
