//! The block: how an object stands in storage and, byte for byte, in RAM.

use crate::entry::{ANY_TAG, TAG_MASK};
use crc::{CRC_32_ISO_HDLC, Crc, Table};
use vnv_storage::fault;

/// Bytes of the block header.
pub const HEADER: usize = 8;
/// Bytes of a granule, the grain of partial dirtiness.
pub const GRANULE: usize = 8;

/// CRC-32/ISO-HDLC, used for blocks, records and the superblock.
pub static CRC32: Crc<u32, Table<1>> = Crc::<u32, Table<1>>::new(&CRC_32_ISO_HDLC);

/// What a checksum that belongs to `number`, an epoch, differs by from that of the bytes alone. Bijective: of two epochs, the same bytes never
/// have the same checksum. It costs a multiplication, where as a part of the message the epoch would cost as much as four bytes.
///
/// The factor is the fraction of the golden ratio: epochs follow each other, and small differences elsewhere must not make up for that.
#[must_use]
pub const fn seed(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9)
}

/// What a block's checksum covers besides its bytes.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    /// Slot in the object table.
    pub index: u16,
    /// Generation of the slot.
    pub generation: u16,
    /// Type index.
    pub type_index: u8,
    /// Place in storage, in units.
    pub place: u16,
}

/// The 8-byte header in front of an object's bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BlockHeader {
    /// CRC-32 over the identity, tag, size and the object's bytes.
    pub crc: u32,
    /// Size of the object in bytes.
    pub size: u16,
    /// Tag of the record that committed the block.
    pub tag: u16,
}

impl BlockHeader {
    /// Reads a header; `bytes` shorter than 8 count as zeros.
    #[must_use]
    pub fn from_bytes(bytes: &[u8]) -> Self {
        let mut raw = [0; HEADER];
        raw.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
        let [a, b, c, d, e, f, g, h] = raw;
        Self {
            crc: u32::from_le_bytes([a, b, c, d]),
            size: u16::from_le_bytes([e, f]),
            tag: u16::from_le_bytes([g, h]),
        }
    }

    /// The header's bytes in storage.
    #[must_use]
    pub fn to_bytes(self) -> [u8; HEADER] {
        let [a, b, c, d] = self.crc.to_le_bytes();
        let [e, f] = self.size.to_le_bytes();
        let [g, h] = self.tag.to_le_bytes();
        [a, b, c, d, e, f, g, h]
    }

    /// Whether `tag` is acceptable for an entry that expects `expected`.
    #[must_use]
    pub fn tag_matches(&self, expected: u16) -> bool {
        self.tag & !TAG_MASK == 0 && (expected == ANY_TAG || self.tag == expected || fault!(AcceptOldBlock))
    }
}

/// A running block checksum, for blocks that do not stand in one piece of RAM.
pub struct BlockCrc(crc::Digest<'static, u32, Table<1>>);

impl BlockCrc {
    /// Starts a checksum; feed the object's bytes afterwards.
    #[must_use]
    pub fn new(identity: Identity, tag: u16, size: u16) -> Self {
        let mut digest = CRC32.digest();
        digest.update(&identity.index.to_le_bytes());
        digest.update(&identity.generation.to_le_bytes());
        digest.update(&identity.place.to_le_bytes());
        digest.update(&[identity.type_index, 0]);
        digest.update(&size.to_le_bytes());
        digest.update(&tag.to_le_bytes());
        Self(digest)
    }

    /// Feeds bytes of the object.
    pub fn update(&mut self, bytes: &[u8]) {
        self.0.update(bytes);
    }

    /// The checksum; `seed` is that of the epoch of the format, so that a block of an earlier life of the storage does not pass.
    #[must_use]
    pub fn finish(self, seed: u32) -> u32 {
        self.0.finalize() ^ if fault!(BelieveOldBlock) { 0 } else { seed }
    }
}

/// The checksum of a block whose object is `object`, with the [`seed`] of its epoch.
#[must_use]
pub fn block_crc(seed: u32, identity: Identity, tag: u16, object: &[u8]) -> u32 {
    let mut crc = BlockCrc::new(identity, tag, object.len() as u16);
    crc.update(object);
    crc.finish(seed)
}
