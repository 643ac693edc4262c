#![no_std]
#![no_main]

#[riscv_rt::entry]
fn main() -> ! {
    let (storage, mut board) = sifive_u::take();
    emulated::finish(sample::run(storage, &mut board))
}
