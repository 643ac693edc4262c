//! A scripted life of a heap, the model that follows it, and the state that can be read back.
#![allow(dead_code)]

use fastrand::Rng;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use vnv_persist::{Adaptive, Durable, Error, Event, Heap, Link, Memory, OpenError, Options};
use vnv_storage::Device;
use vnv_storage::embedded_storage::{ReadStorage, Storage};

/// RAM: 40 slots, 16 pending places, 6 types, 4 roots, 80 words (640 bytes) of arena.
pub type Ram = Memory<40, 16, 6, 4, 80>;
pub const OPTIONS: Options = Options::new(512).log_bytes(256);
pub const CAPACITY: usize = 8192;
pub const SLOTS: usize = 24;

#[derive(Durable, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Item {
    pub value: u32,
    pub kind: Kind,
    pub data: [u16; 28],
    pub blob: Link<[u8]>,
}

#[derive(Durable, Clone, Copy, Debug, PartialEq)]
#[repr(u8)]
pub enum Kind {
    Plain,
    Numbered(u32),
    Pair { low: u8, high: u16 },
}

/// What can be read through the roots.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Default)]
pub struct Model {
    pub items: Vec<Option<(u32, Option<Vec<u8>>)>>,
    pub counters: Vec<u32>,
}

impl Model {
    /// Bytes of the objects.
    pub fn bytes(&self) -> usize {
        let items = self.items.iter().flatten();
        let objects: usize = items.map(|(_, blob)| size_of::<Item>() + blob.as_ref().map_or(0, Vec::len)).sum();
        objects + 4 * self.items.len() + 4 * self.counters.len()
    }
}

pub type TestHeap<'m, D> = Heap<'m, D, Ram, Adaptive>;

/// Reads the state back through the roots.
pub fn extract<D: Device>(heap: &TestHeap<'_, D>) -> Result<Model, Error<D::Error>>
where
    D::Error: std::fmt::Debug,
{
    let mut model = Model::default();
    if let Some(table) = heap.root::<[Link<Item>]>("table")? {
        let links: Vec<_> = heap.get(table)?.to_vec();
        for link in links {
            if link.is_null() {
                model.items.push(None);
                continue;
            }
            let item = *heap.get(link)?;
            assert_eq!(item.data, [item.value as u16; 28], "an object is a mixture of two states");
            let blob = if item.blob.is_null() { None } else { Some(heap.get(item.blob)?.to_vec()) };
            model.items.push(Some((item.value, blob)));
        }
    }
    if let Some(counters) = heap.root::<[u32]>("counters")? {
        model.counters = heap.get(counters)?.to_vec();
    }
    Ok(model)
}

/// A storage that keeps every write.
pub struct Recorder {
    pub image: Vec<u8>,
    pub trace: Rc<RefCell<Trace>>,
}

#[derive(Default)]
pub struct Trace {
    pub writes: Vec<(u32, Vec<u8>, Legal)>,
    pub legal: Legal,
    pub states: Vec<Model>,
    pub reads: u64,
    pub bytes_read: u64,
}

/// What a reopening may find: the last commit, or what the running one commits.
#[derive(Clone, Copy, Default, Debug)]
pub struct Legal {
    pub last: usize,
    pub running: Option<usize>,
}

impl ReadStorage for Recorder {
    type Error = ();
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
        let mut trace = self.trace.borrow_mut();
        trace.reads += 1;
        trace.bytes_read += bytes.len() as u64;
        bytes.copy_from_slice(self.image.get(offset as usize..offset as usize + bytes.len()).ok_or(())?);
        Ok(())
    }
    fn capacity(&self) -> usize {
        self.image.len()
    }
}

impl Storage for Recorder {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Recorder {
    fn row_size(&self) -> u32 {
        8
    }
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), ()> {
        let bytes = slices.concat();
        self.image.get_mut(offset as usize..offset as usize + bytes.len()).ok_or(())?.copy_from_slice(&bytes);
        let mut trace = self.trace.borrow_mut();
        let legal = trace.legal;
        trace.writes.push((offset, bytes, legal));
        Ok(())
    }
    fn sync(&mut self) -> Result<(), ()> {
        Ok(())
    }
}

/// Drives a heap and the model together.
pub struct Life<'h, 'm, D: Device>
where
    D::Error: std::fmt::Debug,
{
    pub heap: &'h TestHeap<'m, D>,
    pub model: &'h RefCell<Model>,
    pub random: Rng,
    pub operations: Cell<u32>,
    pub full: Cell<u32>,
}

