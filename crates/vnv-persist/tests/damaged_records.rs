//! Two and three records of a log are damaged. Opening says so at once wherever it can be told, and else gives the state before
//! the first of them; what is committed afterwards is never followed by anything that stood there before.
//!
//! A failure prints the life and each damaged record; `VNV_FULL=1` tries more lives.

// Sweeps of bytes in storage, with nothing unsafe of their own: too long for Miri.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod recorded;

use fastrand::Rng;
use recorded::{Findings, Hand, Recorded, by_extent, sweep};
use vnv_persist::{Damage, Heap, Layout, Link, Memory, OpenError, Options};

type Ram = Memory<12, 8, 3, 2, 64>;
type TestHeap<'m, 'r> = Heap<'m, Hand<'r>, Ram>;
const SIZES: (u16, u8, u8) = (12, 3, 2);
const CAPACITY: u32 = 4096;
/// For the table with its roots, and for 12 records and the commits after an opening.
const OPTIONS: Options = Options::new(240).log_bytes(1200);
const ELEMENTS: usize = 6;

/// Everything that can be read.
type State = [u32; ELEMENTS];

/// What is done to one record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Harm {
    /// A bit of a field of the header.
    Checksum,
    HeaderChecksum,
    Kind,
    Roots,
    Sequence,
    Length,
    EntryWords,
    Tag,
    /// A bit of the first byte behind the header.
    Body,
    LastByte,
    /// Its first row is zeroed.
    FirstRow,
    /// All of it is noise.
    Garbage,
}

impl Harm {
    const ALL: [Self; 12] = [
        Self::Checksum,
        Self::HeaderChecksum,
        Self::Kind,
        Self::Roots,
        Self::Sequence,
        Self::Length,
        Self::EntryWords,
        Self::Tag,
        Self::Body,
        Self::LastByte,
        Self::FirstRow,
        Self::Garbage,
    ];

    fn apply(self, image: &mut [u8], (at, length): (usize, usize), row: usize) {
        let flipped = match self {
            Self::Checksum => 1,
            Self::HeaderChecksum => 4,
            Self::Kind => 6,
            Self::Roots => 7,
            Self::Sequence => 8,
            Self::Length => 16,
            Self::EntryWords => 20,
            Self::Tag => 22,
            Self::Body => 24,
            Self::LastByte => length - 1,
            Self::FirstRow => return image[at..at + row.max(8)].fill(0),
            Self::Garbage => {
                let mut random = Rng::with_seed(at as u64);
                return image[at..at + length].fill_with(|| random.u8(..));
            }
        };
        image[at + flipped] ^= 4;
    }

    /// Whether a header is left that fits: the record can be seen to have been there.
    fn leaves_header(self) -> bool {
        matches!(self, Self::Checksum | Self::Body | Self::LastByte)
    }
}

/// A log: where its records are, and the state after the base and after each of them.
struct Life {
    image: Vec<u8>,
    row: u32,
    records: Vec<(usize, usize)>,
    states: Vec<State>,
    name: String,
}

fn field(image: &[u8], at: usize) -> usize {
    u32::from_le_bytes(image[at..at + 4].try_into().unwrap()) as usize
}

/// Changes one object or several, so that records are of different lengths, and commits.
fn change(heap: &TestHeap<'_, '_>, state: &mut State, value: u32, elements: usize) {
    let slice: Link<[u32]> = heap.root("slice").unwrap().unwrap();
    for element in 0..elements {
        let at = (value as usize + 2 * element) % ELEMENTS;
        *heap.get_element_mut(slice, at).unwrap() = value;
        state[at] = value;
    }
    heap.commit().unwrap();
}

fn read(heap: &TestHeap<'_, '_>) -> Result<State, String> {
    let slice: Option<Link<[u32]>> = heap.root("slice").map_err(|error| format!("root: {error}"))?;
    let slice = slice.ok_or("the root is gone")?;
    let values = heap.get(slice).map_err(|error| format!("get: {error}"))?;
    State::try_from(&values[..]).map_err(|_| "of another length".into())
}

