//! Each rule of the data sheet (DS501-00015 unless stated), on the wires, without the driver.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use embedded_hal::digital::OutputPin as _;
use embedded_hal::spi::SpiBus as _;
use vnv_sim::{BusError, Fram, Garbage, Tear, Violation};
use vnv_storage::Part;

/// One frame: sends `bytes`, returns `reading` more bytes from the part.
fn frame(fram: &Fram, bytes: &[u8], reading: usize) -> Vec<u8> {
    let (mut bus, mut select) = (fram.bus(), fram.chip_select());
    let mut answer = vec![0; reading];
    select.set_low().unwrap();
    bus.write(bytes).unwrap();
    bus.read(&mut answer).unwrap();
    bus.flush().unwrap();
    select.set_high().unwrap();
    answer
}

/// A frame that power may cut.
fn try_frame(fram: &Fram, bytes: &[u8]) -> Result<(), BusError> {
    let (mut bus, mut select) = (fram.bus(), fram.chip_select());
    select.set_low()?;
    let sent = bus.write(bytes);
    bus.flush().unwrap();
    sent.and(select.set_high())
}

fn part() -> Fram {
    Fram::new(Part::MB85RS64V)
}

fn numbered() -> Fram {
    Fram::from_image(Part::MB85RS64V, (0..8192).map(|at| at as u8).collect())
}

#[test]
fn wren_sets_and_wrdi_clears_the_latch() {
    let fram = part();
    assert_eq!(frame(&fram, &[0x05], 1), [0x00]);
    frame(&fram, &[0x06], 0);
    assert_eq!(frame(&fram, &[0x05], 3), [0x02; 3], "the status repeats");
    frame(&fram, &[0x04], 0);
    assert_eq!(frame(&fram, &[0x05], 1), [0x00]);
    assert_eq!(fram.violations(), []);
}

#[test]
fn wren_with_more_bytes_behind_it_is_not_obeyed() {
    let fram = part();
    frame(&fram, &[0x06, 0x02, 0x00, 0x00, 0xAA], 0);
    assert_eq!(fram.status(), 0);
    assert_eq!(fram.image()[0], 0);
    assert_eq!(fram.violations()[0], Violation::TrailingBytes);
}

#[test]
fn a_write_needs_the_latch_and_clears_it() {
    let fram = part();
    frame(&fram, &[0x02, 0x00, 0x10, 0xAA], 0);
    assert_eq!(fram.image()[0x10], 0);
    assert_eq!(fram.take_violations(), [Violation::WriteWithoutEnable]);
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x02, 0x00, 0x10, 0xAA], 0);
    assert_eq!(fram.image()[0x10], 0xAA);
    assert_eq!(fram.status(), 0);
    frame(&fram, &[0x02, 0x00, 0x10, 0xBB], 0);
    assert_eq!(fram.image()[0x10], 0xAA, "one WREN is one WRITE");
}

#[test]
fn the_latch_survives_on_its_siblings() {
    for part in [Part::MB85RS2MTA, Part::MB85RS4MT] {
        let fram = Fram::new(part);
        frame(&fram, &[0x06], 0);
        frame(&fram, &[0x02, 0x01, 0x00, 0x10, 0xAA], 0);
        frame(&fram, &[0x02, 0x01, 0x00, 0x11, 0xBB], 0);
        assert_eq!(fram.image()[0x1_0010..0x1_0012], [0xAA, 0xBB]);
        fram.power_on();
        assert_eq!(fram.status(), 0, "but not a power-on");
    }
}

#[test]
fn the_latch_is_clear_after_power_on_and_the_other_bits_stay() {
    let fram = part();
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x01, 0x04], 0);
    frame(&fram, &[0x06], 0);
    fram.power_on();
    assert_eq!(fram.status(), 0x04);
}

#[test]
fn reads_and_writes_roll_over_and_ignore_the_upper_address_bits() {
    let fram = part();
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x02, 0xFF, 0xFF, 1, 2], 0);
    assert_eq!((fram.image()[0x1FFF], fram.image()[0]), (1, 2));
    assert_eq!(frame(&fram, &[0x03, 0x3F, 0xFF], 2), [1, 2]);
    assert_eq!(fram.violations(), [Violation::RolledOver]);
}

