//! What the fuzz targets do with arbitrary bytes. Each function panics on a violation, and only then.

// A panic is how a fuzz target reports.
#![allow(clippy::panic)]

use crate::check::{Checker, Extent, Suspect};
use crate::device::{Recorder, SpiPart, torn};
use crate::journal::{Journal, at};
use crate::life::Life;
use crate::op::Op;
use crate::player::{Stopped, play};
use crate::point::Point;
use crate::recording::record;
use crate::state::{State, Unreadable, extract};
use crate::types::{LabHeap, Ram};
use std::sync::Arc;
use std::sync::OnceLock;
use vnv_persist::{Heap, format, verify};
use vnv_sim::{Fram, Tear};

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
        match kind % 24 {
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
            _ => Op::Busfail(slot % 4, value as u8),
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

fn reference() -> &'static (Life, Vec<u8>) {
    static IMAGE: OnceLock<(Life, Vec<u8>)> = OnceLock::new();
    IMAGE.get_or_init(|| {
        let text = "capacity 2560; new 0 1; blob 0 20; count 3 4; settings 1 2; commit; set 0 2; mark 3; commit; count 5 6; snapshot";
        let life = Life::parse("reference", text).unwrap_or_else(|error| panic!("{error}"));
        let image = record(&life).unwrap_or_else(|what| panic!("{what}")).image;
        (life, image)
    })
}

/// Arbitrary bytes as an image, or changes of a valid one: `open` and `verify` end, read at most twice the capacity
/// (and each object once more), and what opens can be read and committed.
pub fn image(data: &[u8]) {
    let (life, valid) = reference();
    let mut bytes = Bytes(data);
    let mut image = valid.clone();
    if bytes.byte() % 4 == 0 {
        image.fill(0);
        image.iter_mut().zip(bytes.0).for_each(|(to, from)| *to = *from);
    } else {
        while bytes.0.len() > 2 {
            let at = usize::from(bytes.half()) % image.len();
            image[at] = bytes.byte();
        }
    }
    let (recorder, storage, _) = Recorder::new(image.clone(), life.row);
    let mut memory = Ram::new();
    let _ = verify(recorder, &mut memory, life.options, &mut |_| {});
    let read = storage.borrow().total_read() as usize;
    assert!(read <= 2 * image.len(), "verify reads {read} bytes");
    assert_eq!(storage.borrow().total_written(), 0, "verify writes");
    let (recorder, storage, _) = Recorder::new(image.clone(), life.row);
    let mut memory = Ram::new();
    let opened: Result<LabHeap<'_, Recorder>, _> = Heap::open(recorder, &mut memory, life.options);
    let read = storage.borrow().total_read() as usize;
    assert!(read <= 2 * image.len(), "open reads {read} bytes");
    if let Ok(heap) = opened {
        let _ = extract(&heap);
        let _ = heap.allocate(7u32).map(|owned| heap.set_root("mark", Some(owned.into_link())));
        let _ = heap.commit();
        let _ = heap.collect();
        let _ = heap.snapshot();
    }
}

/// A sequence of operations, cut at some byte of some write under some tear, reopened, gone on with.
pub fn operations(data: &[u8]) {
    let mut bytes = Bytes(data);
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
    let (mut recorder, storage, tape) = Recorder::new(vec![0xFF; capacity as usize], row);
    tape.recording.set(true);
    let position = || tape.position.get();
    let journal = Journal::new(State::default(), 0, &position);
    journal.formatting();
    format(&mut recorder, &mut Ram::new(), life.options).unwrap_or_else(|error| panic!("format: {error:?}"));
    journal.formatted();
    if let Err(stopped) = play(recorder, life.options, &life.ops, 0, &journal, true) {
        panic!("{}; the life: {life}", stopped.what());
    }
    drop(storage);
    let writes = tape.writes.take();
    let number = usize::from(write) % writes.len().max(1);
    let mut image = vec![0xFF; capacity as usize];
    for write in writes.iter().take(number) {
        let at = write.offset as usize;
        image[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
    }
    let Some(cut) = writes.get(number) else { return };
    let tears: Vec<Tear> = Tear::of_writes().collect();
    let tear = tears[usize::from(tear) % tears.len()];
    let byte = usize::from(byte) % cut.bytes.len().max(1);
    let image = torn(&image, row, cut, byte, tear);
    let moment = at(&journal.moments(), number);
    let states: Vec<Arc<State>> = journal.states.take().into_iter().map(Arc::new).collect();
    let legal = moment.legal.all().filter_map(|state| states.get(state).cloned()).collect();
    let path = vec![Point::GoingOn(number, byte, tear)];
    // Second cuts, which take a hundred times as long, for some.
    let depth = if byte % 16 == 0 { 2 } else { 1 };
    let extent = Extent { depth, rung: None, full: false, coarse: false, sparse: 1, only: None };
    let checker = Checker::new(&life, &extent, true);
    checker.check(&Suspect { image, legal, older: Vec::new(), op: moment.op, path, number: 0 });
    let violations = checker.violations.lock().map(|found| found.clone()).unwrap_or_default();
    assert!(violations.is_empty(), "{violations:?}; the life: {life}");
}

/// The conversation with the part fails in every way a bus can: bytes and edges that fail, lines that are stuck, the
/// wrong part. Afterwards the storage opens to a state that was, or to a typed error.
pub fn conversation(data: &[u8]) {
    let mut bytes = Bytes(data);
    let life = Life::new("fuzzed", Vec::new());
    let part = life.part();
    let fram = Fram::from_image(part, vec![0xFF; life.capacity as usize]);
    let foreign = part.with_id([bytes.byte(), 0x7F, 3, 2]);
    if SpiPart::new(&fram, foreign).is_ok() {
        panic!("a part without an id passes for another one");
    }
    let position = || 0;
    let journal = Journal::new(State::default(), 0, &position);
    let Ok(mut device) = SpiPart::new(&fram, part) else { panic!("the right part is refused") };
    journal.formatting();
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
        let ops = bytes.ops(12);
        match play(device, life.options, &ops, 0, &journal, true) {
            Err(Stopped::Violation(what)) if what.contains("mixture") => panic!("{what}"),
            // What else it says does not matter here: in any case the program starts again.
            _ => match restart(&fram, &journal, part, may_be_damaged || was_stuck) {
                Some(after) => device = after,
                None => return,
            },
        }
    }
}

/// Power cycles the part: what opens is a state that was.
fn restart(fram: &Fram, journal: &Journal<'_>, part: vnv_storage::Part, may_be_damaged: bool) -> Option<SpiPart> {
    fram.power_on();
    journal.in_transaction.set(false);
    let life = Life::new("fuzzed", Vec::new());
    let device = SpiPart::new(fram, part).unwrap_or_else(|error| panic!("{error}"));
    let mut memory = Ram::new();
    let heap: LabHeap<'_, SpiPart> = match Heap::open(device, &mut memory, life.options) {
        Ok(heap) => heap,
        Err(error) if !may_be_damaged => panic!("open: {error:?}"),
        Err(_) => return None,
    };
    match extract(&heap) {
        Ok(found) => {
            let known = journal.resolve(&found) || (may_be_damaged && journal.states.borrow().contains(&found));
            assert!(known, "found a state that never was: {found:?}");
            *journal.now.borrow_mut() = found;
        }
        Err(Unreadable::Wrong(what)) => panic!("{what}"),
        Err(Unreadable::Error(what)) if !may_be_damaged => panic!("{what}"),
        Err(_) => return None,
    }
    Some(heap.into_device())
}
