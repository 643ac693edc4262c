//! Where things lie in storage: superblock, log halves, reserves, data.

use crate::record::Seed;
use core::fmt::Debug;
use vnv_core::block::seed;
use vnv_core::engine::{Geometry, KEPT_BYTES, snapshot_fixed};

/// Bytes of a superblock.
pub(crate) const SUPERBLOCK: usize = 64;
/// Units that a place of 16 bits tells apart.
const UNITS: u32 = 0x1_0000;
/// Largest unit: of parts up to 2 GiB.
pub(crate) const MAX_UNIT: u32 = 0x8000;
/// Bytes of a record header.
pub(crate) const RECORD_HEADER: u32 = 24;

/// What an application chooses for an image; stored in the superblock and compared when it is opened.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct Options {
    /// Most bytes that a snapshot ever has to write: what the capacitor must pay for.
    pub dirty_limit: u32,
    /// Bytes of commit records that a log half holds besides the table: more makes compactions rarer.
    pub log_bytes: u32,
    /// Most objects that may be borrowed at once if the program is resumed after power failures
    /// ([`PowerFail::with_resume`](crate::PowerFail::with_resume)); 0: it is rebooted. Not stored.
    pub guards: u16,
}

impl Options {
    /// A dirty limit with a log of 512 bytes per half.
    #[must_use]
    pub const fn new(dirty_limit: u32) -> Self {
        Self { dirty_limit, log_bytes: 512, guards: 0 }
    }

    /// With another log size.
    #[must_use]
    pub const fn log_bytes(self, log_bytes: u32) -> Self {
        Self { log_bytes, ..self }
    }

    /// For a program that is resumed, with at most so many objects borrowed at once: each takes 10 bytes of the dirty limit, as does
    /// each dirty object. An object on which a guard is open is not freed then when its owner is dropped: the guard stays valid through a
    /// power failure, and the object is garbage for the next collection.
    #[must_use]
    pub const fn guards(self, guards: u16) -> Self {
        Self { guards, ..self }
    }
}

/// Why a layout is not possible.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutError {
    /// The part is too small for table, log and reserves: fewer objects, a smaller dirty limit or log.
    CapacityTooSmall,
    /// The row size is not a power of two up to 4,096.
    BadRow,
    /// The dirty limit does not even hold a snapshot of one small object, or of one changed element of a slice.
    DirtyLimitTooSmall,
    /// The dirty limit is above 16 MiB.
    DirtyLimitTooLarge,
    /// The part has more than 2 GiB.
    CapacityTooLarge,
}

impl core::fmt::Display for LayoutError {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.write_str(match self {
            Self::CapacityTooSmall => {
                "the part is too small: choose fewer objects, a smaller dirty limit or a smaller log"
            }
            Self::BadRow => "the row size is not a power of two up to 4096",
            Self::DirtyLimitTooSmall => "the dirty limit does not hold a snapshot of one object: raise it",
            Self::DirtyLimitTooLarge => "the dirty limit is above 16 MiB: lower it",
            Self::CapacityTooLarge => "the part has more than 2 GiB: hand in a piece of it",
        })
    }
}

impl core::error::Error for LayoutError {}

/// The regions of an image.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Layout {
    pub(crate) unit: u32,
    pub(crate) row: u32,
    pub(crate) capacity: u32,
    pub(crate) objects: u16,
    pub(crate) types: u8,
    pub(crate) roots: u8,
    pub(crate) log_half: u32,
    pub(crate) reserve: u32,
    pub(crate) data_start: u32,
    pub(crate) dirty_limit: u32,
    pub(crate) guards: u16,
    /// Which format of this storage the image comes from: no earlier one had the same. 0 in a layout that was computed.
    pub(crate) epoch: u32,
}

/// Bytes of a unit on a part: at least 8 and a row, and so many that a unit's number has 16 bits; above [`MAX_UNIT`] if none is enough.
const fn unit_of(capacity: u32, row: u32) -> u32 {
    let mut unit = if row < 8 { 8 } else { row };
    while capacity / unit > UNITS {
        unit *= 2;
    }
    unit
}

const fn round_up(bytes: u32, unit: u32) -> u32 {
    bytes.saturating_add(unit - 1) & !(unit - 1)
}

