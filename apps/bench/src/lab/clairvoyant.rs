//! What a heap could do at best that knows the future, or how often each value will be used: the same RAM, dirty limit and bytes
//! of metadata.

use super::cost::Traffic;
use super::medium::address_bytes;
use crate::access::{Accesses, Pattern};
use crate::heap::STORE_CAPACITY;
use crate::queue::{QUEUE_CAPACITY, QueueMemory};
use crate::values::{KEYS, SIZES};
use crate::workload::ITEM;
use std::collections::VecDeque;

/// Bytes in storage besides those of an object.
const HEADER: usize = 8;
/// Snapshot bytes of an object that was written since the last commit, or is dirty: its entry.
const ENTRY: usize = 4;
/// Snapshot bytes of a dirty object besides its own: its entry, and what the header becomes.
const DIRTY_OVERHEAD: usize = ENTRY + 2;
/// Snapshot bytes of a store with anything dirty, besides its objects.
const SNAPSHOT: usize = 26 + 40;
/// Bytes of RAM of a resident item.
const RESIDENT_ITEM: usize = ITEM + 16;
/// Bytes that are written together: one transaction frees at least so many bytes of the dirty limit.
const BURSTS: [usize; 8] = [1, 512, 1024, 1536, 2048, 3072, 4096, 6144];

/// The key-value store: if the dirty limit is full, those dirty values are written whose next use is farthest away, weighted by what
/// keeping them saves. Each burst is one transaction; of some sizes of bursts the best is taken. Records are not counted.
#[must_use]
pub fn store(pattern: Pattern, seed: u64, updates: u32, dirty_limit: usize) -> Traffic {
    let keys: Vec<usize> = Accesses::new(pattern, seed).take(updates as usize).collect();
    let best = BURSTS.iter().map(|burst| bursts(&keys, dirty_limit, *burst));
    best.min_by(|a, b| a.model_us().total_cmp(&b.model_us())).unwrap_or_default()
}

fn bursts(keys: &[usize], dirty_limit: usize, burst: usize) -> Traffic {
    let next = next_uses(keys);
    let mut traffic = Traffic::default();
    // The next use of each dirty value.
    let mut dirty: [Option<usize>; KEYS] = [None; KEYS];
    let room = dirty_limit - SNAPSHOT;
    let mut bytes = 0;
    for (now, key) in keys.iter().copied().enumerate() {
        if dirty[key].is_none() {
            bytes += SIZES[key] + DIRTY_OVERHEAD;
            let (mut freed, mut written) = (0, 0);
            while bytes > room || (written != 0 && freed < burst) {
                // What keeping it saves, for each byte and each update that it takes of the limit.
                let worth = |key: usize, used: usize| {
                    let saves =
                        0.69 * (SIZES[key] + HEADER) as f64 + 74.8 * (SIZES[key] as f64 / burst as f64).min(1.0);
                    saves / ((SIZES[key] + DIRTY_OVERHEAD) as f64 * (used - now) as f64)
                };
                let candidates = (0..KEYS).filter_map(|other| Some((other, worth(other, dirty[other]?))));
                let Some((victim, _)) = candidates.min_by(|a, b| a.1.total_cmp(&b.1)) else { break };
                dirty[victim] = None;
                bytes -= SIZES[victim] + DIRTY_OVERHEAD;
                freed += SIZES[victim] + DIRTY_OVERHEAD;
                written += SIZES[victim] + HEADER;
            }
            if written != 0 {
                traffic = traffic + Traffic::write(written as u64, address_bytes(STORE_CAPACITY as usize));
            }
        }
        dirty[key] = Some(next[now]);
    }
    traffic
}

/// The key-value store, whose values have these sizes: those values are kept dirty, and never written, that are changed most often for
/// each byte that they take; all others are written in bursts, whenever the dirty limit is full. Of some sizes of bursts the best is
/// taken. How often each value will be changed is known from the start; if each change is independent of those before it, more
/// cannot be known without knowing the future. A greedy choice, not a proven minimum; there are no records.
#[must_use]
pub fn frequencies(
    sizes: &[usize; KEYS],
    (pattern, seed): (Pattern, u64),
    updates: u32,
    dirty_limit: usize,
) -> Traffic {
    let keys: Vec<usize> = Accesses::new(pattern, seed).take(updates as usize).collect();
    let all = BURSTS.iter().map(|burst| keep(sizes, &keys, kept(sizes, pattern, dirty_limit, *burst), dirty_limit));
    all.min_by(|a, b| a.model_us().total_cmp(&b.model_us())).unwrap_or_default()
}

