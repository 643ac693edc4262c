//! A tour of the heap. Each round shows everything once; what it leaves is found again after a restart.

#![cfg_attr(not(feature = "std"), no_std)]

use board::{Board, Failure, Reason, info};
use static_cell::ConstStaticCell;
use vnv_persist::{Durable, Error, Heap, Link, Maybe, Memory, Options, Weak};
use vnv_storage::Device;

/// What a measurement came to.
#[derive(Durable, Clone, Copy, PartialEq)]
#[repr(u8)]
enum Quality {
    Good,
    Saturated { by: u16 },
}

/// A measurement; the newest one leads to the older ones.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Reading {
    number: u32,
    millivolts: Maybe<i32>,
    quality: Quality,
    older: Link<Reading>,
}

/// What the root leads to.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Station {
    rounds: u32,
    readings: u32,
    newest: Link<Reading>,
    histogram: Link<[u16]>,
    best: Weak<Reading>,
}

const KEPT: u32 = 6;
type Ram = Memory<32, 16, 6, 4, 128>;
static MEMORY: ConstStaticCell<Ram> = ConstStaticCell::new(Ram::new());
type Tour<D> = Heap<'static, D, Ram>;

/// Shows everything, a round for each pause of the board.
///
/// # Errors
///
/// Those of the heap; [`Failure::Wrong`] if something is not as it was left.
pub fn run<D: Device>(storage: D, board: &mut impl Board) -> Result<(), Failure<D::Error>>
where
    D::Error: Reason,
{
    let heap: Tour<D> = Heap::open_or_format(storage, MEMORY.take(), Options::new(512))?;
    let report = heap.report();
    info!("opened state {}: {} objects, {} reclaimed", report.sequence, report.objects, report.reclaimed);

    let station = found(&heap)?;
    while board.pause() {
        measure(&heap, station)?;
        forget(&heap, station)?;
        change_nothing(&heap, station)?;
        let checked = check(&heap, station)?;
        // A commit at leisure, or a snapshot as a power failure would take it.
        let rounds = {
            let mut station = heap.get_mut(station)?;
            station.rounds += 1;
            station.rounds
        };
        let sequence = if rounds % 2 == 0 { heap.snapshot()? } else { heap.commit()? };
        let (free, largest) = heap.free_space()?;
        info!("round {}: {} readings, state {}", rounds, checked, sequence);
        info!("  {} units free, {} in one piece, {} bytes dirty", free, largest, heap.dirty_bytes()?);
    }
    Ok(())
}

/// The station of the life before, or a new one.
fn found<D: Device>(heap: &Tour<D>) -> Result<Link<Station>, Error<D::Error>>
where
    D::Error: Reason,
{
    if let Some(station) = heap.root::<Station>("station")? {
        info!("the root leads to a station of {} rounds", heap.get(station)?.rounds);
        return Ok(station);
    }
    // A large value is made in place; an `Owned` handle frees its object unless a link takes it.
    let histogram = heap.allocate_slice_with(32, |_| 0u16)?.into_link();
    let station = Station { rounds: 0, readings: 0, newest: Link::NULL, histogram, best: Weak::NULL };
    let station = heap.allocate(station)?.into_link();
    heap.set_root("station", Some(station))?;
    drop(heap.allocate(7u64)?);
    heap.commit()?;
    Ok(station)
}

/// A new reading at the head of the list: several objects change together, or not at all.
fn measure<D: Device>(heap: &Tour<D>, station: Link<Station>) -> Result<(), Error<D::Error>>
where
    D::Error: Reason,
{
    let Station { readings, newest, histogram, .. } = *heap.get(station)?;
    let millivolts = (readings * 37 % 200) as i32 - 40;
    let quality = if millivolts > 150 { Quality::Saturated { by: (millivolts - 150) as u16 } } else { Quality::Good };
    let millivolts = if readings % 5 == 4 { Maybe::NONE } else { Maybe::some(millivolts) };
    let transaction = heap.transaction()?;
    let reading = transaction.allocate(Reading { number: readings, millivolts, quality, older: newest })?.into_link();
    {
        let mut station = transaction.get_mut(station)?;
        station.readings += 1;
        station.newest = reading;
        if quality == Quality::Good {
            // A weak handle does not keep its target alive.
            station.best = reading.downgrade();
        }
    }
    // One element of a table: only it is dirty.
    *transaction.get_element_mut(histogram, (readings % 32) as usize)? += 1;
    transaction.commit()?;
    Ok(())
}

/// The list is cut behind the newest readings: what was behind is garbage, and collected.
fn forget<D: Device>(heap: &Tour<D>, station: Link<Station>) -> Result<(), Error<D::Error>>
where
    D::Error: Reason,
{
    let mut at = heap.get(station)?.newest;
    for _ in 1..KEPT {
        let older = heap.get(at)?.older;
        if older.is_null() {
            return Ok(());
        }
        at = older;
    }
    heap.get_mut(at)?.older = Link::NULL;
    if heap.get(station)?.readings % 4 == 0 {
        info!("  collected {} readings that nothing leads to", heap.collect()?);
    }
    Ok(())
}

/// A transaction that is not committed leaves no trace.
fn change_nothing<D: Device>(heap: &Tour<D>, station: Link<Station>) -> Result<(), Error<D::Error>>
where
    D::Error: Reason,
{
    let transaction = heap.transaction()?;
    transaction.get_mut(station)?.readings = 0;
    drop(transaction);
    Ok(())
}

/// Walks the list; returns how many readings it holds.
fn check<D: Device>(heap: &Tour<D>, station: Link<Station>) -> Result<u32, Failure<D::Error>>
where
    D::Error: Reason,
{
    let Station { readings, newest, histogram, best, .. } = *heap.get(station)?;
    let (mut at, mut count) = (newest, 0);
    while !at.is_null() {
        let reading = *heap.get(at)?;
        count += 1;
        if reading.number + count != readings {
            return Err(Failure::Wrong("the list has a gap"));
        }
        at = reading.older;
    }
    if heap.get(histogram)?.iter().map(|bin| u32::from(*bin)).sum::<u32>() != readings {
        return Err(Failure::Wrong("the histogram does not count every reading"));
    }
    match heap.get(best) {
        Ok(_) | Err(Error::Stale) => Ok(count),
        Err(error) => Err(error.into()),
    }
}
