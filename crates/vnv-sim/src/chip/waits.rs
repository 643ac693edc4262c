//! When the part takes no commands: write cycles of an EEPROM, sleep, and the recovery from it.

use core::ops::Range;

use vnv_storage::WakeUp;

use super::{Chip, Phase, RDSR, WRITE_ENABLE_LATCH};
use crate::tear::{Tear, row_of};
use crate::violation::Violation;

/// Bit 0 of the status register during a write cycle.
const WRITE_IN_PROGRESS: u8 = 0x01;

/// The page that a running WRITE frame fills.
#[derive(Clone, Debug)]
pub(super) struct PageBuffer {
    pub(super) range: Range<usize>,
    /// What the page will hold.
    bytes: Vec<u8>,
    filled: bool,
}

/// A write cycle, of a page or (without one) of the status register.
#[derive(Clone, Debug)]
pub(super) struct Cycle {
    /// Where the page begins, and what it held before.
    page: Option<(usize, Vec<u8>)>,
    /// Clocks of the whole cycle, and still to come; `u64::MAX`: it never ends.
    total: u64,
    left: u64,
}

impl Chip {
    /// Clocks of `microseconds` at the highest clock of the part.
    pub(super) fn clocks_of(&self, microseconds: u32) -> u64 {
        (u64::from(microseconds) * u64::from(self.part.max_clock_hz)).div_ceil(1_000_000)
    }

    /// Time passes.
    pub(crate) fn elapse(&mut self, clocks: u64) {
        self.recovery = self.recovery.saturating_sub(clocks);
        if let Some(cycle) = self.cycle.as_mut().filter(|cycle| cycle.total != u64::MAX) {
            cycle.left = cycle.left.saturating_sub(clocks);
            if cycle.left == 0 {
                self.end_cycle();
            }
        }
    }

    fn end_cycle(&mut self) {
        self.cycle = None;
        if !self.part.write_enable_survives_write {
            self.status &= !WRITE_ENABLE_LATCH;
        }
    }

    /// The answer to RDSR.
    pub(super) fn status_out(&self) -> u8 {
        self.status | if self.cycle.is_some() { WRITE_IN_PROGRESS } else { 0 }
    }

    /// Chip select falls: whether the part listens.
    pub(super) fn first_phase(&mut self) -> Phase {
        let wakes = self.part.sleep.filter(|_| self.asleep);
        if let Some(mode) = wakes.filter(|mode| mode.wake_up == WakeUp::ChipSelect) {
            self.asleep = false;
            self.recovery = self.clocks_of(mode.recovery_us);
            return Phase::Waking { bytes: 0 };
        }
        if self.recovery > 0 {
            self.violations.push(Violation::Recovering);
            return Phase::Ignored;
        }
        Phase::Opcode
    }

    /// A byte of the frame that wakes the part is lost: only one RDSR is meant to be.
    pub(super) fn byte_while_waking(&mut self, byte: u8, bytes: u8) {
        if bytes > 0 || byte != RDSR {
            self.violations.push(Violation::Asleep);
            self.phase = Phase::Ignored;
        } else {
            self.phase = Phase::Waking { bytes: 1 };
        }
    }

    /// As SLEEP does, if the part has a sleep mode.
    pub(crate) fn fall_asleep(&mut self) {
        self.asleep = self.part.sleep.is_some();
    }

    pub(crate) fn is_asleep(&self) -> bool {
        self.asleep
    }

    /// WAKE behind its opcode.
    pub(super) fn wake(&mut self) {
        if let Some(mode) = self.part.sleep.filter(|_| self.asleep) {
            self.asleep = false;
            self.recovery = self.clocks_of(mode.recovery_us);
        }
    }

    /// A WRITE begins at `address`.
    pub(super) fn open_page(&mut self, address: usize) {
        self.page = self.part.page_size.map(|size| {
            let range = row_of(address, size, self.memory.len());
            PageBuffer { bytes: self.memory[range.clone()].to_vec(), range, filled: false }
        });
    }

    /// Takes a byte of a WRITE into the page buffer.
    pub(super) fn fill_page(&mut self, address: usize, byte: u8) {
        let Some(page) = &mut self.page else { return };
        if address == page.range.start && self.last_stored.is_some_and(|last| last + 1 == page.range.end) {
            self.violations.push(Violation::PageWrapped);
        }
        if self.truncate.is_some_and(|most| self.stored_in_frame >= most) {
            return;
        }
        page.bytes[address - page.range.start] = byte;
        page.filled = true;
        self.last_stored = Some(address);
        self.stored_in_frame += 1;
        self.counters.bytes_written += 1;
    }

    /// Chip select rises behind a WRITE or WRSR of a part with pages, between two bytes or within one.
    pub(super) fn begin_cycle(&mut self, clean: bool) {
        let page = self.page.take().filter(|page| page.filled);
        let status = matches!(self.phase, Phase::StatusWrite { obeyed: true, done: true });
        if !clean || (page.is_none() && !status) {
            return;
        }
        let page = page.map(|page| {
            self.counters.row_writes[page.range.start / self.part.row_size as usize] += 1;
            let before = self.memory[page.range.clone()].to_vec();
            self.memory[page.range.clone()].copy_from_slice(&page.bytes);
            (page.range.start, before)
        });
        self.cycle = Some(Cycle { page, total: self.cycle_clocks, left: self.cycle_clocks });
        self.elapse(0);
    }

    /// Power fails while the part is busy: its page is stored up to a byte in flight, by the time that has passed.
    pub(super) fn tear_cycle(&mut self) {
        let Some(Cycle { page: Some((start, before)), total, left }) = self.cycle.take() else { return };
        let range = start..start + before.len();
        let after = self.memory[range.clone()].to_vec();
        let passed = u128::from(total.saturating_sub(left)) * before.len() as u128;
        let stored = ((passed / u128::from(total.max(1))) as usize).min(before.len() - 1);
        self.memory[range][stored..].copy_from_slice(&before[stored..]);
        self.tear.write(&mut self.memory, before.len() as u32, start + stored, &before, &after[stored..]);
    }

    /// Power fails while a WRITE fills the page buffer. The part has not begun; from the second rung on it is taken to
    /// begin on its last charge, because chip select is rising too.
    pub(super) fn tear_page(&mut self) {
        let Some(page) = self.page.take().filter(|page| page.filled) else { return };
        if !matches!(self.tear, Tear::T0 | Tear::T1(_)) {
            let before = self.memory[page.range.clone()].to_vec();
            self.tear.write(&mut self.memory, before.len() as u32, page.range.start, &before, &page.bytes);
        }
    }
}