/// The values that are kept if bursts are so long.
fn kept(sizes: &[usize; KEYS], pattern: Pattern, dirty_limit: usize, burst: usize) -> [bool; KEYS] {
    // What keeping it saves, for each byte of the limit that it takes.
    let worth = |key: usize| {
        let cost = (0.69 + 74.8 / burst as f64) * (sizes[key] + HEADER) as f64;
        f64::from(pattern.weight(key)) * cost / (sizes[key] + DIRTY_OVERHEAD - ENTRY) as f64
    };
    let mut best: Vec<usize> = (0..KEYS).collect();
    best.sort_by(|a, b| worth(*b).total_cmp(&worth(*a)));
    let mut room = dirty_limit.saturating_sub(SNAPSHOT + ENTRY * KEYS + burst);
    let mut kept = [false; KEYS];
    for key in best {
        let bytes = sizes[key] + DIRTY_OVERHEAD - ENTRY;
        kept[key] = bytes <= room;
        room -= if kept[key] { bytes } else { 0 };
    }
    kept
}

fn keep(sizes: &[usize; KEYS], keys: &[usize], kept: [bool; KEYS], dirty_limit: usize) -> Traffic {
    let mut traffic = Traffic::default();
    let (mut dirty, mut written) = ([false; KEYS], [false; KEYS]);
    let mut bytes = SNAPSHOT;
    for key in keys.iter().copied() {
        if dirty[key] {
            continue;
        }
        let more = sizes[key] + DIRTY_OVERHEAD - if written[key] { ENTRY } else { 0 };
        if bytes + more > dirty_limit {
            let mut burst = 0;
            for other in (0..KEYS).filter(|other| !kept[*other]) {
                if core::mem::take(&mut dirty[other]) {
                    written[other] = true;
                    bytes -= sizes[other] + DIRTY_OVERHEAD - ENTRY;
                    burst += sizes[other] + HEADER;
                }
            }
            traffic = traffic + Traffic::write(burst as u64, address_bytes(STORE_CAPACITY as usize));
        }
        dirty[key] = true;
        bytes += more;
    }
    traffic
}

/// For each access when the same key is used next; far behind the end: never.
fn next_uses(keys: &[usize]) -> Vec<usize> {
    let mut next = vec![0; keys.len()];
    let mut later = [2 * keys.len() + 1; KEYS];
    for (now, key) in keys.iter().copied().enumerate().rev() {
        next[now] = later[key];
        later[key] = now;
    }
    next
}

/// Items for which the arena of a queue of this length has room, the ring and its header aside.
#[must_use]
pub fn queue_items(length: usize) -> usize {
    let ring = 16 + (4 * (length + 1)).next_multiple_of(8) + 8;
    (8 * QueueMemory::of(length, false).words() - ring - 24) / RESIDENT_ITEM
}

/// The queue: if there is no room for an item, the one that was pushed last goes out, which is the one that is needed last; items
/// are written one by one, and read into the caller's place when they are popped.
#[must_use]
pub fn queue(length: usize, times: u32) -> Traffic {
    let room = queue_items(length);
    let address = address_bytes(QUEUE_CAPACITY as usize);
    let mut resident = VecDeque::new();
    let mut traffic = Traffic::default();
    let stored = (ITEM + HEADER) as u64;
    for number in 0..length + times as usize {
        if number == length {
            traffic = Traffic::default();
        }
        if resident.iter().filter(|item| **item).count() >= room
            && let Some(newest) = resident.iter_mut().rev().find(|item| **item)
        {
            *newest = false;
            traffic = traffic + Traffic::write(stored, address);
        }
        resident.push_back(true);
        if number >= length && resident.pop_front() == Some(false) {
            traffic = traffic + Traffic::read(stored, address);
        }
    }
    traffic
}
