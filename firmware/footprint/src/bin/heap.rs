//! The values are kept by the heap, on an FRAM at a bus of its own, with a power-fail interrupt.

#![no_std]
#![no_main]

use core::convert::Infallible;
use core::ptr::addr_of_mut;
use embedded_hal::digital::{self, OutputPin};
use embedded_hal::spi::{self, SpiBus};
use footprint::{Reading, Settings, Station, Values, run};
use vnv_persist::{Heap, Link, Memory, Options, PowerFail};
use vnv_storage::{OwnedSpiFram, Part};

const DATA: *mut u8 = 0x6002_4000 as *mut u8;
const PIN: *mut u32 = 0x6000_4004 as *mut u32;

/// The smallest bus there is.
struct Bus;

impl spi::ErrorType for Bus {
    type Error = Infallible;
}

impl SpiBus for Bus {
    fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        // SAFETY: nothing runs this program; the address stands for a device's register.
        words.iter_mut().for_each(|word| *word = unsafe { DATA.read_volatile() });
        Ok(())
    }
    fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
        // SAFETY: as in `read`.
        words.iter().for_each(|word| unsafe { DATA.write_volatile(*word) });
        Ok(())
    }
    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
        self.write(write)?;
        self.read(read)
    }
    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
        self.write(words)?;
        self.read(words)
    }
    fn flush(&mut self) -> Result<(), Infallible> {
        Ok(())
    }
}

struct ChipSelect;

impl digital::ErrorType for ChipSelect {
    type Error = Infallible;
}

impl OutputPin for ChipSelect {
    fn set_low(&mut self) -> Result<(), Infallible> {
        // SAFETY: as in `Bus::read`.
        unsafe { PIN.write_volatile(0) };
        Ok(())
    }
    fn set_high(&mut self) -> Result<(), Infallible> {
        // SAFETY: as in `Bus::read`.
        unsafe { PIN.write_volatile(1) };
        Ok(())
    }
}

type Ram = Memory<32, 16, 6, 4, 64>;
type Kept<'h> = Heap<'static, OwnedSpiFram<Bus, ChipSelect>, Ram>;

static mut MEMORY: Ram = Ram::new();
static POWER_FAIL: PowerFail = PowerFail::new();

struct OnHeap<'h> {
    heap: &'h Kept<'h>,
    station: Link<Station>,
}

impl Values for OnHeap<'_> {
    fn station(&mut self, change: &mut dyn FnMut(&mut Station)) -> Option<()> {
        change(&mut *self.heap.get_mut(self.station).ok()?);
        Some(())
    }
    fn reading(&mut self, change: &mut dyn FnMut(&mut Reading)) -> Option<()> {
        let reading = self.heap.get(self.station).ok()?.newest;
        change(&mut *self.heap.get_mut(reading).ok()?);
        Some(())
    }
    fn settings(&mut self, change: &mut dyn FnMut(&mut Settings)) -> Option<()> {
        let settings = self.heap.get(self.station).ok()?.settings;
        change(&mut *self.heap.get_mut(settings).ok()?);
        Some(())
    }
    fn commit(&mut self) -> Option<()> {
        self.heap.commit().ok()?;
        Some(())
    }
}

fn live() -> Option<()> {
    let fram = OwnedSpiFram::without_probe(Bus, ChipSelect, Part::MB85RS64V);
    // SAFETY: taken once.
    let memory = unsafe { &mut *addr_of_mut!(MEMORY) };
    let heap: Kept<'_> = Heap::open_or_format(fram, memory, Options::new(512)).ok()?;
    let station = match heap.root("station").ok()? {
        Some(station) => station,
        None => {
            let settings = heap.allocate(Settings { interval: 1, threshold: 0.5 }).ok()?.into_link();
            let newest = heap.allocate(Reading { at: 0, values: [0; 8] }).ok()?.into_link();
            let station = heap.allocate(Station { count: 0, newest, settings }).ok()?.into_link();
            heap.set_root("station", Some(station)).ok()?;
            station
        }
    };
    POWER_FAIL.protect(&heap, || run(&mut OnHeap { heap: &heap, station })).ok()?
}

// SAFETY: the only symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn power_is_failing() {
    // SAFETY: the interrupt of the only core.
    unsafe { POWER_FAIL.enter() };
}

// SAFETY: the only symbol of this name.
#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    live();
    loop {
        // SAFETY: nothing runs this program; it keeps the interrupt's handler.
        unsafe { PIN.write_volatile(power_is_failing as *const () as u32) };
    }
}

struct OneCore;
critical_section::set_impl!(OneCore);

// SAFETY: nothing runs this program.
unsafe impl critical_section::Impl for OneCore {
    unsafe fn acquire() -> critical_section::RawRestoreState {}
    unsafe fn release(_: critical_section::RawRestoreState) {}
}

#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {
        core::hint::spin_loop();
    }
}