fn item(value: u32, blob: Link<[u8]>) -> Item {
    let kind = match value % 3 {
        0 => Kind::Plain,
        1 => Kind::Numbered(value),
        _ => Kind::Pair { low: value as u8, high: value as u16 },
    };
    Item { value, kind, data: [value as u16; 28], blob }
}

impl<D: Device> Life<'_, '_, D>
where
    D::Error: std::fmt::Debug,
{
    /// Makes the roots.
    pub fn begin(&mut self) -> Result<(), Error<D::Error>> {
        let table = self.heap.allocate_slice_with(SLOTS, |_| Link::<Item>::NULL)?.into_link();
        self.heap.set_root("table", Some(table))?;
        self.model.borrow_mut().items = vec![None; SLOTS];
        let counters = self.heap.allocate_slice_with(96, |_| 0u32)?.into_link();
        self.heap.set_root("counters", Some(counters))?;
        self.model.borrow_mut().counters = vec![0; 96];
        for slot in 0..SLOTS {
            let new = self.heap.allocate(item(slot as u32, Link::NULL))?.into_link();
            self.put(slot, new, Some((slot as u32, None)))?;
        }
        Ok(())
    }

    fn link(&self, slot: usize) -> Result<Link<Item>, Error<D::Error>> {
        let table = self.heap.root::<[Link<Item>]>("table")?.ok_or(Error::Stale)?;
        Ok(self.heap.get(table)?[slot])
    }

    fn put(&self, slot: usize, link: Link<Item>, model: Option<(u32, Option<Vec<u8>>)>) -> Result<(), Error<D::Error>> {
        let table = self.heap.root::<[Link<Item>]>("table")?.ok_or(Error::Stale)?;
        // The model follows before the guard is dropped: an alarm may be served there.
        let mut element = self.heap.get_element_mut(table, slot)?;
        *element = link;
        self.model.borrow_mut().items[slot] = model;
        Ok(())
    }

    /// One random operation. If an allocation finds the heap full, garbage is collected and life goes on.
    pub fn step(&mut self) -> Result<(), Error<D::Error>> {
        match self.operation() {
            Err(Error::ObjectsFull | Error::StorageFull) => {
                self.full.set(self.full.get() + 1);
                self.heap.collect().map(|_| ())
            }
            result => result,
        }
    }

    fn operation(&mut self) -> Result<(), Error<D::Error>> {
        self.operations.set(self.operations.get() + 1);
        let slot = self.random.u32(..SLOTS as u32) as usize;
        let value = self.random.u32(..100_000);
        let which = self.random.u32(..100);
        match which {
            0..25 => {
                let old = self.link(slot)?;
                let blob = if value % 2 == 0 {
                    let bytes = vec![value as u8; 1 + (value % 40) as usize];
                    Some((self.heap.allocate_slice_with(bytes.len(), |at| bytes[at])?, bytes))
                } else {
                    None
                };
                let (link, bytes) = match blob {
                    Some((owned, bytes)) => (Some(owned), Some(bytes)),
                    None => (None, None),
                };
                let mut new = self.heap.allocate(item(value, Link::NULL))?;
                if let Some(owned) = link {
                    self.heap.get_mut(&mut new)?.blob = owned.into_link();
                }
                let new = new.into_link();
                self.put(slot, new, Some((value, bytes)))?;
                if !old.is_null() && value % 3 == 0 {
                    self.heap.free(old)?;
                }
            }
            25..45 => {
                let link = self.link(slot)?;
                if !link.is_null() {
                    let mut guard = self.heap.get_mut(link)?;
                    let blob = guard.blob;
                    *guard = item(value, blob);
                    if let Some(item) = &mut self.model.borrow_mut().items[slot] {
                        item.0 = value;
                    }
                }
            }
            45..55 => {
                let counters = self.heap.root::<[u32]>("counters")?.ok_or(Error::Stale)?;
                for number in 0..=value % 3 {
                    let at = ((value + number * 31) % 96) as usize;
                    let mut counter = self.heap.get_element_mut(counters, at)?;
                    *counter += 1;
                    self.model.borrow_mut().counters[at] += 1;
                }
            }
            55..62 => {
                self.heap.commit()?;
            }
            62..72 => {
                let link = self.link(slot)?;
                if !link.is_null() {
                    self.put(slot, Link::NULL, None)?;
                    if value % 2 == 0 {
                        self.heap.free(link)?;
                    }
                }
            }
            72..77 => {
                let link = self.link(slot)?;
                if !link.is_null() {
                    self.heap.evict(link)?;
                }
            }
            77..80 => {
                self.heap.collect()?;
            }
            80..84 => {
                self.heap.snapshot()?;
            }
            84..94 => self.transaction(slot, value)?,
            _ => {
                let link = self.link(slot)?;
                let expected = self.model.borrow().items[slot].clone();
                assert_eq!(link.is_null(), expected.is_none());
                if let Some((value, _)) = expected {
                    assert_eq!(self.heap.get(link)?.value, value);
                }
            }
        }
        let dirty = self.heap.dirty_bytes()?;
        assert!(dirty <= 512, "dirty limit exceeded: {dirty}");
        Ok(())
    }

    /// Changes two items and a counter together, or rolls back.
    fn transaction(&mut self, slot: usize, value: u32) -> Result<(), Error<D::Error>> {
        let other = (slot + 1 + value as usize % (SLOTS - 1)) % SLOTS;
        let (first, second) = (self.link(slot)?, self.link(other)?);
        let counters = self.heap.root::<[u32]>("counters")?.ok_or(Error::Stale)?;
        let table = self.heap.root::<[Link<Item>]>("table")?.ok_or(Error::Stale)?;
        let mut model = self.model.borrow().clone();
        let tx = self.heap.transaction()?;
        let mut change = || -> Result<(), Error<D::Error>> {
            for (link, slot) in [(first, slot), (second, other)] {
                if link.is_null() {
                    let new = tx.allocate(item(value, Link::NULL))?.into_link();
                    *tx.get_element_mut(table, slot)? = new;
                    model.items[slot] = Some((value, None));
                } else if value % 5 == 0 {
                    tx.free(link)?;
                    *tx.get_element_mut(table, slot)? = Link::NULL;
                    model.items[slot] = None;
                } else {
                    let blob = tx.get(link)?.blob;
                    *tx.get_mut(link)? = item(value, blob);
                    if let Some(item) = &mut model.items[slot] {
                        item.0 = value;
                    }
                }
            }
            let at = (value % 96) as usize;
            *tx.get_element_mut(counters, at)? += 7;
            model.counters[at] += 7;
            Ok(())
        };
        match change() {
            Ok(()) if value % 3 != 0 => {
                *self.model.borrow_mut() = model;
                tx.commit()?;
            }
            Ok(()) => drop(tx),
            Err(error) if error.commit_may_help() => drop(tx),
            Err(error) => return Err(error),
        }
        Ok(())
    }
}

