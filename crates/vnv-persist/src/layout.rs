//! Where things lie in storage: superblock, log halves, reserves, data.

use crate::open_error::{Damage, LayoutField, OpenError};
use crate::record::read_array;
use core::fmt::Debug;
use vnv_core::block::CRC32;
use vnv_core::engine::{Geometry, KEPT_BYTES, snapshot_fixed};
use vnv_storage::Device;

/// Version of the on-storage format.
pub const FORMAT_VERSION: u16 = 2;
/// Bytes of a superblock.
pub const SUPERBLOCK: usize = 64;
/// Largest unit: of parts below 2 GiB.
const MAX_UNIT: u32 = 0x8000;
const MAGIC: [u8; 8] = *b"VNVHEAP\0";
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
    /// The part has 2 GiB or more.
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
            Self::CapacityTooLarge => "the part has 2 GiB or more: hand in a piece of it",
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
        let mut unit = if row < 8 { 8 } else { row };
        while capacity / unit > 0xFFFF {
            unit *= 2;
        }
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
        Ok(Self { unit, row, capacity, objects, types, roots, log_half, reserve, data_start, dirty_limit, guards })
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

    pub(crate) const fn geometry(&self) -> Geometry {
        Geometry {
            unit: self.unit,
            row: self.row,
            data_start: (self.data_start / self.unit) as u16,
            data_units: (self.usable_bytes() / self.unit) as u16,
            dirty_limit: self.dirty_limit,
            deltas: self.row <= 8,
            guards: self.guards,
        }
    }

    pub(crate) fn to_superblock(self) -> [u8; SUPERBLOCK] {
        let mut bytes = [0; SUPERBLOCK];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            if let Some(to) = bytes.get_mut(at..at + field.len()) {
                to.copy_from_slice(field);
            }
            at += field.len();
        };
        put(&MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&(self.unit as u16).to_le_bytes());
        put(&self.capacity.to_le_bytes());
        put(&self.objects.to_le_bytes());
        put(&u16::from(self.types).to_le_bytes());
        put(&u16::from(self.roots).to_le_bytes());
        put(&(self.row as u16).to_le_bytes());
        put(&self.log_half.to_le_bytes());
        put(&self.reserve.to_le_bytes());
        put(&self.data_start.to_le_bytes());
        put(&self.dirty_limit.to_le_bytes());
        let crc = CRC32.checksum(bytes.get(..60).unwrap_or_default());
        if let Some(to) = bytes.get_mut(60..) {
            to.copy_from_slice(&crc.to_le_bytes());
        }
        bytes
    }
}

impl Layout {
    /// The layout that an image was formatted with, from either copy of its superblock. The image may be followed by anything.
    ///
    /// Cost: one read of 64 bytes; if the first copy is damaged, up to fourteen.
    ///
    /// # Errors
    ///
    /// [`OpenError::Blank`], [`OpenError::Foreign`], [`OpenError::Version`], [`OpenError::Damaged`]; the device's.
    pub fn read<D: Device>(device: &mut D) -> Result<Self, OpenError<D::Error>>
    where
        D::Error: Debug,
    {
        let capacity = device.capacity();
        let mut worst = OpenError::Blank;
        // The second copy stands one superblock further, in whole units, which are powers of two.
        let mut at = 0;
        while at <= MAX_UNIT && at as usize + SUPERBLOCK <= capacity {
            let bytes: [u8; SUPERBLOCK] = read_array(device, at)?;
            match Self::from_superblock(&bytes) {
                Ok(layout) => return Ok(layout),
                Err(error) if at == 0 => worst = error,
                Err(_) => {}
            }
            at = (at * 2).max(SUPERBLOCK as u32);
        }
        Err(worst)
    }

