//! The key-value store.

use super::all_uses::AllUses;
use super::clairvoyant;
use super::cost::Traffic;
use super::counting::Counting;
use super::jobs::{Jobs, Scale};
use super::medium::{Medium, Meter};
use super::paged::{PAGES, Paged};
use super::row::Row;
use super::simulated::Simulated;
use crate::access::Pattern;
use crate::baseline::{RamValues, StorageValues};
use crate::heap::{HeapValues, STORE_CAPACITY, STORE_OPTIONS, Store, StoreMemory};
use crate::values::{KEYS, SIZES, TOTAL, shuffled};
use crate::workload::{Values, update};
use anyhow::{Result, anyhow, ensure};
use std::fmt::Debug;
use vnv_persist::Policy;

/// Bytes that may be dirty.
pub const DIRTY_LIMIT: usize = 11_878;
/// Updates between two commits in the rows with commits.
const COMMIT: u32 = 100;

/// Orders of the sizes, besides that of the other rows: those of the first seeds.
const ORDERS: u64 = 8;

fn run<V: Values<Error: Debug>>(
    values: &mut V,
    meter: &Meter,
    access: (Pattern, u64),
    (updates, commit): (u32, Option<u32>),
) -> Result<Traffic> {
    let (traffic, ()) = meter.of(|| update(values, access, updates, commit)).map_err(|error| anyhow!("{error:?}"))?;
    Ok(traffic)
}

/// Traffic of the heap.
///
/// # Errors
///
/// The heap's.
pub fn heap<M: Medium, P: Policy + Default>(access: (Pattern, u64), length: (u32, Option<u32>)) -> Result<Traffic> {
    heap_with::<M, P>(&SIZES, access, length)
}

fn heap_with<M: Medium, P: Policy + Default>(
    sizes: &[usize; KEYS],
    access: (Pattern, u64),
    length: (u32, Option<u32>),
) -> Result<Traffic> {
    let medium = M::new(STORE_CAPACITY);
    let meter = medium.meter();
    let mut memory = Box::new(StoreMemory::new());
    let heap: Store<'_, M, P> =
        Store::format(medium, &mut memory, STORE_OPTIONS).map_err(|error| anyhow!("{error:?}"))?;
    let mut values = HeapValues::new(&heap, sizes).map_err(|error| anyhow!("{error:?}"))?;
    run(&mut values, &meter, access, length)
}

/// Traffic of paged state.
///
/// # Errors
///
/// The storage's.
pub fn paged<M: Medium>(page: usize, access: (Pattern, u64), length: (u32, Option<u32>)) -> Result<Traffic> {
    let medium = M::new(STORE_CAPACITY);
    let meter = medium.meter();
    run(&mut Paged::new(medium, page, DIRTY_LIMIT), &meter, access, length)
}

fn storage_only<M: Medium>(access: (Pattern, u64), length: (u32, Option<u32>)) -> Result<Traffic> {
    let medium = M::new(STORE_CAPACITY);
    let meter = medium.meter();
    run(&mut StorageValues(medium), &meter, access, length)
}

fn ram_only(access: (Pattern, u64), length: (u32, Option<u32>)) -> Result<Traffic> {
    run(&mut RamValues([0; TOTAL]), &Meter::new(Traffic::default), access, length)
}

/// Traffic of one run: access and seed, updates and commits.
type Run = dyn Fn((Pattern, u64), (u32, Option<u32>)) -> Result<Traffic> + Send + Sync;

