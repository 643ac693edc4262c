//! Formatting is cut anywhere, and the formatting after that, and the one after that: the next `open_or_format` still ends
//! with a formatted heap, or with the heap that was there before, whole.
//!
//! A failure prints its rows, what the storage held, and each cut; `VNV_FULL=1` tries every pair of cuts in place of a
//! stride of them.

// Sweeps of bytes in storage, with nothing unsafe of their own: too long for Miri.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod recorded;

use fastrand::Rng;
use recorded::{Findings, Hand, Recorded, Write, apply, by_extent, hash, sweep, torn};
use std::collections::{HashMap, HashSet};
use vnv_persist::{Heap, Link, Memory, OpenError, Options, Workspace, format};
use vnv_sim::Tear;

/// The heap that the program has, in each of these tests.
type Ram = Memory<8, 6, 2, 1, 64>;
/// Another program's.
type OtherRam = Memory<12, 6, 3, 2, 64>;
type TestHeap<'m, 'r, W = Ram> = Heap<'m, Hand<'r>, W>;

const ROWS: [u32; 6] = [4, 8, 16, 32, 64, 256];

fn capacity(row: u32) -> usize {
    2304.max(24 * row) as usize
}

fn options(row: u32) -> Options {
    Options::new(if row > 8 { 160 + 2 * row } else { 160 }).log_bytes(64)
}

fn other_options(row: u32) -> Options {
    Options::new(if row > 8 { 200 + 2 * row } else { 200 }).log_bytes(128)
}

/// A heap with one object, 5, and some commits; formatted with `memory` and `options` in rows of `row` bytes.
fn lived_in<W: Workspace>(capacity: usize, row: u32, memory: &mut W, options: Options) -> Vec<u8> {
    let recorded = Recorded::new(vec![0xFF; capacity], row);
    let heap: TestHeap<'_, '_, W> = Heap::format(Hand(&recorded), memory, options).unwrap();
    let value = heap.allocate(0u32).unwrap().into_link();
    heap.set_root("value", Some(value)).unwrap();
    for number in 1..=5 {
        *heap.get_mut(value).unwrap() = number;
        heap.commit().unwrap();
    }
    recorded.into_image()
}

/// What the storage held before it was formatted.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Start {
    Zeros,
    Ones,
    SameLayout,
    OtherLayout,
    OtherRow,
    Garbage,
}

impl Start {
    const ALL: [Self; 6] =
        [Self::Zeros, Self::Ones, Self::SameLayout, Self::OtherLayout, Self::OtherRow, Self::Garbage];

    fn image(self, row: u32) -> Vec<u8> {
        let capacity = capacity(row);
        match self {
            Self::Zeros => vec![0; capacity],
            Self::Ones => vec![0xFF; capacity],
            Self::SameLayout => lived_in(capacity, row, &mut Ram::new(), options(row)),
            Self::OtherLayout => lived_in(capacity, row, &mut OtherRam::new(), other_options(row)),
            Self::OtherRow => {
                let row = other_row(row);
                lived_in(capacity, row, &mut Ram::new(), options(row))
            }
            Self::Garbage => {
                let mut random = Rng::with_seed(u64::from(row));
                (0..capacity).map(|_| random.u8(..)).collect()
            }
        }
    }

    /// Whether `open_or_format` may have to be told to format.
    fn is_refused(self) -> bool {
        matches!(self, Self::OtherLayout | Self::OtherRow | Self::Garbage)
    }
}

/// A row with another place of the second superblock.
fn other_row(row: u32) -> u32 {
    if row > 64 { 8 } else { 128 }
}

/// The writes that formatting `image` makes.
fn format_writes(image: &[u8], row: u32) -> Vec<Write> {
    let recorded = Recorded::new(image.to_vec(), row);
    format(&mut Hand(&recorded), &mut Ram::new(), options(row)).unwrap();
    recorded.into_writes()
}

/// What the next start finds.
enum Next {
    /// A heap: of the life before, or empty. With the writes that made it.
    Opened(bool, Vec<Write>),
    /// A typed error, and nothing changed.
    Refused(String),
}

fn next_start(image: &[u8], row: u32) -> Result<Next, String> {
    let recorded = Recorded::new(image.to_vec(), row);
    let mut memory = Ram::new();
    let opened: Result<TestHeap<'_, '_>, OpenError<_>> =
        Heap::open_or_format(Hand(&recorded), &mut memory, options(row));
    match opened {
        Ok(heap) => {
            let value = heap.root::<u32>("value").map_err(|error| format!("its root: {error}"))?;
            match value {
                Some(value) => match heap.get(value).map(|value| *value) {
                    Ok(5) => {}
                    other => return Err(format!("of the heap before it has {other:?} in place of 5")),
                },
                None if heap.report().objects != 0 => {
                    return Err(format!("a fresh heap has {} objects", heap.report().objects));
                }
                None => {}
            }
            Ok(Next::Opened(value.is_some(), recorded.into_writes()))
        }
        Err(OpenError::Heap(error)) => Err(format!("it fails with {error}")),
        Err(error) => {
            if *recorded.image.borrow() != *image {
                return Err(format!("{error}, but it has changed the storage"));
            }
            Ok(Next::Refused(error.to_string()))
        }
    }
}

