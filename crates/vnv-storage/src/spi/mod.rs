//! The driver of SPI FRAM, MRAM and EEPROM parts.

mod driver;
mod error;
mod owned;
mod part;
mod part_error;
mod probe;
mod protocol;
mod ready;
mod roll_over;
mod shared;
mod sleep;
mod status;
mod transport;
mod writable;

pub use driver::Fram;
pub use error::{Error, ProbeError, SleepError, StatusError};
pub use owned::{Owned, OwnedSpiFram};
pub use part::{AddressWidth, Part, SleepMode, WakeUp};
pub use part_error::PartError;
pub use shared::{Shared, SpiFram};
pub use status::{BlockProtect, Status};
pub use transport::{Header, Stop, Transport};
