//! The parts, described by data.

use super::PartError;

/// Number of address bytes that follow the opcode of READ and WRITE.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum AddressWidth {
    /// 16-bit addresses: parts of up to 64 KiB.
    Two,
    /// 24-bit addresses: parts of up to 16 MiB.
    Three,
}

impl AddressWidth {
    /// Bytes that addresses of this width tell apart: 64 KiB or 16 MiB.
    #[must_use]
    pub const fn reach(self) -> u32 {
        match self {
            Self::Two => 1 << 16,
            Self::Three => 1 << 24,
        }
    }
}

/// What wakes a part that sleeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum WakeUp {
    /// A fall of chip select, whatever is sent then.
    ChipSelect,
    /// The opcode WAKE, ABh, in a frame of its own.
    Opcode,
}

/// The sleep mode of a part that has one; it is entered by the opcode SLEEP, B9h, in a frame of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct SleepMode {
    /// What ends it.
    pub wake_up: WakeUp,
    /// From there to the next access (t_REC), in microseconds.
    pub recovery_us: u32,
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
///
/// A description that contradicts itself does not compile in a `const`; see [`PartError`] for what is checked. 128 KiB
/// are beyond two address bytes:
///
/// ```compile_fail
/// # use vnv_storage::{AddressWidth, Part};
/// const PART: Part = Part::new("128K", 128 * 1024, AddressWidth::Two);
/// ```
///
/// 32 MiB are beyond three, and 0 bytes are no part:
///
/// ```compile_fail
/// # use vnv_storage::{AddressWidth, Part};
/// const PART: Part = Part::new("32M", 32 * 1024 * 1024, AddressWidth::Three);
/// ```
///
/// ```compile_fail
/// # use vnv_storage::{AddressWidth, Part};
/// const PART: Part = Part::new("nothing", 0, AddressWidth::Two);
/// ```
///
/// The fields can be changed by hand. [`check`](Part::check) says whether the result is still a part, and every
/// driver asks it: [`Fram::probe`](super::Fram::probe) refuses a contradictory part, and so does every access of a
/// driver that was made without it, before anything is sent.
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
    /// Bytes that may be damaged together by a torn write: a power of two, at least [`page_size`](Part::page_size),
    /// and a divisor of the capacity.
    pub row_size: u32,
    /// Highest clock in Hz, to configure the bus with: over the whole supply range of the part, unless its constant says
    /// otherwise.
    pub max_clock_hz: u32,
    /// From power-on to the first access, in microseconds.
    pub power_up_us: u32,
    /// Of an EEPROM: the bytes that one WRITE can store, a power of two; a longer one wraps inside its page. `None` for
    /// FRAM and MRAM, which store what is sent.
    pub page_size: Option<u32>,
    /// Longest write cycle behind each WRITE and WRSR of an EEPROM, in microseconds; 0 for FRAM and MRAM, and 0
    /// without pages, because the driver waits only for parts that have them.
    pub write_cycle_us: u32,
    /// The sleep mode, if the part has one.
    pub sleep: Option<SleepMode>,
}

/// Sleep from which a fall of chip select wakes.
const SLEEP_UNTIL_SELECTED: SleepMode = SleepMode { wake_up: WakeUp::ChipSelect, recovery_us: 400 };

impl Part {
    /// 8 KiB, 20 MHz, 3.0 to 5.5 V (DS501-00015). The data sheet is silent on rows: 8 bytes are assumed.
    pub const MB85RS64V: Self = Self::new("MB85RS64V", 8 * 1024, AddressWidth::Two).with_id([0x04, 0x7F, 0x03, 0x02]);

    /// 256 KiB, 25 MHz, sleep with a recovery of 400 us (DS501-00023). The data sheet is silent on rows: 8 bytes are
    /// assumed.
    pub const MB85RS2MT: Self = Self::new("MB85RS2MT", 256 * 1024, AddressWidth::Three)
        .with_id([0x04, 0x7F, 0x28, 0x03])
        .with_max_clock_hz(25_000_000)
        .with_sleep(SLEEP_UNTIL_SELECTED);

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