impl Life {
    /// A life whose log has so many records behind a base, which is that of the so manyth compaction.
    fn new(seed: u64, row: u32, compactions: u32, records: usize) -> Self {
        let mut random = Rng::with_seed(seed);
        let even = seed % 2 == 0;
        let recorded = Recorded::new(vec![0xFF; CAPACITY as usize * if row > 8 { 3 } else { 1 }], row);
        let options = Self::options(row);
        let mut memory = Ram::new();
        let heap: TestHeap<'_, '_> = Heap::format(Hand(&recorded), &mut memory, options).unwrap();
        let slice = heap.allocate_slice_with(ELEMENTS, |_| 0u32).unwrap().into_link();
        heap.set_root("slice", Some(slice)).unwrap();
        heap.commit().unwrap();
        let mut state = [0; ELEMENTS];
        let mut value = 0;
        let mut next = |heap: &TestHeap<'_, '_>, state: &mut State| {
            value += 1;
            change(heap, state, value, if even { 1 } else { random.usize(1..4) });
        };
        while heap.compactions() < compactions {
            next(&heap, &mut state);
        }
        let mut states = vec![state];
        // The first half's base is the one of an empty heap: a record with the first object comes before the others.
        for _ in 0..records {
            next(&heap, &mut state);
            states.push(state);
        }
        assert_eq!(heap.compactions(), compactions, "the half is too small");
        let image = recorded.into_image();
        let layout = Layout::new(image.len() as u32, row, SIZES, options).unwrap();
        let unit = layout.unit() as usize;
        let half = 2 * 64usize.next_multiple_of(unit) + compactions as usize % 2 * layout.region_bytes().0 as usize;
        let mut at = half + field(&image, half + 16).next_multiple_of(unit);
        if compactions == 0 {
            at += field(&image, at + 16).next_multiple_of(unit);
        }
        let mut places = Vec::new();
        for _ in 0..records {
            let length = field(&image, at + 16);
            places.push((at, length));
            at += length.next_multiple_of(unit);
        }
        let name = format!("seed {seed}, rows of {row}, {compactions} compactions, {records} records");
        Self { image, row, records: places, states, name }
    }

    fn options(row: u32) -> Options {
        let options = if row > 8 { Options { dirty_limit: 400, ..OPTIONS } } else { OPTIONS };
        options.log_bytes(OPTIONS.log_bytes * if row > 8 { 2 } else { 1 })
    }

    /// Damages records, in their order, and looks at what comes of it.
    fn check(&self, harms: &[(usize, Harm)], found: &mut Findings) {
        let mut image = self.image.clone();
        for (record, harm) in harms {
            harm.apply(&mut image, self.records[*record], self.row as usize);
        }
        let first = harms[0].0;
        let harm_of = |record: usize| harms.iter().find(|(harmed, _)| *harmed == record).map(|(_, harm)| *harm);
        let has_header = |record: usize| harm_of(record).is_none_or(Harm::leaves_header);
        // A whole record behind it tells, and of what stands directly behind it the header, if its own says where that is.
        let is_followed = (first + 1..self.records.len()).any(|record| harm_of(record).is_none());
        let is_told = is_followed || first + 1 < self.records.len() && has_header(first) && has_header(first + 1);
        let result = if is_told { self.is_told(image) } else { self.goes_on(&image, first) };
        found.count(if is_told { "told" } else { "the state before" });
        found.check(result, || format!("{}, {harms:?}", self.name));
    }

    fn is_told(&self, image: Vec<u8>) -> Result<(), String> {
        let recorded = Recorded::new(image, self.row);
        let mut memory = Ram::new();
        let opened: Result<TestHeap<'_, '_>, _> = Heap::open(Hand(&recorded), &mut memory, Self::options(self.row));
        match opened.map(|heap| read(&heap)) {
            Err(OpenError::Damaged(Damage::Record)) if recorded.writes.borrow().is_empty() => Ok(()),
            Err(OpenError::Damaged(Damage::Record)) => Err("said, but changed".into()),
            Err(error) => Err(format!("said to be: {error}")),
            Ok(state) => Err(format!("opened as if nothing was missing: {state:?}")),
        }
    }

    /// The state before the first damaged record is found; 0 to 4 commits later, the last of them.
    fn goes_on(&self, image: &[u8], first: usize) -> Result<(), String> {
        let recorded = Recorded::new(image.to_vec(), self.row);
        let mut expected = self.states[first];
        for commits in 0..=4u32 {
            // The first opening is followed by nothing; each later one by one more commit, with the heap it leaves open.
            for reopens in [false, true] {
                *recorded.image.borrow_mut() = image.to_vec();
                expected = self.states[first];
                for commit in 0..commits.max(1) {
                    let mut memory = Ram::new();
                    let heap: TestHeap<'_, '_> = Heap::open(Hand(&recorded), &mut memory, Self::options(self.row))
                        .map_err(|error| format!("{commit} of {commits} commits after the opening: {error}"))?;
                    let state = read(&heap)?;
                    if state != expected {
                        return Err(format!(
                            "{commit} of {commits} commits after the opening: {state:?}, not {expected:?}"
                        ));
                    }
                    if commits > 0 {
                        let now = if reopens { 1 } else { commits };
                        for number in commit..commit + now {
                            change(&heap, &mut expected, 1000 + number, 1 + number as usize % 2);
                        }
                        if !reopens {
                            break;
                        }
                    }
                }
                let mut memory = Ram::new();
                let heap: TestHeap<'_, '_> = Heap::open(Hand(&recorded), &mut memory, Self::options(self.row))
                    .map_err(|error| format!("{commits} commits after the opening, reopened: {error}"))?;
                let state = read(&heap)?;
                if state != expected {
                    return Err(format!("{commits} commits after the opening, reopened: {state:?}, not {expected:?}"));
                }
            }
        }
        let _ = expected;
        Ok(())
    }
}