#[test]
fn the_id_is_four_bytes_and_then_its_last_bit() {
    assert_eq!(frame(&part(), &[0x9F], 6), [0x04, 0x7F, 0x03, 0x02, 0x00, 0x00]);
    assert_eq!(frame(&Fram::new(Part::MB85RS2MTA), &[0x9F], 5), [0x04, 0x7F, 0x48, 0x03, 0xFF]);
}

#[test]
fn unknown_opcodes_are_ignored_and_recorded() {
    let fram = part();
    assert_eq!(frame(&fram, &[0xB9], 2), [0xFF; 2]);
    assert_eq!(fram.violations(), [Violation::UnknownOpcode(0xB9)]);
}

#[test]
fn block_protection_covers_the_upper_quarter_half_or_all() {
    for (bits, first) in [(0x00, 0x2000), (0x04, 0x1800), (0x08, 0x1000), (0x0C, 0x0000usize)] {
        let fram = part();
        frame(&fram, &[0x06], 0);
        frame(&fram, &[0x01, bits], 0);
        for address in [0x0000u16, 0x0FFF, 0x1000, 0x17FF, 0x1800, 0x1FFF] {
            frame(&fram, &[0x06], 0);
            let [high, low] = address.to_be_bytes();
            frame(&fram, &[0x02, high, low, 0xAA], 0);
            let written = fram.image()[usize::from(address)] == 0xAA;
            assert_eq!(written, usize::from(address) < first, "{bits:#x} {address:#x}");
        }
    }
}

#[test]
fn the_status_is_locked_by_wpen_with_the_pin_low() {
    let fram = part();
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x01, 0x80], 0);
    fram.set_write_protect_low(true);
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x01, 0x0C], 0);
    assert_eq!(fram.status(), 0x80);
    assert_eq!(fram.take_violations(), [Violation::StatusProtected]);
    fram.set_write_protect_low(false);
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x01, 0x0F], 0);
    assert_eq!(fram.status(), 0x0C, "bit 0 is always 0, WEL is not written and is cleared");
    frame(&fram, &[0x01, 0x00], 0);
    assert_eq!(fram.status(), 0x0C, "no WRSR without WREN");
}

#[test]
fn a_byte_is_stored_with_its_eighth_bit() {
    for bits in 0..8 {
        let fram = numbered();
        frame(&fram, &[0x06], 0);
        let mut select = fram.chip_select();
        select.set_low().unwrap();
        fram.bus().write(&[0x02, 0x00, 0x20, 0xAA]).unwrap();
        fram.clock_bits(0xBB, bits).unwrap();
        fram.bus().flush_for_test();
        select.set_high().unwrap();
        assert_eq!(fram.image()[0x20..0x22], [0xAA, 0x21], "{bits} bits");
        let offence = (bits > 0).then_some(Violation::PartialByte { bits });
        assert_eq!(fram.violations(), Vec::from_iter(offence));
    }
}

/// `flush` by value of a temporary handle.
trait Flush {
    fn flush_for_test(self);
}

impl Flush for vnv_sim::SimBus {
    fn flush_for_test(mut self) {
        self.flush().unwrap();
    }
}

#[test]
fn frames_cut_within_opcode_or_address_do_nothing() {
    for bits in 1..24 {
        let fram = numbered();
        let before = fram.image();
        frame(&fram, &[0x06], 0);
        fram.set_tear(Tear::T3(Garbage::Ones));
        fram.cut_after_bits(bits);
        assert_eq!(try_frame(&fram, &[0x02, 0x00, 0x20, 0xAA, 0xBB]), Err(BusError::PowerLost));
        assert_eq!(fram.image(), before, "cut after bit {bits}");
        assert_eq!(try_frame(&fram, &[0x05]), Err(BusError::PowerLost), "power stays away");
        fram.power_on();
        assert_eq!(frame(&fram, &[0x05], 1), [0x00]);
    }
}

#[test]
fn a_cut_wren_does_not_set_the_latch() {
    for bits in 0..=8 {
        let fram = part();
        fram.cut_after_bits(bits);
        assert_eq!(try_frame(&fram, &[0x06]), Err(BusError::PowerLost));
        assert_eq!(fram.status(), 0, "cut after bit {bits}");
    }
}

