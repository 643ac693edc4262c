//! The driver against the model: random operations equal a plain vector, random cuts damage no more than allowed.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::cell::RefCell;

use embedded_hal::delay::DelayNs;
use embedded_hal_bus::spi::{CriticalSectionDevice, ExclusiveDevice, NoDelay, RefCellDevice};
use proptest::prelude::*;
use vnv_sim::{BusError, Fram, Tear};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{BlockProtect, Device, Error, OwnedSpiFram, Part, ProbeError, SpiFram, StatusError, StorageFault};

/// Adds up the waits.
#[derive(Default)]
struct Waited(u64);

impl DelayNs for Waited {
    fn delay_ns(&mut self, ns: u32) {
        self.0 += u64::from(ns);
    }
}

fn shared(model: &Fram, part: Part) -> impl Device<Error: std::fmt::Debug> + use<> {
    let spi = ExclusiveDevice::new_no_delay(model.bus(), model.chip_select()).unwrap();
    SpiFram::new(spi, part, &mut Waited::default()).unwrap()
}

fn owned(model: &Fram, part: Part) -> impl Device<Error: std::fmt::Debug> + use<> {
    OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut Waited::default()).unwrap()
}

#[derive(Clone, Debug)]
enum Operation {
    Read { offset: u32, length: usize },
    Write { offset: u32, bytes: Vec<u8> },
    Gather { offset: u32, slices: Vec<Vec<u8>> },
    Abort { offset: u32, bytes: Vec<u8>, after: usize },
}

/// Offsets all over the part, often near its end.
fn offsets(capacity: u32) -> impl Strategy<Value = u32> {
    prop_oneof![0..=capacity + 4, capacity - 40..=capacity]
}

fn operations(capacity: u32) -> impl Strategy<Value = Operation> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..200);
    prop_oneof![
        (offsets(capacity), 0..200usize).prop_map(|(offset, length)| Operation::Read { offset, length }),
        (offsets(capacity), bytes()).prop_map(|(offset, bytes)| Operation::Write { offset, bytes }),
        (offsets(capacity), prop::collection::vec(prop::collection::vec(any::<u8>(), 0..6), 0..80))
            .prop_map(|(offset, slices)| Operation::Gather { offset, slices }),
        (offsets(capacity), bytes(), 0..4usize)
            .prop_map(|(offset, bytes, after)| { Operation::Abort { offset, bytes, after } }),
    ]
}

/// Does `operation` on `device` and on `plain`, and compares the outcomes.
fn step(device: &mut impl Device<Error: std::fmt::Debug>, plain: &mut [u8], operation: &Operation) {
    let write = |plain: &mut [u8], offset: u32, bytes: &[u8]| {
        let target = plain.get_mut(offset as usize..offset as usize + bytes.len());
        target.map(|target| target.copy_from_slice(bytes)).is_some()
    };
    match operation {
        Operation::Read { offset, length } => {
            let mut bytes = vec![0; *length];
            let wanted = plain.get(*offset as usize..*offset as usize + length);
            let read = device.read(*offset, &mut bytes);
            assert_eq!(read.is_ok(), wanted.is_some());
            wanted.inspect(|wanted| assert_eq!(bytes, *wanted));
        }
        Operation::Write { offset, bytes } => {
            assert_eq!(device.write(*offset, bytes).is_ok(), write(plain, *offset, bytes));
        }
        Operation::Gather { offset, slices } => {
            let slices: Vec<&[u8]> = slices.iter().map(Vec::as_slice).collect();
            assert_eq!(device.write_gather(*offset, &slices).is_ok(), write(plain, *offset, &slices.concat()));
        }
        Operation::Abort { offset, bytes, after } => {
            let mut asked = 0;
            let outcome = device.write_abortable(*offset, &[bytes], &mut || {
                asked += 1;
                asked > *after
            });
            match outcome {
                Ok(written) => assert!(write(plain, *offset, &bytes[..written as usize])),
                Err(_) => assert!(*offset as usize + bytes.len() > plain.len()),
            }
        }
    }
}

