//! The program of the book's chapter on migration: it finds the old layout or the new one, wherever power is cut.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

// ANCHOR: program
use std::fmt::Debug;
use vnv_persist::{Durable, Error, Heap, Link, Memory, OpenError, Options};
use vnv_storage::Device;

/// The types as the program's first version had them. They stay as they were, field for field.
mod v1 {
    use super::*;

    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    #[durable(name = "Reading", version = 1)]
    pub struct Reading {
        /// Tenths of a degree Celsius.
        pub tenths: i16,
        pub next: Link<Reading>,
    }

    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    #[durable(name = "Station", version = 1)]
    pub struct Station {
        pub first: Link<Reading>,
    }
}

/// A reading has a finer unit now, and says which sensor it came from.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
#[durable(name = "Reading", version = 2)]
struct Reading {
    millikelvin: u32,
    sensor: u8,
    next: Link<Reading>,
}

#[derive(Durable, Clone, Copy)]
#[repr(C)]
#[durable(name = "Station", version = 2)]
struct Station {
    count: u16,
    first: Link<Reading>,
}

/// 48 slots, 8 pending places, 6 types, 2 roots, 64 words of arena. The numbers of slots, types and roots are part of
/// the image and stay: a migration needs slots, and rows of the type table, for both versions at once.
type Ram = Memory<48, 8, 6, 2, 64>;
const OPTIONS: Options = Options::new(256);

