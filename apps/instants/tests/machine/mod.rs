//! A small computer around an rv32imc core: 256 KiB of RAM, and the bit-exact model of an MB85RS64V on an SPI bus of its own.

use rvsim::{CpuError, CpuState, Interp, MemoryAccess, SimpleClock};
use std::path::PathBuf;
use std::process::Command;
use vnv_persist::BusCost;
use vnv_sim::{Fram, SimBus, SimChipSelect};
use vnv_storage::Part;

use embedded_hal::digital::OutputPin;
use embedded_hal::spi::SpiBus;

/// Code, data, and the stack at the end.
const RAM: usize = 0x0003_8000;
/// Bytes of the stack at least.
const STACK: usize = 0x1000;
const REGISTERS: u32 = 0x4000_0000;
/// Where the interrupt returns to: no memory is there.
const RETURN: u32 = 0xFFFF_FFF0;

/// Transfers since they were last reset.
#[derive(Clone, Copy, Default, Debug)]
pub struct Traffic {
    pub transactions: u32,
    pub bytes: u32,
    /// By the cost model.
    pub model_ns: u64,
    /// On the wire at 20 MHz.
    pub wire_ns: u64,
}

/// What came of an alarm.
#[derive(Clone)]
pub struct Saved {
    pub image: Vec<u8>,
    pub step: u32,
    /// By an ordinary snapshot, which `open` finds.
    pub snapshot: bool,
    pub traffic: Traffic,
    pub wait: Traffic,
    pub instructions: u64,
    /// Instructions from the alarm to the begin of the snapshot.
    pub wait_instructions: u64,
}

/// RAM and what is around it.
pub struct Board {
    ram: Vec<u8>,
    chip: Fram,
    bus: SimBus,
    chip_select: SimChipSelect,
    received: u8,
    /// Bytes of the frame so far, its opcode first, and how many of them came before the alarm.
    frame: (u32, u8, u32),
    life: u32,
    resumes: bool,
    lost: bool,
    arena: (u32, u32),
    pub handler: u32,
    pub step: Option<u32>,
    pub done: u32,
    /// The number of the commit or snapshot that was last completed, and the step in which it was.
    pub committed: Option<(u32, Vec<u8>)>,
    pub alarm: bool,
    pub persisted: u32,
    began: bool,
    traffic: Traffic,
    wait: Traffic,
    instructions: u64,
    wait_instructions: u64,
    pub saved: Option<Saved>,
    pub violations: usize,
}

impl Clone for Board {
    fn clone(&self) -> Self {
        let chip = self.chip.fork();
        Self {
            ram: self.ram.clone(),
            bus: chip.bus(),
            chip_select: chip.chip_select(),
            chip,
            committed: self.committed.clone(),
            saved: self.saved.clone(),
            ..*self
        }
    }
}

impl Board {
    pub fn image(&self) -> Vec<u8> {
        self.chip.image()
    }

    /// How the part was misused first.
    pub fn misuse(&self) -> Option<vnv_sim::Violation> {
        self.chip.violations().first().copied()
    }

    fn byte(&mut self, value: u8) {
        let mut word = [value];
        self.bus.transfer_in_place(&mut word).expect("the part has power");
        // A byte is sent when its register write ends.
        self.bus.flush().expect("the part has power");
        self.received = word[0];
        if self.frame.0 == 0 {
            self.frame.1 = value;
        }
        self.frame.0 += 1;
    }

    fn select(&mut self, high: bool) {
        if high {
            self.chip_select.set_high().expect("the part has power");
            let (length, opcode, before) = core::mem::take(&mut self.frame);
            self.traffic.wire_ns += u64::from(length - before.min(length)) * 400;
            // What a frame had sent before the alarm does not count, its fixed cost does.
            let payload = length.saturating_sub(before.max(3));
            let cost = BusCost::ESP32C3_20MHZ;
            match opcode {
                2 => {
                    self.traffic.transactions += 1;
                    self.traffic.bytes += payload;
                    self.traffic.model_ns += cost.writes_ns(1, payload);
                }
                3 => self.traffic.model_ns += cost.read_of_ns(payload),
                _ => {}
            }
        } else {
            self.chip_select.set_low().expect("the part has power");
            self.frame = (0, 0, 0);
        }
    }

