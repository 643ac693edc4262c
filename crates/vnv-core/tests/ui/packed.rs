use vnv_core::Durable;

#[derive(Durable)]
#[repr(C, packed)]
struct Bad {
    a: u8,
    b: u32,
}

fn main() {}
