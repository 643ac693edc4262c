//! An SPI FRAM, MRAM or EEPROM part on a simulated bus.

use core::fmt;
use std::cell::{RefCell, RefMut};
use std::rc::Rc;

use embedded_hal::{delay, digital, spi};
use vnv_storage::Part;

use crate::bus_counters::BusCounters;
use crate::chip::{Chip, NON_VOLATILE, Power};
use crate::tear::Tear;
use crate::violation::Violation;

/// An SPI FRAM part, bit by bit after its data sheet (DS501-00015 for the MB85RS64V, its siblings by [`Part`]), or an MRAM
/// or EEPROM part.
///
/// Time is what the clocks of the bus take at the highest clock of the part, and what is waited with a
/// [`delay`](Fram::delay). An EEPROM takes no command but RDSR until its write cycle has ended, and a part that was asleep
/// none until it has recovered.
///
/// [`bus`](Fram::bus) and [`chip_select`](Fram::chip_select) are the wires to it. Clones of the model share one part.
/// WREN and WRDI are obeyed when chip select rises right behind the opcode.
///
/// Cut points are counted in bits over all frames: run the scenario once, ask [`BusCounters::bits`], and run it again
/// from the same image for every cut point.
///
/// ```
/// use vnv_sim::{Fram, Tear};
/// use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
/// use vnv_storage::{OwnedSpiFram, Part};
///
/// let model = Fram::new(Part::MB85RS64V);
/// let mut fram = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), Part::MB85RS64V);
/// fram.write(0x100, b"kept").unwrap();
///
/// // WREN takes 8 bits, opcode and address 24: power fails in the second byte of data.
/// model.set_tear(Tear::T0);
/// model.cut_after_bits(8 + 24 + 11);
/// assert!(fram.write(0x100, b"lost").is_err());
/// model.power_on();
/// let mut bytes = [0; 4];
/// fram.read(0x100, &mut bytes).unwrap();
/// assert_eq!(&bytes, b"lept");
/// ```
#[derive(Clone, Debug)]
pub struct Fram {
    wires: Rc<RefCell<Wires>>,
}

#[derive(Clone, Debug)]
struct Wires {
    chip: Chip,
    unflushed: bool,
    /// Bytes still to come before the bus fails once.
    bus_fault: Option<u64>,
    /// Edges of chip select still to come before the pin fails once.
    pin_fault: Option<u64>,
    /// The level at which MISO is stuck, and for how many bytes more.
    stuck: Option<(bool, u64)>,
    /// Nothing is connected, and the level of MISO then.
    absent: Option<bool>,
}

impl Fram {
    /// A new part: all bytes zero, status register zero, power on.
    #[must_use]
    pub fn new(part: Part) -> Self {
        Self::from_image(part, Vec::new())
    }

    /// A part that holds `image`; bytes that it lacks are zero, bytes beyond the capacity are dropped.
    #[must_use]
    pub fn from_image(part: Part, image: Vec<u8>) -> Self {
        let chip = Chip::new(part, image);
        Self {
            wires: Rc::new(RefCell::new(Wires {
                chip,
                unflushed: false,
                bus_fault: None,
                pin_fault: None,
                stuck: None,
                absent: None,
            })),
        }
    }

    /// A part that is smaller than `described`: it has `bytes` bytes, ignores the address bits above them, and rolls
    /// over. It holds as much of `image`; bytes that it lacks are zero. Drive it with `described`.
    ///
    /// ```
    /// use vnv_sim::Fram;
    /// use vnv_storage::embedded_storage::Storage as _;
    /// use vnv_storage::{AddressWidth, OwnedSpiFram, Part};
    ///
    /// const DESCRIBED: Part = Part::new("64K", 64 * 1024, AddressWidth::Two);
    /// let model = Fram::with_real_capacity(DESCRIBED, Vec::new(), 32 * 1024);
    /// let mut fram = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), DESCRIBED);
    /// fram.write(32 * 1024 + 1, &[7]).unwrap();
    /// assert_eq!(model.image()[1], 7);
    /// ```
    ///
    /// # Panics
    ///
    /// If `bytes` is 0 or beyond the capacity that is described.
    #[must_use]
    pub fn with_real_capacity(described: Part, image: Vec<u8>, bytes: u32) -> Self {
        assert!((1..=described.capacity).contains(&bytes), "a smaller part has 1 byte to {}", described.capacity);
        let mut real = described;
        real.capacity = bytes;
        Self::from_image(real, image)
    }

