//! What a host did that the data sheet forbids, or that a driver should not do.

/// An offence against the protocol of the part. The model does what the data sheet says the part does, and records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Violation {
    /// An opcode that the part does not know; the frame was ignored.
    UnknownOpcode(u8),
    /// WRITE or WRSR while WEL was clear; it was ignored.
    WriteWithoutEnable,
    /// A byte of a protected block was written; it was ignored.
    WriteProtected {
        /// Address of the byte.
        address: u32,
    },
    /// WRSR while WPEN was set and the WP pin low; it was ignored.
    StatusProtected,
    /// Bytes behind WREN, WRDI or the byte of WRSR; WREN or WRDI was not obeyed.
    TrailingBytes,
    /// Chip select rose within a byte.
    PartialByte {
        /// Bits of the byte that were clocked, 1 to 7.
        bits: u8,
    },
    /// Chip select rose before the address was complete.
    PartialAddress,
    /// A clock while chip select was high.
    NotSelected,
    /// A write rolled over from the last address to the first. The part allows it; a driver has no use for it.
    RolledOver,
    /// A write wrapped inside a page, and overwrote what it had sent before. The part allows it; a driver has no use for
    /// it.
    PageWrapped,
    /// A command other than RDSR during a write cycle; it was ignored.
    Busy {
        /// The opcode.
        opcode: u8,
    },
    /// A command to a part that sleeps, or more than one byte of RDSR to wake it; it was ignored.
    Asleep,
    /// A fall of chip select before the part had recovered from sleep; the frame was ignored.
    Recovering,
    /// Chip select moved before the bus was flushed.
    NotFlushed,
}
