//! Formatting as a small model, explored exhaustively: lives of a few commits, snapshots and formats on a storage that was
//! blank, lived in or somebody's; power cut at every write, also of formats and recoveries, several times in a row; records
//! and superblocks damaged. Deliberate faults show that the checker notices.
//!
//! The model is independent of the implementation, and of `protocol_model.rs`, which has the blocks: here a record holds
//! the value itself. What it proves: with the epoch in every checksum, with the order of formatting, and with a scan of the
//! whole tail nothing of an earlier life is found, a start never fails for good, and what is lost is told.

// A model without any of our code: nothing for Miri to find.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::collections::HashSet;

/// Records of a log half, base included.
const HALF: usize = 4;

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Cell<T> {
    Empty,
    Garbage,
    /// The header is there and fits, the rest is not sound.
    Torn(T),
    Holds(T),
}

impl<T: Copy> Cell<T> {
    fn sound(self) -> Option<T> {
        if let Self::Holds(value) = self { Some(value) } else { None }
    }

    fn header(self) -> Option<T> {
        match self {
            Self::Holds(value) | Self::Torn(value) => Some(value),
            _ => None,
        }
    }
}

/// A record of the log. A base is its own salt.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Record {
    epoch: u8,
    sequence: u8,
    salt: u8,
    value: u8,
}

/// What a reserve holds; `after` is the sequence of the log's last record.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Snapshot {
    epoch: u8,
    sequence: u8,
    after: u8,
    value: u8,
}

/// A superblock's place: the first bytes, and what stands behind them.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Place {
    head: Cell<Head>,
    /// All of a superblock but its first bytes, of the format with this epoch.
    body: Cell<u8>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Head {
    /// Of a superblock: what it is, its body says.
    Magic,
    /// A marker: the storage is being formatted.
    BeingFormatted(u8),
}

impl Place {
    const EMPTY: Self = Self { head: Cell::Empty, body: Cell::Empty };
    const GARBAGE: Self = Self { head: Cell::Garbage, body: Cell::Garbage };

    /// Under a marker any body may stand.
    fn sound(self) -> Option<Mark> {
        match (self.head.sound()?, self.body.sound()) {
            (Head::BeingFormatted(epoch), _) => Some(Mark::BeingFormatted(epoch)),
            (Head::Magic, body) => body.map(Mark::Superblock),
        }
    }
}

/// What stands in the place of a superblock.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
enum Mark {
    Superblock(u8),
    BeingFormatted(u8),
}

impl Mark {
    fn epoch(self) -> u8 {
        match self {
            Self::Superblock(epoch) | Self::BeingFormatted(epoch) => epoch,
        }
    }
}

#[derive(Clone, PartialEq, Eq, Hash, Debug)]
struct Storage {
    copies: [Place; 2],
    log: [[Cell<Record>; HALF]; 2],
    reserves: [Cell<Snapshot>; 2],
}

#[derive(Clone, Copy, Debug)]
enum Write {
    Head(usize, Head),
    Body(usize, u8),
    /// A superblock in one write, for a deliberate fault.
    Whole(usize, u8),
    Record(usize, usize, Record),
    Erase(usize, usize),
    Reserve(usize, Snapshot),
}

/// What becomes of a write at a cut.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fate {
    Old,
    New,
    Garbage,
    HeaderOnly,
}

const FATES: [Fate; 4] = [Fate::Old, Fate::New, Fate::Garbage, Fate::HeaderOnly];

const BLANK: Storage = Storage { copies: [Place::EMPTY; 2], log: [[Cell::Empty; HALF]; 2], reserves: [Cell::Empty; 2] };

