use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad {
    next: *const u8,
}

fn main() {}