#[test]
fn a_cut_write_tears_as_told() {
    let cut = |tear, bits: u64| {
        let fram = numbered();
        frame(&fram, &[0x06], 0);
        fram.set_tear(tear);
        fram.cut_after_bits(24 + bits);
        assert_eq!(
            try_frame(&fram, &[0x02, 0x00, 0x04, 0xA0, 0xA1, 0xA2, 0xA3, 0xA4, 0xA5, 0xA6]),
            Err(BusError::PowerLost)
        );
        assert!(!fram.is_powered());
        let image = fram.image();
        assert_eq!(image[16..], numbered().image()[16..]);
        image[..16].to_vec()
    };
    let old: Vec<u8> = (0..16).collect();
    let with = |changes: &[(usize, u8)]| {
        let mut image = old.clone();
        changes.iter().for_each(|(at, byte)| image[*at] = *byte);
        image
    };
    assert_eq!(cut(Tear::T0, 8), with(&[(4, 0xA0)]));
    assert_eq!(cut(Tear::T0, 12), with(&[(4, 0xA0)]));
    assert_eq!(cut(Tear::T1(Garbage::Ones), 12), with(&[(4, 0xA0), (5, 0xA5)]));
    let row: Vec<(usize, u8)> = (0..8).map(|at| (at, 0xFF)).collect();
    assert_eq!(cut(Tear::T2(Garbage::Ones), 12), with(&row));
    assert_eq!(cut(Tear::T2(Garbage::Ones), 8), with(&row), "chip select is low: the row is still in flight");
    assert_eq!(cut(Tear::T2(Garbage::Old), 12), old, "stored bytes of the row go back");
    let rest: Vec<(usize, u8)> = (0..11).map(|at| (at, 0xFF)).collect();
    assert_eq!(cut(Tear::T3(Garbage::Ones), 12), with(&rest));
}

#[test]
fn a_cut_read_destroys_its_row_on_the_fourth_rung() {
    for (tear, destroyed) in [(Tear::T3(Garbage::Zeros), false), (Tear::T4(Garbage::Zeros), true)] {
        let fram = numbered();
        fram.set_tear(tear);
        fram.cut_after_bits(24 + 8 * 2 + 3);
        assert_eq!(try_frame(&fram, &[0x03, 0x00, 0x07, 0, 0, 0]), Err(BusError::PowerLost));
        let image = fram.image();
        assert_eq!(image[8..16] == [0; 8], destroyed);
        assert_eq!((&image[..8], &image[16..]), (&numbered().image()[..8], &numbered().image()[16..]));
    }
}

#[test]
fn the_fifth_rung_drops_and_halves_writes_without_an_error() {
    let fram = numbered();
    for (bytes, wanted) in [(0, [0x20, 0x21, 0x22]), (1, [0xAA, 0x21, 0x22]), (9, [0xAA, 0xBB, 0x22])] {
        fram.truncate_next_write(bytes);
        frame(&fram, &[0x06], 0);
        frame(&fram, &[0x02, 0x00, 0x20, 0xAA, 0xBB], 0);
        assert_eq!(fram.image()[0x20..0x23], wanted);
    }
    fram.stray_write(0x1FFF, &[7, 7]);
    assert_eq!((fram.image()[0x1FFF], fram.image()[0]), (7, 0));
}

#[test]
fn counters_know_frames_bits_bytes_and_rows() {
    let fram = part();
    frame(&fram, &[0x06], 0);
    frame(&fram, &[0x02, 0x00, 0x06, 1, 2, 3], 0);
    frame(&fram, &[0x03, 0x00, 0x00], 5);
    let counters = fram.counters();
    assert_eq!(counters.frames, 3);
    assert_eq!([0x06, 0x02, 0x03].map(|opcode: usize| counters.frames_by_opcode[opcode]), [1, 1, 1]);
    assert_eq!((counters.bytes_written, counters.bytes_read), (3, 5));
    assert_eq!(counters.bits, 8 * (1 + 6 + 8));
    assert_eq!(counters.row_writes[..3], [1, 1, 0]);
    fram.reset_counters();
    assert_eq!(fram.counters().bits, 0);
}

#[test]
fn clocks_without_select_and_missing_flushes_are_recorded() {
    let fram = part();
    fram.bus().write(&[0x06]).unwrap();
    assert_eq!(fram.take_violations(), [Violation::NotSelected; 8]);
    fram.chip_select().set_high().unwrap();
    assert_eq!(fram.take_violations(), [Violation::NotFlushed]);
}
