//! A life on rv32imc, with an FRAM on a bus of its own. What surrounds the processor is described in `tests/machine`.
#![cfg_attr(target_arch = "riscv32", no_std, no_main)]

#[cfg(target_arch = "riscv32")]
mod bare {
    use core::convert::Infallible;
    use core::ptr::{addr_of, addr_of_mut};
    use embedded_hal::digital::{ErrorType as PinErrorType, OutputPin};
    use embedded_hal::spi::{ErrorType, SpiBus};
    use instants::{LifeHeap, Ram, begin, options, read, state_after, step, step_count};
    use vnv_persist::{Arena, Deferred, Event, Heap, Outcome, PowerFail, Resume, ResumeError};
    use vnv_storage::{OwnedSpiFram, Part};

    const SEND: *mut u8 = 0x4000_0000 as *mut u8;
    const RECEIVED: *const u8 = 0x4000_0004 as *const u8;
    const CHIP_SELECT: *mut u32 = 0x4000_0008 as *mut u32;
    const STEP: *mut u32 = 0x4000_000C as *mut u32;
    const EVENT: *mut u32 = 0x4000_0010 as *mut u32;
    const OUTCOME: *mut u32 = 0x4000_0014 as *mut u32;
    const ARENA_BASE: *mut u32 = 0x4000_0018 as *mut u32;
    const ARENA_SIZE: *mut u32 = 0x4000_001C as *mut u32;
    const ARENA_LOST: *const u32 = 0x4000_0020 as *const u32;
    const DONE: *mut u32 = 0x4000_0024 as *mut u32;
    const LIFE: *const u32 = 0x4000_0028 as *const u32;
    const RESUMES: *const u32 = 0x4000_002C as *const u32;
    const HANDLER: *mut u32 = 0x4000_0030 as *mut u32;

    fn put(register: *mut u32, value: u32) {
        // SAFETY: the machine has these registers.
        unsafe { register.write_volatile(value) }
    }

    fn take(register: *const u32) -> u32 {
        // SAFETY: as in `put`.
        unsafe { register.read_volatile() }
    }

    struct Bus;

    impl ErrorType for Bus {
        type Error = Infallible;
    }

    impl SpiBus for Bus {
        fn read(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
            for word in words {
                // SAFETY: as in `put`.
                unsafe {
                    SEND.write_volatile(0);
                    *word = RECEIVED.read_volatile();
                }
            }
            Ok(())
        }
        fn write(&mut self, words: &[u8]) -> Result<(), Infallible> {
            for word in words {
                // SAFETY: as in `put`.
                unsafe { SEND.write_volatile(*word) };
            }
            Ok(())
        }
        fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), Infallible> {
            self.write(write)?;
            self.read(read)
        }
        fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), Infallible> {
            self.read(words)
        }
        fn flush(&mut self) -> Result<(), Infallible> {
            Ok(())
        }
    }

    struct ChipSelect;

    impl PinErrorType for ChipSelect {
        type Error = Infallible;
    }

    impl OutputPin for ChipSelect {
        fn set_low(&mut self) -> Result<(), Infallible> {
            put(CHIP_SELECT, 0);
            Ok(())
        }
        fn set_high(&mut self) -> Result<(), Infallible> {
            put(CHIP_SELECT, 1);
            Ok(())
        }
    }

    type Fram = OwnedSpiFram<Bus, ChipSelect>;

    static REBOOTING: PowerFail = PowerFail::new().with_handler(handler);
    static RESUMING: PowerFail = PowerFail::new().with_handler(handler).with_resume(Resume { persisted, failed });

    const fn code(outcome: Outcome) -> u32 {
        match outcome {
            Outcome::Saved => 1,
            Outcome::Deferred(Deferred::Snapshot) => 2,
            Outcome::Deferred(Deferred::Operation) => 3,
            Outcome::Deferred(Deferred::Guard) => 4,
            Outcome::Deferred(Deferred::Transaction) => 5,
            Outcome::Deferred(_) => 6,
            Outcome::Failed => 7,
        }
    }

    fn handler(outcome: Outcome) {
        put(OUTCOME, code(outcome));
    }

    fn persisted(base: *mut u8, size: usize) -> Arena {
        put(ARENA_BASE, base as u32);
        put(ARENA_SIZE, size as u32);
        if take(ARENA_LOST) == 1 { Arena::Lost } else { Arena::Kept }
    }

    fn failed(_: ResumeError) -> ! {
        put(DONE, 4);
        stop()
    }

    /// The power-fail interrupt.
    // SAFETY: the only symbol of this name.
    #[unsafe(no_mangle)]
    extern "C" fn power_is_failing() -> u32 {
        // SAFETY: the machine's only core, interrupted.
        let outcome = unsafe { if take(RESUMES) == 1 { RESUMING.enter() } else { REBOOTING.enter() } };
        code(outcome)
    }

    static mut MEMORY: Ram = Ram::new();

    fn live() -> Option<()> {
        let life = take(LIFE);
        // SAFETY: taken once.
        let memory = unsafe { &mut *addr_of_mut!(MEMORY) };
        let fram: Fram = OwnedSpiFram::without_probe(Bus, ChipSelect, Part::MB85RS64V);
        let heap: LifeHeap<'_, Fram> = Heap::format(fram, memory, options(life, take(RESUMES) == 1)).ok()?;
        begin(&heap).ok()?;
        let observer = |event: Event| match event {
            Event::Committing => put(EVENT, 1),
            Event::Committed(_) => put(EVENT, 2),
            _ => {}
        };
        heap.set_observer(Some(&observer));
        let power_fail = if take(RESUMES) == 1 { addr_of!(RESUMING) } else { addr_of!(REBOOTING) };
        // SAFETY: a static.
        let power_fail = unsafe { &*power_fail };
        let lived = power_fail.protect(&heap, || {
            for number in 0..step_count(life) {
                put(STEP, number as u32);
                step(&heap, life, number).ok()?;
            }
            put(STEP, u32::MAX);
            Some(())
        });
        lived.ok()??;
        heap.commit().ok()?;
        heap.set_observer(None);
        (read(&heap).ok()? == state_after(life, step_count(life))).then_some(())
    }

    // SAFETY: the only symbol of this name; the machine starts here with a stack.
    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        put(HANDLER, power_is_failing as *const () as u32);
        put(DONE, if live().is_some() { 1 } else { 2 });
        stop()
    }

    struct OneCore;
    critical_section::set_impl!(OneCore);

    // SAFETY: one core, and the machine's interrupt touches nothing that is written under a critical section while it is not armed.
    unsafe impl critical_section::Impl for OneCore {
        unsafe fn acquire() -> critical_section::RawRestoreState {}
        unsafe fn release(_: critical_section::RawRestoreState) {}
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        put(DONE, 3);
        stop()
    }

    fn stop() -> ! {
        loop {
            // SAFETY: stops the machine.
            unsafe { core::arch::asm!("ebreak") };
        }
    }
}

#[cfg(not(target_arch = "riscv32"))]
fn main() {
    println!("this program is built for riscv32imc-unknown-none-elf and run by the test `every_instruction`");
}
