//! The worst snapshot and the longest wait, known at compile time.

use crate::layout::Layout;
use vnv_storage::{AddressWidth, Part};

/// What transfers cost in time: a part of each transaction, and of each byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct BusCost {
    /// Of a write transaction, its write-enable frame included, in nanoseconds.
    pub write_ns: u64,
    /// Of a byte written, in picoseconds.
    pub write_byte_ps: u64,
    /// Of a read transaction, in nanoseconds.
    pub read_ns: u64,
    /// Of a byte read, in picoseconds.
    pub read_byte_ps: u64,
    /// Of the processor, for a snapshot whatever its size, in nanoseconds: measured on the chip, or instructions by its clock.
    pub cpu_ns: u64,
    /// Of the processor, for a byte of a snapshot (two passes: checksum and transfer), in picoseconds.
    pub cpu_byte_ps: u64,
}

impl BusCost {
    /// ESP32-C3 with an FRAM at 20 MHz: write(n) = 74.8 us + 0.69 us n, read(n) = 43.1 us + 0.776 us n, fitted to published
    /// measurements (LCTES 2025).
    pub const ESP32C3_20MHZ: Self = Self {
        write_ns: 74_800,
        write_byte_ps: 690_000,
        read_ns: 43_100,
        read_byte_ps: 776_000,
        cpu_ns: 0,
        cpu_byte_ps: 0,
    };

    /// The limit of the wire: every bit of every frame at `hertz`, write-enable, opcodes and addresses included, and nothing else.
    ///
    /// On an EEPROM the write cycles are added, [`Part::write_cycle_us`] for each page that a write of so many bytes can touch and
    /// one more for a cycle that runs when it begins, each with its frames and the last two polls.
    #[must_use]
    pub const fn wire(part: &Part, hertz: u32) -> Self {
        let address = match part.address_width {
            AddressWidth::Two => 2,
            AddressWidth::Three => 3,
        };
        let byte_ps = 8_000_000_000_000u64.div_ceil(hertz as u64);
        // `n` bytes touch less than n / page + 2 pages.
        let (page_ns, page_byte_ps) = match part.page_size {
            Some(page) if page > 0 => {
                let page_ns = part.write_cycle_us as u64 * 1000 + (byte_ps * (2 + address + 4)).div_ceil(1000);
                (page_ns, (page_ns * 1000).div_ceil(page as u64))
            }
            _ => (0, 0),
        };
        Self {
            write_ns: (byte_ps * (2 + address)).div_ceil(1000) + 3 * page_ns,
            write_byte_ps: byte_ps + page_byte_ps,
            read_ns: (byte_ps * (1 + address)).div_ceil(1000) + page_ns,
            read_byte_ps: byte_ps,
            cpu_ns: 0,
            cpu_byte_ps: 0,
        }
    }

    /// With the processor's share of a snapshot: `cpu_ns` nanoseconds, and `cpu_byte_ps` picoseconds for each of its bytes.
    ///
    /// On rv32imc, with `opt-level = "s"`, 7,000 instructions, 24 for each slot of the table and 210 for each byte cover all that was measured;
    /// most for each byte take the entries of small objects that were synced. Guards in a resume record were not
    /// measured. The end of a commit, which an alarm has to wait for, takes about 34 for each slot and 850 for each pending place (`docs`,
    /// Measuring).
    #[must_use]
    pub const fn with_cpu(self, cpu_ns: u64, cpu_byte_ps: u64) -> Self {
        Self { cpu_ns, cpu_byte_ps, ..self }
    }

    /// Of writes of `bytes` in all in so many transactions, in nanoseconds.
    #[must_use]
    pub const fn writes_ns(&self, transactions: u32, bytes: u32) -> u64 {
        self.write_ns * transactions as u64 + (self.write_byte_ps * bytes as u64).div_ceil(1000)
    }

    /// Of a read, in nanoseconds.
    #[must_use]
    pub const fn read_of_ns(&self, bytes: u32) -> u64 {
        self.read_ns + (self.read_byte_ps * bytes as u64).div_ceil(1000)
    }
}

/// The worst that a snapshot costs.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Bound {
    /// Write transactions, write-enables apart.
    pub transactions: u32,
    /// Bytes written.
    pub bytes: u32,
    /// Time in nanoseconds, from the begin of the snapshot.
    pub snapshot_ns: u64,
    /// Longest wait for its begin on a bus that the driver owns, in nanoseconds: a transfer that has just begun a chunk. Instructions
    /// between two safe points come on top.
    pub wait_ns: u64,
}

impl Bound {
    /// Of a heap with this layout, on a bus with this cost, whose driver looks for alarms every `chunk` bytes.
    ///
    /// At most two writes: a record that was cut short, or an old base, is made invalid (a unit; never both, since a record is
    /// written only after the old base was made invalid), then the snapshot in one burst, at most the dirty limit.
    ///
    /// ```
    /// use vnv_persist::{Bound, BusCost, Layout, Options};
    ///
    /// const LAYOUT: Layout = match Layout::new(8192, 8, (48, 6, 4), Options::new(1024)) {
    ///     Ok(layout) => layout,
    ///     Err(_) => panic!("no such layout"),
    /// };
    /// const BOUND: Bound = Bound::new(&LAYOUT, &BusCost::ESP32C3_20MHZ, 64);
    /// assert_eq!((BOUND.transactions, BOUND.bytes), (2, 1032));
    /// assert_eq!(BOUND.snapshot_ns, 2 * 74_800 + 1032 * 690);
    /// assert_eq!(BOUND.wait_ns, 74_800 + 64 * 690);
    /// ```
    #[must_use]
    pub const fn new(layout: &Layout, cost: &BusCost, chunk: u32) -> Self {
        let transactions = 2;
        let bytes = layout.dirty_limit + layout.unit;
        let cpu_ns = cost.cpu_ns + (cost.cpu_byte_ps * layout.dirty_limit as u64).div_ceil(1000);
        let (write_ns, read_ns) = (cost.writes_ns(1, chunk), cost.read_of_ns(chunk));
        Self {
            transactions,
            bytes,
            snapshot_ns: cost.writes_ns(transactions, bytes) + cpu_ns,
            wait_ns: if write_ns > read_ns { write_ns } else { read_ns },
        }
    }

    /// From the alarm to safety, in nanoseconds.
    #[must_use]
    pub const fn total_ns(&self) -> u64 {
        self.snapshot_ns + self.wait_ns
    }
}