impl Storage {
    fn apply(&mut self, write: Write, fate: Fate) {
        fn put<T>(cell: &mut Cell<T>, value: T, fate: Fate) {
            match fate {
                Fate::Old => {}
                Fate::New => *cell = Cell::Holds(value),
                Fate::Garbage => *cell = Cell::Garbage,
                Fate::HeaderOnly => *cell = Cell::Torn(value),
            }
        }
        match write {
            // Head and body may stand in one row, or not.
            Write::Head(copy, _) | Write::Body(copy, _) | Write::Whole(copy, _) if fate == Fate::Garbage => {
                self.copies[copy] = Place::GARBAGE;
            }
            Write::Head(copy, head) => {
                put(&mut self.copies[copy].head, head, if fate == Fate::HeaderOnly { Fate::Garbage } else { fate });
            }
            Write::Body(copy, epoch) => {
                put(&mut self.copies[copy].body, epoch, if fate == Fate::HeaderOnly { Fate::Garbage } else { fate });
            }
            Write::Whole(copy, epoch) => {
                let part = if fate == Fate::HeaderOnly { Fate::New } else { fate };
                put(&mut self.copies[copy].head, Head::Magic, part);
                put(&mut self.copies[copy].body, epoch, if fate == Fate::HeaderOnly { Fate::Old } else { fate });
            }
            Write::Record(half, at, record) => put(&mut self.log[half][at], record, fate),
            Write::Erase(half, at) => match fate {
                Fate::Old => {}
                Fate::New => self.log[half][at] = Cell::Empty,
                Fate::Garbage | Fate::HeaderOnly => self.log[half][at] = Cell::Garbage,
            },
            Write::Reserve(number, snapshot) => put(&mut self.reserves[number], snapshot, fate),
        }
    }

    /// Blank everywhere, but for the place of the first write of a format.
    fn is_blank(&self) -> bool {
        let is_torn = self.copies[1].head.sound().is_none() && self.copies[1].body.sound().is_none();
        is_torn && Self { copies: [self.copies[0], Place::EMPTY], ..self.clone() } == BLANK
    }

    /// One that no cell of the storage has: stands for the checksum of all of it.
    fn unused_epoch(&self) -> u8 {
        let records = self.log.iter().flatten().filter_map(|cell| cell.header()).map(|record| record.epoch);
        let snapshots = self.reserves.iter().filter_map(|cell| cell.header()).map(|snapshot| snapshot.epoch);
        let bodies = self.copies.iter().filter_map(|copy| copy.body.sound());
        records.chain(snapshots).chain(bodies).max().unwrap_or(0) + 1
    }
}

/// What the program knows in RAM.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Ram {
    epoch: u8,
    value: u8,
    half: usize,
    end: usize,
    base: u8,
    sequence: u8,
    last: u8,
    next_reserve: usize,
    /// The other half's base has to be made invalid.
    retire: bool,
    /// At the log's end stands the header of a record that was not completed.
    unacknowledged: bool,
    /// Behind it, the header of another one: the half is closed.
    closed: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Fault {
    None,
    /// A format takes the epoch that it finds.
    EpochKept,
    /// A format takes the first epoch unless a superblock or marker tells another one.
    EpochOfForeignStorageIsOne,
    RecordsWithoutEpoch,
    SnapshotsWithoutEpoch,
    /// Only the record right behind the log's end is looked at.
    TailScanStopsAtOnce,
    FormatStartsWithTheSoundCopy,
    /// Only one of the copies says that the storage is being formatted.
    OneMarker,
    /// A superblock goes over a marker in one write, its first bytes first: over the body of an older superblock.
    SuperblockInOneWrite,
    SuperblockBeforeBase,
    RepairOverwritesTheSoundCopy,
    /// Blank is what has two blank superblocks.
    BlankBySuperblocks,
}

/// What a start makes of a storage.
enum Start {
    Opens(Vec<Write>, Ram),
    Formats,
    Refuses,
}

/// The writes of a superblock: its first bytes last, so that they are not in front of an older body.
fn superblock(copy: usize, epoch: u8, fault: Fault) -> Vec<Write> {
    if fault == Fault::SuperblockInOneWrite {
        vec![Write::Whole(copy, epoch)]
    } else {
        vec![Write::Body(copy, epoch), Write::Head(copy, Head::Magic)]
    }
}

