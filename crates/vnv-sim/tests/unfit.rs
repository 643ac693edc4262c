//! Parts that would not keep what is written: smaller than described, protected, absent.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use vnv_sim::{BusError, Fram, SimBus, SimChipSelect};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{
    AddressWidth, BlockProtect, Device as _, Error, OwnedSpiFram, Part, PartError, ProbeError, StorageFault,
};

type Driver = OwnedSpiFram<SimBus, SimChipSelect>;

/// Probes `model` as a `described` part.
fn probe(model: &Fram, described: Part) -> Result<Driver, ProbeError<BusError, BusError>> {
    OwnedSpiFram::new(model.bus(), model.chip_select(), described, &mut model.delay())
}

/// The driver of a program that believes what it was told.
fn believe(model: &Fram, described: Part) -> Driver {
    OwnedSpiFram::without_probe(model.bus(), model.chip_select(), described)
}

/// Bytes without a period, other ones for each seed.
fn noise(length: u32, seed: u32) -> Vec<u8> {
    let mut state = seed | 1;
    (0..length)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            (state >> 24) as u8
        })
        .collect()
}

/// Descriptions, two and three address bytes, FRAM and EEPROM.
const DESCRIBED: [Part; 4] = [
    Part::new("64K", 64 * 1024, AddressWidth::Two),
    Part::new("64K in pages", 64 * 1024, AddressWidth::Two).with_pages::<64>(100),
    Part::new("256K", 256 * 1024, AddressWidth::Three),
    Part::new("no power of two", 40 * 1024, AddressWidth::Two),
];

#[test]
fn a_part_that_is_smaller_than_described_is_found_and_its_capacity_named() {
    for described in DESCRIBED {
        for real in (9..).map(|power| 1u32 << power).take_while(|real| *real < described.capacity) {
            let image = noise(real, real);
            let model = Fram::with_real_capacity(described, image.clone(), real);
            let found = probe(&model, described).map(|_| ());
            assert_eq!(found, Err(ProbeError::Storage(StorageFault::Smaller { capacity: real })), "{}", described.name);
            assert!(model.image() == image, "a probe writes nothing");
            assert_eq!(model.counters().frames_by_opcode[0x02], 0);
            assert_eq!(model.violations(), []);
            // Described as it is, it is a good part.
            let mut honest = described;
            honest.capacity = real;
            assert!(probe(&model, honest).is_ok());
        }
    }
}

#[test]
fn a_part_as_large_as_described_passes_whatever_it_holds() {
    for described in DESCRIBED {
        let capacity = described.capacity;
        let mut copies = noise(capacity, 7);
        // Copies of its beginning at all powers of two, of different lengths.
        for (index, power) in (9..).map(|power| 1usize << power).take_while(|at| *at < capacity as usize).enumerate() {
            let length = (64 << (index % 4)).min(capacity as usize - power);
            copies.copy_within(..length, power);
        }
        let mut last_bit = noise(capacity / 2, 3).repeat(2);
        *last_bit.last_mut().unwrap() ^= 1;
        // What a test of the memory leaves behind.
        let counter = (0..capacity).map(|at| at as u8).collect();
        for image in
            [noise(capacity, 1), vec![0; capacity as usize], vec![0xFF; capacity as usize], copies, last_bit, counter]
        {
            let model = Fram::from_image(described, image.clone());
            assert!(probe(&model, described).is_ok(), "{}", described.name);
            assert!(model.image() == image);
            assert_eq!((model.status(), model.violations()), (0, vec![]));
        }
    }
}

#[test]
fn blank_or_periodic_content_shows_nothing() {
    let described = DESCRIBED[0];
    let mut pattern = noise(32, 5);
    for period in 1..=32 {
        pattern.truncate(period);
        let image = pattern.repeat(32 * 1024 / period + 1);
        let model = Fram::with_real_capacity(described, image, 32 * 1024);
        assert!(probe(&model, described).is_ok());
        // The toggle of the latch, and one read.
        assert_eq!(model.counters().frames, 5);
        pattern = noise(32, 5);
    }
}

#[test]
fn a_write_behind_the_reach_of_the_addresses_changes_nothing() {
    let model = Fram::from_image(Part::MB85RS64V, noise(8192, 1));
    for (width, capacity) in [(AddressWidth::Two, 128 * 1024), (AddressWidth::Three, 32 * 1024 * 1024)] {
        let mut described = Part::new("nameless", 8192, width);
        described.capacity = capacity;
        let written = believe(&model, described).write(width.reach() + 1, &[1]);
        assert_eq!(written, Err(Error::Contradiction));
        assert_eq!(probe(&model, described).map(|_| ()), Err(ProbeError::Part(PartError::BeyondAddresses)));
    }
    assert_eq!((model.counters().frames, model.image() == noise(8192, 1)), (0, true));
}

#[test]
fn a_protected_part_is_refused_until_its_protection_is_cleared() {
    for part in Part::ALL {
        for (bits, from) in [(0x04, part.capacity / 4 * 3), (0x08, part.capacity / 2), (0x8C, 0)] {
            let model = Fram::new(part);
            model.set_status(bits);
            let protected = StorageFault::Protected { from };
            assert_eq!(probe(&model, part).map(|_| ()), Err(ProbeError::Storage(protected)), "{}", part.name);
            let mut driver = believe(&model, part);
            assert_eq!(driver.diagnose(), Ok(Some(protected)));
            assert_eq!(model.status(), bits, "the latch is clear again");
            // What the part does without: a write is dropped, and nobody is told.
            driver.write(from, &[1]).unwrap();
            driver.sync().unwrap();
            assert_eq!(model.image()[from as usize], 0);
            driver.set_block_protect(BlockProtect::None).unwrap();
            assert_eq!(driver.diagnose(), Ok(None));
            assert!(probe(&model, part).is_ok());
        }
    }
}

#[test]
fn an_absent_part_is_told_from_a_blank_one() {
    for part in Part::ALL {
        for high in [false, true] {
            let model = Fram::new(part);
            model.set_absent(Some(high));
            let absent = StorageFault::Absent;
            assert_eq!(probe(&model, part).map(|_| ()), Err(ProbeError::Storage(absent)), "{}", part.name);
            let mut driver = believe(&model, part);
            assert_eq!(driver.diagnose(), Ok(Some(absent)));
            let mut bytes = [0; 4];
            // An EEPROM that answers with ones is busy, and stays so.
            let read = driver.read(0, &mut bytes);
            assert_eq!(read, if high && part.page_size.is_some() { Err(Error::Busy) } else { Ok(()) });
            assert_eq!(model.counters().frames, 0);
            model.set_absent(None);
            assert!(probe(&model, part).is_ok(), "it was never gone");
        }
    }
}

#[test]
fn a_part_whose_answers_are_stuck_is_noticed() {
    // The part itself goes on, and takes what it is told.
    for part in Part::ALL {
        let model = Fram::new(part);
        model.stick_miso(true, u64::MAX);
        assert_eq!(probe(&model, part).map(|_| ()), Err(ProbeError::Storage(StorageFault::Absent)));
        assert_eq!(believe(&model, part).diagnose(), Ok(Some(StorageFault::Absent)));
    }
}
