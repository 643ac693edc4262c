//! What traffic costs.

use std::ops::{Add, Sub};

/// Traffic of a storage.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Traffic {
    /// Write transactions, write-enables apart.
    pub writes: u64,
    /// Bytes written.
    pub bytes_written: u64,
    /// Read transactions.
    pub reads: u64,
    /// Bytes read.
    pub bytes_read: u64,
    /// Bytes on the wire, with opcodes, addresses and write-enables.
    pub wire_bytes: u64,
}

impl Traffic {
    /// Storage time in microseconds on an ESP32-C3 with an FRAM at 20 MHz: 74.8 us + 0.69 us a byte for each write,
    /// 43.1 us + 0.776 us a byte for each read.
    #[must_use]
    pub fn model_us(&self) -> f64 {
        let (writes, reads) = (self.writes as f64, self.reads as f64);
        74.8 * writes + 0.69 * self.bytes_written as f64 + 43.1 * reads + 0.776 * self.bytes_read as f64
    }

    /// The limit of the wire at 20 MHz in microseconds: 0.4 us a byte.
    #[must_use]
    pub fn wire_us(&self) -> f64 {
        0.4 * self.wire_bytes as f64
    }

    /// One write of `bytes` bytes, with `address` bytes of address.
    #[must_use]
    pub const fn write(bytes: u64, address: u64) -> Self {
        Self { writes: 1, bytes_written: bytes, reads: 0, bytes_read: 0, wire_bytes: 2 + address + bytes }
    }

    /// One read of `bytes` bytes, with `address` bytes of address.
    #[must_use]
    pub const fn read(bytes: u64, address: u64) -> Self {
        Self { writes: 0, bytes_written: 0, reads: 1, bytes_read: bytes, wire_bytes: 1 + address + bytes }
    }
}

impl Add for Traffic {
    type Output = Self;
    fn add(self, other: Self) -> Self {
        Self {
            writes: self.writes + other.writes,
            bytes_written: self.bytes_written + other.bytes_written,
            reads: self.reads + other.reads,
            bytes_read: self.bytes_read + other.bytes_read,
            wire_bytes: self.wire_bytes + other.wire_bytes,
        }
    }
}

impl Sub for Traffic {
    type Output = Self;
    fn sub(self, other: Self) -> Self {
        Self {
            writes: self.writes - other.writes,
            bytes_written: self.bytes_written - other.bytes_written,
            reads: self.reads - other.reads,
            bytes_read: self.bytes_read - other.bytes_read,
            wire_bytes: self.wire_bytes - other.wire_bytes,
        }
    }
}

impl std::iter::Sum for Traffic {
    fn sum<I: Iterator<Item = Self>>(traffic: I) -> Self {
        traffic.fold(Self::default(), Add::add)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn costs_are_those_of_the_model() {
        let write = Traffic::write(1000, 2);
        assert!((write.model_us() - 764.8).abs() < 1e-9);
        assert!((write.wire_us() - 0.4 * 1004.0).abs() < 1e-9);
        let read = Traffic::read(1000, 3);
        assert!((read.model_us() - 819.1).abs() < 1e-9);
        assert!((read.wire_us() - 0.4 * 1004.0).abs() < 1e-9);
        // Published: a storage ring of 100 items of 256 bytes.
        let ring: Traffic = (0..100).map(|_| Traffic::write(256, 2) + Traffic::read(256, 2)).sum();
        assert_eq!(ring.model_us().round(), 49_320.0);
    }
}
