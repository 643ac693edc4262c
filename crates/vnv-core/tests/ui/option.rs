use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad {
    value: Option<u32>,
}

fn main() {}
