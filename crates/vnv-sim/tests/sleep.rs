//! Sleep, wake-up and recovery, on the wires and with the driver.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use embedded_hal::delay::DelayNs as _;
use embedded_hal::digital::OutputPin as _;
use embedded_hal::spi::SpiBus as _;
use embedded_hal_bus::spi::ExclusiveDevice;
use vnv_sim::{Fram, Violation};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{Device as _, Error, OwnedSpiFram, Part, SleepError, SpiFram};

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
        assert_eq!(model.counters().frames, 0, "and nothing was sent");
        driver.wake(&mut model.delay()).unwrap();
        let mut bytes = [0; 4];
        driver.read(0x1_2345, &mut bytes).unwrap();
        assert_eq!(&bytes, b"kept");
        driver.write(0, &[1]).unwrap();
        driver.wake(&mut model.delay()).unwrap();
        driver.sync().unwrap();
        assert_eq!((model.image()[0], model.violations()), (1, vec![]), "waking twice is harmless");
        driver.sleep().unwrap();
        driver.probe(&mut model.delay()).unwrap();
        assert_eq!((driver.write(0, &[2]), model.violations()), (Ok(()), vec![]), "a probe wakes");
    }
}

#[test]
fn a_controller_that_starts_again_finds_a_part_that_was_left_asleep() {
    for part in SLEEPERS {
        let model = Fram::from_image(part, b"kept".to_vec());
        let mut bytes = [0; 4];
        model.fall_asleep();
        assert!(model.is_asleep());
        let mut driver = OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay()).unwrap();
        driver.read(0, &mut bytes).unwrap();
        assert_eq!(&bytes, b"kept", "{}", part.name);

        model.fall_asleep();
        let spi = ExclusiveDevice::new_no_delay(model.bus(), model.chip_select()).unwrap();
        let mut shared = SpiFram::new(spi, part, &mut model.delay()).unwrap();
        shared.read(0, &mut bytes).unwrap();
        assert_eq!((&bytes, model.violations()), (b"kept", vec![]), "{}", part.name);

        // Without a probe it is up to the program.
        model.fall_asleep();
        let mut careless = OwnedSpiFram::without_probe(model.bus(), model.chip_select(), part);
        careless.read(0, &mut bytes).unwrap();
        assert_eq!(bytes, [0xFF; 4]);
        assert!(model.take_violations().contains(&Violation::Asleep));
    }
}

#[test]
fn a_controller_that_starts_while_the_part_recovers_disturbs_nothing() {
    for part in [Part::MB85RS2MT, Part::CY15B104Q] {
        let model = Fram::new(part);
        model.fall_asleep();
        // The last thing that the life before has done.
        frame(&model, &[0x05], 0);
        OwnedSpiFram::new(model.bus(), model.chip_select(), part, &mut model.delay()).unwrap();
        assert_eq!(model.violations(), [], "{}", part.name);
    }
}

#[test]
fn a_part_without_a_sleep_mode_does_not_fall_asleep() {
    let model = Fram::new(Part::MB85RS64V);
    model.fall_asleep();
    assert!(!model.is_asleep());
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