    /// 512 KiB of FRAM, 40 MHz, sleep with a recovery of 400 us. Rows of 8 bytes (64 bits), as in its siblings.
    ///
    /// It answers RDID with 9 bytes, 7F 7F 7F 7F 7F 7F C2 and two of the product, and these contain the revision of the
    /// die: a comparison would refuse good parts. It has therefore no `id` here, and is probed by its write enable latch.
    pub const CY15B104Q: Self = Self::new("CY15B104Q", 512 * 1024, AddressWidth::Three)
        .with_max_clock_hz(40_000_000)
        .with_power_up_us(1000)
        .with_sleep(SLEEP_UNTIL_SELECTED);

    /// 512 KiB of MRAM, 40 MHz, unlimited endurance, without id; sleep and the opcode WAKE, with a recovery of 400 us
    /// (EST00459). Rows are unknown: 8 bytes are assumed. So is that WEL clears after a write, the stricter case.
    pub const MR25H40: Self = Self::new("MR25H40", 512 * 1024, AddressWidth::Three)
        .with_max_clock_hz(40_000_000)
        .with_sleep(SleepMode { wake_up: WakeUp::Opcode, recovery_us: 400 });

    /// 16 KiB of EEPROM: pages of 64 bytes, write cycles of up to 5 ms, 20 MHz in the upper supply range, 10^6 writes of
    /// a page.
    pub const AT25128A: Self = Self::new("AT25128A", 16 * 1024, AddressWidth::Two).with_pages::<64>(5000);

    /// 32 KiB of EEPROM: pages of 64 bytes, write cycles of up to 5 ms, 10 MHz in the upper supply range, 10^6 writes of
    /// a page (DS20001822).
    pub const MICROCHIP_25LC256: Self =
        Self::new("25LC256", 32 * 1024, AddressWidth::Two).with_pages::<64>(5000).with_max_clock_hz(10_000_000);

    /// 32 KiB of EEPROM: pages of 64 bytes, write cycles of up to 5 ms, 20 MHz in the upper supply range, 10^6 writes of
    /// a page.
    pub const AT25256: Self = Self::new("AT25256", 32 * 1024, AddressWidth::Two).with_pages::<64>(5000);

    /// Every part above.
    pub const ALL: [Self; 9] = [
        Self::MB85RS64V,
        Self::MB85RS2MT,
        Self::MB85RS2MTA,
        Self::MB85RS4MT,
        Self::CY15B104Q,
        Self::MR25H40,
        Self::AT25128A,
        Self::MICROCHIP_25LC256,
        Self::AT25256,
    ];

    /// A part of `capacity` bytes without id, pages and sleep, whose WEL clears after each write, with rows of 8 bytes,
    /// a clock of up to 20 MHz, and 0.6 ms from power-on to the first access (DS501-00015, "Power-on/off sequence").
    ///
    /// For descriptions in a `const`, where a contradiction does not compile; [`try_new`](Part::try_new) is for a
    /// capacity that is known only when the program runs.
    ///
    /// # Panics
    ///
    /// Where it is called outside of a `const`: if the capacity is 0, no multiple of 8 bytes, or beyond the
    /// [reach](AddressWidth::reach) of its addresses.
    #[must_use]
    pub const fn new(name: &'static str, capacity: u32, address_width: AddressWidth) -> Self {
        Self::unchecked(name, capacity, address_width).checked()
    }

    /// As [`new`](Part::new), for a capacity that is known only when the program runs.
    ///
    /// ```
    /// # use vnv_storage::{AddressWidth, Part, PartError};
    /// assert_eq!(Part::try_new("128K", 128 * 1024, AddressWidth::Two), Err(PartError::BeyondAddresses));
    /// assert!(Part::try_new("128K", 128 * 1024, AddressWidth::Three).is_ok());
    /// ```
    ///
    /// # Errors
    ///
    /// [`PartError::NoCapacity`], [`PartError::BeyondAddresses`] or [`PartError::PartialRow`].
    pub const fn try_new(name: &'static str, capacity: u32, address_width: AddressWidth) -> Result<Self, PartError> {
        let part = Self::unchecked(name, capacity, address_width);
        match part.check() {
            Ok(()) => Ok(part),
            Err(error) => Err(error),
        }
    }

    const fn unchecked(name: &'static str, capacity: u32, address_width: AddressWidth) -> Self {
        Self {
            name,
            id: None,
            capacity,
            address_width,
            write_enable_survives_write: false,
            row_size: 8,
            max_clock_hz: 20_000_000,
            power_up_us: 600,
            page_size: None,
            write_cycle_us: 0,
            sleep: None,
        }
    }

