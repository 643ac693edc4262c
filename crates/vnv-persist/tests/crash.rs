//! Power cut at every byte written of a scripted life, under T0 to T3: every reopening is the last commit, or one of
//! the two sides of the running one.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::{CAPACITY, Legal, Model, OPTIONS, Ram, TestHeap, extract, record};
use std::collections::HashMap;
use vnv_persist::{Device as _, Error, Heap, verify};
use vnv_sim::{Garbage, SharedStorage, Tear, TearStorage};

#[derive(Default, Debug)]
struct Counts {
    cuts: u64,
    images: u64,
    last: u64,
    running: u64,
    snapshots: u64,
    most_bytes: usize,
    nested: u64,
}

/// Opens `image`, checks it, and goes on with it.
fn reopen(image: &[u8], go_on: bool) -> Result<(Model, bool), String> {
    let mut memory = Ram::new();
    let heap: TestHeap<'_, _> = Heap::open(TearStorage::from_image(image.to_vec(), 8), &mut memory, OPTIONS)
        .map_err(|error| format!("open: {error}"))?;
    if let Some(index) = heap.report().damaged {
        return Err(format!("object {index} is damaged"));
    }
    let snapshot = heap.report().snapshot;
    let model = extract(&heap).map_err(|error| format!("extract: {error}"))?;
    if go_on {
        // Life goes on: a change, a clean commit, another reboot. A full heap has to give something up first.
        let extra = match heap.allocate(0xABCD_u32) {
            Err(Error::ObjectsFull | Error::StorageFull) => None,
            extra => Some(extra.map_err(|error| format!("allocate: {error}"))?.into_link()),
        };
        heap.set_root("extra", extra).map_err(|error| format!("root: {error}"))?;
        heap.commit().map_err(|error| format!("commit: {error}"))?;
        let image = heap.into_device().into_image();
        let mut findings = Vec::new();
        let mut memory = Ram::new();
        verify(TearStorage::from_image(image.clone(), 8), &mut memory, OPTIONS, &mut |finding| findings.push(finding))
            .map_err(|error| format!("verify: {error}"))?;
        if !findings.is_empty() {
            return Err(format!("verify: {findings:?}"));
        }
        let mut memory = Ram::new();
        let heap: TestHeap<'_, _> = Heap::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS)
            .map_err(|error| format!("second open: {error}"))?;
        let again = extract(&heap).map_err(|error| format!("second extract: {error}"))?;
        let root = heap.root::<u32>("extra").map_err(|error| format!("extra: {error}"))?;
        let value = root.map(|root| heap.get(root).map(|value| *value)).transpose();
        let value = value.map_err(|error| format!("extra: {error}"))?;
        if again != model || value != extra.map(|_| 0xABCD) {
            return Err("an acknowledged commit after the cut was lost".into());
        }
    }
    Ok((model, snapshot))
}

/// Cuts the recovery of `image` at every byte that it writes, and the recovery after that once more at some:
/// nothing changes (G7). Returns the number of cuts.
fn nested(image: &[u8], expected: &Model, depth: u32) -> Result<u64, String> {
    let written = {
        let mut memory = Ram::new();
        let device = TearStorage::from_image(image.to_vec(), 8);
        let heap: TestHeap<'_, _> =
            Heap::open(device, &mut memory, OPTIONS).map_err(|error| format!("open: {error}"))?;
        heap.with_device(|device| device.total_written()).map_err(|error| format!("{error}"))?
    };
    let mut cuts = 0;
    for byte in (0..written).step_by(if depth == 0 { 1 } else { 31 }) {
        for tear in [Tear::T0, Tear::T2(Garbage::Inverted), Tear::T3(Garbage::Seeded(7))] {
            let mut memory = Ram::new();
            let mut device = TearStorage::from_image(image.to_vec(), 8).with_tear(tear);
            device.cut_after_bytes(byte);
            // The device is lost with the heap that fails to open; its image is kept by the recorder around it.
            let torn = torn_open(device, &mut memory);
            let context = |error: String| format!("recovery cut at byte {byte} of {written}, {tear:?}: {error}");
            let (model, _) = reopen(&torn, false).map_err(context)?;
            if model != *expected {
                return Err(context(format!("found {model:?}")));
            }
            cuts += 1;
            if depth == 0 && byte % 25 == 0 {
                cuts += nested(&torn, expected, 1)?;
            }
        }
    }
    Ok(cuts)
}

