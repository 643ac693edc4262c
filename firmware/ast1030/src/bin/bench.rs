#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    let (storage, mut board) = ast1030::take();
    emulated::finish(bench::target::run(storage, &mut board))
}
