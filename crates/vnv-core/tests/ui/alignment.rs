use vnv_core::{Durable, type_key};

#[derive(Durable)]
#[repr(C, align(16))]
struct Bad {
    value: u32,
}

fn main() {
    let _ = type_key::<Bad>();
}
