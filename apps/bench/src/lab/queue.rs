//! The queue.

use super::clairvoyant;
use super::cost::Traffic;
use super::counting::Counting;
use super::jobs::{Jobs, Scale};
use super::medium::{Medium, Meter};
use super::row::Row;
use super::simulated::Simulated;
use crate::baseline::{RamQueue, StorageQueue};
use crate::queue::{HeapQueue, QUEUE_CAPACITY, QueueHeap, QueueMemory};
use crate::workload::{Fifo, LONGEST, Passing};
use anyhow::{Result, anyhow, ensure};
use std::fmt::Debug;
use vnv_persist::Policy;

/// Iterations between two commits in the rows with commits.
const COMMIT: u32 = 10;
/// Iterations that a row's figures are for.
const PER: u32 = 100;

/// Length, iterations, and iterations between two commits.
type Length = (usize, u32, Option<u32>);

fn run<F: Fifo<Error: Debug>>(queue: &mut F, meter: &Meter, (length, times, commit): Length) -> Result<Traffic> {
    let wrong = |error| anyhow!("{error:?}");
    let mut passing = Passing::new(1);
    for _ in 0..length {
        passing.push(queue).map_err(wrong)?;
    }
    let (traffic, ()) = meter.of(|| passing.run(queue, times, commit)).map_err(wrong)?;
    ensure!(passing.wrong == 0, "{} items came out otherwise than they went in", passing.wrong);
    Ok(traffic)
}

/// Traffic of the heap.
///
/// # Errors
///
/// The heap's; an item that comes out otherwise than it went in.
pub fn heap<M: Medium, P: Policy + Default>(length: Length) -> Result<Traffic> {
    let medium = M::new(QUEUE_CAPACITY);
    let meter = medium.meter();
    let mut memory = QueueMemory::of(length.0, length.2.is_some());
    let options = memory.options(length.0, length.2.is_some());
    let heap: QueueHeap<'_, M, P> =
        QueueHeap::format(medium, &mut memory, options).map_err(|error| anyhow!("{error:?}"))?;
    let mut queue = HeapQueue::new(&heap, length.0).map_err(|error| anyhow!("{error:?}"))?;
    run(&mut queue, &meter, length)
}

fn storage_only<M: Medium>(length: Length) -> Result<Traffic> {
    let medium = M::new(QUEUE_CAPACITY);
    let meter = medium.meter();
    run(&mut StorageQueue::new(medium), &meter, length)
}

/// Adds the rows of a system. What the contents are makes no difference: there is one seed.
fn add(
    jobs: &mut Jobs,
    scale: Scale,
    system: &str,
    commits: &'static [Option<u32>],
    run: fn(Length) -> Result<Traffic>,
    simulated: Option<fn(Length) -> Result<Traffic>>,
) {
    let system = system.to_owned();
    jobs.add(format!("queue {system}"), move || {
        let mut rows = Vec::new();
        for commit in commits {
            for length in 0..=LONGEST {
                let parameters = match commit {
                    None => format!("length={length}"),
                    Some(commit) => format!("length={length};commit={commit}"),
                };
                let traffic =
                    run((length, scale.passes, *commit)).map_err(|error| error.context(parameters.clone()))?;
                if let Some(simulated) = simulated {
                    let few = (length, scale.passes.min(PER), *commit);
                    let (counted, clocked) = (run(few)?, simulated(few)?);
                    ensure!(counted == clocked, "the simulated part: {clocked:?}, counted: {counted:?}");
                }
                let share = f64::from(scale.passes) / f64::from(PER);
                rows.push(Row::new("queue", &system, &parameters, PER, &[traffic], share));
            }
        }
        Ok(rows)
    });
}

fn add_heap<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    add(jobs, scale, system, &[None, Some(COMMIT)], heap::<Counting, P>, Some(heap::<Simulated, P>));
}

/// The rows of the queue.
pub fn jobs(jobs: &mut Jobs, scale: Scale) {
    crate::for_each_policy!(add_heap(jobs, scale));
    add(jobs, scale, "storage-only", &[None], storage_only::<Counting>, Some(storage_only::<Simulated>));
    let ram = |length| run(&mut RamQueue::default(), &Meter::new(Traffic::default), length);
    add(jobs, scale, "ram-only", &[None], ram, None);
    let clairvoyant = |(length, times, _): Length| Ok(clairvoyant::queue(length, times));
    add(jobs, scale, "clairvoyant", &[None], clairvoyant, None);
}
