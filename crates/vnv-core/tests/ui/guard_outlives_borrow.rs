use vnv_core::Ref;

struct Transaction;

fn get(_: &Transaction) -> Ref<'_, u32> {
    loop {}
}

fn main() {
    let transaction = Transaction;
    // A guard that is dropped after the transaction could outlive a rollback.
    let _guard = get(&transaction);
    drop(transaction);
}
