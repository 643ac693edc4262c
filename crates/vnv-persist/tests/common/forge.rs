//! Checksums as the heap makes them, for records and blocks that a test makes by hand.
#![allow(dead_code)]

use crc::{CRC_16_IBM_3740, CRC_32_ISO_HDLC, Crc};

/// Epoch of the first format of a blank storage.
pub const FIRST_EPOCH: u32 = 1;

/// Where a record stands, and what it belongs to: its checksums begin with that.
#[derive(Clone, Copy)]
pub struct Seed {
    pub epoch: u32,
    /// Bytes from the start of storage.
    pub at: usize,
    /// Sequence of the base of its half, or its own one.
    pub salt: u64,
}

impl Seed {
    pub const fn first(at: usize, salt: u64) -> Self {
        Self { epoch: FIRST_EPOCH, at, salt }
    }

    const fn value(self) -> u32 {
        (self.epoch ^ self.at as u32).wrapping_mul(0x9E37_79B9)
    }
}

fn put(bytes: &mut [u8], at: usize, value: &[u8]) {
    bytes[at..at + value.len()].copy_from_slice(value);
}

/// Gives a header its own check.
pub fn sign_header(record: &mut [u8], seed: Seed) {
    let crc = Crc::<u16>::new(&CRC_16_IBM_3740);
    let mut digest = crc.digest();
    digest.update(&seed.salt.to_le_bytes());
    digest.update(&record[6..24]);
    put(record, 4, &(digest.finalize() ^ (seed.value() >> 16) as u16).to_le_bytes());
}

/// Gives a record both checksums.
pub fn sign(record: &mut [u8], seed: Seed) {
    sign_header(record, seed);
    let length = u32::from_le_bytes(record[16..20].try_into().unwrap()) as usize;
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC);
    let mut digest = crc.digest();
    digest.update(&seed.salt.to_le_bytes());
    digest.update(&record[4..length]);
    put(record, 0, &(digest.finalize() ^ seed.value()).to_le_bytes());
}

/// The checksum of a superblock.
pub fn sign_superblock(superblock: &mut [u8]) {
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&superblock[..60]);
    put(superblock, 60, &crc.to_le_bytes());
}
