//! Parts with pages and write cycles, on the wires and with the driver.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use embedded_hal::digital::OutputPin as _;
use embedded_hal::spi::SpiBus as _;
use embedded_hal_bus::spi::ExclusiveDevice;
use vnv_sim::{BusError, Fram, Garbage, SimBus, SimChipSelect, Tear, Violation};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{
    AddressWidth, BlockProtect, Device as _, Error, OwnedSpiFram, Part, ProbeError, SpiFram, StatusError,
};

const EEPROMS: [Part; 3] = [Part::AT25128A, Part::MICROCHIP_25LC256, Part::AT25256];

/// One frame: sends `bytes`, returns `reading` more bytes from the part.
fn frame(model: &Fram, bytes: &[u8], reading: usize) -> Vec<u8> {
    let (mut bus, mut select) = (model.bus(), model.chip_select());
    let mut answer = vec![0; reading];
    select.set_low().unwrap();
    bus.write(bytes).unwrap();
    bus.read(&mut answer).unwrap();
    bus.flush().unwrap();
    select.set_high().unwrap();
    answer
}

fn numbered(part: Part) -> Fram {
    Fram::from_image(part, (0..part.capacity).map(|at| at as u8).collect())
}

fn owned(model: &Fram, part: Part) -> OwnedSpiFram<SimBus, SimChipSelect> {
    OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay()).unwrap()
}

/// Bytes that no page of [`numbered`] holds in this order.
fn pattern(length: usize) -> Vec<u8> {
    (0..length).map(|at| (at * 7 + 129) as u8).collect()
}

#[test]
fn a_write_wraps_inside_its_page() {
    let model = numbered(Part::MICROCHIP_25LC256);
    frame(&model, &[0x06], 0);
    frame(&model, &[0x02, 0x00, 0x7E, 1, 2, 3], 0);
    let image = model.image();
    assert_eq!((&image[0x7E..0x81], image[0x40]), (&[1, 2, 0x80][..], 3));
    assert_eq!(model.violations(), [Violation::PageWrapped]);
    // The upper address bit is ignored, and reads do not wrap.
    model.power_on();
    assert_eq!(frame(&model, &[0x03, 0x80, 0x7E], 4), [1, 2, 0x80, 0x81]);
}

#[test]
fn a_write_cycle_takes_its_clocks_and_ignores_all_commands_but_rdsr() {
    let model = numbered(Part::MICROCHIP_25LC256);
    model.set_write_cycle_clocks(160);
    frame(&model, &[0x06], 0);
    frame(&model, &[0x02, 0x00, 0x10, 0xAA], 0);
    assert_eq!(frame(&model, &[0x05], 1), [0x03], "WIP and WEL");
    assert_eq!(frame(&model, &[0x03, 0x00, 0x10], 1), [0xFF], "no read");
    assert_eq!(model.take_violations(), [Violation::Busy { opcode: 0x03 }]);
    frame(&model, &[0x06], 0);
    assert_eq!(model.take_violations(), [Violation::Busy { opcode: 0x06 }]);
    // 16 + 32 + 8 clocks so far, and 104 to come: the status is loaded at the beginning of each byte.
    let answers = frame(&model, &[0x05], 14);
    assert_eq!(answers[..11], [0x03; 11]);
    assert_eq!(answers[13], 0x00, "WEL goes with WIP");
    assert_eq!(frame(&model, &[0x03, 0x00, 0x10], 1), [0xAA]);
    assert_eq!(model.violations(), []);
    assert_eq!(model.counters().row_writes[..2], [1, 0]);
}

#[test]
fn what_is_no_whole_write_begins_no_cycle() {
    let model = numbered(Part::MICROCHIP_25LC256);
    let idle = || frame(&model, &[0x05], 1)[0] & 0x01 == 0;
    frame(&model, &[0x02, 0x00, 0x10, 0xAA], 0);
    assert_eq!(model.take_violations(), [Violation::WriteWithoutEnable]);
    assert!(idle());
    frame(&model, &[0x06], 0);
    frame(&model, &[0x02, 0x00, 0x10], 0);
    assert!(idle(), "no data");
    let mut select = model.chip_select();
    select.set_low().unwrap();
    model.bus().write(&[0x02, 0x00, 0x10, 0xAA]).unwrap();
    model.clock_bits(0xBB, 3).unwrap();
    model.bus().flush().unwrap();
    select.set_high().unwrap();
    assert!(idle(), "chip select rose within a byte");
    assert!(model.image() == numbered(Part::MICROCHIP_25LC256).image());
}