    /// The description of the part, with its real capacity.
    #[must_use]
    pub fn part(&self) -> Part {
        self.chip().part
    }

    /// The bus to the part.
    #[must_use]
    pub fn bus(&self) -> SimBus {
        SimBus { wires: Rc::clone(&self.wires) }
    }

    /// The chip select pin of the part.
    #[must_use]
    pub fn chip_select(&self) -> SimChipSelect {
        SimChipSelect { wires: Rc::clone(&self.wires) }
    }

    /// A delay in the time of the part.
    #[must_use]
    pub fn delay(&self) -> SimDelay {
        SimDelay { wires: Rc::clone(&self.wires) }
    }

    /// Sets the clocks that the next write cycles of an EEPROM take; [`Part::write_cycle_us`] at the highest clock of the
    /// part without. `u64::MAX`: a part that stays busy until power is turned off.
    pub fn set_write_cycle_clocks(&self, clocks: u64) {
        self.chip().cycle_clocks = clocks;
    }

    fn is_absent(&self) -> bool {
        self.wires.borrow().absent.is_some()
    }

    fn chip(&self) -> RefMut<'_, Chip> {
        RefMut::map(self.wires.borrow_mut(), |wires| &mut wires.chip)
    }

    /// Sets the effect of the next cuts ([`Tear::T0`] without).
    ///
    /// With [`Tear::T3`] the bus and chip select keep working until the frame of a cut write ends, its bytes become
    /// garbage, and the rise of chip select is the first to fail.
    pub fn set_tear(&self, tear: Tear) {
        self.chip().tear = tear;
    }

    /// Lets power fail once `n` more bits have been clocked, before anything else happens. Within a byte the byte is in
    /// flight; between two bytes of a frame the row of the byte stored last is. A cut in a write cycle tears its page, the
    /// byte in flight by the time that has passed.
    pub fn cut_after_bits(&self, n: u64) {
        self.chip().cut = Some(n);
    }

    /// Turns power on again: WEL is clear, chip select high, no cycle runs and nothing sleeps, cuts and injections
    /// that have not happened are disarmed. A part that is [absent](Fram::set_absent) stays it.
    pub fn power_on(&self) {
        let mut wires = self.wires.borrow_mut();
        wires.chip.power_on();
        wires.unflushed = false;
        wires.bus_fault = None;
        wires.pin_fault = None;
        wires.stuck = None;
    }

    /// Whether power is on.
    #[must_use]
    pub fn is_powered(&self) -> bool {
        self.chip().power == Power::On
    }

    /// Disconnects the part: what is sent reaches nobody, and MISO has the level that is given (high where it is
    /// pulled up, or floats). `None` connects it again.
    pub fn set_absent(&self, miso_high: Option<bool>) {
        self.wires.borrow_mut().absent = miso_high;
    }

    /// Sets the non-volatile bits of the status register (7 to 2), as an earlier life may have left them: block
    /// protection, 04h (upper quarter), 08h (upper half) or 0Ch (all), and WPEN, 80h. No frame, no write cycle.
    pub fn set_status(&self, bits: u8) {
        let mut chip = self.chip();
        chip.status = chip.status & !NON_VOLATILE | bits & NON_VOLATILE;
    }

    /// Puts the part to sleep, as an earlier life may have left it. Nothing happens to a part without a sleep mode.
    pub fn fall_asleep(&self) {
        self.chip().fall_asleep();
    }

    /// Whether the part sleeps.
    #[must_use]
    pub fn is_asleep(&self) -> bool {
        self.chip().is_asleep()
    }

    /// Sets the WP pin; it is high without.
    pub fn set_write_protect_low(&self, low: bool) {
        self.chip().write_protect_low = low;
    }

    /// Lets the bus fail once with [`BusError::Injected`] after `n` more bytes; power stays on.
    pub fn fail_bus_after_bytes(&self, n: u64) {
        self.wires.borrow_mut().bus_fault = Some(n);
    }

    /// Lets the `n`th call of the chip select pin from now (0: the next) fail with [`BusError::Injected`] and leave the
    /// pin as it is; power stays on.
    pub fn fail_chip_select_at(&self, n: u64) {
        self.wires.borrow_mut().pin_fault = Some(n);
    }

    /// Holds MISO at one level for the next `bytes` bytes; the part itself goes on.
    pub fn stick_miso(&self, high: bool, bytes: u64) {
        self.wires.borrow_mut().stuck = Some((high, bytes));
    }

    /// Fifth rung: the next WRITE frame stores only its first `bytes` bytes (0: it is dropped) without an error.
    pub fn truncate_next_write(&self, bytes: usize) {
        self.chip().truncate = Some(bytes);
    }

    /// Fifth rung: a write that nobody asked for. Bytes beyond the end are ignored.
    pub fn stray_write(&self, offset: u32, bytes: &[u8]) {
        let mut chip = self.chip();
        chip.memory.iter_mut().skip(offset as usize).zip(bytes).for_each(|(byte, new)| *byte = *new);
    }

    /// Clocks the upper `bits` bits (at most 8) of `mosi`, for frames that end within a byte.
    ///
    /// # Errors
    ///
    /// [`BusError::PowerLost`].
    pub fn clock_bits(&self, mosi: u8, bits: u8) -> Result<(), BusError> {
        if self.is_absent() {
            return Ok(());
        }
        let mut chip = self.chip();
        for index in 0..bits.min(8) {
            chip.bit(mosi << index & 0x80 != 0, None).ok_or(BusError::PowerLost)?;
        }
        Ok(())
    }

    /// Clocks bit `index` (0: the first, most significant) of `mosi`, the byte that the host is sending.
    ///
    /// # Errors
    ///
    /// [`BusError::PowerLost`].
    pub fn clock_bit_of(&self, mosi: u8, index: u8) -> Result<(), BusError> {
        if self.is_absent() {
            return Ok(());
        }
        let bit = mosi << index.min(7) & 0x80 != 0;
        self.chip().bit(bit, Some(mosi)).map(|_| ()).ok_or(BusError::PowerLost)
    }

    /// Another part in the same state, in the middle of the same frame, with wires of its own.
    #[must_use]
    pub fn fork(&self) -> Self {
        Self { wires: Rc::new(RefCell::new(self.wires.borrow().clone())) }
    }

    /// Records from now on what the host sends.
    pub fn record_frames(&self) {
        self.chip().frames = Some(Vec::new());
    }

    /// The number of frames recorded so far.
    #[must_use]
    pub fn recorded_frames(&self) -> usize {
        self.chip().frames.as_ref().map_or(0, Vec::len)
    }

    /// Ends recording and returns what the host sent: the bytes of each frame, from the opcode on.
    #[must_use]
    pub fn take_frames(&self) -> Vec<Vec<u8>> {
        self.chip().frames.take().unwrap_or_default()
    }

    /// A copy of the content; during a write cycle as it will be.
    #[must_use]
    pub fn image(&self) -> Vec<u8> {
        self.chip().memory.clone()
    }

    /// The status register, without WIP.
    #[must_use]
    pub fn status(&self) -> u8 {
        self.chip().status
    }

    /// A copy of the counters.
    #[must_use]
    pub fn counters(&self) -> BusCounters {
        self.chip().counters.clone()
    }

    /// Sets all counters to 0.
    pub fn reset_counters(&self) {
        let mut chip = self.chip();
        chip.counters = BusCounters::new(chip.counters.row_writes.len());
    }

    /// The offences against the protocol so far, oldest first.
    #[must_use]
    pub fn violations(&self) -> Vec<Violation> {
        self.chip().violations.clone()
    }

    /// Returns the offences so far, oldest first, and forgets them.
    #[must_use]
    pub fn take_violations(&self) -> Vec<Violation> {
        std::mem::take(&mut self.chip().violations)
    }
}

