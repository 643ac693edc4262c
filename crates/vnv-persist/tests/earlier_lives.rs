//! A storage is formatted again and again. Whatever the lives before have left on it: a reopening gives the last commit or
//! snapshot that the life since the last format was promised, and nothing that is older.
//!
//! A failure prints the number of its pair of lives: `VNV_PAIR=<number>` runs that one alone.

// Sweeps of bytes in storage, with nothing unsafe of their own: too long for Miri.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod recorded;

use fastrand::Rng;
use recorded::{Findings, Hand, Recorded, Write, apply, by_extent, sweep, torn};
use std::cell::RefCell;
use vnv_persist::{Durable, Error, Event, Heap, Layout, Link, Memory, Options, Workspace};
use vnv_sim::Tear;

#[derive(Durable, Clone, Copy)]
#[repr(C)]
struct Top {
    number: u32,
    slices: [Link<[u32]>; 2],
}

/// What can be read through the root. Every number names the life that wrote it, and is written once.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
struct State {
    number: Option<u32>,
    slices: [Option<Vec<u32>>; 2],
}

type TestHeap<'m, 'r, W> = Heap<'m, Hand<'r>, W>;
type Failure = Error<&'static str>;

fn extract<W: Workspace>(heap: &TestHeap<'_, '_, W>) -> Result<State, Failure> {
    let Some(top) = heap.root::<Top>("top")? else { return Ok(State::default()) };
    let Top { number, slices } = *heap.get(top)?;
    let mut state = State { number: Some(number), ..State::default() };
    for (link, slice) in slices.into_iter().zip(&mut state.slices) {
        if !link.is_null() {
            *slice = Some(heap.get(link)?.to_vec());
        }
    }
    Ok(state)
}

/// What a life was promised: with so many writes done, this state is committed, or being committed.
#[derive(Clone, Debug)]
enum Promise {
    Running(State),
    Kept(State),
}

/// A life since it was formatted: the bytes before, all writes, and its promises by the number of writes before them.
struct Life {
    before: Vec<u8>,
    writes: Vec<Write>,
    promises: Vec<(usize, Promise)>,
}

impl Life {
    /// What may be found if power fails with so many writes done: the first must be, if no second may.
    fn legal(&self, writes: usize) -> (Option<&State>, Option<&State>) {
        let mut legal = (None, None);
        for (_, promise) in self.promises.iter().take_while(|(at, _)| *at <= writes) {
            legal = match promise {
                Promise::Running(state) => (legal.0, Some(state)),
                Promise::Kept(state) => (Some(state), None),
            };
        }
        legal
    }
}

/// Sizes of a heap on a storage.
#[derive(Clone, Copy, Debug)]
struct Configuration {
    memory: usize,
    options: Options,
    row: u32,
}

/// Runs `$body` with the memory that a configuration names.
macro_rules! with_memory {
    ($configuration:expr, $W:ident => $body:expr) => {
        match $configuration.memory {
            0 => with_memory!(@ $W, Memory<10, 6, 3, 1, 64>, $body),
            1 => with_memory!(@ $W, Memory<16, 8, 4, 2, 64>, $body),
            2 => with_memory!(@ $W, Memory<12, 8, 3, 1, 96>, $body),
            _ => with_memory!(@ $W, Memory<32, 12, 5, 4, 48>, $body),
        }
    };
    (@ $W:ident, $memory:ty, $body:expr) => {{
        type $W = $memory;
        $body
    }};
}

const SIZES: [(u16, u8, u8); 4] = [(10, 3, 1), (16, 4, 2), (12, 3, 1), (32, 5, 4)];

impl Configuration {
    /// One that is possible on the storage, and leaves room for a life.
    fn choose(random: &mut Rng, capacity: u32, row: u32) -> Self {
        loop {
            let memory = random.usize(..SIZES.len());
            let log = [64, 128, 256, 256, 512][random.usize(..5)];
            let least = if row > 8 { 160 + 2 * row } else { 128 };
            let options = Options::new(least + 8 * random.u32(..16)).log_bytes(log);
            if Layout::new(capacity, row, SIZES[memory], options)
                .is_ok_and(|layout| layout.usable_bytes() >= 24 * row.max(16))
            {
                return Self { memory, options, row };
            }
        }
    }

