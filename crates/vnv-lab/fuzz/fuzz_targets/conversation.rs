#![no_main]

libfuzzer_sys::fuzz_target!(|data: &[u8]| vnv_lab::fuzz::conversation(data));
