//! The commit and recovery protocol as a small model, explored exhaustively: every sequence of a few operations on two
//! objects, power cut at every write (which then is old, new or garbage), recovery itself cut at every write. Three
//! deliberate faults show that the checker notices.
//!
//! The model is independent of the implementation: blocks hold values, records hold tables, a reserve holds values. What
//! it proves is the order of writes and the reuse of places; bytes and checksums are the business of `crash.rs`.

// A model without any of our code: nothing for Miri to find.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

const OBJECTS: usize = 2;
/// One fresh place: a commit of both objects has to take the last resort.
const PLACES: usize = 3;
/// Records of a log half, base included.
const HALF: usize = 3;

type Values = [u8; OBJECTS];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Cell<T> {
    Empty,
    Garbage,
    Holds(T),
}

/// A record of the log: sequence, salt, where each object stands.
type Record = (u8, u8, [usize; OBJECTS]);
/// A snapshot: sequence, salt, the values of dirty objects, where each object stands.
type Snapshot = (u8, u8, [Option<u8>; OBJECTS], [usize; OBJECTS]);

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Storage {
    blocks: [Cell<(usize, u8)>; PLACES],
    log: [[Cell<Record>; HALF]; 2],
    reserves: [Cell<Snapshot>; 2],
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Block(usize, (usize, u8)),
    Record(usize, usize, Record),
    Retire(usize),
    Reserve(usize, Snapshot),
}

/// What becomes of a write at a cut.
#[derive(Clone, Copy, Debug)]
enum Fate {
    Old,
    New,
    Garbage,
}

impl Storage {
    fn apply(&mut self, write: Write, fate: Fate) {
        fn put<T>(cell: &mut Cell<T>, value: Cell<T>, fate: Fate) {
            match fate {
                Fate::Old => {}
                Fate::New => *cell = value,
                Fate::Garbage => *cell = Cell::Garbage,
            }
        }
        match write {
            Write::Block(place, value) => put(&mut self.blocks[place], Cell::Holds(value), fate),
            Write::Record(half, at, record) => put(&mut self.log[half][at], Cell::Holds(record), fate),
            Write::Retire(half) => put(&mut self.log[half][0], Cell::Empty, fate),
            Write::Reserve(number, snapshot) => put(&mut self.reserves[number], Cell::Holds(snapshot), fate),
        }
    }
}

/// What the program knows in RAM.
#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Ram {
    values: Values,
    dirty: [bool; OBJECTS],
    table: [usize; OBJECTS],
    /// Places left since the last commit.
    pending: Vec<usize>,
    half: usize,
    end: usize,
    base: u8,
    sequence: u8,
    last: u8,
    next_reserve: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    ReusesOneCommitEarly,
    OverwritesTheLiveReserve,
    RetiresBeforeTheBase,
}

#[derive(Clone, Copy, Debug)]
enum Operation {
    Change(usize),
    Commit,
    Snapshot,
}

const OPERATIONS: [Operation; 4] = [Operation::Change(0), Operation::Change(1), Operation::Commit, Operation::Snapshot];

impl Ram {
    fn fresh(&self, fault: Fault) -> Option<usize> {
        (0..PLACES).find(|place| {
            !self.table.contains(place) && (fault == Fault::ReusesOneCommitEarly || !self.pending.contains(place))
        })
    }

    fn base(&mut self, fault: Fault, sequence: u8, writes: &mut Vec<Write>) {
        let other = 1 - self.half;
        let record = Write::Record(other, 0, (sequence, sequence, self.table));
        let retire = Write::Retire(self.half);
        if fault == Fault::RetiresBeforeTheBase {
            writes.extend([retire, record]);
        } else {
            writes.extend([record, retire]);
        }
        (self.half, self.end, self.base, self.sequence, self.last) = (other, 1, sequence, sequence, sequence);
    }

    fn snapshot(&mut self, fault: Fault, writes: &mut Vec<Write>) {
        let dirty = core::array::from_fn(|object| self.dirty[object].then_some(self.values[object]));
        writes.push(Write::Reserve(self.next_reserve, (self.last + 1, self.sequence, dirty, self.table)));
        self.last += 1;
        if fault != Fault::OverwritesTheLiveReserve {
            self.next_reserve = 1 - self.next_reserve;
        }
    }

