//! The values are kept in a static.

#![no_std]
#![no_main]

use core::ptr::addr_of_mut;
use footprint::{Reading, Settings, Station, Values, run};
use vnv_persist::Link;

struct Stub {
    station: Station,
    reading: Reading,
    settings: Settings,
}

static mut STUB: Stub = Stub {
    station: Station { count: 0, newest: Link::NULL, settings: Link::NULL },
    reading: Reading { at: 0, values: [0; 8] },
    settings: Settings { interval: 1, threshold: 0.5 },
};

impl Values for Stub {
    fn station(&mut self, change: &mut dyn FnMut(&mut Station)) -> Option<()> {
        change(&mut self.station);
        Some(())
    }
    fn reading(&mut self, change: &mut dyn FnMut(&mut Reading)) -> Option<()> {
        change(&mut self.reading);
        Some(())
    }
    fn settings(&mut self, change: &mut dyn FnMut(&mut Settings)) -> Option<()> {
        change(&mut self.settings);
        Some(())
    }
    fn commit(&mut self) -> Option<()> {
        Some(())
    }
}

// SAFETY: the only symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    // SAFETY: taken once.
    let stub = unsafe { &mut *addr_of_mut!(STUB) };
    run(stub);
    stop()
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    stop()
}

fn stop() -> ! {
    loop {
        core::hint::spin_loop();
    }
}
