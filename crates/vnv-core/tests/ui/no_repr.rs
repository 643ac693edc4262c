use vnv_core::Durable;

#[derive(Durable)]
struct Bad {
    value: u32,
}

fn main() {}
