use vnv_core::Durable;

#[derive(Durable)]
#[repr(C)]
union Bad {
    a: u32,
    b: f32,
}

fn main() {}