#[test]
fn writes_gathers_and_streams_cross_pages() {
    for part in EEPROMS {
        let model = numbered(part);
        let mut plain = model.image();
        let mut driver = owned(&model, part);
        let mut shared =
            SpiFram::without_probe(ExclusiveDevice::new_no_delay(model.bus(), model.chip_select()).unwrap(), part);
        let bytes = pattern(300);

        driver.write(0x3C, &bytes).unwrap();
        plain[0x3C..0x3C + 300].copy_from_slice(&bytes);

        let slices: Vec<&[u8]> = bytes.chunks(3).collect();
        shared.write_gather(0x403, &slices).unwrap();
        plain[0x403..0x403 + 300].copy_from_slice(&bytes);

        let pieces = |driver: &mut dyn FnMut(vnv_storage::Pieces<'_>)| {
            driver(&mut |sink| bytes.chunks(11).try_for_each(&mut *sink));
        };
        pieces(&mut |pieces| driver.write_stream(0x811, 299, pieces).unwrap());
        plain[0x811..0x811 + 299].copy_from_slice(&bytes[..299]);
        driver.sync().unwrap();
        pieces(&mut |pieces| shared.write_stream(part.capacity - 65, 65, pieces).unwrap());
        let end = part.capacity as usize;
        plain[end - 65..].copy_from_slice(&bytes[..65]);

        let mut read = vec![0; end];
        shared.read(0, &mut read).unwrap();
        assert!(read == plain && model.image() == plain, "{}", part.name);
        assert_eq!(model.violations(), []);
        // 300 bytes from 0x3C on: 4 of the first page, 4 whole ones, 40 of the last.
        assert_eq!(model.counters().row_writes[..7], [1, 1, 1, 1, 1, 1, 0]);
    }
}

#[test]
fn forgetting_to_wait_is_noticed() {
    let model = numbered(Part::AT25256);
    let mut forgetful = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), {
        // The same part as FRAM: no pages, no waits.
        Part::new("forgetful", 32 * 1024, AddressWidth::Two)
    });
    forgetful.write(0x00, &[1]).unwrap();
    forgetful.write(0x40, &[2]).unwrap();
    assert_eq!(model.take_violations(), [Violation::Busy { opcode: 0x06 }, Violation::Busy { opcode: 0x02 }]);
    assert_eq!(model.image()[0x40], 0x40);
    // A new driver knows that it does not know.
    let mut driver = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), Part::AT25256);
    driver.write(0x40, &[2]).unwrap();
    assert_eq!((model.image()[0x40], model.violations()), (2, vec![]));
}

#[test]
fn the_wait_is_lazy_and_as_long_as_the_cycle() {
    for part in EEPROMS {
        let model = numbered(part);
        let mut driver = owned(&model, part);
        driver.sync().unwrap();
        model.reset_counters();
        driver.write(0, &[1]).unwrap();
        assert_eq!(model.counters().frames_by_opcode[0x05], 0);
        driver.sync().unwrap();
        // Half of the limit: the longest cycle at the highest clock. WIP falls within a frame at the latest.
        let polls = model.counters().frames_by_opcode[0x05];
        assert!((u64::from(part.max_polls() / 2)..=u64::from(part.max_polls() / 2) + 1).contains(&polls), "{polls}");
        // Waiting elsewhere costs no polls.
        driver.write(0, &[2]).unwrap();
        embedded_hal::delay::DelayNs::delay_ms(&mut model.delay(), 5);
        model.reset_counters();
        driver.sync().unwrap();
        assert_eq!(model.counters().frames, 1);
        assert_eq!(model.violations(), []);
    }
}

