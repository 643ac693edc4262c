//! The lives on rv32imc. Storage is the memory from 1 MiB on; the word behind it says which life to live, the next one
//! how it ended.
#![cfg_attr(target_arch = "riscv32", no_std, no_main)]

#[cfg(target_arch = "riscv32")]
mod bare {
    use portable::{CAPACITY, first_life, next_life};
    use vnv_alloc::SortedArray;
    use vnv_persist::{Clock, Heap, Memory};
    use vnv_storage::Device;
    use vnv_storage::embedded_storage::{ReadStorage, Storage};

    const IMAGE: usize = 0x0010_0000;
    const WHICH: *const u32 = 0x0010_4000 as *const u32;
    const DONE: *mut u32 = 0x0010_4004 as *mut u32;

    struct Bytes;

    /// The heap of an 8 KiB part: 34 slots, 16 pending places, 6 types, 4 roots, 12 free ranges per allocator.
    type SmallMemory = Memory<34, 16, 6, 4, 0>;
    type SmallHeap = Heap<'static, Bytes, SmallMemory, Clock, SortedArray<12>, SortedArray<12>>;
    /// All its RAM besides resident objects, which take 16 bytes each and their own.
    const SMALL: usize = size_of::<SmallMemory>() + size_of::<SmallHeap>();
    const _: () = assert!(SMALL == 872, "the README says otherwise");
    const _: () = assert!(SMALL + 8 * 16 <= 1024, "with eight resident objects the heap's own RAM is above 1 KiB");

    impl ReadStorage for Bytes {
        type Error = ();
        fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), ()> {
            for (at, byte) in (offset as usize..).zip(bytes) {
                if at >= CAPACITY {
                    return Err(());
                }
                // SAFETY: the emulator has memory for the whole image here, and nothing else lies there.
                *byte = unsafe { ((IMAGE + at) as *const u8).read_volatile() };
            }
            Ok(())
        }
        fn capacity(&self) -> usize {
            CAPACITY
        }
    }

    impl Storage for Bytes {
        fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), ()> {
            for (at, byte) in (offset as usize..).zip(bytes) {
                if at >= CAPACITY {
                    return Err(());
                }
                // SAFETY: as in `read`.
                unsafe { ((IMAGE + at) as *mut u8).write_volatile(*byte) };
            }
            Ok(())
        }
    }

    impl Device for Bytes {
        fn row_size(&self) -> u32 {
            8
        }
        fn write_gather(&mut self, mut offset: u32, slices: &[&[u8]]) -> Result<(), ()> {
            for slice in slices {
                self.write(offset, slice)?;
                offset += slice.len() as u32;
            }
            Ok(())
        }
        fn sync(&mut self) -> Result<(), ()> {
            Ok(())
        }
    }

    // SAFETY: the only symbol of this name; the emulator starts here with a stack.
    #[unsafe(no_mangle)]
    extern "C" fn _start() -> ! {
        // SAFETY: the emulator has memory there.
        let which = unsafe { WHICH.read_volatile() };
        let lived = if which == 1 { first_life(Bytes).is_ok() } else { next_life(Bytes).is_ok() };
        // SAFETY: the emulator has memory there.
        unsafe { DONE.write_volatile(if lived { 1 } else { 2 }) };
        stop()
    }

    #[panic_handler]
    fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
        // SAFETY: the emulator has memory there.
        unsafe { DONE.write_volatile(3) };
        stop()
    }

    fn stop() -> ! {
        loop {
            // SAFETY: stops the emulator.
            unsafe { core::arch::asm!("ebreak") };
        }
    }
}

#[cfg(not(target_arch = "riscv32"))]
fn main() {
    println!("this program is built for riscv32imc-unknown-none-elf and run by the test `exchange`");
}
