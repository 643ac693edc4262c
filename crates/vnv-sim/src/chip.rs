//! The part itself: a state machine clocked bit by bit, after DS501-00015 and its siblings.

use vnv_storage::Part;

use crate::bus_counters::BusCounters;
use crate::tear::{Tear, row_of};
use crate::violation::Violation;

mod waits;

use waits::{Cycle, PageBuffer};

const WREN: u8 = 0x06;
const WRDI: u8 = 0x04;
const RDSR: u8 = 0x05;
const WRSR: u8 = 0x01;
const READ: u8 = 0x03;
const WRITE: u8 = 0x02;
const RDID: u8 = 0x9F;
const SLEEP: u8 = 0xB9;
const WAKE: u8 = 0xAB;

const WRITE_PROTECT_ENABLE: u8 = 0x80;
const WRITE_ENABLE_LATCH: u8 = 0x02;
/// The bits of the status register that WRSR changes and that survive power-off.
pub(crate) const NON_VOLATILE: u8 = 0xFC;

/// What the part is doing in the running frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Opcode,
    /// WREN or WRDI: obeyed when chip select rises right behind the opcode.
    Latch {
        enable: bool,
    },
    Address {
        write: bool,
        address: u32,
        missing: u8,
    },
    Read {
        address: usize,
    },
    Write {
        address: usize,
        obeyed: bool,
    },
    StatusRead,
    StatusWrite {
        obeyed: bool,
        done: bool,
    },
    Id {
        index: usize,
    },
    /// SLEEP or WAKE: obeyed when chip select rises right behind the opcode.
    Sleep {
        enter: bool,
    },
    /// The fall of chip select has woken the part; what is sent is lost.
    Waking {
        bytes: u8,
    },
    Ignored,
}

/// Whether the part has power.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Power {
    On,
    /// Third rung: power has failed, the rest of the running write becomes garbage.
    Fading,
    Off,
}

#[derive(Clone, Debug)]
pub(crate) struct Chip {
    pub(crate) part: Part,
    pub(crate) memory: Vec<u8>,
    pub(crate) status: u8,
    pub(crate) write_protect_low: bool,
    pub(crate) power: Power,
    pub(crate) tear: Tear,
    /// Bits still to be clocked before power fails.
    pub(crate) cut: Option<u64>,
    /// Data bytes that the next WRITE frame stores before it stops (fifth rung).
    pub(crate) truncate: Option<usize>,
    pub(crate) counters: BusCounters,
    pub(crate) violations: Vec<Violation>,
    /// What the host sent, frame by frame, if it is recorded.
    pub(crate) frames: Option<Vec<Vec<u8>>>,
    selected: bool,
    phase: Phase,
    /// Bits of the running byte, MOSI and MISO.
    bits: u8,
    shift_in: u8,
    shift_out: u8,
    /// The row that the running write last reached, as it was before, and where it begins.
    row_before: Option<(usize, Vec<u8>)>,
    /// The byte stored last in this frame.
    last_stored: Option<usize>,
    /// The byte put out last in this frame.
    last_read: Option<usize>,
    stored_in_frame: usize,
    /// Clocks of a write cycle.
    pub(crate) cycle_clocks: u64,
    page: Option<PageBuffer>,
    cycle: Option<Cycle>,
    asleep: bool,
    /// Clocks until the part has recovered from sleep.
    recovery: u64,
}

impl Chip {
    pub(crate) fn new(part: Part, mut image: Vec<u8>) -> Self {
        image.resize(part.capacity as usize, 0);
        let rows = image.len().div_ceil(part.row_size as usize);
        let mut chip = Self {
            part,
            memory: image,
            status: 0,
            write_protect_low: false,
            power: Power::On,
            tear: Tear::default(),
            cut: None,
            truncate: None,
            counters: BusCounters::new(rows),
            violations: Vec::new(),
            frames: None,
            selected: false,
            phase: Phase::Opcode,
            bits: 0,
            shift_in: 0,
            shift_out: 0xFF,
            row_before: None,
            last_stored: None,
            last_read: None,
            stored_in_frame: 0,
            cycle_clocks: 0,
            page: None,
            cycle: None,
            asleep: false,
            recovery: 0,
        };
        chip.cycle_clocks = chip.clocks_of(part.write_cycle_us);
        chip
    }