/// Opens a device whose power fails meanwhile, and returns what is left in it.
fn torn_open(device: TearStorage, memory: &mut Ram) -> Vec<u8> {
    let shared = SharedStorage::new(device);
    let opened: Result<TestHeap<'_, _>, _> = Heap::open(shared.clone(), memory, OPTIONS);
    drop(opened);
    shared.image()
}

/// Sweeps one life.
fn sweep(seed: u64, steps: u32, stride: usize) -> Counts {
    let (start, trace, end) = record(seed, steps);
    let trace = trace.borrow();
    let mut counts =
        Counts { most_bytes: trace.states.iter().map(Model::bytes).max().unwrap_or(0), ..Counts::default() };
    let mut image = start;
    let mut seen: HashMap<(u64, usize, usize), bool> = HashMap::new();
    let mut cut_number = 0usize;
    let nested_every = if cfg!(miri) {
        u64::MAX
    } else if stride == 1 {
        4001
    } else {
        997
    };
    for (number, (offset, bytes, legal)) in trace.writes.iter().enumerate() {
        for cut in 0..=bytes.len() {
            cut_number += 1;
            if cut_number % stride != 0 {
                continue;
            }
            for tear in Tear::of_writes() {
                let mut device = TearStorage::from_image(image.clone(), 8).with_tear(tear);
                device.cut_after_bytes(cut as u64);
                let _ = device.write_gather(*offset, &[bytes]);
                let torn = device.into_image();
                counts.cuts += 1;
                let Legal { last, running } = *legal;
                let key = (hash(&torn), last, running.unwrap_or(usize::MAX));
                if seen.contains_key(&key) {
                    continue;
                }
                seen.insert(key, true);
                counts.images += 1;
                let replay = format!("seed {seed}, steps {steps}, write {number}, byte {cut}, {tear:?}");
                let (model, snapshot) = match reopen(&torn, counts.images % 7 == 0) {
                    Ok(found) => found,
                    Err(error) => panic!("{replay}: {error}"),
                };
                counts.snapshots += u64::from(snapshot);
                if snapshot && counts.snapshots % nested_every == 1 {
                    counts.nested += nested(&torn, &model, 0).unwrap_or_else(|error| panic!("{replay}: {error}"));
                }
                if model == trace.states[last] {
                    counts.last += 1;
                } else if running.is_some_and(|running| model == trace.states[running]) {
                    counts.running += 1;
                } else {
                    panic!(
                        "{replay}: neither the last commit nor the running one\nfound   {model:?}\nlast    {:?}\nrunning {:?}",
                        trace.states[last],
                        running.map(|running| &trace.states[running])
                    );
                }
            }
        }
        let at = *offset as usize;
        image[at..at + bytes.len()].copy_from_slice(bytes);
    }
    assert_eq!(reopen(&image, true).unwrap().0, end);
    counts
}

fn hash(bytes: &[u8]) -> u64 {
    use std::hash::{Hash, Hasher};
    let mut hasher = std::collections::hash_map::DefaultHasher::new();
    bytes.hash(&mut hasher);
    hasher.finish()
}

#[test]
fn every_byte_of_a_life_may_be_the_last() {
    assert_eq!(CAPACITY, 8192);
    let full = std::env::var_os("VNV_FULL").is_some();
    let mut total = Counts::default();
    // Each life is cut at some bytes, with VNV_FULL=1 at every one.
    let lives: &[(u64, u32, usize)] =
        if cfg!(miri) { &[(1, 6, 9973)] } else { &[(1, 300, 3), (2, 300, 37), (3, 300, 41), (4, 600, 83)] };
    for (seed, steps, stride) in lives {
        let counts = sweep(*seed, *steps, if full { 1 } else { *stride });
        assert!(cfg!(miri) || counts.most_bytes >= 3 * 640, "the objects are at least three times the arena");
        println!("seed {seed}, {steps} operations: {counts:?}");
        total.cuts += counts.cuts;
        total.images += counts.images;
        total.last += counts.last;
        total.running += counts.running;
        total.snapshots += counts.snapshots;
        total.nested += counts.nested;
    }
    println!(
        "{} cuts, {} distinct images reopened: {} the last commit, {} the running one; {} from a snapshot; {} cuts during recovery",
        total.cuts, total.images, total.last, total.running, total.snapshots, total.nested
    );
    if !cfg!(miri) {
        assert!(total.last > 0 && total.running > 0 && total.snapshots > 0, "both sides are reached");
    }
}