fn format(storage: &Storage, fault: Fault) -> (Vec<Write>, Ram) {
    let sound = storage.copies.map(Place::sound);
    let known = sound.into_iter().flatten().map(Mark::epoch).max();
    let epoch = match known {
        Some(epoch) if fault == Fault::EpochKept => epoch,
        Some(epoch) => epoch + 1,
        None if fault == Fault::EpochOfForeignStorageIsOne => 1,
        None => storage.unused_epoch(),
    };
    let first = match sound {
        // Over the one that is not whole, or not what is worth most then.
        [None, Some(_)] | [Some(Mark::Superblock(_)), Some(Mark::BeingFormatted(_))] => 0,
        _ => 1,
    };
    let spoils = fault == Fault::FormatStartsWithTheSoundCopy && sound[0].is_some() != sound[1].is_some();
    let first = if spoils { 1 - first } else { first };
    let marker = Head::BeingFormatted(epoch);
    let base = Write::Record(0, 0, Record { epoch, sequence: 1, salt: 1, value: 0 });
    let mut writes = vec![Write::Head(first, marker)];
    if fault != Fault::OneMarker {
        writes.push(Write::Head(1 - first, marker));
    }
    if fault != Fault::SuperblockBeforeBase {
        writes.push(base);
    }
    writes.extend([0, 1].into_iter().flat_map(|copy| superblock(copy, epoch, fault)));
    if fault == Fault::SuperblockBeforeBase {
        writes.push(base);
    }
    let ram = Ram {
        epoch,
        value: 0,
        half: 0,
        end: 1,
        base: 1,
        sequence: 1,
        last: 1,
        next_reserve: 0,
        retire: false,
        unacknowledged: false,
        closed: false,
    };
    (writes, ram)
}

fn start(storage: &Storage, fault: Fault) -> Start {
    let epoch_at = |copy: usize| match storage.copies[copy].sound() {
        Some(Mark::Superblock(epoch)) => Some(epoch),
        _ => None,
    };
    let (epoch, repair) = match [epoch_at(0), epoch_at(1)] {
        [Some(first), Some(second)] if first != second => return Start::Refuses,
        [Some(epoch), Some(_)] => (epoch, None),
        [Some(epoch), None] => (epoch, Some(1)),
        [None, Some(epoch)] => (epoch, Some(0)),
        [None, None] => {
            let marker = storage.copies.iter().any(|copy| copy.sound().is_some());
            let copies = Storage { copies: storage.copies, ..BLANK };
            let looks_blank = storage.is_blank() || fault == Fault::BlankBySuperblocks && copies.is_blank();
            return if marker || looks_blank { Start::Formats } else { Start::Refuses };
        }
    };
    match recover(storage, epoch, fault) {
        Some((mut writes, ram)) => {
            if let Some(copy) = repair {
                let first = (fault == Fault::RepairOverwritesTheSoundCopy).then_some(1 - copy);
                writes.extend(first.into_iter().chain([copy]).flat_map(|copy| superblock(copy, epoch, fault)));
            }
            Start::Opens(writes, ram)
        }
        None => Start::Refuses,
    }
}

