//! The commands: one table of opcodes, and the bytes that begin a frame (DS501-00015, "Op-code").

use super::{AddressWidth, Header, Part};

/// Set WEL. Alone in its frame.
pub(super) const WREN: u8 = 0x06;
/// Clear WEL. Alone in its frame.
pub(super) const WRDI: u8 = 0x04;
/// Read the status register.
pub(super) const RDSR: u8 = 0x05;
/// Write the status register; needs WEL.
pub(super) const WRSR: u8 = 0x01;
/// Read from an address on.
pub(super) const READ: u8 = 0x03;
/// Write from an address on; needs WEL.
pub(super) const WRITE: u8 = 0x02;
/// Read the four bytes of the id.
pub(super) const RDID: u8 = 0x9F;
/// Sleep from the rise of chip select on, on the parts that can (DS501-00023, "SLEEP"). Alone in its frame.
pub(super) const SLEEP: u8 = 0xB9;
/// Wake up, on the MR25H40 (EST00459, "WAKE"). Alone in its frame.
pub(super) const WAKE: u8 = 0xAB;

/// A command without address.
pub(super) const fn command(opcode: u8) -> Header {
    Header { bytes: [opcode, 0, 0, 0], length: 1 }
}

/// A command with an address, high byte first.
pub(super) const fn addressed(opcode: u8, part: &Part, address: u32) -> Header {
    let [_, high, middle, low] = address.to_be_bytes();
    match part.address_width {
        AddressWidth::Two => Header { bytes: [opcode, middle, low, 0], length: 3 },
        AddressWidth::Three => Header { bytes: [opcode, high, middle, low], length: 4 },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_has_as_many_address_bytes_as_the_part() {
        assert_eq!(*command(WREN), [0x06]);
        assert_eq!(*addressed(READ, &Part::MB85RS64V, 0x1F34), [0x03, 0x1F, 0x34]);
        assert_eq!(*addressed(WRITE, &Part::MB85RS4MT, 0x07_1234), [0x02, 0x07, 0x12, 0x34]);
    }
}
