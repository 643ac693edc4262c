#![no_std]
#![no_main]

esp_bootloader_esp_idf::esp_app_desc!();

#[esp_hal::main]
fn main() -> ! {
    let (storage, mut board) = esp32c3::take();
    esp32c3::finish(bench::target::run(storage, &mut board))
}
