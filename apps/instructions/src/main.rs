//! Counts the instructions of heap operations on an emulated rv32imc core, and holds them against `baseline.toml`.
//!
//! `instructions [--update | --profile]`: ends with 1 if an operation takes more than its baseline and a twentieth; a profile tells in
//! which functions the dearest run of each operation spent them.

mod profile;

use anyhow::{Context, Result, bail, ensure};
use profile::Functions;
use rvsim::{CpuError, CpuState, Interp, MemoryAccess, SimpleClock};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};

const MEMORY: usize = 0x0030_0000;
const STACK: u32 = 0x0020_0000 - 16;
const MARK: u32 = 0x4000_0000;

/// Memory, and the register that marks begin and end.
struct Machine {
    memory: Vec<u8>,
    mark: Option<u32>,
}

impl rvsim::Memory for Machine {
    fn access<T: Copy>(&mut self, address: u32, access: MemoryAccess<'_, T>) -> bool {
        if address == MARK {
            if let MemoryAccess::Store(value) = access {
                let mut bytes = [0; 4];
                if size_of::<T>() != 4 {
                    return false;
                }
                // SAFETY: both are 4 bytes.
                unsafe { std::ptr::copy_nonoverlapping((&raw const value).cast(), bytes.as_mut_ptr(), 4) };
                self.mark = Some(u32::from_le_bytes(bytes));
                return true;
            }
            return false;
        }
        rvsim::Memory::access(&mut self.memory[..], address, access)
    }
}

/// Instructions of the runs of an operation.
#[derive(Clone, Copy, Debug)]
struct Range {
    least: u64,
    most: u64,
    all: u64,
    runs: u64,
}

/// Instructions of one run of an operation in each function.
type Profile = BTreeMap<Option<usize>, u64>;

fn program() -> Result<Vec<u8>> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../firmware/instructions");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| root.join("../../target"), PathBuf::from);
    let target = target.join("firmware/instructions");
    let built = Command::new("cargo")
        .args(["build", "--quiet", "--release", "--locked", "--target-dir"])
        .arg(&target)
        .current_dir(&root)
        .status()?;
    ensure!(built.success(), "the program does not build; `cargo xtask setup` adds the target");
    let file = target.join("riscv32imc-unknown-none-elf/release/instructions");
    std::fs::read(&file).with_context(|| file.display().to_string())
}

/// Runs the program; least and most instructions of each operation, and where those of its dearest run went.
fn count(program: &[u8], functions: &Functions) -> Result<BTreeMap<u32, (Range, Profile)>> {
    let mut machine = Machine { memory: vec![0; MEMORY], mark: None };
    let word = |at: usize| program.get(at..at + 4).map_or(0, |b| u32::from_le_bytes([b[0], b[1], b[2], b[3]])) as usize;
    let (entry, headers) = (word(24), word(28));
    let (size, number) = (word(42) & 0xFFFF, word(44) & 0xFFFF);
    for header in (0..number).map(|at| headers + at * size) {
        if word(header) == 1 {
            let (offset, address, length) = (word(header + 4), word(header + 8), word(header + 16));
            machine.memory[address..address + length].copy_from_slice(&program[offset..offset + length]);
        }
    }
    let mut state = CpuState::new(entry as u32);
    state.x[2] = STACK;
    let mut clock = SimpleClock::new();
    let mut counts: BTreeMap<u32, (Range, Profile)> = BTreeMap::new();
    let (mut running, mut instructions, mut profile) = (0, 0u64, Profile::new());
    loop {
        let at = state.pc;
        let (stopped, _) = match Interp::new(&mut state, &mut machine, &mut clock).step() {
            Ok(op) => (None, Some(op)),
            Err((error, op)) => (Some(error), op),
        };
        instructions += 1;
        if running != 0 {
            *profile.entry(functions.at(at)).or_default() += 1;
        }
        match machine.mark.take() {
            Some(u32::MAX) => return Ok(counts),
            Some(0) => {
                let none = (Range { least: u64::MAX, most: 0, all: 0, runs: 0 }, Profile::new());
                let (range, dearest) = counts.entry(running).or_insert(none);
                range.least = range.least.min(instructions);
                range.all += instructions;
                range.runs += 1;
                if instructions > range.most {
                    (range.most, *dearest) = (instructions, core::mem::take(&mut profile));
                }
                running = 0;
            }
            Some(number) if number > u32::MAX - 8 => bail!("the program failed ({number:#x})"),
            Some(number) => (running, instructions, profile) = (number, 0, Profile::new()),
            None => {}
        }
        if let Some(error) = stopped {
            ensure!(error == CpuError::Ebreak, "the machine stopped at {:#x}: {error:?}", state.pc);
            bail!("the program ended too early");
        }
    }
}

