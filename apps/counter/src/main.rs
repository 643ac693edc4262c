//! A count that outlives power: run it, cut it, run it again.
//!
//! `counter [FILE] [STEPS]` counts STEPS times (default 5) on the heap in FILE (default `counter.fram`), an 8 KiB
//! stand-in for an FRAM.

use anyhow::{Context, Result};
use std::path::Path;
use vnv_persist::{Durable, Heap, Memory, Options};
use vnv_storage::FileStorage;

#[derive(Durable)]
#[repr(C)]
struct Counter {
    starts: u32,
    count: u32,
}

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let file = arguments.next().unwrap_or_else(|| "counter.fram".into());
    let steps = arguments.next().map_or(Ok(5), |steps| steps.parse()).context("STEPS is a number")?;
    let path = Path::new(&file);
    let storage = if path.exists() { FileStorage::open(path) } else { FileStorage::create(path, 8192) }?;

    let mut memory = Memory::<16, 8, 4, 2, 64>::new();
    let heap: Heap<'_, _, _> = Heap::open_or_format(storage, &mut memory, Options::new(256))?;

    // Find the counter, or allocate it in the first life.
    let counter = match heap.root("counter")? {
        Some(counter) => counter,
        None => {
            let counter = heap.allocate(Counter { starts: 0, count: 0 })?.into_link();
            heap.set_root("counter", Some(counter))?;
            counter
        }
    };
    heap.get_mut(counter)?.starts += 1;
    println!("start number {}, the count is {}", heap.get(counter)?.starts, heap.get(counter)?.count);

    for _ in 0..steps {
        heap.get_mut(counter)?.count += 1;
        let sequence = heap.commit()?;
        println!("counted to {} (commit {sequence})", heap.get(counter)?.count);
    }
    Ok(())
}