    fn store(&mut self, register: u32, value: u32) {
        match register {
            0x00 => self.byte(value as u8),
            0x08 => self.select(value != 0),
            0x0C => self.step = Some(value),
            0x10 if value == 1 => {
                self.began = self.alarm;
                if self.alarm {
                    self.wait = core::mem::take(&mut self.traffic);
                    self.wait_instructions = self.instructions;
                }
            }
            0x10 => self.committed = self.step.map(|step| (step, self.image())),
            // What the handler says comes after the persist-finished handler and what it leaves to do.
            0x14 if value == 1 && self.saved.is_none() => {
                self.saved = Some(Saved {
                    image: self.image(),
                    step: self.step.unwrap_or(0),
                    snapshot: self.began,
                    traffic: self.traffic,
                    wait: self.wait,
                    instructions: self.instructions,
                    wait_instructions: self.wait_instructions,
                });
                self.alarm = false;
            }
            0x14 => self.alarm &= value != 1,
            0x18 => self.arena.0 = value,
            0x1C => {
                self.arena.1 = value;
                self.persisted += 1;
                self.store(0x14, 1);
                if self.lost {
                    let start = self.arena.0 as usize;
                    for (at, byte) in self.ram[start..start + value as usize].iter_mut().enumerate() {
                        *byte = (at as u8).wrapping_mul(37) ^ 0xA5;
                    }
                }
            }
            0x24 => self.done = value,
            0x30 => self.handler = value,
            other => panic!("no register {other:#x}"),
        }
    }

    fn load(&mut self, register: u32) -> u32 {
        match register {
            0x04 => u32::from(self.received),
            0x20 => u32::from(self.lost),
            0x28 => self.life,
            0x2C => u32::from(self.resumes),
            other => panic!("no register {other:#x}"),
        }
    }
}

impl rvsim::Memory for Board {
    fn access<T: Copy>(&mut self, address: u32, access: MemoryAccess<'_, T>) -> bool {
        if (REGISTERS..REGISTERS + 0x40).contains(&address) {
            let register = address - REGISTERS;
            match access {
                MemoryAccess::Load(to) => {
                    let value = self.load(register).to_le_bytes();
                    // SAFETY: the core loads integers of 1, 2 or 4 bytes.
                    unsafe { *to = value.as_ptr().cast::<T>().read_unaligned() };
                }
                MemoryAccess::Store(value) => {
                    let mut bytes = [0; 4];
                    // SAFETY: the core stores integers of 1, 2 or 4 bytes.
                    unsafe { bytes.as_mut_ptr().cast::<T>().write_unaligned(value) };
                    self.store(register, u32::from_le_bytes(bytes));
                }
                MemoryAccess::Exec(_) => return false,
            }
            return true;
        }
        rvsim::Memory::access(&mut self.ram[..], address, access)
    }
}

/// Processor and board.
#[derive(Clone)]
pub struct Machine {
    cpu: CpuState,
    pub board: Board,
    /// Where interrupts were taken, innermost last.
    interrupted: Vec<CpuState>,
    /// Deepest stack of the handler in bytes.
    pub stack: u32,
}

impl Machine {
    pub fn new(program: &[u8], life: u32, resumes: bool) -> Self {
        let mut ram = vec![0; RAM];
        let u32_at = |at: usize| u32::from_le_bytes(program[at..at + 4].try_into().unwrap()) as usize;
        let u16_at = |at: usize| usize::from(u16::from_le_bytes(program[at..at + 2].try_into().unwrap()));
        // The loadable segments of the ELF file (program headers, type 1).
        let (entry, headers, size, count) = (u32_at(24), u32_at(28), u16_at(42), u16_at(44));
        for header in (0..count).map(|number| headers + number * size) {
            if u32_at(header) == 1 {
                let (offset, address, length) = (u32_at(header + 4), u32_at(header + 8), u32_at(header + 16));
                let end = address + u32_at(header + 20);
                assert!(end + STACK <= RAM, "the program ends at {end:#x}: too little is left for its stack");
                ram[address..address + length].copy_from_slice(&program[offset..offset + length]);
            }
        }
        let mut cpu = CpuState::new(entry as u32);
        cpu.x[2] = (RAM - 16) as u32;
        let chip = Fram::new(Part::MB85RS64V);
        let board = Board {
            ram,
            bus: chip.bus(),
            chip_select: chip.chip_select(),
            chip,
            received: 0,
            frame: (0, 0, 0),
            life,
            resumes,
            lost: false,
            arena: (0, 0),
            handler: 0,
            step: None,
            done: 0,
            committed: None,
            alarm: false,
            persisted: 0,
            began: false,
            traffic: Traffic::default(),
            wait: Traffic::default(),
            instructions: 0,
            wait_instructions: 0,
            saved: None,
            violations: 0,
        };
        Self { cpu, board, interrupted: Vec::new(), stack: 0 }
    }