    /// Formats `image` and lives on it.
    fn live(self, image: Vec<u8>, life: u32, plan: Plan, random: &mut Rng) -> Life {
        let before = image.clone();
        let recorded = Recorded::new(image, self.row);
        let (model, promises) = (RefCell::new(State::default()), RefCell::new(Vec::new()));
        let observer = |event: Event| {
            let at = recorded.writes.borrow().len();
            let state = model.borrow().clone();
            let promise = match event {
                Event::Committing => Promise::Running(state),
                _ => Promise::Kept(state),
            };
            promises.borrow_mut().push((at, promise));
        };
        with_memory!(self, W => {
            let mut memory = W::new();
            let heap: TestHeap<'_, '_, W> = Heap::format(Hand(&recorded), &mut memory, self.options).unwrap();
            promises.borrow_mut().push((recorded.writes.borrow().len(), Promise::Kept(State::default())));
            heap.set_observer(Some(&observer));
            Living { heap: &heap, model: &model, life, step: 0, random }.run(plan).unwrap();
            heap.set_observer(None);
        });
        Life { before, writes: recorded.into_writes(), promises: promises.into_inner() }
    }

    /// Opens `image`: what is there, and there again after a commit.
    fn reopen(self, image: &[u8], go_on: Option<u32>) -> Result<State, String> {
        let recorded = Recorded::new(image.to_vec(), self.row);
        let state = with_memory!(self, W => {
            let mut memory = W::new();
            let heap: TestHeap<'_, '_, W> =
                Heap::open(Hand(&recorded), &mut memory, self.options).map_err(|error| format!("open: {error}"))?;
            if let Some(index) = heap.report().damaged {
                return Err(format!("object {index} is damaged"));
            }
            let state = extract(&heap).map_err(|error| format!("what was found: {error}"))?;
            if let Some(life) = go_on {
                let mut random = Rng::with_seed(u64::from(life));
                let model = RefCell::new(state.clone());
                let mut living = Living { heap: &heap, model: &model, life, step: 0, random: &mut random };
                living.run(Plan { steps: 3, plain: false }).map_err(|error| format!("going on: {error}"))?;
                heap.commit().map_err(|error| format!("going on: {error}"))?;
                let image = recorded.image.borrow().clone();
                let again = self.reopen(&image, None).map_err(|error| format!("going on, {error}"))?;
                if again != *model.borrow() {
                    return Err(format!("going on, {again:x?} was found instead of {:x?}", model.borrow()));
                }
            }
            state
        });
        Ok(state)
    }
}

#[derive(Clone, Copy, Debug)]
struct Plan {
    steps: u32,
    /// Nothing but changes of one number, each committed.
    plain: bool,
}

struct Living<'h, 'm, 'r, W: Workspace> {
    heap: &'h TestHeap<'m, 'r, W>,
    model: &'h RefCell<State>,
    life: u32,
    step: u32,
    random: &'h mut Rng,
}

impl<W: Workspace> Living<'_, '_, '_, W> {
    fn run(&mut self, plan: Plan) -> Result<(), Failure> {
        for _ in 0..plan.steps {
            let which = if plan.plain { 0 } else { self.random.u32(..16) };
            match self.operation(which) {
                Err(Error::StorageFull | Error::ObjectsFull | Error::PendingFull | Error::DirtyLimit) => {
                    self.heap.collect()?;
                }
                result => result?,
            }
            if plan.plain || self.random.u32(..5) < 2 {
                self.heap.commit()?;
            }
        }
        Ok(())
    }

    fn value(&mut self) -> u32 {
        self.step += 1;
        self.life << 24 | self.step
    }

    fn operation(&mut self, which: u32) -> Result<(), Failure> {
        let heap = self.heap;
        let value = self.value();
        let Some(top) = heap.root::<Top>("top")? else {
            let top = heap.allocate(Top { number: value, slices: [Link::NULL; 2] })?.into_link();
            heap.set_root("top", Some(top))?;
            self.model.borrow_mut().number = Some(value);
            return Ok(());
        };
        let which_slice = self.random.usize(..2);
        let slice = heap.get(top)?.slices[which_slice];
        match which {
            0..4 => {
                heap.get_mut(top)?.number = value;
                self.model.borrow_mut().number = Some(value);
            }
            4..7 if !slice.is_null() => {
                let at = self.random.usize(..heap.get(slice)?.len());
                *heap.get_element_mut(slice, at)? = value;
                self.model.borrow_mut().slices[which_slice].as_mut().unwrap()[at] = value;
            }
            7 if !slice.is_null() => {
                heap.get_mut(slice)?.fill(value);
                self.model.borrow_mut().slices[which_slice].as_mut().unwrap().fill(value);
            }
            8 => {
                heap.snapshot()?;
            }
            9 => heap.evict_all()?,
            10 => {
                heap.collect()?;
            }
            11..13 if !slice.is_null() => {
                let mut model = self.model.borrow().clone();
                let tx = heap.transaction()?;
                tx.get_mut(top)?.number = value;
                tx.get_mut(slice)?.fill(value);
                model.number = Some(value);
                model.slices[which_slice].as_mut().unwrap().fill(value);
                if value % 3 != 0 {
                    *self.model.borrow_mut() = model;
                    tx.commit()?;
                }
            }
            _ => {
                let length = self.random.usize(1..12);
                let new = heap.allocate_slice_with(length, |_| value)?.into_link();
                heap.get_mut(top)?.slices[which_slice] = new;
                self.model.borrow_mut().slices[which_slice] = Some(vec![value; length]);
                if !slice.is_null() && value % 2 == 0 {
                    heap.free(slice)?;
                }
            }
        }
        Ok(())
    }
}