fn name(number: u32) -> Option<String> {
    let what = match number / 10 {
        1 => "get, resident",
        2 => "get_mut, resident and dirty",
        3 => "commit of both, then of the small one",
        4 => "get_mut, resident and clean",
        5 => "snapshot of a large object",
        6 => "evict, clean",
        7 => "get, loaded",
        8 => "allocate",
        9 => "free",
        10 => "snapshot of 50 objects",
        11 => "commit of 50 objects",
        12 => "snapshot of 1,000 objects",
        13 => "snapshot of 1,000 objects that were synced",
        14 => "snapshot after 200 were freed",
        15 => "resume record without guards",
        16 => "resume record with 64 shared guards",
        17 => "resume record with 64 shared guards, and back",
        18 => "resume record with 64 mutable guards",
        19 => "resume record with 64 mutable guards, and back",
        _ => return None,
    };
    if number % 10 == 8 {
        return Some(format!("{what}; 4 to 64 bytes in random order, up to 16 free ranges"));
    }
    let size = if number % 2 == 0 { 4 } else { 256 };
    let state = match number % 10 {
        0 | 1 => "1 residents",
        2 | 3 => "1,000 residents",
        4 | 5 => "1,000 residents, up to 16 free ranges",
        _ => "1,000 residents, by a link, behind most of up to 16 free ranges",
    };
    Some(format!("{what}; {size} bytes, {state}"))
}

fn main() -> Result<ExitCode> {
    let argument = std::env::args().nth(1);
    let update = argument.as_deref() == Some("--update");
    let profiles = argument.as_deref() == Some("--profile");
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("baseline.toml");
    let program = program()?;
    let functions = Functions::of(&program);
    let counts = count(&program, &functions)?;
    // What the marks themselves take.
    let empty = counts.get(&1).context("no empty operation was measured")?.0.least;
    let counted: BTreeMap<String, u64> =
        counts.iter().filter_map(|(number, (range, _))| Some((name(*number)?, range.most - empty))).collect();
    if update {
        let head = "# Most instructions of each operation on rv32imc, opt-level \"s\"; `cargo run -p instructions -- --update` writes it.\n\n";
        std::fs::write(&file, format!("{head}{}", toml::to_string(&counted)?))?;
    }
    let baseline: BTreeMap<String, u64> = toml::from_str(&std::fs::read_to_string(&file)?)?;
    let mut failed = false;
    println!("{:<78} {:>8} {:>8} {:>8} {:>8}", "operation", "least", "mean", "most", "baseline");
    for (number, (range, profile)) in &counts {
        let Some(name) = name(*number) else { continue };
        let (least, mean, most) = (range.least - empty, range.all / range.runs - empty, range.most - empty);
        let allowed = baseline.get(&name).copied();
        let over = allowed.is_none_or(|allowed| most > allowed + allowed / 20);
        failed |= over;
        let allowed = allowed.map_or("none".into(), |allowed| allowed.to_string());
        println!("{name:<78} {least:>8} {mean:>8} {most:>8} {allowed:>8}{}", if over { "  ABOVE" } else { "" });
        if profiles {
            functions.print(profile);
        }
    }
    Ok(if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}
