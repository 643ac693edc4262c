//! Entries in a ledger: each step moves an amount between two accounts, in one transaction, and counts itself.

use board::{Failure, Reason};
use portable_atomic::{AtomicU32, Ordering};
use vnv_persist::{Durable, Error, Heap, Link, Memory, Options};
use vnv_storage::Device;

/// Bytes of the smallest part that holds it.
pub const CAPACITY: u32 = 8 * 1024;
/// Its RAM.
pub type Ram = Memory<64, 24, 5, 3, 128>;
/// Its heap.
pub type Ledger<'m, D> = Heap<'m, D, Ram>;
/// How its heap is opened.
pub const OPTIONS: Options = Options::new(1024);

const ACCOUNTS: usize = 16;
const OPENING: i64 = 1000;
const HISTORY: usize = 64;

/// What a step does.
struct Planned {
    from: usize,
    to: usize,
    amount: i64,
    lines: core::ops::Range<usize>,
}

impl Planned {
    const fn new(step: u32) -> Self {
        let (from, to) = (step as usize * 7 % ACCOUNTS, (step as usize * 13 + 5) % ACCOUNTS);
        let first = (step % 60) as usize;
        Self { from, to, amount: (step % 17) as i64, lines: first..first + 4 }
    }
}

/// Steps that are done and would be in a snapshot taken now.
pub static STEPS: AtomicU32 = AtomicU32::new(0);

/// An account, with padding enough to make all of them more than the arena holds.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Account {
    balance: i64,
    changed: u32,
    note: [u8; 80],
}

/// A line of the table of accounts.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Line {
    account: Link<Account>,
}

/// What leads to everything else.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Book {
    steps: u32,
    accounts: Link<[Line]>,
    history: Link<[u32]>,
}

fn note(step: u32) -> [u8; 80] {
    [step as u8; 80]
}

/// Finds the book, or opens a new one.
///
/// # Errors
///
/// Those of the heap.
pub fn book<D: Device>(heap: &Ledger<'_, D>) -> Result<Link<Book>, Error<D::Error>>
where
    D::Error: Reason,
{
    if let Some(book) = heap.root("book")? {
        return Ok(book);
    }
    let accounts = heap.allocate_slice_with(ACCOUNTS, |_| Line { account: Link::NULL })?;
    let accounts = accounts.into_link();
    let history = heap.allocate_slice_with(HISTORY, |_| 0u32)?.into_link();
    let book = heap.allocate(Book { steps: 0, accounts, history })?.into_link();
    heap.set_root("making", Some(book))?;
    for at in 0..ACCOUNTS {
        let account = heap.allocate(Account { balance: OPENING, changed: 0, note: note(0) })?;
        heap.get_element_mut(accounts, at)?.account = account.into_link();
    }
    heap.commit()?;
    heap.set_root("book", Some(book))?;
    heap.set_root::<Book>("making", None)?;
    heap.commit()?;
    Ok(book)
}

/// One step; `begins` is told its number before anything changes. Returns the number.
///
/// # Errors
///
/// Those of the heap.
pub fn step<D: Device>(heap: &Ledger<'_, D>, book: Link<Book>, begins: &dyn Fn(u32)) -> Result<u32, Error<D::Error>>
where
    D::Error: Reason,
{
    let Book { steps, accounts, history } = *heap.get(book)?;
    let step = steps + 1;
    begins(step);
    let Planned { from, to, amount, lines } = Planned::new(step);
    let at = from;
    let (from, to) = {
        let accounts = heap.get(accounts)?;
        (accounts[from].account, accounts[to].account)
    };
    match step % 4 {
        // A change of several objects.
        0 | 1 => {
            let transaction = heap.transaction()?;
            transaction.get_mut(book)?.steps = step;
            for (account, amount) in [(from, -amount), (to, amount)] {
                let mut account = transaction.get_mut(account)?;
                account.balance += amount;
                account.changed = step;
                account.note = note(step);
            }
            STEPS.store(step, Ordering::SeqCst);
            transaction.commit()?;
        }
        // Under guards: they are not together in a snapshot, so that only the count may change.
        2 => {
            heap.get_range_mut(history, lines)?.fill(step);
            let mut book = heap.get_mut(book)?;
            book.steps = step;
            STEPS.store(step, Ordering::SeqCst);
        }
        // An object is replaced.
        _ => {
            let old = *heap.get(from)?;
            let transaction = heap.transaction()?;
            let new = transaction.allocate(old)?;
            transaction.get_element_mut(accounts, at)?.account = new.into_link();
            transaction.free(from)?;
            transaction.get_mut(book)?.steps = step;
            STEPS.store(step, Ordering::SeqCst);
            transaction.commit()?;
        }
    }
    Ok(step)
}

/// What the books hold after so many steps.
#[derive(Debug)]
pub struct Books {
    steps: u32,
    balances: [i64; ACCOUNTS],
    changed: [u32; ACCOUNTS],
    history: [u32; HISTORY],
}

impl Default for Books {
    fn default() -> Self {
        Self::new()
    }
}

impl Books {
    /// Before the first step.
    #[must_use]
    pub const fn new() -> Self {
        Self { steps: 0, balances: [OPENING; ACCOUNTS], changed: [0; ACCOUNTS], history: [0; HISTORY] }
    }

    /// After so many steps.
    fn advance(&mut self, steps: u32) {
        if steps < self.steps {
            *self = Self::new();
        }
        while self.steps < steps {
            self.steps += 1;
            let Planned { from, to, amount, lines } = Planned::new(self.steps);
            match self.steps % 4 {
                0 | 1 => {
                    for (account, amount) in [(from, -amount), (to, amount)] {
                        self.balances[account] += amount;
                        self.changed[account] = self.steps;
                    }
                }
                2 => self.history[lines].fill(self.steps),
                _ => {}
            }
        }
    }
}

/// Checks everything against what the steps must have come to, and returns their number. `books` may be those of an earlier
/// check: then only what came since is computed.
///
/// # Errors
///
/// Those of the heap; [`Failure::Wrong`] if something is not as it must be.
pub fn check<D: Device>(heap: &Ledger<'_, D>, book: Link<Book>, books: &mut Books) -> Result<u32, Failure<D::Error>>
where
    D::Error: Reason,
{
    let Book { steps, accounts, history } = *heap.get(book)?;
    books.advance(steps);
    for at in 0..ACCOUNTS {
        let account = heap.get(accounts)?[at].account;
        let account = heap.get(account)?;
        if account.balance != books.balances[at] || account.changed != books.changed[at] {
            return Err(Failure::Wrong("an account does not hold what the steps of the book come to"));
        }
        if account.note != note(account.changed) {
            return Err(Failure::Wrong("an account is a mixture of two states"));
        }
    }
    // The next step may have written its lines already: they and the book change one after the other.
    let next = steps + 1;
    let ahead = if next % 4 == 2 { Planned::new(next).lines } else { 0..0 };
    for (at, (found, expected)) in heap.get(history)?.iter().zip(&books.history).enumerate() {
        if found != expected && !(ahead.contains(&at) && *found == next) {
            return Err(Failure::Wrong("the history does not hold what the steps of the book come to"));
        }
    }
    Ok(steps)
}
