//! The workloads on a board, timed by its clock. Each result is a line: `[BENCH-INFO]` and a JSON object.

#[cfg(feature = "kvs")]
use crate::access::Pattern;
use crate::baseline::{RamQueue, StorageQueue};
#[cfg(feature = "kvs")]
use crate::heap::{HeapValues, STORE_CAPACITY, STORE_OPTIONS, Store, StoreMemory};
use crate::objects::{self, BUFFER, Fill, Kind, Narrow};
use crate::queue::{HeapQueue, QUEUE_CAPACITY, QueueHeap, QueueMemory};
use crate::workload::{Fifo, Passing};
use board::{Failure, Reason, info};
use core::fmt::{self, Write};
use static_cell::ConstStaticCell;
use vnv_core::engine::snapshot_fixed;
use vnv_persist::{Adaptive, Clock as SecondChance, Error, Heap, Layout, Memory, Options, Policy, Workspace};
use vnv_storage::Device;
use vnv_storage::embedded_storage::ReadStorage;

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
/// Bytes of objects.
const OBJECTS: [usize; 4] = [8, 64, 256, 928];
/// Times that each operation on objects is repeated, each on a heap of its own.
const FRESH: usize = 3;
/// Bytes that may be dirty while there are operations on objects: all of the arena, and its entries.
const OBJECTS_LIMIT: u32 = 1400;
/// Dirty limits of snapshots.
const LIMITS: [u32; 4] = [312, 1080, 2060, 3916];
/// Bytes of the arena whose state is saved.
const SAVED: usize = 3916;
/// Updates of the store in each repetition.
#[cfg(feature = "kvs")]
const UPDATES: u32 = 1000;

/// Memory of the operations on objects.
type Objects = Memory<176, 176, 2, 1, { SAVED / 8 }>;

