//! Why an application ended.

use core::fmt::{self, Debug};
use vnv_persist::{Error, OpenError, ProtectError};

/// An error of a storage that can be logged.
#[cfg(feature = "defmt")]
pub trait Reason: Debug + defmt::Format {}
#[cfg(feature = "defmt")]
impl<E: Debug + defmt::Format> Reason for E {}

/// An error of a storage that can be logged.
#[cfg(not(feature = "defmt"))]
pub trait Reason: Debug {}
#[cfg(not(feature = "defmt"))]
impl<E: Debug> Reason for E {}

/// Why an application ended.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Failure<E> {
    /// The heap cannot be opened.
    Open(OpenError<E>),
    /// An operation failed.
    Heap(Error<E>),
    /// The power-fail entry does not take the heap.
    Protect(ProtectError),
    /// The data is not what it must be: the message says what.
    Wrong(&'static str),
}

impl<E: Debug> fmt::Display for Failure<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Open(error) => fmt::Display::fmt(error, f),
            Self::Heap(error) => fmt::Display::fmt(error, f),
            Self::Protect(error) => fmt::Display::fmt(error, f),
            Self::Wrong(what) => f.write_str(what),
        }
    }
}

impl<E: Debug> core::error::Error for Failure<E> {}

impl<E> From<OpenError<E>> for Failure<E> {
    fn from(error: OpenError<E>) -> Self {
        Self::Open(error)
    }
}

impl<E> From<Error<E>> for Failure<E> {
    fn from(error: Error<E>) -> Self {
        Self::Heap(error)
    }
}

impl<E> From<ProtectError> for Failure<E> {
    fn from(error: ProtectError) -> Self {
        Self::Protect(error)
    }
}