    /// The writes of an operation, and the state in RAM when all are done.
    fn run(&mut self, operation: Operation, fault: Fault) -> Vec<Write> {
        let mut writes = Vec::new();
        match operation {
            Operation::Change(object) => {
                self.values[object] += 1;
                self.dirty[object] = true;
            }
            Operation::Snapshot => self.snapshot(fault, &mut writes),
            Operation::Commit => {
                let mut stuck = false;
                for object in (0..OBJECTS).filter(|object| self.dirty[*object]).collect::<Vec<_>>() {
                    let Some(place) = self.fresh(fault) else {
                        stuck = true;
                        break;
                    };
                    writes.push(Write::Block(place, (object, self.values[object])));
                    self.pending.push(self.table[object]);
                    self.table[object] = place;
                    self.dirty[object] = false;
                }
                if stuck {
                    // The last resort: a snapshot, then the rest over its own places, then a base.
                    self.snapshot(fault, &mut writes);
                    for object in (0..OBJECTS).filter(|object| self.dirty[*object]) {
                        writes.push(Write::Block(self.table[object], (object, self.values[object])));
                    }
                    let sequence = self.last;
                    self.base(fault, sequence, &mut writes);
                } else if self.end == HALF {
                    let sequence = self.last + 1;
                    self.base(fault, sequence, &mut writes);
                } else {
                    let sequence = self.last + 1;
                    writes.push(Write::Record(self.half, self.end, (sequence, self.base, self.table)));
                    (self.end, self.sequence, self.last) = (self.end + 1, sequence, sequence);
                }
                self.dirty = [false; OBJECTS];
                self.pending.clear();
            }
        }
        writes
    }
}

/// Recovery: the writes it makes, and what it finds. `None`: no sound state.
fn recover(storage: &Storage) -> Option<(Vec<Write>, Ram)> {
    let base = |half: usize| match storage.log[half][0] {
        Cell::Holds(record) => Some(record),
        _ => None,
    };
    let half = (0..2).filter(|half| base(*half).is_some()).max_by_key(|half| base(*half).unwrap().0)?;
    let (salt, _, mut table) = base(half)?;
    let (mut sequence, mut end) = (salt, 1);
    while let Some(Cell::Holds((next, its_salt, its_table))) = storage.log[half].get(end) {
        if *its_salt != salt || *next <= sequence {
            break;
        }
        (sequence, table, end) = (*next, *its_table, end + 1);
    }
    let mut ram = Ram {
        values: [0; OBJECTS],
        dirty: [false; OBJECTS],
        table,
        pending: Vec::new(),
        half,
        end,
        base: salt,
        sequence,
        last: sequence,
        next_reserve: 0,
    };
    let live = (0..2).filter_map(|number| match storage.reserves[number] {
        Cell::Holds(snapshot) if snapshot.1 == sequence && snapshot.0 > sequence => Some(snapshot),
        _ => None,
    });
    let mut writes = Vec::new();
    let mut after = storage.clone();
    if let Some((newest, _, dirty, table)) = live.max_by_key(|snapshot| snapshot.0) {
        ram.table = table;
        for object in 0..OBJECTS {
            if let Some(value) = dirty[object] {
                writes.push(Write::Block(table[object], (object, value)));
            }
        }
        writes.iter().for_each(|write| after.apply(*write, Fate::New));
        ram.base(Fault::None, newest, &mut writes);
    }
    for object in 0..OBJECTS {
        match after.blocks[ram.table[object]] {
            Cell::Holds((owner, value)) if owner == object => ram.values[object] = value,
            _ => return None,
        }
    }
    Some((writes, ram))
}

#[derive(Default)]
struct Explorer {
    fault: Option<Fault>,
    seen: HashSet<(Storage, Ram, Values, usize)>,
    checked: HashSet<(Storage, Values, Option<Values>, usize)>,
    states: u64,
    cuts: u64,
}

