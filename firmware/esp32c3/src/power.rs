//! The power-fail source: pin 0, low when power is failing. A button there, or a comparator with an open-drain output.
//!
//! The interrupt has the highest priority, but a critical section masks it: the console sends each log line in one, which
//! takes as long as the host (or the UART) takes it. Where that time counts, build without logging:
//! `--no-default-features --features persist`.

use core::cell::{Cell, RefCell};
use critical_section::Mutex;
use esp_hal::gpio::{Event, Input, InputConfig, Io, Pull};
use esp_hal::peripherals::{GPIO0, IO_MUX};
use vnv_persist::PowerFail;

static PIN: Mutex<RefCell<Option<Input<'static>>>> = Mutex::new(RefCell::new(None));
static POWER_FAIL: Mutex<Cell<Option<&'static PowerFail>>> = Mutex::new(Cell::new(None));

/// Takes the pin.
pub fn init(pin: GPIO0<'static>, multiplexer: IO_MUX<'static>) {
    Io::new(multiplexer).set_interrupt_handler(pin_changed);
    let pin = Input::new(pin, InputConfig::default().with_pull(Pull::Up));
    critical_section::with(|section| PIN.borrow_ref_mut(section).replace(pin));
}

/// From now on a falling edge enters `power_fail`, and a rising one withdraws the alarm. If the pin is low already, the next
/// operation of the heap answers.
pub fn watch(power_fail: &'static PowerFail) {
    let is_low = critical_section::with(|section| {
        POWER_FAIL.borrow(section).set(Some(power_fail));
        PIN.borrow_ref_mut(section).as_mut().is_some_and(|pin| {
            pin.listen(Event::AnyEdge);
            pin.is_low()
        })
    });
    if is_low {
        power_fail.request();
    }
}

#[esp_hal::handler(priority = esp_hal::interrupt::Priority::max())]
fn pin_changed() {
    let (power_fail, is_low) = critical_section::with(|section| {
        let mut pin = PIN.borrow_ref_mut(section);
        let is_low = pin.as_mut().is_some_and(|pin| {
            pin.clear_interrupt();
            pin.is_low()
        });
        (POWER_FAIL.borrow(section).get(), is_low)
    });
    match power_fail {
        Some(power_fail) if is_low => {
            // SAFETY: an interrupt of the only core, which runs the heap.
            unsafe { power_fail.enter() };
        }
        Some(power_fail) => power_fail.power_good(),
        None => {}
    }
}
