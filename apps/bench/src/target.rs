//! The workloads on a board, timed by its clock. Each result is a line: `[BENCH-INFO]` and a JSON object.

use crate::baseline::{RamQueue, StorageQueue};
use crate::queue::{HeapQueue, QUEUE_CAPACITY, QueueHeap, QueueMemory};
use crate::workload::{Fifo, Passing};
use board::{Failure, Reason, info};
use core::fmt::{self, Write};
use static_cell::ConstStaticCell;
use vnv_persist::{Clock as SecondChance, Error, FirstFound, Policy};
use vnv_storage::Device;

/// A clock of a board.
pub trait Clock {
    /// Name of the machine.
    const MACHINE: &'static str;
    /// Ticks of a millisecond.
    const TICKS_PER_MS: u32;

    /// Ticks since some instant.
    fn ticks(&mut self) -> u64;
}

/// Times that each workload is repeated.
const REPETITIONS: usize = 10;
/// Iterations of the queue in each repetition.
const ITERATIONS: u32 = 100;
/// Lengths of the queue.
const LENGTHS: [usize; 7] = [0, 8, 11, 12, 16, 24, 32];
/// Bytes of bare transfers.
const SIZES: [usize; 7] = [0, 32, 64, 128, 256, 512, 928];

static MEMORY: ConstStaticCell<QueueMemory> = ConstStaticCell::new(QueueMemory::new());
static RING: ConstStaticCell<RamQueue> = ConstStaticCell::new(RamQueue::new());

/// A line of text.
struct Line {
    bytes: [u8; 512],
    len: usize,
}

impl Line {
    fn as_str(&self) -> &str {
        self.bytes.get(..self.len).and_then(|bytes| str::from_utf8(bytes).ok()).unwrap_or_default()
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        let end = self.len + text.len();
        self.bytes.get_mut(self.len..end).ok_or(fmt::Error)?.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// Times work, and tells.
struct Bench<'b, C> {
    clock: &'b mut C,
    emit: &'b mut dyn FnMut(&str),
}

impl<C: Clock> Bench<'_, C> {
    /// The first run by itself, then the others.
    fn time<E>(
        &mut self,
        name: &str,
        options: fmt::Arguments<'_>,
        mut work: impl FnMut() -> Result<(), E>,
    ) -> Result<(), E> {
        let mut data = [0; REPETITIONS];
        for (cold, repetitions) in [(true, 1), (false, REPETITIONS)] {
            for ticks in data.iter_mut().take(repetitions) {
                let begin = self.clock.ticks();
                work()?;
                *ticks = self.clock.ticks() - begin;
            }
            self.tell(name, options, cold, data.get(..repetitions).unwrap_or_default());
        }
        Ok(())
    }

    fn tell(&mut self, name: &str, options: fmt::Arguments<'_>, cold: bool, data: &[u64]) {
        let mut line = Line { bytes: [0; 512], len: 0 };
        let written = write!(
            line,
            "{{\"bench_name\":\"{name}\",\"bench_options\":\"{options}\",\"machine_name\":\"{}\",\"cold_start\":{cold},\
             \"repetitions\":{},\"ticks_per_ms\":{},\"data\":{data:?}}}",
            C::MACHINE,
            data.len(),
            C::TICKS_PER_MS,
        );
        if written.is_ok() {
            (self.emit)(line.as_str());
        }
    }
}

/// Prefills a queue and times it. Whether every item came out as it went in.
fn queue<C: Clock, F: Fifo>(
    bench: &mut Bench<'_, C>,
    system: &str,
    length: usize,
    queue: &mut F,
) -> Result<bool, F::Error> {
    let mut passing = Passing::new(1);
    for _ in 0..length {
        passing.push(queue)?;
    }
    bench.time("queue", format_args!("system={system};length={length};iterations={ITERATIONS}"), || {
        passing.run(queue, ITERATIONS, None)
    })?;
    for _ in 0..length {
        passing.pop(queue)?;
    }
    Ok(passing.wrong == 0)
}