/// Why a simulated wire failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum BusError {
    /// Power is lost; see [`Fram::power_on`].
    PowerLost,
    /// A failure that a test asked for.
    Injected,
}

impl fmt::Display for BusError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::PowerLost => "power is lost",
            Self::Injected => "injected failure of the bus",
        })
    }
}

impl core::error::Error for BusError {}

impl spi::Error for BusError {
    fn kind(&self) -> spi::ErrorKind {
        spi::ErrorKind::Other
    }
}

impl digital::Error for BusError {
    fn kind(&self) -> digital::ErrorKind {
        digital::ErrorKind::Other
    }
}

/// The bus to a [`Fram`]. While a read clocks, MOSI is low.
#[derive(Debug)]
pub struct SimBus {
    wires: Rc<RefCell<Wires>>,
}

impl SimBus {
    fn exchange(&mut self, mosi: u8) -> Result<u8, BusError> {
        let mut wires = self.wires.borrow_mut();
        match wires.bus_fault {
            Some(0) => {
                wires.bus_fault = None;
                return Err(BusError::Injected);
            }
            Some(left) => wires.bus_fault = Some(left - 1),
            None => {}
        }
        wires.unflushed = true;
        if let Some(high) = wires.absent {
            return Ok(if high { 0xFF } else { 0x00 });
        }
        let miso = wires.chip.byte(mosi).ok_or(BusError::PowerLost)?;
        match &mut wires.stuck {
            Some((high, left)) if *left > 0 => {
                *left -= 1;
                Ok(if *high { 0xFF } else { 0x00 })
            }
            _ => Ok(miso),
        }
    }
}

