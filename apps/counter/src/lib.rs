//! A count that outlives power: run it, cut it, run it again.

#![cfg_attr(not(feature = "std"), no_std)]

use board::{Board, Failure, Reason, info};
use static_cell::ConstStaticCell;
use vnv_persist::{Durable, Heap, Memory, Options};
use vnv_storage::Device;

#[derive(Durable)]
#[repr(C)]
struct Counter {
    starts: u32,
    count: u32,
}

type Ram = Memory<16, 8, 4, 2, 64>;
static MEMORY: ConstStaticCell<Ram> = ConstStaticCell::new(Ram::new());

/// Counts on, once for each pause of the board.
///
/// # Errors
///
/// Those of the heap.
pub fn run<D: Device>(storage: D, board: &mut impl Board) -> Result<(), Failure<D::Error>>
where
    D::Error: Reason,
{
    let heap: Heap<'_, _, _> = Heap::open_or_format(storage, MEMORY.take(), Options::new(256))?;

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
    let (starts, count) = (heap.get(counter)?.starts, heap.get(counter)?.count);
    info!("start number {}, the count is {}", starts, count);

    while board.pause() {
        heap.get_mut(counter)?.count += 1;
        let sequence = heap.commit()?;
        info!("counted to {} (commit {})", heap.get(counter)?.count, sequence);
    }
    Ok(())
}