    fn from_superblock<E>(bytes: &[u8; SUPERBLOCK]) -> Result<Self, OpenError<E>> {
        let sound = Superblock::of(bytes);
        if sound != Superblock::Valid {
            return Err(match sound {
                Superblock::Blank => OpenError::Blank,
                Superblock::Foreign => OpenError::Foreign,
                _ => OpenError::Damaged(Damage::Superblock),
            });
        }
        let version = field(bytes, 8) as u16;
        if version != FORMAT_VERSION {
            return Err(OpenError::Version(version));
        }
        let sizes = (field(bytes, 16) as u16, field(bytes, 18) as u8, field(bytes, 20) as u8);
        let row = field(bytes, 22);
        let base = RECORD_HEADER + 8 * u32::from(sizes.0) + 16 * u32::from(sizes.2);
        let unit = field(bytes, 10).max(1);
        let log_bytes = field(bytes, 24).saturating_sub(base.saturating_add(unit - 1) / unit * unit);
        let options = Options { dirty_limit: field(bytes, 36), log_bytes, guards: 0 };
        match Self::new(field(bytes, 12), row, sizes, options) {
            Ok(layout) if layout.to_superblock() == *bytes => Ok(layout),
            _ => Err(OpenError::Damaged(Damage::Superblock)),
        }
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

/// What a superblock's bytes are.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Superblock {
    Valid,
    /// A sound superblock of another layout: what differs, and its value there.
    Other(LayoutField, u32),
    /// A sound one of another version.
    Version(u16),
    /// The storage is being formatted.
    Formatting,
    Blank,
    Foreign,
    Damaged,
}

/// Stands in place of both superblocks while a storage is being formatted. Torn, it looks like neither a superblock nor itself: it has
/// another beginning and a checksum.
pub(crate) const FORMATTING: [u8; SUPERBLOCK] = {
    let mut bytes = [0; SUPERBLOCK];
    let text = *b"vnv: being formatted";
    let mut at = 0;
    while at < text.len() {
        bytes[at] = text[at];
        at += 1;
    }
    let (body, _) = bytes.split_at(60);
    let crc = CRC32.checksum(body).to_le_bytes();
    let mut at = 0;
    while at < crc.len() {
        bytes[60 + at] = crc[at];
        at += 1;
    }
    bytes
};

/// What an image is formatted with, and where it stands in a superblock.
const FIELDS: [(LayoutField, usize); 7] = [
    (LayoutField::Capacity, 12),
    (LayoutField::Row, 22),
    (LayoutField::Objects, 16),
    (LayoutField::Types, 18),
    (LayoutField::Roots, 20),
    (LayoutField::DirtyLimit, 36),
    (LayoutField::LogHalf, 24),
];

/// A number in a superblock: the capacity and those behind the row have four bytes, the others two.
fn field(bytes: &[u8; SUPERBLOCK], at: usize) -> u32 {
    let mut number = [0; 4];
    let len = if matches!(at, 12 | 24..) { 4 } else { 2 };
    for (to, from) in number.iter_mut().zip(bytes.iter().skip(at).take(len)) {
        *to = *from;
    }
    u32::from_le_bytes(number)
}

impl Superblock {
    pub fn read(bytes: &[u8; SUPERBLOCK], layout: &Layout) -> Self {
        let program = layout.to_superblock();
        match Self::of(bytes) {
            Self::Valid if *bytes == program => Self::Valid,
            Self::Valid => Self::difference(bytes, &program),
            other => other,
        }
    }

    /// What differs first between two sound superblocks.
    fn difference(image: &[u8; SUPERBLOCK], program: &[u8; SUPERBLOCK]) -> Self {
        let version = field(image, 8) as u16;
        if version != FORMAT_VERSION {
            return Self::Version(version);
        }
        for (name, at) in FIELDS {
            let value = field(image, at);
            if value != field(program, at) {
                return Self::Other(name, value);
            }
        }
        // All else follows from these.
        Self::Damaged
    }

    /// Without a layout to compare with: what says that it is a superblock is `Valid`.
    fn of(bytes: &[u8; SUPERBLOCK]) -> Self {
        if bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xFF) {
            return Self::Blank;
        }
        if *bytes == FORMATTING {
            return Self::Formatting;
        }
        if !bytes.starts_with(&MAGIC) {
            return Self::Foreign;
        }
        let (body, crc) = bytes.split_at(60);
        if CRC32.checksum(body).to_le_bytes() != *crc {
            return Self::Damaged;
        }
        Self::Valid
    }
}
