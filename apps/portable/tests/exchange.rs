//! An image written by an emulated rv32imc run opens on the host and back, byte-identical (G9).

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use portable::{CAPACITY, first_life, next_life};
use std::path::PathBuf;
use std::process::Command;
use vnv_storage::RamStorage;

const IMAGE: usize = 0x0010_0000;
const WHICH: usize = 0x0010_4000;
const MEMORY: usize = 0x0020_0000;

struct Flat(Vec<u8>);

impl rvsim::Memory for Flat {
    fn access<T: Copy>(&mut self, address: u32, access: rvsim::MemoryAccess<'_, T>) -> bool {
        rvsim::Memory::access(&mut self.0[..], address, access)
    }
}

fn program() -> Vec<u8> {
    let target = "riscv32imc-unknown-none-elf";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rv32");
    let built = Command::new(env!("CARGO"))
        .args(["build", "--quiet", "--release", "-p", "portable", "--bin", "rv32", "--target", target, "--target-dir"])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(built.success(), "the rv32imc program does not build; `cargo xtask setup` adds the target");
    std::fs::read(folder.join(target).join("release").join("rv32")).unwrap()
}

/// Runs a life on rv32imc; returns the image it leaves and the instructions it took.
fn emulate(program: &[u8], which: u32, image: &[u8]) -> Vec<u8> {
    let mut memory = Flat(vec![0; MEMORY]);
    let u32_at = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().unwrap()) as usize;
    let u16_at = |at: usize| usize::from(u16::from_le_bytes(program[at..at + 2].try_into().unwrap()));
    // The loadable segments of the ELF file (program headers, type 1).
    let (entry, headers, size, count) = (u32_at(24), u32_at(28), u16_at(42), u16_at(44));
    for header in (0..count).map(|number| headers + number * size) {
        if u32_at(header) == 1 {
            let (offset, address, length) = (u32_at(header + 4), u32_at(header + 8), u32_at(header + 16));
            memory.0[address..address + length].copy_from_slice(&program[offset..offset + length]);
        }
    }
    memory.0[IMAGE..IMAGE + CAPACITY].copy_from_slice(image);
    memory.0[WHICH..WHICH + 4].copy_from_slice(&which.to_le_bytes());
    let mut state = rvsim::CpuState::new(entry as u32);
    state.x[2] = (MEMORY - 16) as u32;
    let mut clock = rvsim::SimpleClock::new();
    let (error, _) = rvsim::Interp::new(&mut state, &mut memory, &mut clock).run();
    assert_eq!(error, rvsim::CpuError::Ebreak, "stopped at {:#x}", state.pc);
    assert_eq!(memory.0[WHICH + 4], 1, "the life on rv32imc failed");
    memory.0[IMAGE..IMAGE + CAPACITY].to_vec()
}

fn host(which: u32, image: &[u8]) -> Vec<u8> {
    let storage = RamStorage::<CAPACITY>::from_bytes(image.try_into().unwrap());
    let storage = if which == 1 { first_life(storage) } else { next_life(storage) };
    storage.unwrap().bytes().to_vec()
}

#[test]
fn images_are_the_same_on_both_architectures() {
    let program = program();
    let blank = vec![0xFF; CAPACITY];
    let (ours, theirs) = (host(1, &blank), emulate(&program, 1, &blank));
    assert!(ours == theirs, "the first life leaves different images");
    // Each goes on with the other's image, back and forth.
    let (mut ours, mut theirs) = (host(2, &theirs), emulate(&program, 2, &ours));
    for _ in 0..4 {
        assert!(ours == theirs, "a later life leaves different images");
        (ours, theirs) = (host(2, &theirs), emulate(&program, 2, &ours));
    }
}
