use vnv_core::Owned;

// A handle cannot outlive its heap.
fn keep<'h>(owned: Owned<'h, u32>) -> Owned<'static, u32> {
    owned
}

fn main() {}