    pub(crate) fn power_on(&mut self) {
        self.power = Power::On;
        self.cut = None;
        self.truncate = None;
        self.selected = false;
        self.page = None;
        self.cycle = None;
        self.asleep = false;
        self.recovery = 0;
        // WEL is volatile; the other bits are not.
        self.status &= NON_VOLATILE;
    }

    /// Whether the bus still works; a cut that is due now happens first.
    pub(crate) fn alive(&mut self) -> bool {
        if self.power == Power::On && self.cut == Some(0) {
            self.fail_power(None);
        }
        self.power != Power::Off
    }

    pub(crate) fn select(&mut self) -> bool {
        if !self.alive() {
            return false;
        }
        if !self.selected {
            self.selected = true;
            self.phase = self.first_phase();
            self.page = None;
            self.bits = 0;
            self.shift_in = 0;
            self.shift_out = 0xFF;
            self.row_before = None;
            self.last_stored = None;
            self.last_read = None;
            self.stored_in_frame = 0;
            self.counters.frames += 1;
            if let Some(frames) = &mut self.frames {
                frames.push(Vec::new());
            }
        }
        true
    }

    pub(crate) fn deselect(&mut self) -> bool {
        if !self.alive() {
            return false;
        }
        if self.power == Power::Fading {
            self.power = Power::Off;
            return false;
        }
        if !self.selected {
            return true;
        }
        self.selected = false;
        let clean = self.bits == 0;
        if !clean {
            self.violations.push(Violation::PartialByte { bits: self.bits });
        }
        match self.phase {
            Phase::Latch { enable } if clean => self.set_latch(enable),
            Phase::Sleep { enter: true } if clean => self.asleep = true,
            Phase::Sleep { enter: false } if clean => self.wake(),
            Phase::Write { .. } | Phase::StatusWrite { .. } if self.part.page_size.is_some() => self.begin_cycle(clean),
            Phase::Write { .. } | Phase::StatusWrite { .. } if !self.part.write_enable_survives_write => {
                self.set_latch(false);
            }
            Phase::Address { .. } => self.violations.push(Violation::PartialAddress),
            _ => {}
        }
        if matches!(self.phase, Phase::Write { .. }) {
            self.truncate = None;
        }
        true
    }

    fn set_latch(&mut self, enable: bool) {
        self.status = if enable { self.status | WRITE_ENABLE_LATCH } else { self.status & !WRITE_ENABLE_LATCH };
    }

    /// One byte on the bus; `None` once power is lost.
    pub(crate) fn byte(&mut self, mosi: u8) -> Option<u8> {
        if let Some(frame) = self.frames.as_mut().filter(|_| self.selected).and_then(|frames| frames.last_mut()) {
            frame.push(mosi);
        }
        let mut miso = 0;
        for index in (0..8).rev() {
            let bit = self.bit(mosi >> index & 1 != 0, Some(mosi))?;
            miso = miso << 1 | u8::from(bit);
        }
        Some(miso)
    }

    /// One clock. `arriving` is the whole byte that the host is sending, if known.
    pub(crate) fn bit(&mut self, mosi: bool, arriving: Option<u8>) -> Option<bool> {
        if !self.alive() {
            return None;
        }
        self.elapse(1);
        if !self.selected {
            self.violations.push(Violation::NotSelected);
            return Some(true);
        }
        let miso = self.shift_out & 0x80 != 0;
        self.shift_out = self.shift_out << 1 | 1;
        self.shift_in = self.shift_in << 1 | u8::from(mosi);
        self.bits += 1;
        self.counters.bits += 1;
        if let Some(left) = &mut self.cut {
            *left = left.saturating_sub(1);
        }
        if self.bits == 8 {
            self.bits = 0;
            self.byte_in(self.shift_in);
        }
        if self.power == Power::On && self.cut == Some(0) {
            self.fail_power(arriving);
        }
        (self.power != Power::Off).then_some(miso)
    }

