use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad {
    count: core::cell::Cell<u32>,
}

fn main() {}
