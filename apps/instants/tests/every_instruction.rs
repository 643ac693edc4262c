//! A power-fail alarm at instruction boundaries of lives on rv32imc, false and true, in both ways back: what was saved is the
//! state at that moment, the program goes on, and no snapshot costs more than its bound.
//!
//! Every hundredth instant, others each day; `VNV_EVERY=10` takes every tenth, `VNV_FULL=1` all, `VNV_PHASE` chooses where to
//! begin, `VNV_LIFE` a life.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "shared with the handler's calls")]
mod machine;

use instants::{CAPACITY, LIVES, LONGEST_WAIT_INSTRUCTIONS, LifeHeap, Ram, options, read, state_after, step_count};
use machine::{Machine, Saved};
use std::collections::HashMap;
use vnv_persist::{Bound, BusCost, Heap, Layout};
use vnv_sim::TearStorage;
use vnv_storage::Part;

const CHUNK: u32 = 64;

#[derive(Default, Debug, Clone, Copy)]
struct Counts {
    instants: u64,
    alarms: u64,
    second: u64,
    /// Second alarms after which everything was as if there had been none.
    without_effect: u64,
    images: u64,
    most_bytes: u32,
    most_transactions: u32,
    most_ns: u64,
    most_wait_ns: u64,
    most_wait_wire_ns: u64,
    most_wait_instructions: u64,
    most_instructions: u64,
    most_stack: u32,
    /// Largest share of the bound that was seen, in percent.
    percent: u64,
}

impl Counts {
    fn join(self, other: Self) -> Self {
        Self {
            instants: self.instants + other.instants,
            alarms: self.alarms + other.alarms,
            second: self.second + other.second,
            without_effect: self.without_effect + other.without_effect,
            images: self.images + other.images,
            most_bytes: self.most_bytes.max(other.most_bytes),
            most_transactions: self.most_transactions.max(other.most_transactions),
            most_ns: self.most_ns.max(other.most_ns),
            most_wait_ns: self.most_wait_ns.max(other.most_wait_ns),
            most_wait_wire_ns: self.most_wait_wire_ns.max(other.most_wait_wire_ns),
            most_wait_instructions: self.most_wait_instructions.max(other.most_wait_instructions),
            most_instructions: self.most_instructions.max(other.most_instructions),
            most_stack: self.most_stack.max(other.most_stack),
            percent: self.percent.max(other.percent),
        }
    }
}

/// The sweep of one life in one mode.
struct Sweep {
    life: u32,
    resumes: bool,
    bound: Bound,
    /// Recovered states by image, as the number of steps (or none of them).
    known: HashMap<Vec<u8>, Option<Vec<usize>>>,
    counts: Counts,
}

impl Sweep {
    fn new(life: u32, resumes: bool) -> Self {
        let layout = Layout::new(CAPACITY as u32, 8, (40, 4, 2), options(life, false)).unwrap();
        let bound = Bound::new(&layout, &BusCost::ESP32C3_20MHZ, CHUNK);
        Self { life, resumes, bound, known: HashMap::new(), counts: Counts::default() }
    }

    /// The steps after which an image's state is the life's.
    fn recovered(&mut self, image: &[u8]) -> Vec<usize> {
        let life = self.life;
        let counts = &mut self.counts;
        let found = self.known.entry(image.to_vec()).or_insert_with(|| {
            counts.images += 1;
            let mut memory = Ram::new();
            let storage = TearStorage::from_image(image.to_vec(), 8);
            let heap: LifeHeap<'_, _> = Heap::open(storage, &mut memory, options(life, false)).ok()?;
            if heap.report().damaged.is_some() {
                return None;
            }
            let state = read(&heap).ok()?;
            Some((0..=step_count(life)).filter(|count| state_after(life, *count) == state).collect())
        });
        found.clone().unwrap_or_default()
    }