#[test]
fn a_part_that_stays_busy_is_a_typed_error() {
    for part in EEPROMS {
        let model = numbered(part);
        let mut driver = owned(&model, part);
        model.set_write_cycle_clocks(u64::MAX);
        driver.write(0, &[1]).unwrap();
        assert_eq!(driver.sync(), Err(Error::Busy));
        assert_eq!(driver.read(0, &mut [0]), Err(Error::Busy));
        assert_eq!(driver.write(0x40, &[1]), Err(Error::Busy));
        assert_eq!(driver.set_block_protect(BlockProtect::All), Err(StatusError::Access(Error::Busy)));
        let again = OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay());
        assert_eq!(again.unwrap_err(), ProbeError::Access(Error::Busy));
        assert_eq!(model.violations(), []);
        model.power_on();
        assert_eq!(driver.write(0x40, &[1]), Ok(()), "it asks again");
    }
}

#[test]
fn protection_has_a_write_cycle_and_holds() {
    let model = numbered(Part::MICROCHIP_25LC256);
    let mut driver = owned(&model, Part::MICROCHIP_25LC256);
    driver.set_block_protect(BlockProtect::UpperHalf).unwrap();
    assert_eq!(driver.block_protect(), Ok(BlockProtect::UpperHalf));
    assert_eq!(model.violations(), []);
    driver.write(0x4000, &[9]).unwrap();
    driver.sync().unwrap();
    assert_eq!(model.image()[0x4000], 0x00);
    assert_eq!(model.violations(), [Violation::WriteProtected { address: 0x4000 }]);
}

/// Every cut of a write over three pages: whole pages before the one in flight, old ones behind it, nothing else.
#[test]
fn a_cut_damages_one_page() {
    const SMALL: Part = Part::new("small", 512, AddressWidth::Two).with_pages::<64>(100);
    let (start, bytes) = (50, pattern(100));
    let old = numbered(SMALL).image();
    let mut new = old.clone();
    new[start..start + 100].copy_from_slice(&bytes);
    let mut torn_pages = 0;
    for tear in Tear::of_writes() {
        for cut in 0.. {
            let model = numbered(SMALL);
            model.set_write_cycle_clocks(160);
            let mut driver = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), SMALL);
            model.set_tear(tear);
            model.cut_after_bits(cut);
            let outcome = driver.write(start as u32, &bytes).and_then(|()| driver.sync());
            let image = model.image();
            if outcome.is_ok() {
                assert!(image == new && cut > 1000);
                break;
            }
            let lost = BusError::PowerLost;
            assert!(outcome == Err(Error::Bus(lost)) || outcome == Err(Error::ChipSelect(lost)), "{outcome:?}");
            let pages = image.chunks(64).zip(old.chunks(64)).zip(new.chunks(64));
            // Whether the page in flight has come.
            let mut behind = false;
            for (index, ((is, old), new)) in pages.enumerate() {
                if behind || index > 2 {
                    assert_eq!(is, old, "page {index} of {tear:?} cut {cut}");
                } else if is != new {
                    behind = true;
                    torn_pages += u32::from(is != old);
                    if tear == Tear::T0 {
                        let stored = is.iter().zip(new).take_while(|(is, new)| is == new).count();
                        assert_eq!(is[stored..], old[stored..], "half programmed, cut {cut}");
                    }
                }
            }
        }
    }
    assert!(torn_pages > 1000, "{torn_pages}");
    // The harshest: bytes of the page that were not written go too.
    let model = numbered(SMALL);
    let mut driver = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), SMALL);
    driver.write(10, &[1]).unwrap();
    model.set_tear(Tear::T2(Garbage::Ones));
    model.cut_after_bits(100);
    assert_eq!(driver.sync(), Err(Error::Bus(BusError::PowerLost)));
    assert_eq!(model.image()[..65], [&[0xFF; 64][..], &[64]].concat());
}

#[test]
fn an_abort_leaves_whole_pages() {
    let model = numbered(Part::AT25128A);
    let mut driver = owned(&model, Part::AT25128A);
    let bytes = pattern(200);
    let mut pages = 0;
    let written = driver.write_abortable(0x20, &[&bytes], &mut || {
        pages += 1;
        pages == 2
    });
    assert_eq!(written, Ok(96));
    assert_eq!(driver.write_abortable(0x80, &[&bytes[96..]], &mut || false), Ok(104));
    let mut read = vec![0; 200];
    assert_eq!(driver.read_abortable(0x20, &mut read, &mut || false), Ok(200));
    assert_eq!(read, bytes);
    assert_eq!(model.violations(), []);
}
