#![no_std]
#![no_main]

#[cortex_m_rt::entry]
fn main() -> ! {
    let (storage, mut board) = ast1030::take();
    emulated::finish(persist::run(storage, &mut board, &persist::POWER_FAIL))
}