    fn check(&mut self, saved: &Saved, committed: &Option<(u32, Vec<u8>)>, replay: &str) {
        let found = self.recovered(&saved.image);
        let step = saved.step as usize;
        let is_legal = if saved.snapshot || !self.resumes {
            found.contains(&step) || found.contains(&(step + 1))
        } else {
            // A resume record: `open` finds what was last committed.
            let before = committed.as_ref().map_or(vec![0], |(_, image)| self.recovered(image));
            found.iter().any(|count| before.contains(count))
        };
        assert!(is_legal, "{replay}: in step {step}, found the states after {found:?} steps");
        let counts = &mut self.counts;
        if saved.snapshot {
            counts.most_bytes = counts.most_bytes.max(saved.traffic.bytes);
            counts.most_transactions = counts.most_transactions.max(saved.traffic.transactions);
            counts.most_ns = counts.most_ns.max(saved.traffic.model_ns);
            assert!(saved.traffic.bytes <= self.bound.bytes, "{replay}: {:?}", saved.traffic);
            assert!(saved.traffic.transactions <= self.bound.transactions, "{replay}: {:?}", saved.traffic);
            assert!(saved.traffic.model_ns <= self.bound.snapshot_ns, "{replay}: {:?}", saved.traffic);
            counts.most_instructions = counts.most_instructions.max(saved.instructions - saved.wait_instructions);
            // In reboot mode guards and transactions have to end first.
            if self.resumes || ends_soon(self.life, step) {
                counts.most_wait_ns = counts.most_wait_ns.max(saved.wait.model_ns);
                counts.most_wait_wire_ns = counts.most_wait_wire_ns.max(saved.wait.wire_ns);
                counts.most_wait_instructions = counts.most_wait_instructions.max(saved.wait_instructions);
                let total = saved.traffic.model_ns + saved.wait.model_ns;
                assert!(total <= self.bound.total_ns(), "{replay}: {total} ns, the bound is {:?}", self.bound);
                counts.percent = counts.percent.max(total * 100 / self.bound.total_ns());
            }
        }
    }

    /// An alarm at this instant: power fails for good after the snapshot, or comes back, or the alarm was false.
    fn alarm(&mut self, at: &Machine, instant: u64) {
        let losses: &[bool] = if self.resumes { &[false, true] } else { &[false] };
        for lost in losses {
            self.counts.alarms += 1;
            let replay = format!("life {}, resumes {}, lost {lost}, instant {instant}", self.life, self.resumes);
            let mut machine = at.clone();
            machine.set_lost(*lost);
            let committed = machine.board.committed.clone();
            machine.interrupt();
            while machine.board.saved.is_none() && machine.step() {}
            assert!(machine.board.saved.is_some(), "{replay}: the alarm was never served");
            self.counts.most_stack = self.counts.most_stack.max(machine.stack);
            let saved = machine.board.saved.clone().unwrap();
            self.check(&saved, &committed, &replay);
            while machine.step() {}
            assert_eq!(machine.board.done, 1, "{replay}: the life failed");
            assert_eq!(machine.board.violations, 0, "{replay}: the part was misused");
        }
    }

    /// A second alarm at every instant from a first one to the end of its snapshot.
    fn second_alarms(&mut self, at: &Machine, instant: u64, stride: u64, phase: u64) {
        let mut first = at.clone();
        first.interrupt();
        let committed = first.board.committed.clone();
        let mut number = 0;
        while first.board.saved.is_none() && first.step() {
            number += 1;
            if number % stride != phase {
                continue;
            }
            self.counts.second += 1;
            let replay = format!("life {}, resumes {}, instant {instant}, second {number}", self.life, self.resumes);
            let mut machine = first.clone();
            machine.interrupt();
            machine.return_from_interrupt();
            if machine.is_as(&first) {
                // It changed nothing: what comes is what comes without it.
                self.counts.without_effect += 1;
                continue;
            }
            while machine.board.saved.is_none() && machine.step() {}
            let saved = machine.board.saved.clone().expect("it is served");
            self.check(&saved, &committed, &replay);
            while machine.step() {}
            assert_eq!(machine.board.done, 1, "{replay}: the life failed");
        }
    }
}

/// Steps without guards or transactions that stay open.
fn ends_soon(life: u32, step: usize) -> bool {
    life != 2 || ![3, 5, 6, 7, 10].contains(&step)
}