/// What the program does on each start: it finds its data, in whatever version they are.
fn station<D: Device>(heap: &Heap<'_, D, Ram>) -> Result<Link<Station>, Error<D::Error>>
where
    D::Error: Debug,
{
    match heap.root::<Station>("station") {
        Ok(Some(station)) => Ok(station),
        Ok(None) => {
            let station = heap.allocate(Station { count: 0, first: Link::NULL })?.into_link();
            heap.set_root("station", Some(station))?;
            heap.commit()?;
            Ok(station)
        }
        // Another layout: the last one, or this is an error, and the data stay as they are.
        Err(Error::TypeMismatch) => migrate(heap),
        Err(error) => Err(error),
    }
}

/// What becomes of an old value.
fn kelvin(tenths: i16) -> u32 {
    (273_150 + 100 * i32::from(tenths)).max(0).unsigned_abs()
}

/// Builds the new graph beside the old one, and moves the root.
fn migrate<D: Device>(heap: &Heap<'_, D, Ram>) -> Result<Link<Station>, Error<D::Error>>
where
    D::Error: Debug,
{
    let Some(old) = heap.root::<v1::Station>("station")? else { return Err(Error::Stale) };

    // Step 1, as many commits as it takes: the root still leads to the old graph. If this fails, or power does, the new
    // graph is garbage: dropping the handle frees the station, and `collect` or the next `open` frees the rest.
    let mut new = heap.allocate(Station { count: 0, first: Link::NULL })?;
    let mut last = Link::<Reading>::NULL;
    let mut next = heap.get(old)?.first;
    while !next.is_null() {
        let v1::Reading { tenths, next: after } = *heap.get(next)?;
        let millikelvin = kelvin(tenths);
        let reading = heap.allocate(Reading { millikelvin, sensor: 0, next: Link::NULL })?.into_link();
        if last.is_null() {
            heap.get_mut(&mut new)?.first = reading;
        } else {
            heap.get_mut(last)?.next = reading;
        }
        heap.get_mut(&mut new)?.count += 1;
        (last, next) = (reading, after);
    }

    // Step 2, one commit: the root leads to the new graph and the old one is freed, or nothing of this happens.
    let transaction = heap.transaction()?;
    let new = new.into_link();
    transaction.set_root("station", Some(new))?;
    let mut next = transaction.get(old)?.first;
    transaction.free(old)?;
    while !next.is_null() {
        let after = transaction.get(next)?.next;
        transaction.free(next)?;
        next = after;
    }
    transaction.commit()?;
    Ok(new)
}

/// A whole life of the program: it starts, keeps one more reading, and is switched off.
fn run<D: Device>(device: D, millikelvin: u32) -> Result<D, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::open_or_format(device, &mut memory, OPTIONS)?;
    let station = station(&heap)?;

    let first = heap.get(station)?.first;
    let reading = heap.allocate(Reading { millikelvin, sensor: 1, next: first })?.into_link();
    let transaction = heap.transaction()?;
    transaction.get_mut(station)?.first = reading;
    transaction.get_mut(station)?.count += 1;
    transaction.commit()?;
    Ok(heap.into_device())
}
// ANCHOR_END: program

// ANCHOR: one
/// Migrates one object of a table of links, which is the same for both versions.
fn migrate_one<D: Device>(
    heap: &Heap<'_, D, Ram>,
    table: Link<[Link<Reading>]>,
    at: usize,
) -> Result<(), Error<D::Error>>
where
    D::Error: Debug,
{
    let link = heap.get(table)?[at];
    match heap.get(link) {
        Err(Error::TypeMismatch) => {}
        found => return found.map(|_| ()),
    }
    let old = Link::<v1::Reading>::from_raw_parts(link.index(), link.generation());
    let millikelvin = kelvin(heap.get(old)?.tenths);
    let transaction = heap.transaction()?;
    let new = transaction.allocate(Reading { millikelvin, sensor: 0, next: Link::NULL })?.into_link();
    *transaction.get_element_mut(table, at)? = new;
    transaction.free(old)?;
    transaction.commit()?;
    Ok(())
}
// ANCHOR_END: one

use common::{Recorder, Trace};
use std::cell::{Cell, RefCell};
use std::collections::HashSet;
use std::ops::Range;
use std::rc::Rc;
use vnv_persist::{Event, verify};
use vnv_sim::{Garbage, Tear, TearStorage};

const CAPACITY: usize = 8192;

/// All that the data are, in one version or the other.
#[derive(Clone, PartialEq, Debug)]
enum Data {
    Old(Vec<i16>),
    New(Vec<(u32, u8)>),
}

/// The data that can be read through the root, and only they.
fn data<D: Device>(heap: &Heap<'_, D, Ram>) -> Result<Data, Error<D::Error>>
where
    D::Error: Debug,
{
    match heap.root::<v1::Station>("station") {
        Ok(Some(old)) => {
            let (mut readings, mut next) = (Vec::new(), heap.get(old)?.first);
            while !next.is_null() {
                let reading = *heap.get(next)?;
                readings.push(reading.tenths);
                next = reading.next;
            }
            // Not both.
            assert!(matches!(heap.root::<Station>("station"), Err(Error::TypeMismatch)));
            Ok(Data::Old(readings))
        }
        Ok(None) => panic!("the root is gone"),
        Err(Error::TypeMismatch) => {
            let new = heap.root::<Station>("station")?.unwrap();
            let (mut readings, mut next) = (Vec::new(), heap.get(new)?.first);
            while !next.is_null() {
                let reading = *heap.get(next)?;
                readings.push((reading.millikelvin, reading.sensor));
                next = reading.next;
            }
            assert_eq!(usize::from(heap.get(new)?.count), readings.len());
            Ok(Data::New(readings))
        }
        Err(error) => Err(error),
    }
}

/// Values of so many readings.
fn tenths(readings: i16) -> Vec<i16> {
    (0..readings).map(|at| at * 37 - 100).collect()
}

/// The image that the program's first version left behind after so many more commits.
fn old_image(old: &[i16], commits: u32) -> Vec<u8> {
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let mut first = Link::NULL;
    for tenths in old.iter().rev() {
        first = heap.allocate(v1::Reading { tenths: *tenths, next: first }).unwrap().into_link();
    }
    let station = heap.allocate(v1::Station { first }).unwrap().into_link();
    for _ in 0..=commits {
        heap.set_root("station", Some(station)).unwrap();
        heap.commit().unwrap();
    }
    assert_eq!(data(&heap), Ok(Data::Old(old.to_vec())));
    heap.into_device().into_image()
}

fn migrated(old: &[i16]) -> Data {
    Data::New(old.iter().map(|tenths| ((273_150 + i32::from(*tenths) * 100) as u32, 0)).collect())
}

/// A reopened image: what is found, and then what every start makes of it.
struct Reopened {
    found: Data,
    reclaimed: u16,
    /// The image before the start, as `open` has left it.
    opened: Vec<u8>,
}

fn reopen(image: &[u8], old: &[i16], start: bool) -> Result<Reopened, String> {
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::open(TearStorage::from_image(image.to_vec(), 8), &mut memory, OPTIONS)
        .map_err(|error| format!("open: {error}"))?;
    let report = *heap.report();
    let found = data(&heap).map_err(|error| format!("data: {error}"))?;
    // One graph, and nothing beside it but its schemas.
    let expected = old.len() as u16 + 1;
    if (report.objects, report.damaged) != (expected, None) {
        return Err(format!("{found:?}: {report:?}"));
    }
    let opened = heap.with_device(|device| device.image().to_vec()).map_err(|error| error.to_string())?;
    if start {
        station(&heap).map_err(|error| format!("start: {error}"))?;
        let started = data(&heap).map_err(|error| format!("data after the start: {error}"))?;
        let garbage = heap.collect().map_err(|error| format!("collect: {error}"))?;
        heap.commit().map_err(|error| format!("commit: {error}"))?;
        let image = heap.into_device().into_image();
        let mut findings = Vec::new();
        let verified =
            verify(TearStorage::from_image(image, 8), &mut memory, OPTIONS, &mut |finding| findings.push(finding))
                .map_err(|error| format!("verify: {error}"))?;
        if (started != migrated(old)) || (garbage, verified.objects, findings.len()) != (0, expected, 0) {
            return Err(format!("after the start: {started:?}, {garbage} objects of garbage, {verified:?}"));
        }
    }
    Ok(Reopened { found, reclaimed: report.reclaimed, opened })
}

struct Record {
    writes: Vec<(u32, Vec<u8>)>,
    /// Which of the writes belong to each commit.
    commits: Vec<Range<usize>>,
    compactions: u32,
}

/// Everything that the migration of `image` writes.
fn record(image: &[u8]) -> Record {
    let trace = Rc::new(RefCell::new(Trace::default()));
    let mut memory = Ram::new();
    let recorder = Recorder { image: image.to_vec(), trace: trace.clone() };
    let heap = Heap::<_, Ram>::open(recorder, &mut memory, OPTIONS).unwrap();
    let (begin, commits) = (Cell::new(0), RefCell::new(Vec::new()));
    let observer = |event| {
        let now = trace.borrow().writes.len();
        match event {
            Event::Committing => begin.set(now),
            Event::Committed(_) => commits.borrow_mut().push(begin.get()..now),
            _ => {}
        }
    };
    heap.set_observer(Some(&observer));
    station(&heap).unwrap();
    heap.set_observer(None);
    let compactions = heap.compactions();
    drop(heap);
    let writes = trace.borrow().writes.iter().map(|(offset, bytes, _)| (*offset, bytes.clone())).collect();
    Record { writes, commits: commits.into_inner(), compactions }
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[derive(Default, Debug)]
struct Counts {
    bytes: usize,
    cuts: u32,
    images: u32,
    old: u32,
    new: u32,
    reclaimed: u32,
    again: u32,
}

/// Cuts the migration of `image` at every `stride`th byte that it writes.
fn sweep(image: &[u8], old: &[i16], stride: usize, tears: &[Tear], again: bool) -> Counts {
    let Record { writes, commits, .. } = record(image);
    let last_commit = commits.last().unwrap();
    let mut counts = Counts::default();
    let mut image = image.to_vec();
    let mut seen = HashSet::new();
    for (number, (offset, bytes)) in writes.iter().enumerate() {
        for cut in 0..=bytes.len() {
            counts.bytes += usize::from(cut > 0);
            if (counts.bytes + number) % stride != 0 {
                continue;
            }
            for tear in tears {
                let mut device = TearStorage::from_image(image.clone(), 8).with_tear(*tear);
                device.cut_after_bytes(cut as u64);
                let _ = device.write_gather(*offset, &[bytes]);
                let torn = device.into_image();
                counts.cuts += 1;
                if !seen.insert(hash(&torn)) {
                    continue;
                }
                counts.images += 1;
                let context = format!("write {number} of {}, byte {cut}, {tear:?}", writes.len());
                let Reopened { found, reclaimed, opened } =
                    reopen(&torn, old, counts.images % 5 == 0).unwrap_or_else(|error| panic!("{context}: {error}"));
                counts.reclaimed += u32::from(reclaimed > 0);
                if found == Data::Old(old.to_vec()) {
                    counts.old += 1;
                } else {
                    // Not before the root moves.
                    assert!(found == migrated(old) && number >= last_commit.start, "{context}: {found:?}");
                    counts.new += 1;
                }
                if again && counts.images % 293 == 7 && found == Data::Old(old.to_vec()) {
                    counts.again += sweep(&opened, old, 41, &[Tear::T0, Tear::T2(Garbage::Inverted)], false).images;
                }
            }
        }
        let at = *offset as usize;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(reopen(&image, old, true).unwrap().found, migrated(old));
    counts
}

#[test]
fn wherever_power_is_cut_the_old_data_are_found_or_the_new() {
    // Readings, and commits before the migration: the log is filled in several ways when it begins.
    let cases: &[(i16, u32)] =
        if cfg!(miri) { &[(1, 0)] } else { &[(18, 0), (18, 10), (18, 11), (0, 0), (3, 0), (3, 10), (3, 11), (6, 0)] };
    let tears: Vec<_> = Tear::of_writes().step_by(if cfg!(miri) { 11 } else { 1 }).collect();
    let (mut most_commits, mut appended, mut compacted, mut reclaimed) = (0, 0, 0, 0);
    for (readings, commits) in cases {
        let old = tenths(*readings);
        let image = old_image(&old, *commits);
        let Record { writes, commits, compactions } = record(&image);
        assert_eq!(commits.last().unwrap().end, writes.len());
        most_commits = most_commits.max(commits.len());
        appended += u32::from(compactions == 0);
        compacted += u32::from(compactions != 0);
        let counts = sweep(&image, &old, if cfg!(miri) { 397 } else { 1 }, &tears, true);
        println!("{readings} readings, {} commits, {compactions} of them compactions: {counts:?}", commits.len());
        reclaimed += counts.reclaimed;
        assert!(cfg!(miri) || (counts.old > 0 && counts.new > 0 && counts.again > 0));
    }
    assert!(cfg!(miri) || (most_commits > 3 && appended > 0 && compacted > 0 && reclaimed > 0));
}

#[test]
fn the_program_goes_on_with_what_its_first_version_left() {
    let mut device = TearStorage::from_image(old_image(&tenths(4), 0), 8);
    let Data::New(mut expected) = migrated(&tenths(4)) else { unreachable!() };
    for life in 0..if cfg!(miri) { 2 } else { 5 } {
        device = run(device, 300_000 + life).unwrap();
        expected.insert(0, (300_000 + life, 1));
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::open(device, &mut memory, OPTIONS).unwrap();
        assert_eq!(data(&heap), Ok(Data::New(expected.clone())));
        assert_eq!(usize::from(heap.report().objects), expected.len() + 1);
        device = heap.into_device();
    }
    // It begins on blank storage too.
    let device = run(TearStorage::new(CAPACITY, 8), 1).unwrap();
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::open(device, &mut memory, OPTIONS).unwrap();
    assert_eq!(data(&heap), Ok(Data::New(vec![(1, 1)])));
}

#[test]
fn without_room_for_both_the_old_data_stay() {
    let mut memory = Ram::new();
    let old = tenths(8);
    let image = old_image(&old, 0);
    let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
    // Objects of other use leave room for half of the new ones.
    let others: Vec<_> = std::iter::from_fn(|| heap.allocate(0u64).ok()).collect();
    let taken = others.len();
    let kept: Vec<_> = others.into_iter().skip(old.len() / 2).collect();
    assert_eq!(station(&heap), Err(Error::ObjectsFull));
    heap.collect().unwrap();
    heap.commit().unwrap();
    assert_eq!(data(&heap), Ok(Data::Old(old.clone())));
    // Nothing is left of the attempt.
    let again: Vec<_> = std::iter::from_fn(|| heap.allocate(0u64).ok()).collect();
    assert_eq!(kept.len() + again.len(), taken);
    drop((kept, again));
    station(&heap).unwrap();
    assert_eq!(data(&heap), Ok(migrated(&old)));
}

#[test]
fn rows_of_the_old_types_are_there_for_the_first_type_that_finds_no_other() {
    let mut memory = Ram::new();
    let image = old_image(&tenths(3), 0);
    let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
    station(&heap).unwrap();
    // Six rows: two of the old types, two of the new ones, two of others.
    let others = (heap.allocate(1u32).unwrap(), heap.allocate(1u64).unwrap());
    // In a transaction nothing is collected.
    let transaction = heap.transaction().unwrap();
    assert_eq!(transaction.allocate(1u16).map(|_| ()), Err(Error::TypesFull));
    drop(transaction);
    let more = (heap.allocate(1u16).unwrap(), heap.allocate(1u8).unwrap());
    assert_eq!(heap.allocate(1i8).map(|_| ()), Err(Error::TypesFull));
    assert_eq!(data(&heap), Ok(migrated(&tenths(3))));
    drop((others, more));
}

#[test]
fn data_of_a_later_version_are_left_alone() {
    #[derive(Durable, Clone, Copy)]
    #[repr(C)]
    #[durable(name = "Station", version = 3)]
    struct Later {
        count: u16,
        first: Link<Reading>,
    }
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let later = heap.allocate(Later { count: 0, first: Link::NULL }).unwrap().into_link();
    heap.set_root("station", Some(later)).unwrap();
    heap.commit().unwrap();
    let image = heap.into_device().into_image();
    let device = TearStorage::from_image(image.clone(), 8);
    assert_eq!(run(device, 1).map(|_| ()), Err(OpenError::Heap(Error::TypeMismatch)));
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::open(TearStorage::from_image(image.clone(), 8), &mut memory, OPTIONS).unwrap();
    assert_eq!(station(&heap), Err(Error::TypeMismatch));
    assert!(heap.into_device().into_image() == image);
}

#[test]
fn objects_are_migrated_one_by_one_below_an_unchanged_root() {
    // Without room for both versions of all of them.
    let old = tenths(if cfg!(miri) { 3 } else { 24 });
    let mut memory = Ram::new();
    let heap = Heap::<_, Ram>::format(TearStorage::new(CAPACITY, 8), &mut memory, OPTIONS).unwrap();
    let table = heap.allocate_slice_with(old.len(), |_| Link::<v1::Reading>::NULL).unwrap().into_link();
    heap.set_root("table", Some(table)).unwrap();
    for (at, tenths) in old.iter().enumerate() {
        let reading = heap.allocate(v1::Reading { tenths: *tenths, next: Link::NULL }).unwrap().into_link();
        *heap.get_element_mut(table, at).unwrap() = reading;
    }
    heap.commit().unwrap();
    // Each start migrates one.
    let mut device = heap.into_device();
    for done in 1..=old.len() {
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::open(device, &mut memory, OPTIONS).unwrap();
        let table = heap.root::<[Link<Reading>]>("table").unwrap().unwrap();
        for at in 0..done {
            migrate_one(&heap, table, at).unwrap();
        }
        for (at, tenths) in old.iter().enumerate() {
            let link = heap.get(table).unwrap()[at];
            let before = Link::<v1::Reading>::from_raw_parts(link.index(), link.generation());
            if at < done {
                let Data::New(expected) = migrated(&[*tenths]) else { unreachable!() };
                let reading = *heap.get(link).unwrap();
                assert_eq!((reading.millikelvin, reading.sensor), expected[0]);
                assert_eq!(heap.get(before).map(|_| ()), Err(Error::TypeMismatch));
            } else {
                assert_eq!(heap.get(before).unwrap().tenths, *tenths);
                assert_eq!(heap.get(link).map(|_| ()), Err(Error::TypeMismatch));
            }
        }
        device = heap.into_device();
    }
}