/// A write that power cuts at random, with a random effect.
fn cut(life: &Life, image: &[u8], number: usize, row: u32, random: &mut Rng) -> (Vec<u8>, String) {
    let write = &life.writes[number];
    let stored = random.usize(..=write.1.len());
    let tears: Vec<Tear> = Tear::of_writes().collect();
    let tear = tears[random.usize(..tears.len())];
    (torn(image, write, stored, tear, row), format!("write {number} cut after {stored} bytes, {tear:?}"))
}

/// Reopens the storage wherever the life was promised something, and at some cuts.
fn check_life(configuration: Configuration, life: &Life, random: &mut Rng, replay: &str, found: &mut Findings) {
    let mut image = life.before.clone();
    let kept: Vec<usize> =
        life.promises.iter().filter(|(_, promise)| matches!(promise, Promise::Kept(_))).map(|(at, _)| *at).collect();
    let formatted = life.promises[0].0;
    for done in 0..=life.writes.len() {
        if kept.contains(&done) {
            let expected = life.legal(done).0.unwrap();
            let go_on = (found.cases % 7 == 0).then_some(90);
            let result = configuration.reopen(&image, go_on).and_then(|state| {
                if state == *expected { Ok(()) } else { Err(format!("found {state:x?} instead of {expected:x?}")) }
            });
            found.count("pairs");
            found.check(result, || format!("{replay}, {done} writes into the second"));
        } else if done >= formatted && done < life.writes.len() && random.u32(..8) == 0 {
            let (torn, place) = cut(life, &image, done, configuration.row, random);
            let (last, running) = life.legal(done);
            let result = configuration.reopen(&torn, (found.cases % 7 == 0).then_some(91)).and_then(|state| {
                if Some(&state) == last || Some(&state) == running {
                    Ok(())
                } else {
                    Err(format!("found {state:x?}, neither {last:x?} nor {running:x?}"))
                }
            });
            found.count("pairs with a cut at the end");
            found.check(result, || format!("{replay}, the second with {place}"));
        }
        if let Some(write) = life.writes.get(done) {
            apply(&mut image, write);
        }
    }
}

/// A first life; second lives begin where it ended, and wherever it was cut.
fn pairs(number: usize, found: &mut Findings) {
    let mut random = Rng::with_seed(number as u64);
    let row = [4, 8, 8, 8, 16, 32, 64][random.usize(..7)];
    let capacity = [2048, 2048, 2096, 4096, 8192][random.usize(if row > 16 { 3..5 } else { 0..5 })];
    let first = Configuration::choose(&mut random, capacity, row);
    let second = match random.u32(..4) {
        0 => Configuration::choose(&mut random, capacity, row),
        // The same size of the log, or not by much another one.
        1 => {
            let other = Configuration { options: first.options.log_bytes(first.options.log_bytes + 8), ..first };
            let fits = Layout::new(capacity, row, SIZES[other.memory], other.options).is_ok();
            if fits { other } else { first }
        }
        _ => first,
    };
    let blank = vec![if random.bool() { 0xFF } else { 0 }; capacity as usize];
    let plan = |random: &mut Rng| Plan { steps: random.u32(6..50), plain: random.u32(..3) == 0 };
    let plain = plan(&mut random);
    let one = first.live(blank, 1, plain, &mut random);
    let mut image = one.before.clone();
    let last = one.writes.len();
    let mut chosen: Vec<usize> = (0..3).map(|_| random.usize(..last)).collect();
    chosen.push(last);
    chosen.sort_unstable();
    for done in 0..=last {
        for _ in chosen.iter().filter(|at| **at == done) {
            let (start, place) = match done < last && random.u32(..3) != 0 {
                true => cut(&one, &image, done, row, &mut random),
                false => (image.clone(), format!("{done} writes")),
            };
            let steps = if plain.plain { plain.steps } else { random.u32(6..50) };
            let plan = Plan { steps, plain: if plain.plain { random.u32(..4) != 0 } else { random.u32(..4) == 0 } };
            let two = second.live(start, 2, plan, &mut random);
            let replay =
                format!("VNV_PAIR={number}: {capacity} bytes, {first:?}, then {second:?}; the first life: {place}");
            check_life(second, &two, &mut random, &replay, found);
            if random.u32(..8) == 0 {
                // A third life, on the second one.
                let mut image = two.before.clone();
                two.writes.iter().for_each(|write| apply(&mut image, write));
                let plan = Plan { steps: random.u32(6..30), plain: plan.plain };
                let three = first.live(image, 3, plan, &mut random);
                check_life(first, &three, &mut random, &format!("{replay}; a third life"), found);
            }
        }
        if let Some(write) = one.writes.get(done) {
            apply(&mut image, write);
        }
    }
}