impl Layout {
    /// The layout for a part and a heap of so many slots, types and roots.
    ///
    /// # Errors
    ///
    /// [`LayoutError`].
    pub const fn new(
        capacity: u32,
        row: u32,
        (objects, types, roots): (u16, u8, u8),
        options: Options,
    ) -> Result<Self, LayoutError> {
        if !row.is_power_of_two() || row > 4096 {
            return Err(LayoutError::BadRow);
        }
        let unit = unit_of(capacity, row);
        if unit > MAX_UNIT {
            return Err(LayoutError::CapacityTooLarge);
        }
        let base = RECORD_HEADER + 8 * objects as u32 + 16 * roots as u32;
        let log_half = round_up(round_up(base, unit).saturating_add(options.log_bytes), unit);
        let reserve = round_up(options.dirty_limit, unit);
        let fixed = snapshot_fixed(objects) + Geometry::resume_fixed(options.guards);
        // A small object with its entry, and an element of a slice: of rows that a write may destroy both neighbours go along.
        let object = unit + 2;
        let element = if row <= 8 { 26 } else { 22 + 2 * row };
        let kept = if options.guards == 0 { 0 } else { KEPT_BYTES };
        let least = if element > object { element } else { object };
        if options.dirty_limit < fixed + kept + least {
            return Err(LayoutError::DirtyLimitTooSmall);
        }
        if options.dirty_limit > 1 << 24 {
            return Err(LayoutError::DirtyLimitTooLarge);
        }
        let superblocks = 2 * round_up(SUPERBLOCK as u32, unit);
        let data_start =
            superblocks.saturating_add(log_half.saturating_mul(2)).saturating_add(reserve.saturating_mul(2));
        if data_start.saturating_add(2 * unit) > capacity {
            return Err(LayoutError::CapacityTooSmall);
        }
        let (dirty_limit, guards) = (options.dirty_limit, options.guards);
        Ok(Self {
            unit,
            row,
            capacity,
            objects,
            types,
            roots,
            log_half,
            reserve,
            data_start,
            dirty_limit,
            guards,
            epoch: 0,
        })
    }

    /// Bytes for objects: each takes its size and 8 bytes, rounded up to units.
    #[must_use]
    pub const fn usable_bytes(&self) -> u32 {
        (self.capacity - self.data_start) & !(self.unit - 1)
    }

    /// Bytes of a unit.
    #[must_use]
    pub const fn unit(&self) -> u32 {
        self.unit
    }

    pub(crate) const fn superblock(&self, copy: u32) -> u32 {
        copy * round_up(SUPERBLOCK as u32, self.unit)
    }

    pub(crate) const fn half(&self, half: u8) -> u32 {
        self.superblock(2) + half as u32 * self.log_half
    }

    pub(crate) const fn reserve_at(&self, reserve: u8) -> u32 {
        self.half(2) + reserve as u32 * self.reserve
    }

    pub(crate) const fn padded(&self, bytes: u32) -> u32 {
        round_up(bytes, self.unit)
    }

    /// What the checksums of the record at `at` begin with; `base`: the sequence of its half's base, for a commit.
    pub(crate) const fn seed(&self, at: u32, base: Option<u64>) -> Seed {
        Seed { epoch: self.epoch, at, base }
    }

    pub(crate) const fn geometry(&self) -> Geometry {
        Geometry {
            seed: seed(self.epoch),
            unit: self.unit,
            row: self.row,
            data_start: (self.data_start / self.unit) as u16,
            data_units: (self.usable_bytes() / self.unit) as u16,
            dirty_limit: self.dirty_limit,
            deltas: self.row <= 8,
            guards: self.guards,
        }
    }

    /// Byte offset of the last unit of the data area.
    pub(crate) const fn last_unit(&self) -> u32 {
        self.data_start + self.usable_bytes() - self.unit
    }

    /// Capacity in bytes.
    #[must_use]
    pub const fn capacity(&self) -> u32 {
        self.capacity
    }

    /// Bytes of a row.
    #[must_use]
    pub const fn row(&self) -> u32 {
        self.row
    }

    /// Slots of the object table, types, roots.
    #[must_use]
    pub const fn sizes(&self) -> (u16, u8, u8) {
        (self.objects, self.types, self.roots)
    }

    /// The options that give this layout, guards aside, which are not stored.
    #[must_use]
    pub const fn options(&self) -> Options {
        let base = RECORD_HEADER + 8 * self.objects as u32 + 16 * self.roots as u32;
        let log_bytes = self.log_half - round_up(base, self.unit);
        Options { dirty_limit: self.dirty_limit, log_bytes, guards: self.guards }
    }

    /// Bytes of a log half, and of an emergency reserve.
    #[must_use]
    pub const fn region_bytes(&self) -> (u32, u32) {
        (self.log_half, self.reserve)
    }
}
