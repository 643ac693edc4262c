//! The host as a board: a file is the storage, a signal the power-fail alarm.

use crate::Board;
use std::path::Path;
use std::time::Duration;
use vnv_persist::PowerFail;
use vnv_persist::signal::Signal;
use vnv_storage::{FileError, FileStorage};

/// This process.
#[derive(Debug)]
pub struct Host {
    steps: u32,
    pace: Duration,
    signal: Option<Signal>,
}

impl Host {
    /// Ends the application after so many pauses.
    #[must_use]
    pub const fn new(steps: u32) -> Self {
        Self { steps, pace: Duration::ZERO, signal: None }
    }

    /// With pauses of this length.
    #[must_use]
    pub fn pace(self, pace: Duration) -> Self {
        Self { pace, ..self }
    }
}

impl Board for Host {
    fn pause(&mut self) -> bool {
        std::thread::sleep(self.pace);
        let goes_on = self.steps > 0;
        self.steps = self.steps.saturating_sub(1);
        goes_on
    }

    /// `SIGUSR1` is the alarm.
    fn watch_power(&mut self, power_fail: &'static PowerFail) {
        // SAFETY: the application runs its heap in the thread that calls this.
        match unsafe { Signal::new(power_fail, libc::SIGUSR1) } {
            Ok(signal) => self.signal = Some(signal),
            Err(error) => eprintln!("there will be no power-fail alarms: {error}"),
        }
    }
}

/// The storage in a file, which is made with `capacity` bytes if it is not there.
///
/// # Errors
///
/// The file's.
pub fn storage(path: &Path, capacity: u32) -> Result<FileStorage, FileError> {
    if path.exists() { FileStorage::open(path) } else { FileStorage::create(path, capacity) }
}
