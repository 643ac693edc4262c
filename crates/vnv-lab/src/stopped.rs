//! How a life ends before its end, and what a heap may refuse.

use core::fmt::Debug;
use vnv_persist::Error;

/// How a player went wrong: what the heap did that it must not, or what it noticed.
#[derive(Clone, Debug)]
pub enum Stopped {
    /// A typed error that says that storage is damaged: what T4 and T5 have to end in.
    Noticed(String),
    /// After a reboot a whole older state came back: legal only where the last record was destroyed (T4, T5).
    Older(String),
    /// Anything else.
    Violation(String),
}

impl Stopped {
    /// What happened.
    #[must_use]
    pub fn what(self) -> String {
        match self {
            Self::Noticed(what) | Self::Older(what) | Self::Violation(what) => what,
        }
    }
}

/// What an error in an operation means.
pub(crate) fn stopped<E: Debug>(error: Error<E>, op: usize) -> Stopped {
    match error {
        Error::Damaged { .. } => Stopped::Noticed(format!("operation {op}: {error:?}")),
        error => Stopped::Violation(format!("operation {op}: {error:?}")),
    }
}

/// Whether an error leaves everything as it was, and is one that a program meets in a small heap.
pub(crate) fn is_refusal<E>(error: &Error<E>) -> bool {
    matches!(
        error,
        Error::StorageFull
            | Error::ObjectsFull
            | Error::RamFull
            | Error::DirtyLimit
            | Error::PendingFull
            | Error::TooLarge
            | Error::TooLargeToChange
    )
}
