//! The bus, by FIFO or by DMA, at the highest clock of the part.
//!
//! The FIFO holds 64 bytes: a longer transfer is cut into pieces of that size by the HAL, and the driver asks after each chunk of 64
//! bytes whether an alarm wants the bus. With DMA a chunk costs a descriptor and an interrupt flag to wait for, whatever its length:
//! larger chunks (`OwnedSpiFram::with_chunk_size`) use more of the wire, and make an alarm wait longer: 0.4 us per byte at 20 MHz.

use esp_hal::gpio::interconnect::{PeripheralInput, PeripheralOutput};
use esp_hal::peripherals::SPI2;
use esp_hal::spi::Mode;
use esp_hal::spi::master::{Config, Spi};
use esp_hal::time::Rate;
use vnv_storage::Part;

/// Clock of the bus in hertz.
pub const FREQUENCY: u32 = Part::MB85RS64V.max_clock_hz;

/// Bytes between two looks for an alarm: the depth of the FIFO, or four times that by DMA.
pub(crate) const CHUNK: usize = if cfg!(feature = "dma") { 256 } else { 64 };

/// The bus.
#[cfg(not(feature = "dma"))]
pub type Bus = Spi<'static, esp_hal::Blocking>;
/// The bus.
#[cfg(feature = "dma")]
pub type Bus = esp_hal::spi::master::SpiDma<'static, esp_hal::Blocking>;

fn config() -> Config {
    Config::default().with_frequency(Rate::from_hz(FREQUENCY)).with_mode(Mode::_0)
}

/// The bus through its FIFO; pins: SCK, MISO, MOSI.
pub fn blocking(
    spi: SPI2<'static>,
    (clock, input, output): (
        impl PeripheralOutput<'static>,
        impl PeripheralInput<'static>,
        impl PeripheralOutput<'static>,
    ),
) -> Spi<'static, esp_hal::Blocking> {
    match Spi::new(spi, config()) {
        Ok(spi) => spi.with_sck(clock).with_miso(input).with_mosi(output),
        Err(error) => panic!("the clock of the bus cannot be had: {error:?}"),
    }
}

/// Bytes that are copied at a time, for what DMA cannot reach.
#[cfg(feature = "dma")]
const COPIED: usize = 512;

/// The bus by DMA; pins: SCK, MISO, MOSI.
#[cfg(feature = "dma")]
pub fn with_dma(
    spi: SPI2<'static>,
    channel: esp_hal::peripherals::DMA_CH0<'static>,
    pins: (impl PeripheralOutput<'static>, impl PeripheralInput<'static>, impl PeripheralOutput<'static>),
) -> Bus {
    match (esp_hal::dma_rx_buffer!(COPIED), esp_hal::dma_tx_buffer!(COPIED)) {
        (Ok(rx), Ok(tx)) => blocking(spi, pins).with_dma(channel).with_buffers(rx, tx),
        _ => panic!("the buffers are made for the bus"),
    }
}
