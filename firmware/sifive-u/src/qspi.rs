//! The SiFive QSPI controller, a byte at a time.

use core::convert::Infallible;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, SpiBus};

const BASE: usize = 0x1005_0000;
/// Chip select: 0 lets it be high, 2 holds it low.
const CHIP_SELECT_MODE: usize = 0x18;
const FORMAT: usize = 0x40;
const TRANSMIT: usize = 0x48;
const RECEIVE: usize = 0x4C;
/// Of [`TRANSMIT`]: full; of [`RECEIVE`]: empty.
const FLAG: u32 = 1 << 31;
const EIGHT_BITS: u32 = 0x0008_0000;

fn put(register: usize, value: u32) {
    // SAFETY: the machine has this register.
    unsafe { ((BASE + register) as *mut u32).write_volatile(value) }
}

fn take_from(register: usize) -> u32 {
    // SAFETY: the machine has this register.
    unsafe { ((BASE + register) as *const u32).read_volatile() }
}

/// The bus QSPI2.
pub struct Qspi(());

/// The chip select of QSPI2.
pub struct ChipSelect(());

/// Bus and chip select.
pub(crate) fn take() -> (Qspi, ChipSelect) {
    put(FORMAT, EIGHT_BITS);
    put(CHIP_SELECT_MODE, 0);
    (Qspi(()), ChipSelect(()))
}

fn exchange(byte: u8) -> u8 {
    while take_from(TRANSMIT) & FLAG != 0 {}
    put(TRANSMIT, byte.into());
    loop {
        let received = take_from(RECEIVE);
        if received & FLAG == 0 {
            return received as u8;
        }
    }
}

impl spi::ErrorType for Qspi {
    type Error = Infallible;
}

impl SpiBus for Qspi {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        words.iter_mut().for_each(|word| *word = exchange(0));
        Ok(())
    }

    fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        for word in words {
            exchange(*word);
        }
        Ok(())
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        for at in 0..read.len().max(write.len()) {
            let received = exchange(write.get(at).copied().unwrap_or(0));
            if let Some(word) = read.get_mut(at) {
                *word = received;
            }
        }
        Ok(())
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        words.iter_mut().for_each(|word| *word = exchange(*word));
        Ok(())
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
        put(CHIP_SELECT_MODE, 2);
        Ok(())
    }

    fn set_high(&mut self) -> Result<(), Infallible> {
        put(CHIP_SELECT_MODE, 0);
        Ok(())
    }
}
