#![no_std]
#![no_main]

#[riscv_rt::entry]
fn main() -> ! {
    let (storage, mut board) = sifive_u::take();
    emulated::finish(bench::target::run(storage, &mut board))
}