/// Runs a life of `steps` operations on a recorder; returns the formatted image it began with and its trace.
pub fn record(seed: u64, steps: u32) -> (Vec<u8>, Rc<RefCell<Trace>>, Model) {
    let trace = Rc::new(RefCell::new(Trace::default()));
    let mut memory = Ram::new();
    let recorder = Recorder { image: vec![0xFF; CAPACITY], trace: trace.clone() };
    let model = RefCell::new(Model::default());
    trace.borrow_mut().states.push(Model::default());
    let heap: TestHeap<'_, _> = Heap::format(recorder, &mut memory, OPTIONS).unwrap();
    let start = heap.with_device(|device| device.image.clone()).unwrap();
    trace.borrow_mut().writes.clear();
    let observer = |event: Event| {
        let mut trace = trace.borrow_mut();
        match event {
            Event::Committing => {
                trace.states.push(model.borrow().clone());
                trace.legal.running = Some(trace.states.len() - 1);
            }
            Event::Committed(_) => {
                if let Some(running) = trace.legal.running.take() {
                    trace.legal.last = running;
                }
            }
            _ => {}
        }
    };

    heap.set_observer(Some(&observer));
    let mut life =
        Life { heap: &heap, model: &model, random: Rng::with_seed(seed), operations: Cell::new(0), full: Cell::new(0) };
    life.begin().unwrap();
    for step in 0..steps {
        if let Err(error) = life.step() {
            panic!("seed {seed}, step {step}: {error:?}");
        }
        let now = extract(&heap).unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}"));
        assert_eq!(now, *model.borrow(), "seed {seed}, step {step}");
    }
    heap.commit().unwrap();
    heap.set_observer(None);
    drop(heap);
    let end = model.borrow().clone();
    (start, trace, end)
}

pub fn opens(error: &OpenError<vnv_sim::TearError>) -> bool {
    !matches!(error, OpenError::Heap(_))
}