static SMALL: ConstStaticCell<Narrow<Objects>> = ConstStaticCell::new(Narrow { tables: Objects::new(), words: 0 });
#[cfg(feature = "kvs")]
static STORE: ConstStaticCell<StoreMemory> = ConstStaticCell::new(StoreMemory::new());
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
                *ticks = self.ticks(&mut work)?;
            }
            self.tell(name, options, cold, data.get(..repetitions).unwrap_or_default());
        }
        Ok(())
    }

    /// The time of `work`.
    fn ticks<E>(&mut self, work: impl FnOnce() -> Result<(), E>) -> Result<u64, E> {
        let begin = self.clock.ticks();
        work()?;
        Ok(self.clock.ticks() - begin)
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

/// Prepares a heap, and times an operation on it.
type Run<'r, C, D> = &'r mut dyn FnMut(
    &mut Bench<'_, C>,
    &Heap<'_, D, Narrow<Objects>>,
    &mut u64,
) -> Result<(), Error<<D as ReadStorage>::Error>>;

/// An operation on a fresh heap, which is prepared for it, some times. Gives the storage back.
///
/// What the storage has no room for is left out, and said so.
fn fresh<C: Clock, D: Device>(
    bench: &mut Bench<'_, C>,
    (name, parameters): (&str, fmt::Arguments<'_>),
    (mut storage, memory): (D, &mut Narrow<Objects>),
    options: Options,
    run: Run<'_, C, D>,
) -> Result<D, Failure<D::Error>>
where
    D::Error: Reason,
{
    let sizes = Narrow::<Objects>::parts(memory).sizes();
    let mut data = [0; FRESH + 1];
    let mut fits = Layout::new(storage.capacity() as u32, storage.row_size(), sizes, options).is_ok();
    for ticks in &mut data {
        if fits {
            let heap = Heap::format(storage, memory, options)?;
            match run(bench, &heap, ticks) {
                Err(Error::StorageFull) => fits = false,
                other => other?,
            }
            storage = heap.into_device();
        }
    }
    if fits {
        let (first, others) = data.split_at(1);
        bench.tell(name, parameters, true, first);
        bench.tell(name, parameters, false, others);
    } else {
        info!("the storage is too small for {} with a dirty limit of {} bytes", name, options.dirty_limit);
    }
    Ok(storage)
}

/// References, allocations, freeing, and snapshots. Gives the storage back.
fn objects<C: Clock, D: Device>(
    bench: &mut Bench<'_, C>,
    mut storage: D,
    memory: &mut Narrow<Objects>,
) -> Result<D, Failure<D::Error>>
where
    D::Error: Reason,
{
    memory.words = objects::words(BUFFER, true);
    for kind in Kind::ALL {
        for size in OBJECTS {
            let arena = memory.words;
            let parameters = format_args!("system=vnv/adaptive;size={size}");
            let limits = Options::new(OBJECTS_LIMIT).log_bytes(64);
            storage = fresh(bench, (kind.name(), parameters), (storage, memory), limits, &mut |bench, heap, ticks| {
                objects::single(heap, (kind, size), arena, &mut |work| {
                    *ticks = bench.ticks(work)?;
                    Ok(())
                })
            })?;
        }
    }
    memory.words = SAVED / 8;
    for limit in LIMITS {
        for fill in Fill::ALL {
            let arena = memory.words;
            let room = limit - snapshot_fixed(memory.parts().sizes().0);
            let parameters = format_args!("system=vnv/adaptive;dirty_limit={limit};fill={}", fill.name());
            let limits = Options::new(limit).log_bytes(64);
            storage =
                fresh(bench, ("persist_dirty", parameters), (storage, memory), limits, &mut |bench, heap, ticks| {
                    objects::fill(heap, fill, arena, room)?;
                    *ticks = bench.ticks(|| heap.snapshot().map(drop))?;
                    Ok(())
                })?;
        }
    }
    Ok(storage)
}

/// The key-value store, as far as the storage is large enough. Gives the storage back.
#[cfg(feature = "kvs")]
fn store<C: Clock, D: Device>(bench: &mut Bench<'_, C>, mut storage: D) -> Result<D, Failure<D::Error>>
where
    D::Error: Reason,
{
    let memory = STORE.take();
    if (storage.capacity() as u64) < u64::from(STORE_CAPACITY) {
        info!("the storage is too small for the key-value store: {} bytes", storage.capacity() as u32);
        return Ok(storage);
    }
    for pattern in Pattern::ALL {
        let heap: Store<'_, D, Adaptive> = Store::format(storage, memory, STORE_OPTIONS)?;
        let mut values = HeapValues::new(&heap, &crate::values::SIZES)?;
        let mut updates = crate::workload::Updates::new(pattern, 1);
        let parameters = format_args!("system=vnv/adaptive;access={};updates={UPDATES}", pattern.name());
        bench.time("kvs", parameters, || updates.run(&mut values, UPDATES, None))?;
        storage = heap.into_device();
    }
    Ok(storage)
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
    storage = objects(bench, storage, SMALL.take())?;
    #[cfg(feature = "kvs")]
    {
        storage = store(bench, storage)?;
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
        storage = heap_queue::<_, Adaptive, _>(bench, ("vnv/adaptive", length), storage, memory)?;
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

    /// The part of the first board.
    #[test]
    fn what_fits_an_fram_of_8_kib() {
        let mut log = String::new();
        let mut emit = |line: &str| log.push_str(&format!("{MARK} {line}\n"));
        let mut memory = Narrow { tables: Objects::new(), words: 0 };
        objects(&mut Bench { clock: &mut Looks(0), emit: &mut emit }, RamStorage::<8192>::new(), &mut memory).unwrap();
        let ran = |name: &str| log.matches(&format!("\"{name}\"")).count() / 2;
        let gets = ["get_min", "get_max_min", "get_min_max", "get_max", "get_max_old"].map(ran);
        let others = ["allocate_min", "allocate_max", "deallocate_min", "deallocate_max", "persist_dirty"].map(ran);
        assert_eq!((gets, others), ([4, 4, 4, 3, 4], [4, 1, 4, 2, 3]));
    }

    #[test]
    fn every_workload_prints_results_that_can_be_recorded() {
        let all = || {
            let mut log = String::new();
            let mut emit = |line: &str| log.push_str(&format!("{MARK} {line}\n"));
            run_with(RamStorage::<{ STORE_CAPACITY as usize }>::new(), &mut Looks(0), &mut emit).unwrap();
            let mut lines = Vec::new();
            // The first run and the others: transfers both ways, operations, snapshots, the store, and four systems of the queue.
            let operations = Kind::ALL.len() * OBJECTS.len() + LIMITS.len() * Fill::ALL.len();
            let expected = 2 * (2 * SIZES.len() + operations + Pattern::ALL.len() + 4 * LENGTHS.len());
            assert_eq!(record(log.as_bytes(), &mut lines).unwrap(), expected);
            let last: serde_json::Value =
                serde_json::from_str(String::from_utf8(lines).unwrap().lines().last().unwrap()).unwrap();
            assert_eq!(last["bench_options"], "system=vnv/clock;length=32;iterations=100");
            assert_eq!(last["data"].as_array().unwrap().len(), REPETITIONS);
            assert_eq!((&last["cold_start"], &last["data"][0]), (&false.into(), &1.into()));
        };
        // The storage lies on the stack.
        std::thread::Builder::new().stack_size(64 << 20).spawn(all).unwrap().join().unwrap();
    }
}