/// A first commit after a start, and what is there after another one.
fn lives_on(image: &[u8], row: u32) -> Result<(), String> {
    let recorded = Recorded::new(image.to_vec(), row);
    let mut memory = Ram::new();
    let heap: TestHeap<'_, '_> = Heap::open_or_format(Hand(&recorded), &mut memory, options(row))
        .map_err(|error| format!("it fails with: {error}"))?;
    let work = |heap: &TestHeap<'_, '_>| -> Result<Link<u32>, vnv_persist::Error<_>> {
        let new = heap.allocate(77u32)?.into_link();
        heap.set_root("value", Some(new))?;
        heap.commit()?;
        *heap.get_mut(new)? = 78;
        heap.commit()?;
        Ok(new)
    };
    work(&heap).map_err(|error| format!("its first commits: {error}"))?;
    let mut memory = Ram::new();
    let heap: TestHeap<'_, '_> = Heap::open_or_format(Hand(&recorded), &mut memory, options(row))
        .map_err(|error| format!("after its first commits: {error}"))?;
    let value = heap.root::<u32>("value").ok().flatten().and_then(|value| heap.get(value).ok().map(|value| *value));
    if value == Some(78) { Ok(()) } else { Err(format!("its first commits give {value:?} in place of 78")) }
}

/// A cut: which write, how many of its bytes are stored, and what becomes of the one in flight.
#[derive(Clone, Copy, Debug)]
struct Cut {
    #[allow(dead_code, reason = "printed")]
    write: usize,
    #[allow(dead_code, reason = "printed")]
    bytes: usize,
    #[allow(dead_code, reason = "printed")]
    tear: Tear,
    /// The format was asked for, not by `open_or_format`, and its first write was not complete: what stood there before may
    /// be neither whole nor known as half formatted.
    may_be_refused: bool,
}

/// Calls `see` with what each cut of `writes` leaves, from the `first` on at every `stride`th.
fn each_cut(
    image: &[u8],
    writes: &[Write],
    row: u32,
    (first, stride): (usize, usize),
    asked_for: bool,
    see: &mut dyn FnMut(Cut, Vec<u8>),
) {
    let mut now = image.to_vec();
    let (mut number, mut due) = (0, first);
    for (write, (_, bytes)) in writes.iter().enumerate() {
        for stored in 0..=bytes.len() {
            for tear in Tear::of_writes() {
                if number == due {
                    let cut = Cut {
                        write,
                        bytes: stored,
                        tear,
                        may_be_refused: asked_for && write == 0 && stored < bytes.len(),
                    };
                    see(cut, torn(&now, &writes[write], stored, tear, row));
                    due += stride;
                }
                number += 1;
            }
        }
        apply(&mut now, &writes[write]);
    }
}

/// What was found out about storages that a cut left: most cuts leave what another one left too.
#[derive(Default)]
struct Known {
    starts: HashMap<u64, Result<(Vec<Write>, bool), String>>,
    lived_on: HashSet<u64>,
}

impl Known {
    /// The writes of the next start on `image`, and whether `open_or_format` refused and was overruled.
    fn after(&mut self, image: &[u8], row: u32, cut: Cut, on: bool) -> Result<(Vec<Write>, bool), String> {
        let key = hash(image) ^ u64::from(cut.may_be_refused);
        let result = self.starts.entry(key).or_insert_with(|| match next_start(image, row)? {
            Next::Opened(_, writes) => Ok((writes, false)),
            Next::Refused(_) if cut.may_be_refused => Ok((format_writes(image, row), true)),
            Next::Refused(error) => Err(format!("the next start is refused: {error}")),
        });
        let result = result.clone();
        if on && result.as_ref().is_ok_and(|(_, refused)| !refused) && self.lived_on.insert(key) {
            lives_on(image, row)?;
        }
        result
    }
}

/// One first cut out of `jobs` of a row and a start, and second cuts behind it.
fn pairs(row: u32, start: Start, (first, stride): (usize, usize), second_stride: usize, found: &mut Findings) {
    let image = start.image(row);
    let writes = format_writes(&image, row);
    let mut known = Known::default();
    let mut firsts = 0;
    each_cut(&image, &writes, row, (first, stride), start.is_refused(), &mut |one, torn| {
        firsts += 1;
        let replay = || format!("rows of {row}, {start:?}, {one:?}");
        let next = known.after(&torn, row, one, true);
        found.count("first cuts");
        let (next, refused) = match next {
            Ok(next) => next,
            Err(error) => return found.check(Err(error), replay),
        };
        each_cut(&torn, &next, row, (firsts % second_stride, second_stride), refused, &mut |two, torn| {
            let result = known.after(&torn, row, two, found.cases % 101 == 0).map(|_| ());
            found.check(result, || format!("{}, then {two:?}", replay()));
        });
    });
}