fn run(device: &mut impl Device<Error: std::fmt::Debug>, model: &Fram, operations: &[Operation]) {
    let mut plain = model.image();
    for operation in operations {
        step(device, &mut plain, operation);
    }
    assert!(model.image() == plain);
    assert_eq!(model.violations(), []);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn operations_equal_a_plain_vector(
        part in prop::sample::select(Part::ALL.to_vec()),
        cycle in 0..2000u64,
        seeds in prop::collection::vec(operations(8192), 1..30),
    ) {
        let base = part.capacity - 8192;
        let moved: Vec<_> = seeds.into_iter().map(|operation| match operation {
            Operation::Read { offset, length } => Operation::Read { offset: base + offset, length },
            Operation::Write { offset, bytes } => Operation::Write { offset: base + offset, bytes },
            Operation::Gather { offset, slices } => Operation::Gather { offset: base + offset, slices },
            Operation::Abort { offset, bytes, after } => Operation::Abort { offset: base + offset, bytes, after },
        }).collect();
        let model = Fram::new(part);
        model.set_write_cycle_clocks(cycle);
        run(&mut shared(&model, part), &model, &moved);
        let model = Fram::new(part);
        model.set_write_cycle_clocks(cycle);
        run(&mut owned(&model, part), &model, &moved);
    }

    #[test]
    fn a_cut_write_damages_only_its_row_and_what_follows(
        tear in prop::sample::select(Tear::of_writes().collect::<Vec<_>>()),
        own in any::<bool>(),
        offset in 0..7900u32,
        bytes in prop::collection::vec(any::<u8>(), 1..200),
        point in any::<prop::sample::Index>(),
    ) {
        let model = Fram::from_image(Part::MB85RS64V, (0..8192u32).map(|at| (at * 7 + 1) as u8).collect());
        let old = model.image();
        let part = Part::MB85RS64V;
        // WREN, then opcode, address and data.
        let cut = point.index(8 + 24 + bytes.len() * 8) as u64;
        let outcome = if own {
            let mut device = owned(&model, part);
            model.set_tear(tear);
            model.cut_after_bits(cut);
            device.write(offset, &bytes).is_err()
        } else {
            let mut device = shared(&model, part);
            model.set_tear(tear);
            model.cut_after_bits(cut);
            device.write(offset, &bytes).is_err()
        };
        prop_assert!(outcome, "a cut write reports an error");
        prop_assert!(!model.is_powered());

        let start = offset as usize;
        let end = start + bytes.len();
        let stored = (cut.saturating_sub(32) / 8) as usize;
        // Between two bytes the row of the byte stored last is in flight.
        let in_flight = if cut.is_multiple_of(8) { (start + stored).saturating_sub(1).max(start) } else { start + stored };
        let row = in_flight / 8 * 8;
        let damaged = match tear {
            _ if cut <= 32 => 0..0,
            Tear::T0 => 0..0,
            Tear::T1(_) => start + stored..start + stored + 1,
            Tear::T2(_) => row..row + 8,
            _ => row..(row + 8).max(end),
        };
        for (at, &byte) in model.image().iter().enumerate().filter(|(at, _)| !damaged.contains(at)) {
            let wanted = if (start..start + stored).contains(&at) { bytes[at - start] } else { old[at] };
            prop_assert_eq!(byte, wanted, "address {} of {:?} cut {}", at, damaged, cut);
        }
    }
}

