//! One slot of the object table: 8 bytes per object.

/// Place 0 is the superblock, so it stands for "no place".
pub const NO_PLACE: u16 = 0;
/// A place before the data area, for deliberate faults: an item of the pending list with it frees nothing.
pub(crate) const FREED_EARLY: u16 = 1;
/// The last generation: a slot that reached it is retired.
pub const LAST_GENERATION: u16 = 0xFFF;
/// Most units of one block.
pub const MAX_UNITS: u16 = 0xFFF;
/// A tag that stands for "whatever the block header says" (after a rollback to a committed place).
pub const ANY_TAG: u16 = TAG_MASK;
/// Bits of a tag.
pub const TAG_MASK: u16 = 0x01FF;
/// Set in the index of a record's entry that tells of an object of an older record: only its place follows.
pub const MOVED: u16 = 0x8000;
/// Bytes of the entry of a new object in a record.
pub const ENTRY_BYTES: u32 = 8;
/// Bytes of the entry of an object of an older record that has moved, or was freed.
pub const MOVED_BYTES: u32 = 4;
/// Type index of schema objects.
pub const SCHEMA_TYPE: u8 = 255;

/// Flags of an object that are kept wherever its word is: in the entry, or in the resident header.
pub mod flag {
    /// The entry differs from the committed one.
    pub const PENDING: u16 = 0x4000;
    /// The object has a place that no sync has written yet.
    pub const UNWRITTEN: u16 = 0x2000;
    /// The pending list holds an old place of this slot: the slot may not be reused before the next commit.
    pub const HAS_ITEM: u16 = 0x1000;
    /// Freed, but the next record has yet to say so.
    pub const DEAD: u16 = 0x0800;
    /// An `Owned` handle on the stack keeps the object alive.
    pub const OWNED: u16 = 0x0400;
    /// Freed by the running transaction.
    pub const FREED_IN_TRANSACTION: u16 = 0x0200;
}

const RESIDENT: u16 = 0x8000;

/// Index and generation of an object: what handles and links hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub struct ObjectId {
    /// Slot in the object table; 0 is never used.
    pub index: u16,
    /// Generation of the slot, 0 to 4094.
    pub generation: u16,
}

/// A slot of the object table.
///
/// While the object is not resident, `word` holds its flags and tag; while it is resident, `word` is the arena
/// offset of its copy and flags and tag stand in the resident header.
#[repr(C)]
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Entry {
    pub(crate) place: u16,
    word: u16,
    /// Generation, units (12 bits each), type index.
    packed: u32,
}

impl Entry {
    /// A slot that was never used.
    pub const EMPTY: Self = Self { place: 0, word: 0, packed: 0 };

    /// A live, not resident entry.
    #[must_use]
    pub const fn new(place: u16, generation: u16, units: u16, type_index: u8, tag: u16) -> Self {
        let packed = (generation & 0xFFF) as u32 | ((units & 0xFFF) as u32) << 12 | (type_index as u32) << 24;
        Self { place, word: tag & TAG_MASK, packed }
    }

    /// The six bytes of an entry that are the same in base and commit records.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 6] {
        let ([p0, p1], [a, b, c, d]) = (self.place.to_le_bytes(), self.packed.to_le_bytes());
        [p0, p1, a, b, c, d]
    }

    /// This entry of a commit or snapshot record, and its bytes: those of a slot whose `moved` object is an older record's need only
    /// tell its place, [`NO_PLACE`] if it was freed.
    #[must_use]
    pub const fn to_record(self, index: u16, moved: bool) -> ([u8; 8], usize) {
        let [p0, p1, a, b, c, d] = self.to_bytes();
        let [i0, i1] = (if moved { index | MOVED } else { index }).to_le_bytes();
        ([i0, i1, p0, p1, a, b, c, d], if moved { MOVED_BYTES } else { ENTRY_BYTES } as usize)
    }

    /// Rebuilds a not resident entry from storage.
    #[must_use]
    pub const fn from_bytes([p0, p1, a, b, c, d]: [u8; 6], tag: u16) -> Self {
        Self { place: u16::from_le_bytes([p0, p1]), word: tag & TAG_MASK, packed: u32::from_le_bytes([a, b, c, d]) }
    }

    /// Place of the current block in storage, in units (0: none).
    #[must_use]
    pub const fn place(&self) -> u16 {
        self.place
    }

    /// Generation of the slot.
    #[must_use]
    pub const fn generation(&self) -> u16 {
        self.packed as u16 & 0xFFF
    }

    /// Size of the block in units.
    #[must_use]
    pub const fn units(&self) -> u16 {
        (self.packed >> 12) as u16 & 0xFFF
    }

    /// Type index; 0: the slot is free, 255: a schema.
    #[must_use]
    pub const fn type_index(&self) -> u8 {
        (self.packed >> 24) as u8
    }

    pub(crate) const fn set_generation(&mut self, generation: u16) {
        self.packed = (self.packed & !0xFFF) | (generation & 0xFFF) as u32;
    }

    /// Arena offset of the resident copy in 8-byte words, if there is one.
    #[inline]
    pub(crate) const fn resident(&self) -> Option<u16> {
        // A signed load tells.
        if (self.word as i16) < 0 { Some(self.word & !RESIDENT) } else { None }
    }

    /// That offset in bytes.
    #[inline]
    pub(crate) const fn resident_bytes(&self) -> Option<usize> {
        let word = self.word as i16;
        // The first bit goes.
        if word < 0 { Some(((word as i32 as u32) << 17 >> 14) as usize) } else { None }
    }

    pub(crate) const fn set_resident(&mut self, offset: u16) {
        self.word = offset | RESIDENT;
    }

    /// Flags and tag of an object that is not resident.
    pub(crate) const fn word(&self) -> u16 {
        self.word
    }

    pub(crate) const fn set_word(&mut self, word: u16) {
        self.word = word & !RESIDENT;
    }
}

/// An old place that the next commit releases; with the first bit of `index` set, also "this slot's entry changed".
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Item {
    index: u16,
    pub(crate) place: u16,
}

impl Item {
    /// An unused item.
    pub const EMPTY: Self = Self { index: 0, place: 0 };
    const FIRST: u16 = 0x8000;

    pub(crate) const fn new(index: u16, place: u16, first: bool) -> Self {
        Self { index: if first { index | Self::FIRST } else { index }, place }
    }

    /// The slot.
    #[must_use]
    pub const fn index(&self) -> u16 {
        self.index & !Self::FIRST
    }

    /// Whether an older record knows the object of the slot, if this item made it pending: it tells of the place of then. A slot
    /// whose allocation was undone may look the same, and is freed either way.
    #[must_use]
    pub const fn is_moved(&self) -> bool {
        self.place != NO_PLACE
    }

    /// Whether this is the item that made the slot pending.
    #[must_use]
    pub const fn is_first(&self) -> bool {
        self.index & Self::FIRST != 0
    }

    pub(crate) const fn clear_first(&mut self) {
        self.index &= !Self::FIRST;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entry_is_eight_bytes_and_packs_its_fields() {
        assert_eq!(size_of::<Entry>(), 8);
        assert_eq!(size_of::<Item>(), 4);
        for (generation, units) in [(0, 0), (1, 2), (0xFFF, 0xFFF), (0xABC, 0x123), (0x800, 0x7FF)] {
            let entry = Entry::new(0x1234, generation, units, 7, 0x155);
            assert_eq!((entry.generation(), entry.units(), entry.type_index()), (generation, units, 7));
            assert_eq!(Entry::from_bytes(entry.to_bytes(), 0x155), entry);
        }
    }
}