/// The queue on the heap. Gives the storage back.
fn heap_queue<C: Clock, P: Policy + Default, D: Device>(
    bench: &mut Bench<'_, C>,
    (system, length): (&str, usize),
    storage: D,
    memory: &mut QueueMemory,
) -> Result<D, Failure<D::Error>>
where
    D::Error: Reason,
{
    memory.fit(length, false);
    let options = memory.options(length, false);
    let heap: QueueHeap<'_, D, P> = QueueHeap::format(storage, memory, options)?;
    let right = queue(bench, system, length, &mut HeapQueue::new(&heap, length)?)?;
    if !right {
        return Err(Failure::Wrong("an item came out of the heap's queue otherwise than it went in"));
    }
    Ok(heap.into_device())
}

/// Runs everything that the storage is large enough for. What the storage held is lost.
///
/// # Errors
///
/// Those of the storage and of the heap; [`Failure::Wrong`] if an item is not what it must be.
pub fn run<D: Device>(storage: D, clock: &mut impl Clock) -> Result<(), Failure<D::Error>>
where
    D::Error: Reason,
{
    let result = run_with(storage, clock, &mut |line| info!("[BENCH-INFO] {}", line));
    info!("[BENCH-END]");
    result
}

fn run_with<D: Device, C: Clock>(
    mut storage: D,
    clock: &mut C,
    emit: &mut dyn FnMut(&str),
) -> Result<(), Failure<D::Error>>
where
    D::Error: Reason,
{
    let bench = &mut Bench { clock, emit };
    let (memory, ring) = (MEMORY.take(), RING.take());
    let mut buffer = [0; 928];
    for size in SIZES {
        let bytes = &mut buffer[..size];
        let read = bench.time("storage_read", format_args!("size={size}"), || storage.read(0, bytes));
        read.map_err(Error::Device)?;
        let written = bench.time("storage_write", format_args!("size={size}"), || storage.write(0, bytes));
        written.map_err(Error::Device)?;
    }
    for length in LENGTHS {
        match queue(bench, "ram-only", length, ring) {
            Ok(true) => {}
            Ok(false) => return Err(Failure::Wrong("an item came out of the ring in RAM otherwise than it went in")),
            Err(never) => match never {},
        }
    }
    if (storage.capacity() as u64) < u64::from(QUEUE_CAPACITY) {
        info!("the storage is too small for the queue: {} bytes", storage.capacity() as u32);
        return Ok(());
    }
    for length in LENGTHS {
        let mut stored = StorageQueue::new(storage);
        if !queue(bench, "storage-only", length, &mut stored).map_err(Error::Device)? {
            return Err(Failure::Wrong("an item came out of the ring in storage otherwise than it went in"));
        }
        storage = stored.into_device();
        storage = heap_queue::<_, FirstFound, _>(bench, ("vnv/first-found", length), storage, memory)?;
        storage = heap_queue::<_, SecondChance, _>(bench, ("vnv/clock", length), storage, memory)?;
    }
    Ok(())
}

#[cfg(all(test, feature = "std"))]
mod tests {
    use super::*;
    use crate::lab::record::{MARK, record};
    use vnv_storage::RamStorage;

    /// Each look takes a tick.
    struct Looks(u64);

    impl Clock for Looks {
        const MACHINE: &'static str = "test";
        const TICKS_PER_MS: u32 = 1000;
        fn ticks(&mut self) -> u64 {
            self.0 += 1;
            self.0
        }
    }

    #[test]
    fn every_workload_prints_results_that_can_be_recorded() {
        let mut log = String::new();
        let mut emit = |line: &str| log.push_str(&format!("{MARK} {line}\n"));
        run_with(RamStorage::<{ QUEUE_CAPACITY as usize }>::new(), &mut Looks(0), &mut emit).unwrap();
        let mut lines = Vec::new();
        // The first run and the others: transfers both ways, and four systems of the queue.
        let expected = 2 * (2 * SIZES.len() + 4 * LENGTHS.len());
        assert_eq!(record(log.as_bytes(), &mut lines).unwrap(), expected);
        let last: serde_json::Value =
            serde_json::from_str(String::from_utf8(lines).unwrap().lines().last().unwrap()).unwrap();
        assert_eq!(last["bench_options"], "system=vnv/clock;length=32;iterations=100");
        assert_eq!(last["data"].as_array().unwrap().len(), REPETITIONS);
        assert_eq!((&last["cold_start"], &last["data"][0]), (&false.into(), &1.into()));
    }
}