    /// Whether power is lost when the persist-finished handler is called.
    pub fn set_lost(&mut self, lost: bool) {
        self.board.lost = lost;
    }

    /// Takes the power-fail interrupt before the next instruction.
    pub fn interrupt(&mut self) {
        if !self.board.alarm {
            self.board.alarm = true;
            self.board.traffic = Traffic::default();
            self.board.wait = Traffic::default();
            self.board.instructions = 0;
            self.board.wait_instructions = 0;
            self.board.began = false;
            self.board.frame.2 = self.board.frame.0;
        }
        self.interrupted.push(self.cpu.clone());
        self.cpu.pc = self.board.handler;
        self.cpu.x[1] = RETURN;
        self.cpu.x[2] = (self.cpu.x[2] - 128) & !15;
    }

    /// Whether an interrupt that came and went left everything as it is in `other`: what lies below the stack does not count.
    pub fn is_as(&self, other: &Self) -> bool {
        let below = (other.cpu.x[2] - 4096) as usize..other.cpu.x[2] as usize;
        let outside = |board: &Board| (board.frame, board.done, board.persisted, board.saved.is_some());
        let (ours, theirs) = (&self.board.ram, &other.board.ram);
        self.cpu.x == other.cpu.x
            && self.cpu.pc == other.cpu.pc
            && self.interrupted.len() == other.interrupted.len()
            && ours[..below.start] == theirs[..below.start]
            && ours[below.end..] == theirs[below.end..]
            && outside(&self.board) == outside(&other.board)
            && self.board.chip.counters() == other.board.chip.counters()
    }

    /// Returns from the innermost interrupt.
    pub fn return_from_interrupt(&mut self) {
        let depth = self.interrupted.len();
        while self.interrupted.len() >= depth {
            assert!(self.step_quietly(), "the interrupt ends the program");
        }
    }

    fn step_quietly(&mut self) -> bool {
        if self.cpu.pc == RETURN {
            self.cpu = self.interrupted.pop().expect("an interrupt was taken");
            return true;
        }
        self.step()
    }

    /// One instruction; `false`: the program has ended.
    pub fn step(&mut self) -> bool {
        if self.cpu.pc == RETURN {
            self.cpu = self.interrupted.pop().expect("an interrupt was taken");
        }
        if let Some(outer) = self.interrupted.first() {
            self.stack = self.stack.max((outer.x[2] - 128).saturating_sub(self.cpu.x[2]));
        }
        self.board.instructions += 1;
        let mut clock = SimpleClock::new();
        match Interp::new(&mut self.cpu, &mut self.board, &mut clock).step() {
            Ok(_) => true,
            Err((CpuError::Ebreak, _)) => {
                self.board.violations = self.board.chip.violations().len();
                false
            }
            Err((error, op)) => panic!("{error:?} at {:#x}: {op:?}", self.cpu.pc),
        }
    }

    /// Address of the next instruction.
    pub fn pc(&self) -> u32 {
        self.cpu.pc
    }

    /// Whether an interrupt is being handled.
    pub fn is_interrupted(&self) -> bool {
        !self.interrupted.is_empty()
    }

    /// Whether alarms are protected from: between the first and the last step.
    pub fn is_living(&self) -> bool {
        self.board.step.is_some_and(|step| step != u32::MAX)
    }
}

/// Builds the program for the core.
pub fn program() -> Vec<u8> {
    let target = "riscv32imc-unknown-none-elf";
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("rv32");
    let built = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--release",
            "-p",
            "instants",
            "--bin",
            "instants_rv32",
            "--target",
            target,
            "--target-dir",
        ])
        .arg(&folder)
        .status()
        .unwrap();
    assert!(built.success(), "the rv32imc program does not build; `cargo xtask setup` adds the target");
    std::fs::read(folder.join(target).join("release").join("instants_rv32")).unwrap()
}
