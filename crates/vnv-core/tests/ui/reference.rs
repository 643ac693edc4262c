use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad {
    text: &'static str,
}

fn main() {}
