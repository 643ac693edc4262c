use vnv_core::Durable;

#[derive(Durable)]
enum Bad {
    One,
    Two,
}

fn main() {}
