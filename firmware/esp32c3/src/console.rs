//! The console: defmt over USB, or nothing.

use board::{Failure, Reason, error, info};
#[cfg(feature = "log")]
use esp_println as _;
use vnv_storage::ProbeError;

/// Tells how the application ended, and stops.
pub fn finish<E: Reason>(result: Result<(), Failure<E>>) -> ! {
    match result {
        Ok(()) => info!("ended"),
        Err(failure) => error!("failed: {}", failure),
    }
    loop {
        core::hint::spin_loop();
    }
}

/// Tells that the part does not answer as it should.
pub fn no_fram<B: Reason, P: Reason>(error: &ProbeError<B, P>) {
    error!("no FRAM: {}; SCK is pin 6, MISO 2, MOSI 7, CS 1, supply 3.0 to 3.6 V", error);
}

#[panic_handler]
fn panic(panic: &core::panic::PanicInfo<'_>) -> ! {
    #[cfg(feature = "log")]
    error!("panicked: {}", defmt::Display2Format(panic));
    let _ = panic;
    loop {
        core::hint::spin_loop();
    }
}
