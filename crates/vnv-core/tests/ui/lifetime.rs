use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
struct Bad<'a> {
    text: &'a [u8; 4],
}

fn main() {}
