//! Sleep, wake-up and recovery, on the wires and with the driver.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use embedded_hal::delay::DelayNs as _;
use embedded_hal::digital::OutputPin as _;
use embedded_hal::spi::SpiBus as _;
use embedded_hal_bus::spi::ExclusiveDevice;
use vnv_sim::{Fram, Violation};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{Device as _, Error, OwnedSpiFram, Part, ProbeError, SleepError, SpiFram};

const SLEEPERS: [Part; 3] = [Part::MB85RS2MT, Part::CY15B104Q, Part::MR25H40];

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

#[test]
fn a_part_sleeps_and_wakes_with_its_content() {
    for part in SLEEPERS {
        let model = Fram::new(part);
        let mut driver = OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay()).unwrap();
        driver.write(0x1_2345, b"kept").unwrap();
        driver.sleep().unwrap();
        model.reset_counters();
        assert_eq!(driver.read(0x1_2345, &mut [0; 4]), Err(Error::Asleep));
        assert_eq!(driver.write(0, &[1]), Err(Error::Asleep));
        assert_eq!(driver.probe(&mut model.delay()), Err(ProbeError::Access(Error::Asleep)));
        assert_eq!(model.counters().frames, 0, "and nothing was sent");
        driver.wake(&mut model.delay()).unwrap();
        let mut bytes = [0; 4];
        driver.read(0x1_2345, &mut bytes).unwrap();
        assert_eq!(&bytes, b"kept");
        driver.write(0, &[1]).unwrap();
        driver.wake(&mut model.delay()).unwrap();
        driver.sync().unwrap();
        assert_eq!((model.image()[0], model.violations()), (1, vec![]), "waking twice is harmless");
    }
}

#[test]
fn a_controller_that_starts_again_wakes_the_part_first() {
    for part in SLEEPERS {
        let model = Fram::new(part);
        OwnedSpiFram::without_probe(model.bus(), model.chip_select(), part).sleep().unwrap();
        let spi = ExclusiveDevice::new_no_delay(model.bus(), model.chip_select()).unwrap();
        let mut driver = SpiFram::without_probe(spi, part);
        driver.wake(&mut model.delay()).unwrap();
        driver.probe(&mut model.delay()).unwrap();
        assert_eq!(model.take_violations(), []);
        // And the one that does not is told.
        driver.sleep().unwrap();
        let probed = OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay());
        assert_eq!(probed.unwrap_err(), ProbeError::Absent);
        assert!(model.take_violations().contains(&Violation::Asleep));
    }
}

#[test]
fn an_access_to_a_sleeping_part_is_dead() {
    for part in SLEEPERS {
        let model = Fram::new(part);
        frame(&model, &[0xB9], 0);
        assert_eq!(model.take_violations(), []);
        assert_eq!(frame(&model, &[0x03, 0, 0, 0], 2), [0xFF; 2]);
        assert!(model.take_violations().contains(&Violation::Asleep), "{}", part.name);
    }
    // The fall of chip select has woken the first two: they take 400 us to recover.
    for part in [Part::MB85RS2MT, Part::CY15B104Q] {
        let model = Fram::new(part);
        frame(&model, &[0xB9], 0);
        frame(&model, &[0x05], 0);
        model.delay().delay_us(390);
        assert_eq!(frame(&model, &[0x03, 0, 0, 0], 1), [0xFF]);
        assert_eq!(model.take_violations(), [Violation::Recovering]);
        model.delay().delay_us(10);
        assert_eq!(frame(&model, &[0x03, 0, 0, 0], 1), [0x00]);
        assert_eq!(model.violations(), []);
    }
    // The MRAM listens for nothing but WAKE.
    let model = Fram::new(Part::MR25H40);
    frame(&model, &[0xB9], 0);
    assert_eq!(frame(&model, &[0x05], 1), [0xFF]);
    model.delay().delay_ms(1);
    assert_eq!(frame(&model, &[0x05], 1), [0xFF]);
    assert_eq!(model.take_violations(), [Violation::Asleep; 2]);
    frame(&model, &[0xAB], 0);
    assert_eq!(frame(&model, &[0x05], 1), [0xFF]);
    assert_eq!(model.take_violations(), [Violation::Recovering]);
    model.delay().delay_us(400);
    assert_eq!(frame(&model, &[0x05], 1), [0x00]);
}

#[test]
fn sleep_is_obeyed_alone_in_its_frame_and_ends_with_power() {
    let model = Fram::new(Part::MB85RS2MT);
    frame(&model, &[0xB9, 0x00], 0);
    assert_eq!(model.take_violations(), [Violation::TrailingBytes]);
    assert_eq!(frame(&model, &[0x05], 1), [0x00], "awake");
    frame(&model, &[0xB9], 0);
    model.power_on();
    assert_eq!(frame(&model, &[0x05], 1), [0x00]);
    assert_eq!(model.violations(), []);
}

#[test]
fn a_part_without_sleep_refuses_to() {
    for part in Part::ALL.into_iter().filter(|part| part.sleep.is_none()) {
        let model = Fram::new(part);
        let mut driver = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), part);
        assert_eq!(driver.sleep(), Err(SleepError::NoSleepMode));
        assert_eq!(driver.wake(&mut model.delay()), Err(SleepError::NoSleepMode));
        assert_eq!(model.counters().frames, 0);
    }
}