    /// A whole byte has been clocked in, and the one in `shift_out` out.
    fn byte_in(&mut self, byte: u8) {
        match self.phase {
            Phase::Opcode => self.begin(byte),
            Phase::Latch { .. } | Phase::Sleep { .. } => {
                self.violations.push(Violation::TrailingBytes);
                self.phase = Phase::Ignored;
            }
            Phase::Address { write, address, missing } => {
                let address = address << 8 | u32::from(byte);
                if missing > 1 {
                    self.phase = Phase::Address { write, address, missing: missing - 1 };
                    return;
                }
                // The bits above the capacity are ignored.
                let address = (address % self.part.capacity) as usize;
                if write {
                    let obeyed = self.status & WRITE_ENABLE_LATCH != 0;
                    if !obeyed {
                        self.violations.push(Violation::WriteWithoutEnable);
                    }
                    self.open_page(address);
                    self.phase = Phase::Write { address, obeyed };
                } else {
                    self.phase = Phase::Read { address };
                    self.shift_out = self.memory[address];
                }
            }
            Phase::Read { address } => {
                self.counters.bytes_read += 1;
                self.last_read = Some(address);
                let next = self.next(address);
                self.phase = Phase::Read { address: next };
                self.shift_out = self.memory[next];
            }
            Phase::Write { address, obeyed } => {
                if obeyed {
                    self.store(address, byte);
                }
                self.phase = Phase::Write { address: self.next_written(address), obeyed };
            }
            Phase::StatusRead => self.shift_out = self.status_out(),
            Phase::StatusWrite { obeyed, done } => {
                if done {
                    self.violations.push(Violation::TrailingBytes);
                } else if obeyed {
                    self.status = (self.status & !NON_VOLATILE) | (byte & NON_VOLATILE);
                }
                self.phase = Phase::StatusWrite { obeyed, done: true };
            }
            Phase::Id { index } => {
                let id = self.part.id.unwrap_or([0xFF; 4]);
                // Behind the fourth byte the output holds its last bit.
                let held = if id[3] & 1 == 0 { 0x00 } else { 0xFF };
                self.shift_out = id.get(index).copied().unwrap_or(held);
                self.phase = Phase::Id { index: index + 1 };
            }
            Phase::Waking { bytes } => self.byte_while_waking(byte, bytes),
            Phase::Ignored => {}
        }
    }

    fn begin(&mut self, opcode: u8) {
        self.counters.frames_by_opcode[usize::from(opcode)] += 1;
        let missing = self.address_bytes();
        let offence = if self.asleep && opcode != WAKE {
            Some(Violation::Asleep)
        } else if self.cycle.is_some() && opcode != RDSR {
            Some(Violation::Busy { opcode })
        } else {
            None
        };
        if let Some(offence) = offence {
            self.violations.push(offence);
            self.phase = Phase::Ignored;
            return;
        }
        self.phase = match opcode {
            WREN => Phase::Latch { enable: true },
            WRDI => Phase::Latch { enable: false },
            READ => Phase::Address { write: false, address: 0, missing },
            WRITE => Phase::Address { write: true, address: 0, missing },
            RDSR => {
                self.shift_out = self.status_out();
                Phase::StatusRead
            }
            WRSR => {
                let refused = self.status & WRITE_PROTECT_ENABLE != 0 && self.write_protect_low;
                let enabled = self.status & WRITE_ENABLE_LATCH != 0;
                if !enabled {
                    self.violations.push(Violation::WriteWithoutEnable);
                } else if refused {
                    self.violations.push(Violation::StatusProtected);
                }
                Phase::StatusWrite { obeyed: enabled && !refused, done: false }
            }
            SLEEP if self.part.sleep.is_some() => Phase::Sleep { enter: true },
            WAKE if self.part.sleep.is_some_and(|mode| mode.wake_up == vnv_storage::WakeUp::Opcode) => {
                Phase::Sleep { enter: false }
            }
            RDID if self.part.id.is_some() => {
                self.phase = Phase::Id { index: 0 };
                // The first byte is prepared as every later one.
                self.byte_in(opcode);
                return;
            }
            _ => {
                self.violations.push(Violation::UnknownOpcode(opcode));
                Phase::Ignored
            }
        };
    }