const RECORDS: std::ops::RangeInclusive<usize> = 3..=12;

/// All lives: even and uneven records, the first, the second and the third half, rows of 8 and of 32.
fn life(number: usize) -> Life {
    let records = RECORDS.start() + number % RECORDS.count();
    let rest = number / RECORDS.count();
    let row = if rest % 5 == 3 { 32 } else { 8 };
    Life::new(rest as u64, row, rest as u32 % 3, records)
}

fn lives() -> usize {
    by_extent(30, 4, 1) * if cfg!(miri) { 1 } else { RECORDS.count() }
}

#[test]
fn one_damaged_record_is_told_or_was_the_last() {
    let found = sweep(lives(), |number, found| {
        let life = life(number);
        for record in 0..life.records.len() {
            Harm::ALL.into_iter().for_each(|harm| life.check(&[(record, harm)], found));
        }
    });
    found.report("single damaged records");
}

#[test]
fn two_damaged_records_are_told_or_were_the_last() {
    let found = sweep(lives(), |number, found| {
        let life = life(number);
        for second in 1..life.records.len() {
            for first in 0..second {
                for one in Harm::ALL {
                    Harm::ALL.into_iter().for_each(|two| life.check(&[(first, one), (second, two)], found));
                }
            }
        }
    });
    let told = found.counts.get("told").copied().unwrap_or(0);
    found.report("pairs of damaged records");
    assert!(cfg!(miri) || told >= 100_000, "{told}");
}

#[test]
fn three_damaged_records_are_told_or_were_the_last() {
    let each = by_extent(1000, 200, 10);
    let found = sweep(lives(), |number, found| {
        let life = life(number);
        let mut random = Rng::with_seed(number as u64);
        for _ in 0..each {
            let mut chosen: Vec<usize> = (0..life.records.len()).collect();
            random.shuffle(&mut chosen);
            chosen.truncate(3);
            // Every other time the last three: whatever stands before others is told of.
            if random.bool() {
                chosen = (life.records.len() - 3..life.records.len()).collect();
            }
            chosen.sort_unstable();
            let harms: Vec<_> =
                chosen.into_iter().map(|record| (record, Harm::ALL[random.usize(..Harm::ALL.len())])).collect();
            life.check(&harms, found);
        }
    });
    let cases = found.cases;
    found.report("triples of damaged records");
    assert!(cfg!(miri) || cases >= 5_000, "{cases}");
}

/// A bit of the header checksum of record 1, one of the last byte of record 2: the state of record 0 was given, then the old
/// record 6 again.
#[test]
fn records_are_not_appended_in_front_of_others() {
    let life = Life::new(0, 8, 0, 7);
    let mut found = Findings::default();
    life.check(&[(1, Harm::HeaderChecksum), (2, Harm::LastByte)], &mut found);
    found.report("the pair that showed it");
}

/// A live snapshot follows the log's last record: if that one is destroyed, and another one before, it is told.
#[test]
fn damaged_records_before_a_live_snapshot_are_told() {
    let found = sweep(lives() / 4, |number, found| {
        let life = life(number);
        let recorded = Recorded::new(life.image.clone(), life.row);
        let mut memory = Ram::new();
        let heap: TestHeap<'_, '_> = Heap::open(Hand(&recorded), &mut memory, Life::options(life.row)).unwrap();
        let slice: Link<[u32]> = heap.root("slice").unwrap().unwrap();
        *heap.get_element_mut(slice, 0).unwrap() = 4711;
        heap.snapshot().unwrap();
        let image = recorded.into_image();
        for second in 1..life.records.len() {
            for first in 0..second {
                for (number, one) in Harm::ALL.into_iter().enumerate() {
                    let two = Harm::ALL[(number + first + second) % Harm::ALL.len()];
                    let mut image = image.clone();
                    one.apply(&mut image, life.records[first], life.row as usize);
                    two.apply(&mut image, life.records[second], life.row as usize);
                    found.check(life.is_told(image), || format!("{}, {first} {one:?}, {second} {two:?}", life.name));
                }
            }
        }
    });
    found.report("pairs of damaged records before a snapshot");
}