impl Explorer {
    /// A storage after a cut: recovery finds `last` or `running`, also if it is cut itself.
    fn check(&mut self, storage: &Storage, last: Values, running: Option<Values>, depth: usize) -> Result<(), String> {
        self.cuts += 1;
        if !self.checked.insert((storage.clone(), last, running, depth)) {
            return Ok(());
        }
        let (writes, mut ram) = recover(storage).ok_or_else(|| format!("no sound state in {storage:?}"))?;
        if ram.values != last && Some(ram.values) != running {
            return Err(format!("{:?} is neither {last:?} nor {running:?}", ram.values));
        }
        let found = ram.values;
        let mut now = storage.clone();
        for write in writes {
            if depth > 0 {
                for fate in [Fate::Old, Fate::New, Fate::Garbage] {
                    let mut torn = now.clone();
                    torn.apply(write, fate);
                    self.check(&torn, found, None, depth - 1)?;
                }
            }
            now.apply(write, Fate::New);
        }
        // A clean change and commit after the cut is kept.
        for operation in [Operation::Change(0), Operation::Commit] {
            for write in ram.run(operation, Fault::None) {
                now.apply(write, Fate::New);
            }
        }
        let (_, again) = recover(&now).ok_or("no sound state after a clean commit")?;
        if again.values != ram.values {
            return Err(format!("a clean commit of {:?} came back as {:?}", ram.values, again.values));
        }
        Ok(())
    }

    fn explore(&mut self, storage: &Storage, ram: &Ram, last: Values, depth: usize) -> Result<(), String> {
        if depth == 0 || !self.seen.insert((storage.clone(), ram.clone(), last, depth)) {
            return Ok(());
        }
        self.states += 1;
        for operation in OPERATIONS {
            let (mut storage, mut ram, mut last) = (storage.clone(), ram.clone(), last);
            let commits = !matches!(operation, Operation::Change(_));
            let running = commits.then_some(ram.values);
            for write in ram.run(operation, self.fault.unwrap_or(Fault::None)) {
                for fate in [Fate::Old, Fate::New, Fate::Garbage] {
                    let mut torn = storage.clone();
                    torn.apply(write, fate);
                    self.check(&torn, last, running, 2)
                        .map_err(|error| format!("{operation:?}, {write:?} {fate:?}: {error}"))?;
                }
                storage.apply(write, Fate::New);
            }
            if commits {
                last = ram.values;
            }
            self.check(&storage, last, None, 2)?;
            self.explore(&storage, &ram, last, depth - 1).map_err(|error| format!("{operation:?}; {error}"))?;
        }
        Ok(())
    }
}

fn run(fault: Fault, depth: usize) -> (Result<(), String>, Explorer) {
    let table = [0, 1];
    let mut storage =
        Storage { blocks: [Cell::Empty; PLACES], log: [[Cell::Empty; HALF]; 2], reserves: [Cell::Empty; 2] };
    for (object, place) in table.into_iter().enumerate() {
        storage.apply(Write::Block(place, (object, 0)), Fate::New);
    }
    storage.apply(Write::Record(0, 0, (1, 1, table)), Fate::New);
    let (_, ram) = recover(&storage).unwrap();
    let mut explorer = Explorer { fault: Some(fault), ..Explorer::default() };
    let result = explorer.explore(&storage, &ram, [0; OBJECTS], depth);
    (result, explorer)
}

#[test]
fn every_history_recovers_one_of_its_two_sides() {
    let (result, explorer) = run(Fault::None, if cfg!(miri) { 3 } else { 8 });
    println!(
        "{} states, {} cuts, {} distinct storages checked",
        explorer.states,
        explorer.cuts,
        explorer.checked.len()
    );
    result.unwrap();
}

#[test]
fn the_checker_notices_deliberate_faults() {
    for fault in [Fault::ReusesOneCommitEarly, Fault::OverwritesTheLiveReserve, Fault::RetiresBeforeTheBase] {
        let (result, _) = run(fault, if cfg!(miri) { 4 } else { 8 });
        if !cfg!(miri) {
            println!("{fault:?}: {}", result.clone().unwrap_err());
            assert!(result.is_err(), "{fault:?} was not noticed");
        }
    }
}