    fn address_bytes(&self) -> u8 {
        match self.part.address_width {
            vnv_storage::AddressWidth::Two => 2,
            vnv_storage::AddressWidth::Three => 3,
        }
    }

    /// The address behind `address`; rolls over at the end.
    fn next(&self, address: usize) -> usize {
        (address + 1) % self.memory.len()
    }

    /// The address behind `address` in a write; with pages it stays inside its page.
    fn next_written(&self, address: usize) -> usize {
        match &self.page {
            Some(page) if address + 1 == page.range.end => page.range.start,
            _ => self.next(address),
        }
    }

    fn is_protected(&self, address: usize) -> bool {
        let capacity = self.memory.len();
        match self.status >> 2 & 3 {
            0 => false,
            1 => address >= capacity / 4 * 3,
            2 => address >= capacity / 2,
            _ => true,
        }
    }

    fn store(&mut self, address: usize, byte: u8) {
        if self.is_protected(address) {
            self.violations.push(Violation::WriteProtected { address: address as u32 });
            return;
        }
        if self.page.is_some() {
            self.fill_page(address, byte);
            return;
        }
        if address == 0 && self.last_stored.is_some_and(|last| last + 1 == self.memory.len()) {
            self.violations.push(Violation::RolledOver);
        }
        if let (Power::Fading, Tear::T3(garbage)) = (self.power, self.tear) {
            self.memory[address] = garbage.byte(self.memory[address], byte, address);
            return;
        }
        if self.truncate.is_some_and(|most| self.stored_in_frame >= most) {
            return;
        }
        self.enter_row(address);
        self.memory[address] = byte;
        self.last_stored = Some(address);
        self.stored_in_frame += 1;
        self.counters.bytes_written += 1;
    }

    /// Keeps the content of the row of `address` from before the write, and counts the row.
    fn enter_row(&mut self, address: usize) {
        let row = row_of(address, self.part.row_size, self.memory.len());
        if self.row_before.as_ref().is_none_or(|(start, _)| *start != row.start) {
            self.counters.row_writes[row.start / self.part.row_size as usize] += 1;
            self.row_before = Some((row.start, self.memory[row].to_vec()));
        }
    }

    /// Power fails now. `arriving` is the byte that the host is sending.
    fn fail_power(&mut self, arriving: Option<u8>) {
        self.cut = None;
        self.power = Power::Off;
        self.tear_cycle();
        if !self.selected {
            return;
        }
        match self.phase {
            Phase::Write { .. } if self.page.is_some() => self.tear_page(),
            Phase::Write { address, obeyed: true } => {
                let arriving = [arriving.unwrap_or(self.shift_in << (8 - self.bits).min(7))];
                // Between two bytes the row of the byte stored last is in flight, and no byte is.
                let (in_flight, incoming) =
                    if self.bits > 0 { (Some(address), &arriving[..]) } else { (self.last_stored, &[][..]) };
                let Some(in_flight) = in_flight.filter(|address| !self.is_protected(*address)) else {
                    return;
                };
                let row = row_of(in_flight, self.part.row_size, self.memory.len());
                let before = match self.row_before.take() {
                    Some((start, before)) if start == row.start => before,
                    _ => self.memory[row].to_vec(),
                };
                self.tear.write(&mut self.memory, self.part.row_size, in_flight, &before, incoming);
                if matches!(self.tear, Tear::T3(_)) {
                    self.power = Power::Fading;
                }
            }
            Phase::Read { address } => {
                // Between two bytes the one put out last is in flight; the first is as soon as its address is known.
                let in_flight = self.last_read.filter(|_| self.bits == 0).unwrap_or(address);
                self.tear.read(&mut self.memory, self.part.row_size, in_flight);
            }
            _ => {}
        }
    }
}