/// Instants of a life.
fn length(program: &[u8], life: u32, resumes: bool) -> u64 {
    let mut machine = Machine::new(program, life, resumes);
    let mut instants = 0;
    while machine.step() {
        instants += u64::from(machine.is_living());
    }
    assert_eq!(machine.board.done, 1, "life {life} fails without alarms");
    assert_eq!(machine.board.violations, 0, "{:?}", machine.board.misuse());
    instants
}

fn sweep(program: &[u8], life: u32, resumes: bool, (stride, phase): (u64, u64), (part, parts): (u64, u64)) -> Counts {
    let mut sweep = Sweep::new(life, resumes);
    let length = length(program, life, resumes);
    let firsts = length / 64;
    let mut machine = Machine::new(program, life, resumes);
    let mut instant = 0;
    while machine.step() {
        if !machine.is_living() {
            continue;
        }
        instant += 1;
        if instant % parts != part {
            continue;
        }
        if instant / parts % stride == phase {
            sweep.counts.instants += 1;
            sweep.alarm(&machine, instant);
        }
        if instant % firsts.max(1) == firsts / 2 {
            // They are many: of a tenth of the instants a tenth, and so on.
            sweep.second_alarms(&machine, instant, stride * stride, phase);
        }
    }
    sweep.counts
}

#[test]
fn an_alarm_at_every_instruction() {
    let program = machine::program();
    let full = std::env::var_os("VNV_FULL").is_some();
    let days = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs() / 86_400;
    let number = |name| std::env::var(name).ok().and_then(|number| number.parse::<u64>().ok());
    let every = if full { 1 } else { number("VNV_EVERY").unwrap_or(100).max(1) };
    let choice = (every, number("VNV_PHASE").unwrap_or(days) % every);
    println!("every {}th instant, from {} on", choice.0, choice.1);
    println!(
        "| life | back | instants | alarms | second alarms | images | bytes | writes | model us | wait us | wait wire us | wait instructions | snapshot instructions | stack bytes | of the bound |"
    );
    let mut all = Counts::default();
    let only: Option<u32> = std::env::var("VNV_LIFE").ok().and_then(|life| life.parse().ok());
    for life in (0..LIVES).filter(|life| only.is_none_or(|only| only == *life)) {
        for resumes in [false, true] {
            let parts = 2;
            let counts = std::thread::scope(|scope| {
                let program = &program;
                let threads: Vec<_> = (0..parts)
                    .map(|part| scope.spawn(move || sweep(program, life, resumes, choice, (part, parts))))
                    .collect();
                threads.into_iter().map(|thread| thread.join().unwrap()).fold(Counts::default(), Counts::join)
            });
            println!(
                "| {life} | {} | {} | {} | {} | {} | {} | {} | {:.1} | {:.1} | {:.1} | {} | {} | {} | {} % |",
                if resumes { "resume" } else { "reboot" },
                counts.instants,
                counts.alarms,
                counts.second,
                counts.images,
                counts.most_bytes,
                counts.most_transactions,
                counts.most_ns as f64 / 1000.0,
                counts.most_wait_ns as f64 / 1000.0,
                counts.most_wait_wire_ns as f64 / 1000.0,
                counts.most_wait_instructions,
                counts.most_instructions,
                counts.most_stack,
                counts.percent,
            );
            all = all.join(counts);
        }
    }
    println!(
        "{} alarms; {} second alarms, {} of them without effect; violations: 0",
        all.alarms, all.second, all.without_effect
    );
    // Few instants miss those that come nearest.
    assert!(every > 10 || all.percent >= 90, "no run came near the bound: {} %", all.percent);
    assert!(all.most_wait_instructions <= LONGEST_WAIT_INSTRUCTIONS, "{} instructions", all.most_wait_instructions);
    assert!(all.most_wait_wire_ns <= 60_000 && all.most_wait_ns <= 150_000);
    let wire = Bound::new(
        &Layout::new(CAPACITY as u32, 8, (40, 4, 2), options(3, false)).unwrap(),
        &BusCost::wire(&Part::MB85RS64V, 20_000_000),
        CHUNK,
    );
    assert!(wire.wait_ns <= 60_000);
}
