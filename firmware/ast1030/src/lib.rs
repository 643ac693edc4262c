//! QEMU's `ast1030-evb`: a Cortex-M4, an SPI memory at SPI1, alarms from SysTick.

#![no_std]

mod spi;

use board::Board;
use cortex_m::peripheral::{Peripherals, SYST, syst::SystClkSource};
use cortex_m_rt::exception;
use portable_atomic::{AtomicU32, Ordering};
pub use spi::{ChipSelect, Spi};
use vnv_persist::PowerFail;
use vnv_storage::OwnedSpiFram;

/// The core's clock.
const CLOCK_HZ: u32 = 200_000_000;
/// Time between two ticks, each of which is an alarm.
const TICK_MICROSECONDS: u32 = 500;

static TICKS: AtomicU32 = AtomicU32::new(0);

/// The board.
pub struct Ast1030 {
    pace: u32,
}

/// Board and storage; both exist once.
pub fn take() -> (OwnedSpiFram<Spi, ChipSelect>, Ast1030) {
    if let Some(mut peripherals) = Peripherals::take() {
        peripherals.SYST.set_clock_source(SystClkSource::Core);
        peripherals.SYST.set_reload(CLOCK_HZ / 1_000_000 * TICK_MICROSECONDS);
        peripherals.SYST.clear_current();
        peripherals.SYST.enable_interrupt();
        peripherals.SYST.enable_counter();
    }
    let (bus, chip_select) = spi::take();
    (OwnedSpiFram::without_probe(bus, chip_select, emulated::PART), Ast1030 { pace: emulated::pace() })
}

impl Board for Ast1030 {
    fn pause(&mut self) -> bool {
        let ticks = 1000 * self.pace / TICK_MICROSECONDS;
        let begin = TICKS.load(Ordering::Relaxed);
        while TICKS.load(Ordering::Relaxed).wrapping_sub(begin) < ticks {}
        true
    }

    fn watch_power(&mut self, power_fail: &'static PowerFail) {
        emulated::watch_power(power_fail);
    }
}

impl bench::target::Clock for Ast1030 {
    const MACHINE: &'static str = "ast1030";
    const TICKS_PER_MS: u32 = CLOCK_HZ / 1000;

    fn ticks(&mut self) -> u64 {
        let reload = CLOCK_HZ / 1_000_000 * TICK_MICROSECONDS;
        loop {
            // The counter runs down, and the interrupt counts its rounds.
            let rounds = TICKS.load(Ordering::Relaxed);
            let left = SYST::get_current();
            if TICKS.load(Ordering::Relaxed) == rounds {
                return u64::from(rounds) * u64::from(reload) + u64::from(reload - left.min(reload));
            }
        }
    }
}

#[exception]
fn SysTick() {
    TICKS.store(TICKS.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
    // SAFETY: an interrupt of the core that runs the heap.
    unsafe { emulated::alarm() };
}
