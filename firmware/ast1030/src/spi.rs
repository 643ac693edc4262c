//! The Aspeed SPI controller SPI1 in user mode, a byte at a time and half duplex: what is written to the window is sent, what is
//! read from it was received.

use core::convert::Infallible;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, SpiBus};

const BASE: usize = 0x7E63_0000;
const CONFIGURATION: usize = 0x00;
const CONTROL: usize = 0x10;
/// Of [`CONFIGURATION`]: chip enable 0 may be written to.
const WRITE_ENABLE: u32 = 1 << 16;
/// Of [`CONTROL`]: user mode, chip select low or high.
const USER_LOW: u32 = 3;
const USER_HIGH: u32 = 7;
const WINDOW: *mut u8 = 0x9000_0000 as *mut u8;

fn register(offset: usize) -> *mut u32 {
    (BASE + offset) as *mut u32
}

/// The bus SPI1.
pub struct Spi(());

/// The chip select of SPI1.
pub struct ChipSelect(());

/// Bus and chip select.
pub(crate) fn take() -> (Spi, ChipSelect) {
    // SAFETY: the machine has these registers.
    unsafe {
        register(CONFIGURATION).write_volatile(register(CONFIGURATION).read_volatile() | WRITE_ENABLE);
        register(CONTROL).write_volatile(USER_HIGH);
    }
    (Spi(()), ChipSelect(()))
}

fn send(byte: u8) {
    // SAFETY: the machine has the window.
    unsafe { WINDOW.write_volatile(byte) }
}

fn receive() -> u8 {
    // SAFETY: the machine has the window.
    unsafe { WINDOW.read_volatile() }
}

impl spi::ErrorType for Spi {
    type Error = Infallible;
}

impl SpiBus for Spi {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        words.iter_mut().for_each(|word| *word = receive());
        Ok(())
    }

    fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        words.iter().for_each(|word| send(*word));
        Ok(())
    }

    /// One after the other: the controller is half duplex.
    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        self.write(write)?;
        self.read(read)
    }

    /// One after the other: the controller is half duplex.
    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        self.write(words)?;
        self.read(words)
    }

    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

impl digital::ErrorType for ChipSelect {
    type Error = Infallible;
}

impl OutputPin for ChipSelect {
    fn set_low(&mut self) -> Result<(), Infallible> {
        // SAFETY: the machine has this register.
        unsafe { register(CONTROL).write_volatile(USER_LOW) };
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        // SAFETY: the machine has this register.
        unsafe { register(CONTROL).write_volatile(USER_HIGH) };
        Ok(())
    }
}
