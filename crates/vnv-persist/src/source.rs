//! What says that power is failing.

use crate::power_fail::{Outcome, PowerFail};
use core::convert::Infallible;
use embedded_hal::digital::InputPin;
use portable_atomic::{AtomicBool, Ordering};

/// A source of power-fail alarms: a comparator at a pin, a brown-out detector, a timer, a signal, the program itself.
///
/// Where it raises an interrupt or a signal, the handler calls [`PowerFail::enter`]; where it does not, or to find out whether an
/// interrupt was more than a glitch, [`PowerFail::poll`] asks it.
pub trait PowerFailSource {
    /// Why it cannot be asked.
    type Error;

    /// Whether power is failing now.
    ///
    /// # Errors
    ///
    /// The source's.
    fn is_failing(&mut self) -> Result<bool, Self::Error>;
}

impl<const HEAPS: usize> PowerFail<HEAPS> {
    /// Asks `source`. If power is failing: as [`enter`](Self::enter). If it is good: as [`power_good`](Self::power_good), and `None`.
    ///
    /// # Errors
    ///
    /// The source's; nothing was done.
    ///
    /// # Safety
    ///
    /// As [`enter`](Self::enter).
    pub unsafe fn poll<S: PowerFailSource>(&self, source: &mut S) -> Result<Option<Outcome>, S::Error> {
        if source.is_failing()? {
            // SAFETY: the caller's word.
            return Ok(Some(unsafe { self.enter() }));
        }
        self.power_good();
        Ok(None)
    }
}

/// A comparator or voltage detector at a pin, low when power is failing (or high, see [`active_high`](Self::active_high)).
#[derive(Debug)]
pub struct Comparator<PIN> {
    pin: PIN,
    failing_is_high: bool,
}

impl<PIN> Comparator<PIN> {
    /// Power is failing while the pin is low.
    pub const fn active_low(pin: PIN) -> Self {
        Self { pin, failing_is_high: false }
    }

    /// Power is failing while the pin is high.
    pub const fn active_high(pin: PIN) -> Self {
        Self { pin, failing_is_high: true }
    }
}

impl<PIN: InputPin> PowerFailSource for Comparator<PIN> {
    type Error = PIN::Error;

    fn is_failing(&mut self) -> Result<bool, PIN::Error> {
        Ok(self.pin.is_high()? == self.failing_is_high)
    }
}

/// An alarm that the program raises itself.
#[derive(Debug, Default)]
pub struct Software(AtomicBool);

impl Software {
    /// Power is good.
    #[must_use]
    pub const fn new() -> Self {
        Self(AtomicBool::new(false))
    }

    /// Power fails from now on, or is good again.
    pub fn set(&self, failing: bool) {
        self.0.store(failing, Ordering::Relaxed);
    }
}

impl PowerFailSource for &Software {
    type Error = Infallible;

    fn is_failing(&mut self) -> Result<bool, Infallible> {
        Ok(self.0.load(Ordering::Relaxed))
    }
}

/// An alarm at each multiple of a time, once: for tests.
#[derive(Clone, Copy, Debug)]
pub struct Timer {
    now: fn() -> u32,
    every: u32,
    next: u32,
}

impl Timer {
    /// Every so many ticks of the clock `now`, from now on. The clock may wrap.
    #[must_use]
    pub fn new(every: u32, now: fn() -> u32) -> Self {
        Self { now, every, next: now().wrapping_add(every) }
    }
}

impl PowerFailSource for Timer {
    type Error = Infallible;

    fn is_failing(&mut self) -> Result<bool, Infallible> {
        // As far as half the clock's range in the past.
        let is_due = (self.now)().wrapping_sub(self.next) < u32::MAX / 2;
        if is_due {
            self.next = self.next.wrapping_add(self.every);
        }
        Ok(is_due)
    }
}

/// POSIX signals.
#[cfg(all(feature = "std", unix))]
pub mod signal {
    use crate::power_fail::PowerFail;
    use std::io;

    /// Lets a signal be the alarm of a power-fail entry until this is dropped.
    #[derive(Debug)]
    pub struct Signal(signal_hook::SigId);

    impl Signal {
        /// From now on `signal` (`SIGUSR1`, say) calls [`PowerFail::enter`] if it comes to the calling thread, which runs the heaps, and
        /// [`PowerFail::request`] if it comes to another one.
        ///
        /// # Errors
        ///
        /// The system's, for a signal that cannot be handled.
        ///
        /// # Safety
        ///
        /// Only the calling thread runs the protected heaps.
        pub unsafe fn new<const HEAPS: usize>(power_fail: &'static PowerFail<HEAPS>, signal: i32) -> io::Result<Self> {
            // SAFETY: no memory is touched.
            let ours = unsafe { libc::pthread_self() };
            let action = move || {
                // SAFETY: allowed in signal handlers, and touches no memory.
                if unsafe { libc::pthread_equal(libc::pthread_self(), ours) } == 0 {
                    power_fail.request();
                } else {
                    // SAFETY: a signal handler in the thread of the heaps.
                    unsafe { power_fail.enter() };
                }
            };
            // SAFETY: the action neither allocates nor locks nor panics.
            unsafe { signal_hook::low_level::register(signal, action) }.map(Self)
        }
    }

    impl Drop for Signal {
        fn drop(&mut self) {
            signal_hook::low_level::unregister(self.0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    static NOW: portable_atomic::AtomicU32 = portable_atomic::AtomicU32::new(u32::MAX - 5);

    #[test]
    fn a_timer_is_due_once_each_time_across_the_wrap() {
        let mut timer = Timer::new(10, || NOW.load(Ordering::Relaxed));
        let mut due = 0;
        for _ in 0..100 {
            NOW.store(NOW.load(Ordering::Relaxed).wrapping_add(1), Ordering::Relaxed);
            due += u32::from(timer.is_failing() == Ok(true));
        }
        assert_eq!(due, 10);
    }

    #[test]
    fn a_source_that_is_good_withdraws_the_alarm() {
        static POWER_FAIL: PowerFail = PowerFail::new();
        let source = Software::new();
        // SAFETY: there are no heaps.
        assert_eq!(unsafe { POWER_FAIL.poll(&mut &source) }, Ok(None));
        source.set(true);
        // SAFETY: as above.
        assert_eq!(unsafe { POWER_FAIL.poll(&mut &source) }, Ok(Some(Outcome::Saved)));
    }
}
