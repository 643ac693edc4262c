use vnv_core::{Durable, type_key};

#[derive(Durable)]
#[repr(C)]
struct Bad {
    value: u32,
}

impl Drop for Bad {
    fn drop(&mut self) {}
}

fn main() {
    let _ = type_key::<Bad>();
}