#[test]
fn probe_knows_the_right_part_the_wrong_one_and_none() {
    for part in Part::ALL {
        let model = Fram::new(part);
        let mut waited = Waited::default();
        OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut waited).unwrap();
        assert!(waited.0 >= 600_000, "0.6 ms from power-on");
        assert_eq!(model.violations(), []);
    }
    let model = Fram::new(Part::MB85RS2MTA);
    let wrong = OwnedSpiFram::new(model.bus(), model.chip_select(), Part::MB85RS4MT, &mut Waited::default());
    let ids = ([0x04, 0x7F, 0x49, 0x03], [0x04, 0x7F, 0x48, 0x03]);
    assert_eq!(wrong.unwrap_err(), ProbeError::WrongPart { expected: ids.0, found: ids.1 });

    // A part that does not know RDID leaves the line high.
    let nameless = Part::new("nameless", 8192, vnv_storage::AddressWidth::Two);
    let model = Fram::new(nameless);
    let absent = OwnedSpiFram::new(model.bus(), model.chip_select(), Part::MB85RS64V, &mut Waited::default());
    assert_eq!(absent.unwrap_err(), ProbeError::Storage(StorageFault::Absent));
    OwnedSpiFram::new(model.bus(), model.chip_select(), nameless, &mut Waited::default()).unwrap();
}

#[test]
fn protection_is_set_kept_and_refused() {
    let model = Fram::new(Part::MB85RS64V);
    let mut fram = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), Part::MB85RS64V);
    fram.set_block_protect(BlockProtect::UpperHalf).unwrap();
    assert_eq!(fram.block_protect(), Ok(BlockProtect::UpperHalf));
    let status = fram.status().unwrap().with_write_protect_enabled(true);
    fram.set_status(status).unwrap();
    model.set_write_protect_low(true);
    let refused = fram.set_block_protect(BlockProtect::None).unwrap_err();
    assert!(matches!(refused, StatusError::Refused { found } if found.bits() & 0x8C == 0x88));
}

#[test]
fn chip_select_rises_after_every_error() {
    let model = Fram::new(Part::MB85RS64V);
    let mut fram = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), Part::MB85RS64V);
    // WREN is one byte, the header of WRITE three.
    for bytes in 0..6 {
        model.fail_bus_after_bytes(bytes);
        assert_eq!(fram.write(0, &[1, 2, 3]), Err(Error::Bus(BusError::Injected)));
        assert_eq!(fram.status().map(|status| status.bits() & 0xFC), Ok(0), "a new frame is understood");
    }
    model.fail_bus_after_bytes(4);
    assert_eq!(fram.read(0, &mut [0; 4]), Err(Error::Bus(BusError::Injected)));
    model.fail_chip_select_at(0);
    assert_eq!(fram.read(0, &mut [0; 4]), Err(Error::ChipSelect(BusError::Injected)));
    model.fail_chip_select_at(1);
    assert_eq!(fram.read(0, &mut [0; 4]), Err(Error::ChipSelect(BusError::Injected)));
    let (mut bus, mut select) = fram.release();
    embedded_hal::digital::OutputPin::set_high(&mut select).unwrap();
    embedded_hal::spi::SpiBus::flush(&mut bus).unwrap();
    assert!(model.violations().iter().all(|offence| !matches!(offence, vnv_sim::Violation::NotFlushed)));
}

#[test]
fn works_behind_every_shared_bus() {
    fn exercise<D: Device<Error: std::fmt::Debug>>(mut fram: D) {
        fram.write_gather(8190, &[&[1], &[2]]).unwrap();
        let mut bytes = [0; 2];
        fram.read(8190, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
    }
    let delay = &mut Waited::default();
    let model = Fram::new(Part::MB85RS64V);
    let exclusive = ExclusiveDevice::new_no_delay(model.bus(), model.chip_select()).unwrap();
    exercise(SpiFram::new(exclusive, Part::MB85RS64V, delay).unwrap());

    let model = Fram::new(Part::MB85RS64V);
    let bus = RefCell::new(model.bus());
    let device = RefCellDevice::new(&bus, model.chip_select(), NoDelay).unwrap();
    exercise(SpiFram::new(device, Part::MB85RS64V, delay).unwrap());

    let model = Fram::new(Part::MB85RS64V);
    let bus = critical_section::Mutex::new(RefCell::new(model.bus()));
    let device = CriticalSectionDevice::new(&bus, model.chip_select(), NoDelay).unwrap();
    exercise(SpiFram::new(device, Part::MB85RS64V, delay).unwrap());
    assert_eq!(model.violations(), []);
}
