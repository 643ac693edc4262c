//! When power fails: the snapshot, and the wait before it.

use super::cost::Traffic;
use super::counting::Counting;
use super::jobs::{Jobs, Scale};
use super::medium::{Medium, Meter};
use super::micro::{Operation, Small, measure, text};
use super::row::Row;
use crate::objects::{self, Fill, words};
use anyhow::{Context, Result, ensure};
use vnv_core::engine::snapshot_fixed;
use vnv_persist::{Bound, BusCost, Layout, Link, Options, Policy};

/// Bytes of RAM for objects in the workloads over the dirty limit.
const BUFFER: usize = 3916;
/// The dirty limit in the workloads over the buffer.
const LIMIT: u32 = 1868;
/// Slots, types and roots, as in `micro`.
const SIZES: (u16, u8, u8) = (256, 2, 1);
/// Bytes between two questions of the driver whether a transfer may go on.
const CHUNK: u32 = 64;

struct Persist {
    limit: u32,
    buffer: usize,
    fill: Fill,
}

impl Operation for Persist {
    fn words(&self) -> usize {
        self.buffer / 8
    }

    fn options(&self) -> Options {
        Options::new(self.limit).log_bytes(4096)
    }

    fn measure<M: Medium, P: Policy>(&self, heap: &Small<'_, M, P>, meter: &Meter) -> Result<Traffic> {
        let room = self.limit - snapshot_fixed(SIZES.0);
        objects::fill(heap, self.fill, self.words(), room).map_err(text)?;
        let dirty = heap.dirty_bytes().map_err(text)?;
        let (traffic, _) = meter.of(|| heap.snapshot()).map_err(text)?;
        let written = u64::from(dirty);
        ensure!(dirty <= self.limit && traffic.bytes_written <= written.next_multiple_of(8), "{dirty}: {traffic:?}");
        Ok(traffic)
    }
}

/// The row of a snapshot, if the dirty limit holds one at all, and a small object fits the buffer.
fn row<P: Policy + Default>(bench: &str, system: &str, parameters: &str, persist: &Persist) -> Result<Option<Row>> {
    if layout(persist.limit).is_none() || 2 * words(4, false) > persist.words() {
        return Ok(None);
    }
    let traffic = measure::<P>(persist).with_context(|| parameters.to_owned())?;
    Ok(Some(Row::once(bench, system, parameters, traffic)))
}

fn layout(limit: u32) -> Option<Layout> {
    Layout::new(256 * 1024, 8, SIZES, Options::new(limit).log_bytes(4096)).ok()
}

fn limits(scale: Scale) -> Vec<u32> {
    let mut limits: Vec<u32> = (56..=BUFFER as u32).step_by(32 * scale.step).chain([2060, BUFFER as u32]).collect();
    limits.sort_unstable();
    limits
}

fn add<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    for fill in Fill::ALL {
        let name = system.to_owned();
        jobs.add(format!("persist_dirty {system} {}", fill.name()), move || {
            let row = |limit| {
                let parameters = format!("dirty_limit={limit};fill={}", fill.name());
                row::<P>("persist_dirty", &name, &parameters, &Persist { limit, buffer: BUFFER, fill }).transpose()
            };
            limits(scale).into_iter().filter_map(row).collect()
        });
        let name = system.to_owned();
        jobs.add(format!("persist_buffer {system} {}", fill.name()), move || {
            let row = |buffer| {
                let parameters = format!("buffer={buffer};fill={}", fill.name());
                row::<P>("persist_buffer", &name, &parameters, &Persist { limit: LIMIT, buffer, fill }).transpose()
            };
            (332..=BUFFER).step_by(32 * scale.step).filter_map(row).collect()
        });
    }
}

/// What is guaranteed at every instant: the worst snapshot, and the longest wait before it.
fn bound(limit: u32) -> Option<Row> {
    let bound = Bound::new(&layout(limit)?, &BusCost::ESP32C3_20MHZ, CHUNK);
    let wait = Traffic::write(u64::from(CHUNK), 3);
    let writes = u64::from(bound.transactions);
    let snapshot =
        Traffic { writes, bytes_written: bound.bytes.into(), wire_bytes: 5 * writes + u64::from(bound.bytes), ..wait };
    let row = Row::once("persist_dirty", "vnv/bound", &format!("dirty_limit={limit}"), snapshot);
    // The wait is a transfer that had begun: it is time, but no traffic of the snapshot.
    Some(Row { model_us: bound.total_ns() as f64 / 1000.0, wire_us: row.wire_us + wait.wire_us(), ..row })
}

/// The rows of snapshots.
pub fn jobs(jobs: &mut Jobs, scale: Scale) {
    crate::for_each_policy!(add(jobs, scale));
    jobs.add("persist_dirty vnv/bound".into(), move || Ok(limits(scale).into_iter().filter_map(bound).collect()));
}

/// The longest transfer without a question whether it may go on, of a heap that does everything: allocations, changes, commits,
/// compactions, evictions, loads, a collection.
fn locked<P: Policy + Default>(times: u32) -> Result<u64> {
    let medium = Counting::new(256 * 1024);
    let longest = medium.longest_wait();
    let mut memory = Box::new(vnv_persist::Memory::<256, 224, 2, 1, 512>::new());
    let options = Options::new(LIMIT).log_bytes(1024);
    let heap: vnv_persist::Heap<'_, _, _, P> =
        vnv_persist::Heap::format(medium, &mut *memory, options).map_err(text)?;
    longest.set(0);
    let mut links: Vec<Link<[u8]>> = Vec::new();
    for number in 0..times {
        let size = [4, 60, 250, 1024][number as usize % 4];
        let link = heap.allocate_slice_with(size, |_| 1u8).map_err(text)?.into_link();
        links.push(link);
        if links.len() > 60 {
            heap.free(links.remove(number as usize * 7 % 60)).map_err(text)?;
        }
        let changed = links[number as usize * 13 % links.len()];
        heap.get_mut(changed).map_err(text)?.fill(number as u8);
        if number % 16 == 0 {
            heap.commit().map_err(text)?;
        }
    }
    // Nothing leads to the objects.
    heap.collect().map_err(text)?;
    heap.commit().map_err(text)?;
    Ok(longest.get())
}

fn add_locked<P: Policy + Default + 'static>(system: &str, jobs: &mut Jobs, scale: Scale) {
    let system = system.to_owned();
    jobs.add(format!("locked {system}"), move || {
        let traffic = Traffic::write(locked::<P>(scale.updates.min(2000))?, 3);
        Ok(vec![Row::once("locked", &system, "capacity=262144", traffic)])
    });
}

/// The rows of the longest wait.
pub fn wait(jobs: &mut Jobs, scale: Scale) {
    crate::for_each_policy!(add_locked(jobs, scale));
}
