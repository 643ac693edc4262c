use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad {
    count: usize,
}

fn main() {}
