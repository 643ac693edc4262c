//! Resume: the arena is overwritten in the persist-finished handler, and filled again from storage.

use anyhow::{Result, ensure};
use persist::{Books, CAPACITY, Ledger, OPTIONS, Ram, book, check, step};
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::time::{Duration, Instant};
use vnv_persist::{Arena, Heap, PowerFail, Resume, ResumeError, signal::Signal};
use vnv_storage::RamStorage;

static POWER_FAIL: PowerFail = PowerFail::new().with_resume(Resume { persisted, failed });
static PERSISTED: AtomicU32 = AtomicU32::new(0);

/// Everything is safe. A system would save the rest of RAM and stop here; the arena is lost.
fn persisted(base: *mut u8, size: usize) -> Arena {
    let number = PERSISTED.fetch_add(1, Ordering::SeqCst);
    // SAFETY: the arena is the handler's until it returns.
    unsafe { base.write_bytes(number as u8 ^ 0x5A, size) };
    Arena::Lost
}

fn failed(error: ResumeError) -> ! {
    eprintln!("cannot be resumed: {error}");
    std::process::abort()
}

pub fn run(alarms: u32, every: u64) -> Result<()> {
    let started = Instant::now();
    let mut memory = Ram::new();
    let options = OPTIONS.guards(4);
    let heap: Ledger<'_, _> = Heap::format(RamStorage::<{ CAPACITY as usize }>::new(), &mut memory, options)?;
    // SAFETY: this thread runs the heap.
    let _signal = unsafe { Signal::new(&POWER_FAIL, libc::SIGUSR1)? };
    // SAFETY: no memory is touched.
    let ours = unsafe { libc::pthread_self() };
    let done = AtomicBool::new(false);
    let book = book(&heap)?;
    let result = std::thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::SeqCst) {
                std::thread::sleep(Duration::from_micros(every));
                // SAFETY: the thread outlives this one.
                unsafe { libc::pthread_kill(ours, libc::SIGUSR1) };
            }
        });
        let lived = POWER_FAIL.protect(&heap, || {
            let (mut steps, mut books) = (0u32, Books::new());
            while PERSISTED.load(Ordering::SeqCst) < alarms {
                step(&heap, book, &|_| {})?;
                steps += 1;
                if steps % 16 == 0 {
                    let found = check(&heap, book, &mut books)?;
                    ensure!(found == steps, "{found} steps are counted, {steps} were done");
                }
                if steps % 2000 == 0 {
                    eprintln!("{} alarms, {steps} steps", PERSISTED.load(Ordering::SeqCst));
                }
            }
            let found = check(&heap, book, &mut books)?;
            ensure!(found == steps, "{found} steps are counted, {steps} were done");
            Ok(steps)
        });
        done.store(true, Ordering::SeqCst);
        lived
    });
    let steps = result??;
    let alarms = PERSISTED.load(Ordering::SeqCst);
    println!(
        "resumed after {alarms} alarms, {steps} steps, every check passed, {:.1} s",
        started.elapsed().as_secs_f64()
    );
    Ok(())
}
