//! The parts, described by data.

/// Number of address bytes that follow the opcode of READ and WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AddressWidth {
    /// 16-bit addresses: parts of up to 64 KiB.
    Two,
    /// 24-bit addresses: parts of up to 16 MiB.
    Three,
}

/// What the driver, and a simulator, must know about a part.
///
/// The known parts are constants. Another part of the same command set is described with [`new`](Part::new) and the
/// `with_` methods:
///
/// ```
/// use vnv_storage::{AddressWidth, Part};
///
/// const SECOND_SOURCE: Part = Part::new("second source", 32 * 1024, AddressWidth::Two)
///     .with_id([0x04, 0x7F, 0x05, 0x09])
///     .with_max_clock_hz(33_000_000);
/// assert_eq!(SECOND_SOURCE.capacity, 32_768);
/// assert_eq!(SECOND_SOURCE.row_size, 8);
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Part {
    /// Name of the part.
    pub name: &'static str,
    /// The four bytes that RDID returns, or `None` if the part does not know RDID.
    pub id: Option<[u8; 4]>,
    /// Capacity in bytes.
    pub capacity: u32,
    /// Width of an address.
    pub address_width: AddressWidth,
    /// Whether WEL stays set after WRITE and WRSR. The driver sends WREN before each of them in any case.
    pub write_enable_survives_write: bool,
    /// Bytes that may be damaged together by a torn write: a power of two.
    pub row_size: u32,
    /// Highest clock in Hz over the whole supply range of the part, to configure the bus with.
    pub max_clock_hz: u32,
}

impl Part {
    /// 8 KiB, 20 MHz, 3.0 to 5.5 V (DS501-00015). The data sheet is silent on rows: 8 bytes are assumed.
    pub const MB85RS64V: Self = Self::new("MB85RS64V", 8 * 1024, AddressWidth::Two).with_id([0x04, 0x7F, 0x03, 0x02]);

    /// 256 KiB, 25 MHz (DS501-00023). The data sheet is silent on rows: 8 bytes are assumed.
    pub const MB85RS2MT: Self = Self::new("MB85RS2MT", 256 * 1024, AddressWidth::Three)
        .with_id([0x04, 0x7F, 0x28, 0x03])
        .with_max_clock_hz(25_000_000);

    /// 256 KiB, 33 MHz (40 MHz in the upper supply range), rows of 4 bytes, WEL stays set (DS501-00032).
    pub const MB85RS2MTA: Self = Self::new("MB85RS2MTA", 256 * 1024, AddressWidth::Three)
        .with_id([0x04, 0x7F, 0x48, 0x03])
        .with_write_enable_surviving()
        .with_row_size::<4>()
        .with_max_clock_hz(33_000_000);

    /// 512 KiB, 33 MHz (40 MHz in the upper supply range), otherwise as the MB85RS2MTA (DS501-00053).
    pub const MB85RS4MT: Self = Self::new("MB85RS4MT", 512 * 1024, AddressWidth::Three)
        .with_id([0x04, 0x7F, 0x49, 0x03])
        .with_write_enable_surviving()
        .with_row_size::<4>()
        .with_max_clock_hz(33_000_000);

    /// Every part of the table above.
    pub const ALL: [Self; 4] = [Self::MB85RS64V, Self::MB85RS2MT, Self::MB85RS2MTA, Self::MB85RS4MT];

    /// A part of `capacity` bytes without id, whose WEL clears after each write, with rows of 8 bytes and a clock of
    /// up to 20 MHz.
    #[must_use]
    pub const fn new(name: &'static str, capacity: u32, address_width: AddressWidth) -> Self {
        Self {
            name,
            id: None,
            capacity,
            address_width,
            write_enable_survives_write: false,
            row_size: 8,
            max_clock_hz: 20_000_000,
        }
    }

    /// The part with the answer to RDID.
    #[must_use]
    pub const fn with_id(mut self, id: [u8; 4]) -> Self {
        self.id = Some(id);
        self
    }

    /// The part with a WEL that stays set after WRITE and WRSR.
    #[must_use]
    pub const fn with_write_enable_surviving(mut self) -> Self {
        self.write_enable_survives_write = true;
        self
    }

    /// The part with rows of `ROW` bytes. A `ROW` that is no power of two does not compile.
    #[must_use]
    pub const fn with_row_size<const ROW: u32>(mut self) -> Self {
        const { assert!(ROW.is_power_of_two(), "a row size is a power of two") };
        self.row_size = ROW;
        self
    }

    /// The part with a clock of up to `hertz`.
    #[must_use]
    pub const fn with_max_clock_hz(mut self, hertz: u32) -> Self {
        self.max_clock_hz = hertz;
        self
    }
}
