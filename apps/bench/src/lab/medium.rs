//! A storage whose traffic is known.

use super::cost::Traffic;
use std::cell::Cell;
use std::fmt::Debug;
use std::rc::Rc;
use vnv_storage::Device;

/// A storage that tells its traffic.
pub trait Medium: Device<Error: Debug> + Sized {
    /// A new one of zeros.
    fn new(capacity: u32) -> Self;
    /// What tells its traffic while another owns it.
    fn meter(&self) -> Meter;
}

/// Tells the traffic of a [`Medium`].
#[derive(Clone)]
pub struct Meter(Rc<dyn Fn() -> Traffic>);

impl Meter {
    /// A meter.
    pub fn new(read: impl Fn() -> Traffic + 'static) -> Self {
        Self(Rc::new(read))
    }

    /// Traffic since the medium was made.
    #[must_use]
    pub fn traffic(&self) -> Traffic {
        (self.0)()
    }

    /// Traffic of `work`, if it succeeds.
    ///
    /// # Errors
    ///
    /// The work's.
    pub fn of<T, E>(&self, work: impl FnOnce() -> Result<T, E>) -> Result<(Traffic, T), E> {
        let before = self.traffic();
        let done = work()?;
        Ok((self.traffic() - before, done))
    }
}

/// Traffic that a device and its meter share.
pub type Tally = Rc<Cell<Traffic>>;

/// Bytes of an address of an SPI part with so many bytes.
#[must_use]
pub const fn address_bytes(capacity: usize) -> u64 {
    if capacity <= 64 * 1024 { 2 } else { 3 }
}