    /// Status reads (frames of 16 clocks) after which an EEPROM has failed that is still busy: at the highest clock they
    /// take twice the longest write cycle, at a lower one more. At least 1.
    ///
    /// ```
    /// # use vnv_storage::Part;
    /// assert_eq!(Part::AT25256.max_polls(), 12_500);
    /// ```
    #[must_use]
    pub const fn max_polls(&self) -> u32 {
        // 2 x us x MHz / 16, without a 64-bit division.
        let clocks = self.write_cycle_us.saturating_mul(self.max_clock_hz.div_ceil(1_000_000));
        let polls = clocks.div_ceil(8);
        if polls == 0 { 1 } else { polls }
    }

    /// The part with the answer to RDID.
    ///
    /// # Panics
    ///
    /// If all bits of it are the same: that is how a bus answers that has no part. In a `const` it does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// const PART: Part = Part::new("nobody", 8192, AddressWidth::Two).with_id([0xFF; 4]);
    /// ```
    #[must_use]
    pub const fn with_id(mut self, id: [u8; 4]) -> Self {
        self.id = Some(id);
        self.checked()
    }

    /// The part with a WEL that stays set after WRITE and WRSR.
    #[must_use]
    pub const fn with_write_enable_surviving(mut self) -> Self {
        self.write_enable_survives_write = true;
        self
    }

    /// The part with rows of `ROW` bytes. A `ROW` that is no power of two does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// let part = Part::new("rows of 12", 8192, AddressWidth::Two).with_row_size::<12>();
    /// ```
    ///
    /// # Panics
    ///
    /// If the capacity is no multiple of `ROW`, or the part has larger pages: a torn write damages the whole page. In
    /// a `const` that does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// const PART: Part = Part::new("torn", 8192, AddressWidth::Two).with_pages::<64>(5000).with_row_size::<8>();
    /// ```
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// const PART: Part = Part::new("a row and a half", 24, AddressWidth::Two).with_row_size::<16>();
    /// ```
    #[must_use]
    pub const fn with_row_size<const ROW: u32>(mut self) -> Self {
        const { assert!(ROW.is_power_of_two(), "a row size is a power of two") };
        self.row_size = ROW;
        self.checked()
    }

    /// The part as an EEPROM with pages of `PAGE` bytes, and write cycles of up to `write_cycle_us` microseconds. Rows
    /// that are smaller grow to `PAGE`, because a torn write damages the whole page. Pages above 256 bytes are written
    /// in parts of 256. A `PAGE` that is no power of two does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// let part = Part::new("pages of 48", 8192, AddressWidth::Two).with_pages::<48>(5000);
    /// ```
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// let part = Part::new("no page", 8192, AddressWidth::Two).with_pages::<0>(5000);
    /// ```
    ///
    /// # Panics
    ///
    /// If the capacity is no multiple of `PAGE`. In a `const` that does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// const PART: Part = Part::new("a page and a half", 96, AddressWidth::Two).with_pages::<64>(5000);
    /// ```
    #[must_use]
    pub const fn with_pages<const PAGE: u32>(mut self, write_cycle_us: u32) -> Self {
        const { assert!(PAGE.is_power_of_two(), "a page size is a power of two") };
        if self.row_size < PAGE {
            self.row_size = PAGE;
        }
        self.page_size = Some(PAGE);
        self.write_cycle_us = write_cycle_us;
        self.checked()
    }

    /// The part with a sleep mode.
    #[must_use]
    pub const fn with_sleep(mut self, mode: SleepMode) -> Self {
        self.sleep = Some(mode);
        self
    }

    /// The part with so many microseconds from power-on to the first access.
    #[must_use]
    pub const fn with_power_up_us(mut self, microseconds: u32) -> Self {
        self.power_up_us = microseconds;
        self
    }

    /// The part with a clock of up to `hertz`.
    ///
    /// # Panics
    ///
    /// If it is 0; in a `const` that does not compile:
    ///
    /// ```compile_fail
    /// # use vnv_storage::{AddressWidth, Part};
    /// const PART: Part = Part::new("stopped", 8192, AddressWidth::Two).with_max_clock_hz(0);
    /// ```
    #[must_use]
    pub const fn with_max_clock_hz(mut self, hertz: u32) -> Self {
        self.max_clock_hz = hertz;
        self.checked()
    }
}
