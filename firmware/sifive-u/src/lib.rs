//! QEMU's `sifive_u`, hart 0: an rv32imc core, a SPI memory at QSPI2, alarms from the machine timer.

#![no_std]

mod clint;
mod qspi;

use board::Board;
use core::arch::global_asm;
pub use qspi::{ChipSelect, Qspi};
use riscv::interrupt::Interrupt;
use vnv_persist::PowerFail;
use vnv_storage::OwnedSpiFram;

// Where the runtime sends the other hart, and what it cannot handle.
global_asm!(".global abort", "abort:", "wfi", "j abort");

/// Time between two alarms.
const ALARM_MICROSECONDS: u64 = 100;

/// The board.
pub struct SifiveU {
    pace: u32,
}

/// Board and storage; both exist once.
pub fn take() -> (OwnedSpiFram<Qspi, ChipSelect>, SifiveU) {
    let (bus, chip_select) = qspi::take();
    (OwnedSpiFram::without_probe(bus, chip_select, emulated::PART), SifiveU { pace: emulated::pace() })
}

impl Board for SifiveU {
    fn pause(&mut self) -> bool {
        let end = clint::now() + 1000 * u64::from(self.pace);
        while clint::now() < end {}
        true
    }

    fn watch_power(&mut self, power_fail: &'static PowerFail) {
        emulated::watch_power(power_fail);
        clint::alarm_in(ALARM_MICROSECONDS);
        // SAFETY: the handler is there, and no critical section is open.
        unsafe {
            riscv::register::mie::set_mtimer();
            riscv::interrupt::enable();
        }
    }
}

impl bench::target::Clock for SifiveU {
    const MACHINE: &'static str = "sifive-u";
    const TICKS_PER_MS: u32 = 1000;

    fn ticks(&mut self) -> u64 {
        clint::now()
    }
}

#[riscv_rt::core_interrupt(Interrupt::MachineTimer)]
fn timer() {
    clint::alarm_in(ALARM_MICROSECONDS);
    // SAFETY: an interrupt of the hart that runs the heap.
    unsafe { emulated::alarm() };
}