/// `None`: damaged, and nothing is changed.
fn recover(storage: &Storage, epoch: u8, fault: Fault) -> Option<(Vec<Write>, Ram)> {
    let of_this = |found: u8| found == epoch || fault == Fault::RecordsWithoutEpoch;
    let base = |half: usize| storage.log[half][0].sound().filter(|base| of_this(base.epoch));
    let half = (0..2).filter(|half| base(*half).is_some()).max_by_key(|half| base(*half).unwrap().sequence)?;
    let base = base(half)?;
    let fits = |record: Record, above: u8| of_this(record.epoch) && record.salt == base.salt && record.sequence > above;
    let mut ram = Ram {
        epoch,
        value: base.value,
        half,
        end: 1,
        base: base.salt,
        sequence: base.sequence,
        last: base.sequence,
        next_reserve: 0,
        retire: storage.log[1 - half][0].header().is_some_and(|other| of_this(other.epoch)),
        unacknowledged: false,
        closed: false,
    };
    let cells = storage.log[half];
    while let Some(record) = cells.get(ram.end).and_then(|cell| cell.sound())
        && fits(record, ram.sequence)
    {
        (ram.value, ram.sequence, ram.last, ram.end) = (record.value, record.sequence, record.sequence, ram.end + 1);
    }
    let follows = |cell: &Cell<Record>| cell.header().is_some_and(|record| fits(record, ram.sequence));
    ram.unacknowledged = cells.get(ram.end).is_some_and(follows);
    let tail = cells.get(ram.end + 1..).unwrap_or_default();
    let scanned = if fault == Fault::TailScanStopsAtOnce { tail.len().min(1) } else { tail.len() };
    let tail = &tail[..scanned];
    // A whole record; or a header directly behind one that is whole: nothing is written behind what is not complete.
    if tail.iter().any(|cell| cell.sound().is_some() && follows(cell))
        || ram.unacknowledged && tail.first().is_some_and(follows)
    {
        return None;
    }
    ram.closed = tail.iter().any(follows);
    let live = storage.reserves.iter().filter_map(|reserve| reserve.sound()).filter(|snapshot| {
        (snapshot.epoch == epoch || fault == Fault::SnapshotsWithoutEpoch) && snapshot.sequence > ram.sequence
    });
    let mut writes = Vec::new();
    if let Some(snapshot) = live.max_by_key(|snapshot| snapshot.sequence) {
        if snapshot.after != ram.sequence {
            return None;
        }
        ram.value = snapshot.value;
        ram.last = snapshot.sequence;
        ram.settle(&mut writes);
        ram.base(snapshot.sequence, &mut writes);
    }
    Some((writes, ram))
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Operation {
    Commit,
    Snapshot,
}

impl Ram {
    /// Makes invalid what must not be there when more is written.
    fn settle(&mut self, writes: &mut Vec<Write>) {
        if std::mem::take(&mut self.unacknowledged) {
            writes.push(Write::Erase(self.half, self.end));
        }
        if std::mem::take(&mut self.retire) {
            writes.push(Write::Erase(1 - self.half, 0));
        }
    }

    fn base(&mut self, sequence: u8, writes: &mut Vec<Write>) {
        self.half = 1 - self.half;
        let record = Record { epoch: self.epoch, sequence, salt: sequence, value: self.value };
        writes.extend([Write::Record(self.half, 0, record), Write::Erase(1 - self.half, 0)]);
        (self.end, self.base, self.sequence, self.last, self.closed) = (1, sequence, sequence, sequence, false);
    }

    /// The writes that make `value` durable, and the state in RAM when all are done.
    fn run(&mut self, operation: Operation, value: u8) -> Vec<Write> {
        let mut writes = Vec::new();
        self.value = value;
        self.settle(&mut writes);
        let sequence = self.last + 1;
        match operation {
            Operation::Snapshot => {
                let snapshot = Snapshot { epoch: self.epoch, sequence, after: self.sequence, value };
                writes.push(Write::Reserve(self.next_reserve, snapshot));
                self.next_reserve = 1 - self.next_reserve;
                self.last = sequence;
            }
            Operation::Commit if self.end == HALF || self.closed => self.base(sequence, &mut writes),
            Operation::Commit => {
                let record = Record { epoch: self.epoch, sequence, salt: self.base, value };
                writes.push(Write::Record(self.half, self.end, record));
                (self.end, self.sequence, self.last) = (self.end + 1, sequence, sequence);
            }
        }
        writes
    }
}

/// What the next start may do.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
struct Legal {
    /// The values that may be found, a bit each. 0 is the value of an empty heap.
    values: u32,
    /// It may refuse: what stands there is somebody's, or damaged beyond repair.
    may_refuse: bool,
}

impl Legal {
    const fn only(value: u8) -> Self {
        Self { values: 1 << value, may_refuse: false }
    }
}

#[derive(Clone, PartialEq, Eq, Hash)]
struct Node {
    storage: Storage,
    /// The program, if it runs.
    ram: Option<Ram>,
    legal: Legal,
    /// The value that the next change makes: no value comes twice.
    next: u8,
    operations: u8,
    cuts: u8,
    damages: u8,
}

struct Explorer {
    fault: Fault,
    seen: HashSet<Node>,
    starts: u64,
    cuts: u64,
    damages: u64,
    refused: u64,
}

impl Explorer {
    /// Power fails at each of `writes`; then they are done, and the program runs. `during` says for each what may be found
    /// after the cut.
    fn run_writes(
        &mut self,
        node: &Node,
        (writes, ram): (&[Write], Ram),
        during: &dyn Fn(usize, Fate) -> Legal,
        after: Legal,
    ) -> Result<(), String> {
        let mut storage = node.storage.clone();
        for (number, write) in writes.iter().enumerate() {
            if node.cuts > 0 {
                for fate in FATES {
                    self.cuts += 1;
                    let legal = during(number, fate);
                    let mut torn = Node { ram: None, legal, cuts: node.cuts - 1, storage: storage.clone(), ..*node };
                    torn.storage.apply(*write, fate);
                    self.explore(torn).map_err(|error| format!("{write:?} {fate:?}; {error}"))?;
                }
            }
            storage.apply(*write, Fate::New);
        }
        self.explore(Node { storage, ram: Some(ram), legal: after, ..*node })
    }

    /// The program, or whoever starts next, asks for a format.
    fn format(&mut self, node: &Node) -> Result<(), String> {
        let (writes, ram) = format(&node.storage, self.fault);
        let Legal { values, may_refuse } = node.legal;
        let node = Node { operations: node.operations - 1, ..node.clone() };
        // One superblock stands until both markers do: what it leads to may be damaged, and is still refused then. What has none
        // is known as half formatted with the first marker.
        let alone = !node.storage.copies.iter().any(|copy| matches!(copy.sound(), Some(Mark::Superblock(_))));
        let during = move |number: usize, fate: Fate| {
            let is_known =
                if alone { number > 0 || fate == Fate::New } else { number > 1 || number == 1 && fate != Fate::Old };
            Legal { values: values | 1, may_refuse: may_refuse && !is_known }
        };
        self.run_writes(&node, (&writes, ram), &during, Legal::only(0)).map_err(|error| format!("format: {error}"))
    }

    fn explore(&mut self, node: Node) -> Result<(), String> {
        if self.seen.contains(&node) {
            return Ok(());
        }
        self.seen.insert(node.clone());
        self.starts += 1;
        // Whether the program runs or not, this is what a start finds now.
        match start(&node.storage, self.fault) {
            Start::Refuses => {
                self.refused += 1;
                if !node.legal.may_refuse {
                    return Err(format!("a start is refused by {:?}", node.storage));
                }
            }
            Start::Opens(writes, ram) => {
                if node.legal.values & 1 << ram.value == 0 {
                    return Err(format!("{} is found, not one of {:b}", ram.value, node.legal.values));
                }
                if node.ram.is_none() {
                    let found = Legal::only(ram.value);
                    self.run_writes(&node, (&writes, ram), &|_, _| found, found)?;
                }
            }
            Start::Formats => {
                if node.legal.values & 1 == 0 {
                    return Err("a start formats what was kept".into());
                }
                if node.ram.is_none() {
                    let (writes, ram) = format(&node.storage, self.fault);
                    self.run_writes(&node, (&writes, ram), &|_, _| Legal::only(0), Legal::only(0))?;
                }
            }
        }
        if node.operations == 0 {
            return Ok(());
        }
        self.format(&node)?;
        let Some(ram) = node.ram else { return Ok(()) };
        for operation in [Operation::Commit, Operation::Snapshot] {
            let mut ram = ram;
            let writes = ram.run(operation, node.next);
            let values = 1 << node.next | node.legal.values;
            let during = move |_, _| Legal { values, may_refuse: false };
            let after = Legal::only(node.next);
            let node = Node { operations: node.operations - 1, next: node.next + 1, ..node.clone() };
            self.run_writes(&node, (&writes, ram), &during, after)
                .map_err(|error| format!("{operation:?}; {error}"))?;
        }
        if node.damages > 0 {
            self.damage(&node, ram)?;
        }
        Ok(())
    }

    /// One superblock is damaged, or up to two records of the log behind its base: their headers too, or not.
    fn damage(&mut self, node: &Node, ram: Ram) -> Result<(), String> {
        let damaged = Node { ram: None, damages: node.damages - 1, ..node.clone() };
        for copy in 0..2 {
            let mut damaged = damaged.clone();
            damaged.storage.copies[copy] = Place::GARBAGE;
            self.damages += 1;
            self.explore(damaged).map_err(|error| format!("damaged superblock {copy}; {error}"))?;
        }
        let cells = &node.storage.log[ram.half];
        for (first, second) in (1..ram.end).flat_map(|first| (first..ram.end).map(move |second| (first, second))) {
            for (headless, second_headless) in [(true, true), (true, false), (false, true), (false, false)] {
                let mut damaged = damaged.clone();
                for (at, headless) in [(second, second_headless), (first, headless)] {
                    let cell = &mut damaged.storage.log[ram.half][at];
                    *cell = if headless { Cell::Garbage } else { Cell::Torn(cells[at].header().unwrap()) };
                }
                let has_header = |at: usize| match at {
                    _ if at == first => !headless,
                    _ if at == second => !second_headless,
                    _ => at < ram.end || ram.unacknowledged,
                };
                let is_told = ram.last > ram.sequence
                    || (first + 1..ram.end).any(|at| at != second)
                    || has_header(first) && has_header(first + 1);
                damaged.legal = if is_told {
                    Legal { values: 0, may_refuse: true }
                } else {
                    // The last commit or snapshot before it. If that is a snapshot after a record that is gone too, it is told.
                    let before = cells[first - 1].sound().unwrap();
                    let sequence = cells[first].header().unwrap().sequence;
                    let snapshots = node.storage.reserves.iter().filter_map(|reserve| reserve.sound());
                    let between = snapshots.filter(|snapshot| {
                        snapshot.epoch == ram.epoch
                            && snapshot.sequence > before.sequence
                            && snapshot.sequence < sequence
                    });
                    let newest = between.max_by_key(|snapshot| snapshot.sequence);
                    let value = newest.map_or(before.value, |snapshot| snapshot.value);
                    Legal { values: 1 << value, may_refuse: first != second }
                };
                self.damages += 1;
                self.explore(damaged).map_err(|error| {
                    format!("damaged records {first} {headless} and {second} {second_headless}; {error}")
                })?;
            }
        }
        Ok(())
    }
}

/// A heap's log and reserves of which the superblocks are gone: `open_or_format` leaves it alone.
fn somebodys() -> Storage {
    let mut storage = BLANK;
    for (at, cell) in storage.log[0].iter_mut().enumerate() {
        *cell = Cell::Holds(Record { epoch: 1, sequence: 1 + at as u8, salt: 1, value: 20 + at as u8 });
    }
    storage.reserves[0] = Cell::Holds(Snapshot { epoch: 1, sequence: 3, after: 2, value: 29 });
    storage
}

fn explore(fault: Fault, (operations, cuts, damages): (u8, u8, u8)) -> (Result<(), String>, Explorer) {
    let mut explorer = Explorer { fault, seen: HashSet::new(), starts: 0, cuts: 0, damages: 0, refused: 0 };
    let mut result = Ok(());
    let refused = Legal { values: 0, may_refuse: true };
    for (storage, legal) in [(BLANK, Legal::only(0)), (somebodys(), refused)] {
        let node = Node { storage, ram: None, legal, next: 1, operations, cuts, damages };
        result = result.and_then(|()| explorer.explore(node));
    }
    (result, explorer)
}

#[test]
fn after_every_history_of_formats_a_start_finds_this_life_and_no_other() {
    let bounds: &[(u8, u8, u8)] = if std::env::var_os("VNV_FULL").is_some() {
        &[(8, 1, 1), (6, 2, 1), (5, 4, 1)]
    } else {
        &[(7, 1, 1), (5, 2, 1), (4, 3, 2)]
    };
    for bounds in bounds {
        let (result, explorer) = explore(Fault::None, *bounds);
        println!(
            "{bounds:?} operations, cuts, damages: {} starts, {} of them refused, {} cuts, {} damages",
            explorer.starts, explorer.refused, explorer.cuts, explorer.damages
        );
        result.unwrap();
    }
}

#[test]
fn the_checker_notices_each_deliberate_fault() {
    for fault in [
        Fault::EpochKept,
        Fault::EpochOfForeignStorageIsOne,
        Fault::RecordsWithoutEpoch,
        Fault::SnapshotsWithoutEpoch,
        Fault::TailScanStopsAtOnce,
        Fault::FormatStartsWithTheSoundCopy,
        Fault::OneMarker,
        Fault::SuperblockInOneWrite,
        Fault::SuperblockBeforeBase,
        Fault::RepairOverwritesTheSoundCopy,
        Fault::BlankBySuperblocks,
    ] {
        // Few operations are enough for each.
        let found = [(3, 2, 1), (5, 1, 1)].into_iter().find_map(|bounds| explore(fault, bounds).0.err());
        println!("{fault:?}: {found:?}");
        assert!(found.is_some(), "{fault:?} was not noticed");
    }
}
