//! Jobs on all cores, with progress.

use super::row::Row;
use anyhow::{Context, Result};
use std::io::{IsTerminal, Write};
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

/// How much is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Scale {
    /// Updates of the key-value store.
    pub updates: u32,
    /// Seeds over which the mean is taken.
    pub seeds: u64,
    /// Iterations of the queue.
    pub passes: u32,
    /// Of long lists of parameters each one (1), or each second one (2) and so on.
    pub step: usize,
}

impl Scale {
    /// As published.
    pub const FULL: Self = Self { updates: 10_000, seeds: 5, passes: 10_000, step: 1 };
    /// Runs in seconds, also without optimisation.
    pub const QUICK: Self = Self { updates: 400, seeds: 1, passes: 200, step: 16 };
}

type Work = Box<dyn Fn() -> Result<Vec<Row>> + Send + Sync>;

/// What is to be done.
#[derive(Default)]
pub struct Jobs(Vec<(String, Work)>);

impl Jobs {
    /// Adds work.
    pub fn add(&mut self, name: String, work: impl Fn() -> Result<Vec<Row>> + Send + Sync + 'static) {
        self.0.push((name, Box::new(work)));
    }

    /// Does the work on all cores; rows come in the order in which the jobs were added.
    ///
    /// # Errors
    ///
    /// The first that fails; the others are done all the same.
    pub fn run(&self) -> Result<Vec<Row>> {
        let (next, done) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let results: Vec<_> = self.0.iter().map(|_| Mutex::new(None)).collect();
        std::thread::scope(|scope| {
            let threads = std::thread::available_parallelism().map_or(1, Into::into);
            for _ in 0..threads.min(self.0.len()) {
                scope.spawn(|| {
                    while let Some(((name, work), result)) = {
                        let at = next.fetch_add(1, Ordering::Relaxed);
                        self.0.get(at).zip(results.get(at))
                    } {
                        let rows = work().with_context(|| name.clone());
                        if let Ok(mut result) = result.lock() {
                            *result = Some(rows);
                        }
                        progress(done.fetch_add(1, Ordering::Relaxed) + 1, self.0.len(), name);
                    }
                });
            }
        });
        let mut rows = Vec::new();
        for result in results {
            rows.extend(result.into_inner().ok().flatten().context("a job did not end")??);
        }
        Ok(rows)
    }
}

fn progress(done: usize, all: usize, name: &str) {
    let mut output = std::io::stderr();
    let end = if output.is_terminal() && done < all { "\r" } else { "\n" };
    if output.is_terminal() || done % 16 == 0 || done == all {
        let _ = write!(output, "[{done:>3} of {all}] {name:<60}{end}");
    }
}
