//! Golden costs of formatting: transactions and bytes, on a blank storage, over a heap, and over something else.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use vnv_persist::{Heap, Memory, Options, format};
use vnv_sim::{Counters, TearStorage};

/// Of the workspace's README.
type Ram = Memory<16, 8, 4, 2, 64>;
const OPTIONS: Options = Options::new(256);

/// Writes and their bytes, reads and theirs.
type Cost = (u64, u64, u64, u64);

fn cost(counters: Counters) -> Cost {
    (counters.writes, counters.bytes_written, counters.reads, counters.bytes_read)
}

fn format_of(image: Vec<u8>) -> (Cost, Vec<u8>) {
    let mut storage = TearStorage::from_image(image, 8);
    format(&mut storage, &mut Ram::new(), OPTIONS).unwrap();
    (cost(storage.counters()), storage.into_image())
}

/// Miri is too slow for the large one.
fn capacities() -> impl Iterator<Item = usize> {
    [8 << 10, 256 << 10].into_iter().take(if cfg!(miri) { 1 } else { 2 })
}

fn of_heap(heap: &Heap<'_, TearStorage, Ram>) -> Cost {
    cost(heap.with_device(|device| device.counters()).unwrap())
}

/// Two markers of 8 bytes, the last unit, a base of 64, two superblocks in two writes each: 8 writes, 216 bytes. Version 2 took 8 writes of 976 bytes.
const WRITES: (u64, u64) = (8, 216);

/// Reads of a format that finds no superblock: as many as there are chunks of 64 bytes, and these; the bytes that they read.
fn reads(capacity: usize) -> (u64, u64) {
    let positions =
        (64..=32 << 10).map(|at: usize| at).filter(|at| at.is_power_of_two() && at + 64 <= capacity).count() as u64;
    let powers = (128..capacity).filter(|at| at.is_power_of_two()).count() as u64;
    // Both copies; for the epoch; elsewhere, but for our second copy, twice: another heap's, and to be overwritten; each copy before its magic and
    // both at the end.
    let superblocks = 2 + positions + 2 * (positions - 1) + 2 + 2;
    // Three read back; the marker at each power; the base, its header and its body.
    (superblocks + 3 + powers + 2, 64 * superblocks + 3 * 8 + 8 * powers + 64)
}

#[test]
fn formatting_costs_eight_writes_and_reads_everything_only_if_no_superblock_is_there() {
    for capacity in capacities() {
        let (number, bytes) = reads(capacity);
        let chunks = capacity as u64 / 64;
        let (blank, image) = format_of(vec![0xFF; capacity]);
        assert_eq!(blank, (WRITES.0, WRITES.1, number + chunks, bytes + capacity as u64), "blank, {capacity}");
        let (noise, _) = format_of((0..capacity).map(|at| (at * 7 + 1) as u8).collect());
        assert_eq!(noise, blank, "noise, {capacity}");
        let (heap, _) = format_of(image);
        // Our second copy is there: nobody looks for another heap first.
        let expected = if capacity == 8 << 10 { (30, 1_352) } else { (41, 1_776) };
        assert_eq!(heap, (WRITES.0, WRITES.1, expected.0, expected.1), "over a heap, {capacity}");
    }
}

#[test]
fn opening_what_was_just_formatted_reads_as_little_on_a_large_part_as_on_a_small_one() {
    for capacity in capacities() {
        let (_, image) = format_of(vec![0; capacity]);
        let mut memory = Ram::new();
        let heap = Heap::<_, Ram>::open(TearStorage::from_image(image, 8), &mut memory, OPTIONS).unwrap();
        assert_eq!(of_heap(&heap), (0, 0, 25, 1008));
        let mut memory = Ram::new();
        let blank = TearStorage::from_image(vec![0; capacity], 8);
        let heap = Heap::<_, Ram>::open_or_format(blank, &mut memory, OPTIONS).unwrap();
        // The blank storage once, and no second time for an epoch.
        let expected = if capacity == 8 << 10 { (188, 10_872) } else { (4_170, 265_440) };
        assert_eq!(of_heap(&heap), (WRITES.0, WRITES.1, expected.0, expected.1), "start, {capacity}");
    }
}