impl spi::ErrorType for SimBus {
    type Error = BusError;
}

impl spi::SpiBus for SimBus {
    fn read(&mut self, words: &mut [u8]) -> Result<(), BusError> {
        words.iter_mut().try_for_each(|word| self.exchange(0).map(|miso| *word = miso))
    }

    fn write(&mut self, words: &[u8]) -> Result<(), BusError> {
        words.iter().try_for_each(|word| self.exchange(*word).map(|_| ()))
    }

    fn transfer(&mut self, read: &mut [u8], write: &[u8]) -> Result<(), BusError> {
        for index in 0..read.len().max(write.len()) {
            let miso = self.exchange(write.get(index).copied().unwrap_or(0))?;
            if let Some(word) = read.get_mut(index) {
                *word = miso;
            }
        }
        Ok(())
    }

    fn transfer_in_place(&mut self, words: &mut [u8]) -> Result<(), BusError> {
        words.iter_mut().try_for_each(|word| self.exchange(*word).map(|miso| *word = miso))
    }

    fn flush(&mut self) -> Result<(), BusError> {
        self.wires.borrow_mut().unflushed = false;
        Ok(())
    }
}

/// The chip select pin of a [`Fram`], low when selected.
#[derive(Debug)]
pub struct SimChipSelect {
    wires: Rc<RefCell<Wires>>,
}

impl SimChipSelect {
    fn edge(&mut self, change: fn(&mut Chip) -> bool) -> Result<(), BusError> {
        let mut wires = self.wires.borrow_mut();
        match wires.pin_fault {
            Some(0) => {
                wires.pin_fault = None;
                return Err(BusError::Injected);
            }
            Some(left) => wires.pin_fault = Some(left - 1),
            None => {}
        }
        if wires.unflushed {
            wires.unflushed = false;
            wires.chip.violations.push(Violation::NotFlushed);
        }
        if wires.absent.is_some() || change(&mut wires.chip) { Ok(()) } else { Err(BusError::PowerLost) }
    }
}

impl digital::ErrorType for SimChipSelect {
    type Error = BusError;
}

impl digital::OutputPin for SimChipSelect {
    fn set_low(&mut self) -> Result<(), BusError> {
        self.edge(Chip::select)
    }

    fn set_high(&mut self) -> Result<(), BusError> {
        self.edge(Chip::deselect)
    }
}

/// A delay that lets time pass for a [`Fram`].
#[derive(Debug)]
pub struct SimDelay {
    wires: Rc<RefCell<Wires>>,
}

impl delay::DelayNs for SimDelay {
    fn delay_ns(&mut self, ns: u32) {
        let chip = &mut self.wires.borrow_mut().chip;
        let clocks = (u64::from(ns) * u64::from(chip.part.max_clock_hz)).div_ceil(1_000_000_000);
        chip.elapse(clocks);
    }
}