#[test]
fn a_second_life_finds_nothing_of_the_first() {
    if let Some(number) = std::env::var("VNV_PAIR").ok().and_then(|number| number.parse().ok()) {
        let mut found = Findings::default();
        pairs(number, &mut found);
        found.report("one pair of lives");
        return;
    }
    let found = sweep(by_extent(4000, 800, 1), pairs);
    let pairs = found.counts.get("pairs").copied().unwrap_or(0);
    found.report("pairs of lives");
    assert!(cfg!(miri) || pairs >= 40_000, "only {pairs} pairs of lives");
}

/// A life of `changes` committed changes of one root.
fn plain_life<W: Workspace>(image: Vec<u8>, memory: &mut W, options: Options, (life, changes): (u32, u32)) -> Vec<u8> {
    let recorded = Recorded::new(image, 8);
    let heap: TestHeap<'_, '_, W> = Heap::format(Hand(&recorded), memory, options).unwrap();
    let value = heap.allocate(life << 24).unwrap().into_link();
    heap.set_root("value", Some(value)).unwrap();
    heap.commit().unwrap();
    for change in 1..=changes {
        *heap.get_mut(value).unwrap() = life << 24 | change;
        heap.commit().unwrap();
    }
    recorded.into_image()
}

fn value_of<W: Workspace>(image: Vec<u8>, memory: &mut W, options: Options) -> Result<u32, String> {
    let recorded = Recorded::new(image, 8);
    let heap: TestHeap<'_, '_, W> =
        Heap::open(Hand(&recorded), memory, options).map_err(|error| format!("open: {error}"))?;
    let value = heap.root::<u32>("value").map_err(|error| format!("root: {error}"))?.ok_or("no root")?;
    heap.get(value).map(|value| *value).map_err(|error| format!("get: {error}"))
}

#[test]
fn nine_commits_after_eleven_of_an_earlier_life_give_the_ninth() {
    const OPTIONS: Options = Options::new(160).log_bytes(256);
    let memory = Memory::<10, 6, 3, 1, 64>::new;
    let first = plain_life(vec![0xFF; 2048], &mut memory(), OPTIONS, (1, 11));
    let second = plain_life(first, &mut memory(), OPTIONS, (2, 9));
    assert_eq!(value_of(second, &mut memory(), OPTIONS), Ok(2 << 24 | 9));
}

#[test]
fn with_the_sizes_of_the_readme_the_second_of_two_lives_is_found() {
    const OPTIONS: Options = Options::new(256);
    let memory = Memory::<16, 8, 4, 2, 64>::new;
    let (first_lives, second_lives) = by_extent((200, 120), (100, 60), (1, 1));
    let found = sweep(first_lives, |first, found| {
        let one = plain_life(vec![0; 8192], &mut memory(), OPTIONS, (1, first as u32));
        for second in 0..second_lives {
            let two = plain_life(one.clone(), &mut memory(), OPTIONS, (2, second));
            let value = value_of(two, &mut memory(), OPTIONS);
            let result = if value == Ok(2 << 24 | second) { Ok(()) } else { Err(format!("found {value:x?}")) };
            found.check(result, || format!("{first} changes, a format, {second} changes"));
        }
    });
    found.report("pairs of lives with the sizes of the README");
}