/// Adds a row: the mean over the seeds on the counting storage, and the first seed on the simulated part as well.
fn add(
    jobs: &mut Jobs,
    scale: Scale,
    system: String,
    commits: &[Option<u32>],
    run: Box<Run>,
    simulated: Option<Box<Run>>,
) {
    let run: std::sync::Arc<Run> = run.into();
    let simulated: Option<std::sync::Arc<Run>> = simulated.map(Into::into);
    for commit in commits.iter().copied() {
        for pattern in Pattern::ALL {
            let (system, run, simulated) = (system.clone(), run.clone(), simulated.clone());
            let length = (scale.updates, commit);
            let parameters = match commit {
                None => format!("access={}", pattern.name()),
                Some(commit) => format!("access={};commit={commit}", pattern.name()),
            };
            jobs.add(format!("kvs {system} {parameters}"), move || {
                let traffic: Vec<Traffic> =
                    (1..=scale.seeds).map(|seed| run((pattern, seed), length)).collect::<Result<_>>()?;
                if let Some(simulated) = &simulated {
                    let (counted, clocked) = (traffic.first().copied(), simulated((pattern, 1), length)?);
                    ensure!(counted == Some(clocked), "the simulated part: {clocked:?}, counted: {counted:?}");
                }
                Ok(vec![Row::new("kvs", &system, &parameters, scale.updates, &traffic, 1.0)])
            });
        }
    }
}

/// Adds a row: the mean over [`ORDERS`] other orders of the sizes, and the seeds, in the pattern in which the order counts most.
fn add_orders(
    jobs: &mut Jobs,
    scale: Scale,
    system: String,
    run: impl Fn(&[usize; KEYS], (Pattern, u64), (u32, Option<u32>)) -> Result<Traffic> + Send + Sync + 'static,
) {
    let parameters = format!("access={};orders={ORDERS}", Pattern::Distributed.name());
    jobs.add(format!("kvs {system} {parameters}"), move || {
        let runs = (0..ORDERS).flat_map(|order| (1..=scale.seeds).map(move |seed| (order, seed)));
        let traffic: Vec<Traffic> = runs
            .map(|(order, seed)| run(&shuffled(order), (Pattern::Distributed, seed), (scale.updates, None)))
            .collect::<Result<_>>()?;
        Ok(vec![Row::new("kvs", &system, &parameters, scale.updates, &traffic, 1.0)])
    });
}

fn add_heap<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    add_orders(jobs, scale, system.into(), heap_with::<Counting, P>);
    add(
        jobs,
        scale,
        system.into(),
        &[None, Some(COMMIT)],
        Box::new(heap::<Counting, P>),
        Some(Box::new(heap::<Simulated, P>)),
    );
}

/// The rows of the store.
pub fn jobs(jobs: &mut Jobs, scale: Scale) {
    crate::for_each_policy!(add_heap(jobs, scale));
    add_heap::<AllUses>("vnv/all-uses", jobs, scale);
    for page in PAGES {
        add_orders(jobs, scale, format!("paged-{page}"), move |sizes, access, length| {
            let medium = Counting::new(STORE_CAPACITY);
            let meter = medium.meter();
            run(&mut Paged::with_sizes(medium, page, DIRTY_LIMIT, *sizes), &meter, access, length)
        });
        let run = move |access, length| paged::<Counting>(page, access, length);
        add(jobs, scale, format!("paged-{page}"), &[None], Box::new(run), None);
    }
    let simulated = Some(Box::new(storage_only::<Simulated>) as Box<Run>);
    add(jobs, scale, "storage-only".into(), &[None], Box::new(storage_only::<Counting>), simulated);
    add(jobs, scale, "ram-only".into(), &[None], Box::new(ram_only), None);
    let clairvoyant = |(pattern, seed), (updates, _)| Ok(clairvoyant::store(pattern, seed, updates, DIRTY_LIMIT));
    add(jobs, scale, "clairvoyant".into(), &[None], Box::new(clairvoyant), None);
    let known =
        |sizes: &[usize; KEYS], access, (updates, _)| Ok(clairvoyant::frequencies(sizes, access, updates, DIRTY_LIMIT));
    add_orders(jobs, scale, "frequencies".into(), known);
    let known = move |access, length| known(&SIZES, access, length);
    add(jobs, scale, "frequencies".into(), &[None], Box::new(known), None);
}
