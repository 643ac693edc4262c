//! What the boards under QEMU share: the console over semihosting, the pace, the power-fail alarm, the memory part.

#![no_std]

use board::{Failure, Reason};
use core::cell::Cell;
use critical_section::Mutex;
use defmt_semihosting as _;
use vnv_persist::PowerFail;
use vnv_storage::{AddressWidth, Part};

/// QEMU's `at25128a-nonjedec`: an EEPROM of 16 KiB without pages and delays; WEL stays set. It stands for an FRAM here.
pub const PART: Part = Part::new("at25128a-nonjedec", 16 * 1024, AddressWidth::Two).with_write_enable_surviving();

static POWER_FAIL: Mutex<Cell<Option<&'static PowerFail>>> = Mutex::new(Cell::new(None));

/// From now on [`alarm`] enters `power_fail`.
pub fn watch_power(power_fail: &'static PowerFail) {
    critical_section::with(|section| POWER_FAIL.borrow(section).set(Some(power_fail)));
}

/// Raises an alarm.
///
/// # Safety
///
/// Only from an interrupt of the core that runs the heap.
pub unsafe fn alarm() {
    if let Some(power_fail) = critical_section::with(|section| POWER_FAIL.borrow(section).get()) {
        // SAFETY: the caller's word.
        unsafe { power_fail.enter() };
    }
}

/// Milliseconds of a pause: the first argument of the program, or none.
pub fn pace() -> u32 {
    let Ok(arguments) = semihosting::experimental::env::args::<64>() else { return 0 };
    (&arguments).nth(1).and_then(Result::ok).and_then(|number| number.parse().ok()).unwrap_or(0)
}

/// Tells how the application ended, and stops.
pub fn finish<E: Reason>(result: Result<(), Failure<E>>) -> ! {
    match result {
        Ok(()) => defmt::info!("ended"),
        Err(failure) => defmt::error!("failed: {}", failure),
    }
    loop {
        core::hint::spin_loop();
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    defmt::error!("panicked: {}", defmt::Display2Format(info));
    loop {
        core::hint::spin_loop();
    }
}
