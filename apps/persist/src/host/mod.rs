//! What the host adds: alarms from another thread, programs that are killed.

pub mod reboot;
pub mod resume;
