//! An ESP32-C3 with an MB85RS64V: SCK 6, MISO 2, MOSI 7, CS 1; a button (or a comparator) between pin 0 and ground.

#![no_std]

mod console;
mod power;
mod spi;

pub use console::finish;
pub use spi::{Bus, FREQUENCY};

use board::Board;
use esp_hal::clock::CpuClock;
use esp_hal::delay::Delay;
use esp_hal::gpio::{Level, Output, OutputConfig};
use vnv_persist::PowerFail;
use vnv_storage::{OwnedSpiFram, Part};

/// Milliseconds of each pause.
const PACE: u32 = 250;

/// The board.
pub struct Esp32C3 {
    delay: Delay,
}

/// The FRAM on its bus.
pub type Fram = OwnedSpiFram<Bus, Output<'static>>;

/// Board and storage. Nothing without a sound FRAM: why not is logged, and tried again each second.
pub fn take() -> (Fram, Esp32C3) {
    let peripherals = esp_hal::init(esp_hal::Config::default().with_cpu_clock(CpuClock::max()));
    let mut delay = Delay::new();
    // High before the bus exists: the part must not see a frame.
    let chip_select = Output::new(peripherals.GPIO1, Level::High, OutputConfig::default());
    #[cfg(feature = "dma")]
    let bus =
        spi::with_dma(peripherals.SPI2, peripherals.DMA_CH0, (peripherals.GPIO6, peripherals.GPIO2, peripherals.GPIO7));
    #[cfg(not(feature = "dma"))]
    let bus = spi::blocking(peripherals.SPI2, (peripherals.GPIO6, peripherals.GPIO2, peripherals.GPIO7));
    power::init(peripherals.GPIO0, peripherals.IO_MUX);
    let mut fram = OwnedSpiFram::without_probe(bus, chip_select, Part::MB85RS64V).with_chunk_size(spi::CHUNK);
    while let Err(error) = fram.probe(&mut delay) {
        console::no_fram(&error);
        delay.delay_millis(1000);
    }
    (fram, Esp32C3 { delay })
}

impl Board for Esp32C3 {
    fn pause(&mut self) -> bool {
        self.delay.delay_millis(PACE);
        true
    }

    fn watch_power(&mut self, power_fail: &'static PowerFail) {
        power::watch(power_fail);
    }
}

#[cfg(feature = "bench")]
impl bench::target::Clock for Esp32C3 {
    const MACHINE: &'static str = "esp32c3";
    const TICKS_PER_MS: u32 = 1000;

    fn ticks(&mut self) -> u64 {
        esp_hal::time::Instant::now().duration_since_epoch().as_micros()
    }
}
