//! A workload that power-fail alarms interrupt anywhere: what it had done is there after the reboot.

#![cfg_attr(not(feature = "std"), no_std)]

mod workload;

use board::{Board, Failure, Reason, info};
use portable_atomic::{AtomicU32, Ordering};
use static_cell::ConstStaticCell;
use vnv_persist::{Heap, Outcome, PowerFail};
use vnv_storage::Device;
pub use workload::{Book, Books, CAPACITY, Ledger, OPTIONS, Ram, STEPS, book, check, step};

/// Steps between two commits.
const COMMIT_EVERY: u32 = 8;

static MEMORY: ConstStaticCell<Ram> = ConstStaticCell::new(Ram::new());
static SAVED: AtomicU32 = AtomicU32::new(0);

/// The power-fail entry of [`run`]. It notes what was saved; nothing else happens in the interrupt.
pub static POWER_FAIL: PowerFail = PowerFail::new().with_handler(saved);

fn saved(outcome: Outcome) {
    if outcome == Outcome::Saved {
        SAVED.store(STEPS.load(Ordering::SeqCst), Ordering::SeqCst);
    }
}

/// Books entries, once for each pause of the board, while the board's power-fail source raises alarms.
///
/// # Errors
///
/// Those of the heap; [`Failure::Wrong`] if the books do not balance.
pub fn run<D: Device>(
    storage: D,
    board: &mut impl Board,
    power_fail: &'static PowerFail,
) -> Result<(), Failure<D::Error>>
where
    D::Error: Reason,
{
    let heap: Ledger<'_, D> = Heap::open_or_format(storage, MEMORY.take(), OPTIONS)?;
    let book = book(&heap)?;
    let steps = check(&heap, book, &mut Books::new())?;
    STEPS.store(steps, Ordering::SeqCst);
    info!("opened {} {}", steps, u8::from(heap.report().snapshot));
    power_fail.protect(&heap, || {
        // Only now an alarm finds the heap.
        board.watch_power(power_fail);
        info!("ready");
        let mut saved = 0;
        while board.pause() {
            let number = step(&heap, book, &|number| info!("begins {}", number))?;
            if number % COMMIT_EVERY == 0 {
                heap.commit()?;
                info!("committed {}", number);
            }
            let now = SAVED.load(Ordering::SeqCst);
            if now != saved {
                saved = now;
                info!("saved {}", saved);
            }
        }
        Ok(())
    })?
}
