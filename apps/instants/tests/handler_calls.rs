//! What the power-fail handler can call: nothing that logs, allocates or panics. Calls are followed in the program's code; calls
//! through pointers are those that are seen when alarms run.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

#[allow(dead_code, reason = "shared with the sweep")]
mod machine;

use instants::LIVES;
use machine::Machine;
use rvsim::Op;
use std::collections::{BTreeMap, BTreeSet};

/// Functions of the program: start, and size and name.
struct Program {
    bytes: Vec<u8>,
    segments: Vec<(u32, u32, u32)>,
    functions: BTreeMap<u32, (u32, String)>,
}

impl Program {
    fn new(bytes: Vec<u8>) -> Self {
        let u32_at = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap());
        let u16_at = |at: usize| usize::from(u16::from_le_bytes(bytes[at..at + 2].try_into().unwrap()));
        // Program headers (type 1: loaded), then section headers (type 2: symbols, whose names are in the linked section).
        let (headers, size, count) = (u32_at(28) as usize, u16_at(42), u16_at(44));
        let loaded = (0..count).map(|number| headers + number * size).filter(|header| u32_at(*header) == 1);
        let segments = loaded.map(|header| (u32_at(header + 8), u32_at(header + 4), u32_at(header + 16))).collect();
        let (sections, size, count) = (u32_at(32) as usize, u16_at(46), u16_at(48));
        let section = |number: usize| sections + number * size;
        let symbols = (0..count).map(section).find(|section| u32_at(section + 4) == 2).expect("symbols are there");
        let names = u32_at(section(u32_at(symbols + 24) as usize) + 16) as usize;
        let (first, length) = (u32_at(symbols + 16) as usize, u32_at(symbols + 20) as usize);
        let mut functions = BTreeMap::new();
        for symbol in (first..first + length).step_by(16) {
            if bytes[symbol + 12] & 15 == 2 {
                let name = &bytes[names + u32_at(symbol) as usize..];
                let name = String::from_utf8_lossy(&name[..name.iter().position(|byte| *byte == 0).unwrap()]);
                functions.insert(u32_at(symbol + 4), (u32_at(symbol + 8), name.into_owned()));
            }
        }
        Self { bytes, segments, functions }
    }

    fn half(&self, address: u32) -> u16 {
        let segment = self.segments.iter().find(|(start, _, size)| (*start..start + size).contains(&address)).unwrap();
        let at = (address - segment.0 + segment.1) as usize;
        u16::from_le_bytes(self.bytes[at..at + 2].try_into().unwrap())
    }

    /// The function that an address is in.
    fn function(&self, address: u32) -> Option<u32> {
        let (start, (size, _)) = self.functions.range(..=address).next_back()?;
        (address < start + size.max(&2)).then_some(*start)
    }

    /// Functions that a function calls or jumps to, pointers aside.
    fn calls(&self, start: u32) -> BTreeSet<u32> {
        let (size, _) = self.functions[&start];
        let mut found = BTreeSet::new();
        let mut upper = [None; 32];
        let mut at = start;
        while at < start + size {
            let low = self.half(at);
            let (op, length) = if low & 3 == 3 {
                (Op::parse(u32::from(low) | u32::from(self.half(at + 2)) << 16), 4)
            } else {
                (Op::parse_c(low), 2)
            };
            match op {
                Some(Op::Jal { j_imm, .. }) => {
                    found.extend(self.function(at.wrapping_add_signed(j_imm)).filter(|target| *target != start));
                }
                Some(Op::Auipc { rd, u_imm }) => upper[rd] = Some(at.wrapping_add_signed(u_imm)),
                Some(Op::Jalr { rs1, i_imm, .. }) => {
                    if let Some(base) = upper[rs1].take() {
                        found.extend(self.function(base.wrapping_add_signed(i_imm)).filter(|target| *target != start));
                    }
                }
                _ => {}
            }
            at += length;
        }
        found
    }
}

#[test]
fn the_handler_calls_nothing_that_logs_allocates_or_panics() {
    let bytes = machine::program();
    let program = Program::new(bytes.clone());
    // Alarms here and there in each life: which functions run?
    let mut seen = BTreeSet::new();
    for life in 0..LIVES {
        for resumes in [false, true] {
            let mut machine = Machine::new(&bytes, life, resumes);
            let mut instant = 0u64;
            while machine.step() {
                instant += u64::from(machine.is_living());
                if machine.is_living() && instant % 3989 == 0 {
                    let mut interrupted = machine.clone();
                    interrupted.set_lost(true);
                    interrupted.interrupt();
                    seen.insert(interrupted.pc());
                    while interrupted.is_interrupted() && interrupted.step() {
                        // Not where it goes on afterwards: that may be the begin of a function too.
                        let is_inside = interrupted.is_interrupted();
                        if is_inside && program.functions.contains_key(&interrupted.pc()) {
                            seen.insert(interrupted.pc());
                        }
                    }
                }
            }
        }
    }
    let mut reached = BTreeSet::new();
    let mut callers = BTreeMap::new();
    let mut waiting: Vec<u32> = seen.iter().copied().collect();
    while let Some(function) = waiting.pop() {
        if reached.insert(function) {
            for called in program.calls(function) {
                callers.entry(called).or_insert(function);
                waiting.push(called);
            }
        }
    }
    let names: Vec<&str> = reached.iter().map(|start| program.functions[start].1.as_str()).collect();
    println!("{} functions run, {} can be reached", seen.len(), reached.len());
    for name in &names {
        println!("{name}");
    }
    assert!(names.iter().any(|name| name.contains("power_is_failing")), "the handler itself is among them");
    let forbidden = [
        "panicking",
        "begin_unwind",
        "unwrap_failed",
        "expect_failed",
        "index_fail",
        "mismatch_fail",
        "3fmt",
        "5alloc",
        "defmt",
    ];
    let name = |start: &u32| program.functions[start].1.as_str();
    let is_forbidden = |start: &&u32| forbidden.iter().any(|word| name(start).contains(word));
    let found: Vec<_> = reached.iter().filter(is_forbidden).collect();
    let found: Vec<_> = found.iter().map(|start| (name(start), callers.get(start).map(name))).collect();
    assert!(found.is_empty(), "the handler can reach, from: {found:#?}");
}