#[test]
fn after_two_cuts_of_a_format_the_next_start_succeeds() {
    // Strides that share no factor with the number of tears.
    let (first_stride, second_stride) = by_extent((1, 1), (7, 211), (9973, 9973));
    // Each job has every 8th of the first cuts.
    const SHARES: usize = 8;
    let found = sweep(ROWS.len() * Start::ALL.len() * SHARES, |number, found| {
        let row = ROWS[number / SHARES % ROWS.len()];
        let start = Start::ALL[number / SHARES / ROWS.len()];
        pairs(row, start, (number % SHARES * first_stride, first_stride * SHARES), second_stride, found);
    });
    let cases = found.cases;
    found.report("pairs of cuts of a format");
    assert!(cfg!(miri) || cases >= 450_000, "only {cases} pairs of cuts");
}

#[test]
fn after_up_to_five_cuts_of_formats_the_next_start_succeeds() {
    let found = sweep(by_extent(20_000, 600, 1), |number, found| {
        let mut random = Rng::with_seed(number as u64);
        let row = ROWS[number % ROWS.len()];
        let start = Start::ALL[number / ROWS.len() % Start::ALL.len()];
        let first = start.image(row);
        let first_writes = format_writes(&first, row);
        let tears: Vec<Tear> = Tear::of_writes().collect();
        for _ in 0..20 {
            let (mut image, mut writes, mut asked_for) = (first.clone(), first_writes.clone(), start.is_refused());
            let mut cuts = Vec::new();
            let mut result = Ok(());
            let length = random.usize(3..=5);
            while cuts.len() < length && !writes.is_empty() {
                let write = random.usize(..writes.len());
                let bytes = random.usize(..=writes[write].1.len());
                let may_be_refused = asked_for && write == 0 && bytes < writes[0].1.len();
                let cut = Cut { write, bytes, tear: tears[random.usize(..tears.len())], may_be_refused };
                writes[..write].iter().for_each(|write| apply(&mut image, write));
                image = torn(&image, &writes[write], bytes, cut.tear, row);
                cuts.push(cut);
                match Known::default().after(&image, row, cut, cuts.len() == length) {
                    Ok(next) => (writes, asked_for) = next,
                    Err(error) => {
                        result = Err(error);
                        break;
                    }
                }
            }
            found.check(result, || format!("seed {number}, rows of {row}, {start:?}, {cuts:?}"));
        }
    });
    found.report("three to five cuts of formats in a row");
}

#[test]
fn what_a_format_did_not_complete_is_the_whole_heap_before_or_an_empty_one() {
    for row in ROWS {
        let mut found = Findings::default();
        let mut both = [0u32; 2];
        let image = Start::SameLayout.image(row);
        let writes = format_writes(&image, row);
        each_cut(&image, &writes, row, (0, by_extent(1, 1, 997)), false, &mut |cut, torn| {
            let result = match next_start(&torn, row) {
                Ok(Next::Opened(before, _)) => {
                    both[usize::from(before)] += 1;
                    Ok(())
                }
                Ok(Next::Refused(error)) => Err(error),
                Err(error) => Err(error),
            };
            found.check(result, || format!("rows of {row}, {cut:?}"));
        });
        found.report("cuts of a format over a heap");
        assert!(cfg!(miri) || both.iter().all(|count| *count > 0), "rows of {row}: {both:?}");
    }
}

/// A heap of another layout is there until the program that asked for a format has begun to write: what refuses it has not
/// hurt it.
#[test]
fn a_heap_of_another_layout_is_whole_as_long_as_it_is_refused() {
    for row in ROWS {
        let mut found = Findings::default();
        let image = Start::OtherLayout.image(row);
        let writes = format_writes(&image, row);
        each_cut(&image, &writes, row, (0, by_extent(1, 1, 997)), true, &mut |cut, torn| {
            let result = match next_start(&torn, row) {
                Ok(Next::Refused(error)) if cut.may_be_refused => {
                    found.count("refused");
                    let recorded = Recorded::new(torn, row);
                    let mut memory = OtherRam::new();
                    let heap: Result<TestHeap<'_, '_, OtherRam>, _> =
                        Heap::open(Hand(&recorded), &mut memory, other_options(row));
                    match heap {
                        Err(other) => Err(format!("refused ({error}), and not whole either: {other}")),
                        Ok(heap) => match heap
                            .root::<u32>("value")
                            .map(|value| value.map(|value| heap.get(value).map(|value| *value)))
                        {
                            Ok(Some(Ok(5))) => Ok(()),
                            other => Err(format!("refused, and {other:?}")),
                        },
                    }
                }
                Ok(Next::Refused(error)) => Err(error),
                Ok(Next::Opened(true, _)) => Err("opened with the values of the other one".into()),
                Ok(Next::Opened(false, _)) => Ok(()),
                Err(error) => Err(error),
            };
            found.check(result, || format!("rows of {row}, {cut:?}"));
        });
        let found = found.report("cuts of a format over a heap of another layout");
        assert!(cfg!(miri) || found.counts.contains_key("refused"), "rows of {row}");
    }
}
