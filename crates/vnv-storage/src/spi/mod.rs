//! The driver of SPI FRAM parts.

mod driver;
mod error;
mod owned;
mod part;
mod probe;
mod protocol;
mod shared;
mod status;
mod transport;

pub use driver::Fram;
pub use error::{Error, ProbeError, StatusError};
pub use owned::{Owned, OwnedSpiFram};
pub use part::{AddressWidth, Part};
pub use shared::{Shared, SpiFram};
pub use status::{BlockProtect, Status};
pub use transport::{Header, Stop, Transport};
