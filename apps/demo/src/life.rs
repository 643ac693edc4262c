//! The program that is killed: a ledger of sensor blocks, changed in transactions. What it holds after round `r` is a
//! function of `r`, so that whoever reopens it can check every byte.

use crate::device::CutDevice;
use anyhow::{Context, Result, ensure};
use std::io::Write;
use std::path::Path;
use vnv_persist::{Clock, Durable, Heap, Link, Memory, Options};
use vnv_storage::FileStorage;

/// Blocks of the ledger.
pub const BLOCKS: usize = 28;
/// Words of a block.
pub const WORDS: usize = 24;
/// Words of the arena.
pub const ARENA_WORDS: usize = 128;
/// RAM: 48 slots, 16 pending places, 4 types, 2 roots, 1 KiB of arena.
pub type Ram = Memory<48, 16, 4, 2, ARENA_WORDS>;
pub const OPTIONS: Options = Options::new(768).log_bytes(384);
pub type DemoHeap<'m> = Heap<'m, CutDevice, Ram, Clock>;

#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Block {
    version: u32,
    words: [u32; WORDS],
}

#[derive(Durable)]
#[repr(C)]
pub struct Ledger {
    round: u32,
    note: Link<[u8]>,
    blocks: [Link<Block>; BLOCKS],
}

fn block(number: usize, version: u32) -> Block {
    let mut words = [0; WORDS];
    for (at, word) in words.iter_mut().enumerate() {
        *word = version.wrapping_mul(2_654_435_761).wrapping_add((number * WORDS + at) as u32);
    }
    Block { version, words }
}

/// The blocks that round `round` changes.
fn changed(round: u32) -> [usize; 3] {
    let first = round.wrapping_mul(7) as usize % BLOCKS;
    [first, (first + 5) % BLOCKS, (first + 11) % BLOCKS]
}

fn note(round: u32) -> Vec<u8> {
    vec![round as u8; 1 + round as usize % 40]
}

pub fn open<'m>(file: FileStorage, memory: &'m mut Ram, cut_after: Option<u64>) -> Result<DemoHeap<'m>> {
    Heap::open_or_format(CutDevice::new(file, cut_after), memory, OPTIONS).context("the heap cannot be opened")
}

fn ledger(heap: &DemoHeap<'_>) -> Result<Link<Ledger>> {
    if let Some(ledger) = heap.root("ledger")? {
        return Ok(ledger);
    }
    let mut blocks = [Link::NULL; BLOCKS];
    for (number, link) in blocks.iter_mut().enumerate() {
        *link = heap.allocate(block(number, 0))?.into_link();
    }
    let note = heap.allocate_slice_with(1, |_| 0u8)?.into_link();
    let ledger = heap.allocate(Ledger { round: 0, note, blocks })?.into_link();
    heap.set_root("ledger", Some(ledger))?;
    heap.commit()?;
    Ok(ledger)
}

/// Works until it is killed, and acknowledges each round on standard output once it is durable.
pub fn run(file: &Path, cut_after: Option<u64>) -> Result<()> {
    let mut memory = Ram::new();
    let heap = open(FileStorage::open(file)?, &mut memory, cut_after)?;
    let ledger = ledger(&heap)?;
    let mut out = std::io::stdout().lock();
    let mut round = heap.get(ledger)?.round;
    loop {
        round += 1;
        let (blocks, old) = {
            let ledger = heap.get(ledger)?;
            (ledger.blocks, ledger.note)
        };
        let transaction = heap.transaction()?;
        for number in changed(round) {
            if let Some(link) = blocks.get(number) {
                *transaction.get_mut(*link)? = block(number, round);
            }
        }
        let text = note(round);
        let new = transaction.allocate_slice_with(text.len(), |at| text.get(at).copied().unwrap_or_default())?;
        {
            let mut ledger = transaction.get_mut(ledger)?;
            ledger.round = round;
            ledger.note = new.into_link();
        }
        transaction.free(old)?;
        transaction.commit()?;
        let (transactions, bytes) = heap.with_device(|device| (device.transactions, device.bytes))?;
        writeln!(out, "{round} {transactions} {bytes}")?;
        out.flush()?;
    }
}

/// Checks every byte against the round that the ledger is at; returns it.
pub fn check(heap: &DemoHeap<'_>) -> Result<Option<u32>> {
    let Some(ledger) = heap.root::<Ledger>("ledger")? else { return Ok(None) };
    let (round, links, text) = {
        let ledger = heap.get(ledger)?;
        (ledger.round, ledger.blocks, ledger.note)
    };
    let mut versions = [0; BLOCKS];
    for earlier in 1..=round {
        changed(earlier).into_iter().for_each(|number| {
            if let Some(version) = versions.get_mut(number) {
                *version = earlier;
            }
        });
    }
    for (number, (link, version)) in links.iter().zip(versions).enumerate() {
        let (found, expected) = (*heap.get(*link)?, block(number, version));
        ensure!(
            found.version == expected.version && found.words == expected.words,
            "block {number} is at version {} instead of {version}",
            found.version
        );
    }
    let expected = if round == 0 { vec![0] } else { note(round) };
    ensure!(heap.get(text)?[..] == expected[..], "the note of round {round} is wrong");
    Ok(Some(round))
}

/// Bytes of objects that the ledger holds.
pub const HELD: usize = BLOCKS * size_of::<Block>() + size_of::<Ledger>();
