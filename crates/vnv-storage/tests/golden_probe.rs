//! The whole conversation of a probe, frame by frame: what it costs on each kind of part, and what it refuses.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use core::convert::Infallible;

use embedded_hal_mock::eh1::delay::{CheckedDelay, NoopDelay, Transaction as Wait};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Edge};
use embedded_hal_mock::eh1::spi::{Mock, Transaction};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{
    AddressWidth, BlockProtect, Device as _, Error, OwnedSpiFram, Part, PartError, ProbeError, SleepError, SpiFram,
    StorageFault,
};

/// One frame: what is written, and what is read.
type Frame = (Vec<u8>, Vec<u8>);
type Outcome<P> = Result<(), ProbeError<embedded_hal::spi::ErrorKind, P>>;

const WREN: u8 = 0x06;
const WRDI: u8 = 0x04;
const RDSR: u8 = 0x05;

fn sent(bytes: &[u8]) -> Frame {
    (bytes.to_vec(), Vec::new())
}

fn rdsr(answer: u8) -> Frame {
    (vec![RDSR], vec![answer])
}

fn rdid(answer: [u8; 4]) -> Frame {
    (vec![0x9F], answer.to_vec())
}

/// The toggle of the write enable latch, with the other bits of the status register.
fn latch(status: u8) -> [Frame; 4] {
    [sent(&[WREN]), rdsr(status | 0x02), sent(&[WRDI]), rdsr(status)]
}

/// Content without a period.
fn content(seed: u8) -> Vec<u8> {
    (0..64u8).map(|at| at.wrapping_mul(37) ^ seed).collect()
}

fn read(part: &Part, address: u32, answer: &[u8]) -> Frame {
    let [_, high, middle, low] = address.to_be_bytes();
    let header = match part.address_width {
        AddressWidth::Two => vec![0x03, middle, low],
        AddressWidth::Three => vec![0x03, high, middle, low],
    };
    (header, answer.to_vec())
}

/// The reads of a part that does not roll over: 64 bytes at 0, and at each power of two from 512 on.
fn as_large_as_described(part: &Part) -> Vec<Frame> {
    let powers = (9..).map(|exponent| 1 << exponent).take_while(|power| *power < part.capacity);
    let first = read(part, 0, &content(0));
    core::iter::once(first).chain(powers.map(|power| read(part, power, &content(1)))).collect()
}

/// A blank part: its first bytes show nothing.
fn blank(part: &Part) -> Vec<Frame> {
    vec![read(part, 0, &[0xFF; 64])]
}

fn new_shared(part: Part, frames: &[Frame], waits: &[Wait]) -> Outcome<Infallible> {
    let mut bus = Vec::new();
    for (written, answer) in frames {
        bus.push(Transaction::transaction_start());
        bus.push(Transaction::write_vec(written.clone()));
        if !answer.is_empty() {
            bus.push(Transaction::read_vec(answer.clone()));
        }
        bus.push(Transaction::transaction_end());
    }
    let (mut bus, mut delay) = (Mock::new(&bus), CheckedDelay::new(waits));
    let outcome = SpiFram::new(&mut bus, part, &mut delay).map(|_| ());
    bus.done();
    delay.done();
    outcome
}

fn new_owned(part: Part, frames: &[Frame], waits: &[Wait]) -> Outcome<embedded_hal_mock::eh1::MockError> {
    let mut bus = Vec::new();
    // Chip select is raised before anything else.
    let mut edges = vec![Edge::set(State::High)];
    for (written, answer) in frames {
        bus.push(Transaction::write_vec(written.clone()));
        if !answer.is_empty() {
            bus.push(Transaction::read_vec(answer.clone()));
        }
        bus.push(Transaction::flush());
        edges.extend([Edge::set(State::Low), Edge::set(State::High)]);
    }
    let (mut bus, mut pin, mut delay) = (Mock::new(&bus), Pin::new(&edges), CheckedDelay::new(waits));
    let outcome = OwnedSpiFram::new(&mut bus, &mut pin, part, &mut delay).map(|_| ());
    bus.done();
    pin.done();
    delay.done();
    outcome
}

/// Makes a driver on both kinds of bus.
fn new(part: Part, frames: &[Frame]) -> Outcome<Infallible> {
    let mut waits = vec![Wait::delay_us(part.power_up_us)];
    waits.extend(part.sleep.map(|mode| Wait::delay_us(mode.recovery_us)));
    let outcome = new_shared(part, frames, &waits);
    assert_eq!(new_owned(part, frames, &waits).is_ok(), outcome.is_ok());
    outcome
}

/// What comes before the reads.
fn introduction(part: &Part) -> Vec<Frame> {
    let wake = match part.name {
        "MB85RS2MT" | "CY15B104Q" => Some(sent(&[RDSR])),
        "MR25H40" => Some(sent(&[0xAB])),
        _ => None,
    };
    let ready = part.page_size.map(|_| rdsr(0));
    // Bit 6 of a CY15B104Q is always 1.
    let status = if part.name == "CY15B104Q" { 0x40 } else { 0x00 };
    wake.into_iter().chain(ready).chain(part.id.map(rdid)).chain(latch(status)).collect()
}

#[test]
fn each_known_part_is_probed_at_its_price() {
    let prices = [
        ("MB85RS64V", 10, 346, 6, 78),
        ("MB85RS2MT", 16, 692, 7, 80),
        ("MB85RS2MTA", 15, 691, 6, 79),
        ("MB85RS4MT", 16, 759, 6, 79),
        ("CY15B104Q", 16, 755, 6, 75),
        ("MR25H40", 16, 755, 6, 75),
        ("AT25128A", 11, 410, 6, 75),
        ("25LC256", 12, 477, 6, 75),
        ("AT25256", 12, 477, 6, 75),
    ];
    for (part, price) in Part::ALL.into_iter().zip(prices) {
        let cost = |frames: &[Frame]| {
            let bytes: usize = frames.iter().map(|(written, answer)| written.len() + answer.len()).sum();
            (frames.len(), bytes)
        };
        let used = [introduction(&part), as_large_as_described(&part)].concat();
        assert_eq!((part.name, cost(&used)), (price.0, (price.1, price.2)));
        assert_eq!(new(part, &used), Ok(()), "{}", part.name);
        let fresh = [introduction(&part), blank(&part)].concat();
        assert_eq!((part.name, cost(&fresh)), (price.0, (price.3, price.4)));
        assert_eq!(new(part, &fresh), Ok(()), "{}", part.name);
    }
}

#[test]
fn a_probe_writes_no_memory_cell() {
    for part in Part::ALL {
        let frames = [introduction(&part), as_large_as_described(&part)].concat();
        // Neither WRITE nor WRSR.
        assert!(frames.iter().all(|(written, _)| !matches!(written[0], 0x01 | 0x02)));
        assert_eq!(new(part, &frames), Ok(()));
    }
}

#[test]
fn a_driver_that_knows_the_part_asleep_wakes_it_too() {
    for part in [Part::MB85RS2MT, Part::CY15B104Q, Part::MR25H40] {
        let frames = [vec![sent(&[0xB9])], introduction(&part), blank(&part)].concat();
        let mut bus = Vec::new();
        for (written, answer) in &frames {
            bus.push(Transaction::transaction_start());
            bus.push(Transaction::write_vec(written.clone()));
            if !answer.is_empty() {
                bus.push(Transaction::read_vec(answer.clone()));
            }
            bus.push(Transaction::transaction_end());
        }
        let mut bus = Mock::new(&bus);
        let mut driver = SpiFram::without_probe(&mut bus, part);
        driver.sleep().unwrap();
        driver.probe(&mut NoopDelay::new()).unwrap();
        bus.done();
    }
}

#[test]
fn a_recovery_that_another_life_began_has_ended_before_the_first_frame() {
    // The wait after power-on is the longer one on all known parts.
    let mut part = Part::MB85RS2MT;
    part.power_up_us = 100;
    let frames = [introduction(&part), blank(&part)].concat();
    assert_eq!(new_shared(part, &frames, &[Wait::delay_us(400), Wait::delay_us(400)]), Ok(()));
}

#[test]
fn the_id_is_asked_first() {
    let part = Part::MB85RS64V;
    let id = [0x04, 0x7F, 0x03, 0x02];
    assert_eq!(new(part, &[rdid([0xFF; 4])]), Err(ProbeError::Storage(StorageFault::Absent)));
    assert_eq!(new(part, &[rdid([0x00; 4])]), Err(ProbeError::Storage(StorageFault::Absent)));
    let found = [0x04, 0x7F, 0x28, 0x03];
    assert_eq!(new(part, &[rdid(found)]), Err(ProbeError::WrongPart { expected: id, found }));
}

#[test]
fn a_part_that_does_not_obey_the_write_enable_latch_is_refused() {
    let nameless = Part::new("without id", 16 * 1024, AddressWidth::Two);
    let toggle = |part: Part, set: u8, clear: u8| {
        let known = part.id.map(rdid);
        let frames = [sent(&[WREN]), rdsr(set), sent(&[WRDI]), rdsr(clear)];
        let reads = if (set, clear) == (0x02, 0x00) { blank(&part) } else { Vec::new() };
        new(part, &known.into_iter().chain(frames).chain(reads).collect::<Vec<_>>())
    };
    for part in [nameless, Part::MB85RS64V] {
        assert_eq!(toggle(part, 0x02, 0x00), Ok(()));
        assert_eq!(toggle(part, 0x02, 0x02), Err(ProbeError::NoWriteEnable));
        assert_eq!(toggle(part, 0x80, 0x80), Err(ProbeError::NoWriteEnable), "its WP pin holds the latch");
        assert_eq!(toggle(part, 0xFF, 0xFF), Err(ProbeError::Storage(StorageFault::Absent)));
    }
    // Zeros are nobody, unless somebody has told its id.
    assert_eq!(toggle(nameless, 0x00, 0x00), Err(ProbeError::Storage(StorageFault::Absent)));
    assert_eq!(toggle(Part::MB85RS64V, 0x00, 0x00), Err(ProbeError::NoWriteEnable));
}

#[test]
fn a_protected_part_is_refused_and_named() {
    for (bits, quarters) in [(0x04, 3), (0x08, 2), (0x0C, 0), (0x8C, 0)] {
        for part in Part::ALL {
            let mut frames = introduction(&part);
            let toggle = frames.len() - 4;
            frames[toggle + 1] = rdsr(bits | 0x02);
            frames[toggle + 3] = rdsr(bits);
            let from = part.capacity / 4 * quarters;
            assert_eq!(new(part, &frames), Err(ProbeError::Storage(StorageFault::Protected { from })), "{}", part.name);
        }
    }
}

fn shared<R>(part: Part, frames: &[Frame], body: impl FnOnce(&mut SpiFram<Mock<u8>>) -> R) -> R {
    let mut bus = Vec::new();
    for (written, answer) in frames {
        bus.push(Transaction::transaction_start());
        // The byte of WRSR is apart, as the driver sends it.
        let header = if written[0] == 0x01 { 1 } else { written.len() };
        bus.push(Transaction::write_vec(written[..header].to_vec()));
        if header < written.len() {
            bus.push(Transaction::write_vec(written[header..].to_vec()));
        }
        if !answer.is_empty() {
            bus.push(Transaction::read_vec(answer.clone()));
        }
        bus.push(Transaction::transaction_end());
    }
    let mut driver = SpiFram::without_probe(Mock::new(&bus), part);
    let result = body(&mut driver);
    driver.release().done();
    result
}

#[test]
fn a_diagnosis_is_the_toggle_of_the_latch_and_nothing_else() {
    let part = Part::MB85RS64V;
    let diagnose = |frames: &[Frame]| shared(part, frames, |driver| driver.diagnose());
    assert_eq!(diagnose(&latch(0x00)), Ok(None));
    assert_eq!(diagnose(&latch(0x70)), Ok(None), "bits that mean nothing");
    assert_eq!(diagnose(&latch(0x04)), Ok(Some(StorageFault::Protected { from: 0x1800 })));
    assert_eq!(diagnose(&latch(0x0C)), Ok(Some(StorageFault::Protected { from: 0 })));
    for (set, clear) in [(0xFF, 0xFF), (0x00, 0x00), (0x02, 0x02), (0x80, 0x80)] {
        let frames = [sent(&[WREN]), rdsr(set), sent(&[WRDI]), rdsr(clear)];
        assert_eq!(diagnose(&frames), Ok(Some(StorageFault::Absent)), "{set:#04x} {clear:#04x}");
    }
    // After the end of a write cycle, which nobody never ends.
    let eeprom = Part::new("short cycle", 32 * 1024, AddressWidth::Two).with_pages::<64>(10);
    let frames = [&[rdsr(0x03), rdsr(0x00)][..], &latch(0x00)].concat();
    assert_eq!(shared(eeprom, &frames, |driver| driver.diagnose()), Ok(None));
    let polls = vec![rdsr(0xFF); eeprom.max_polls() as usize];
    assert_eq!(shared(eeprom, &polls, |driver| driver.diagnose()), Ok(Some(StorageFault::Absent)));
    let polls = vec![rdsr(0x03); eeprom.max_polls() as usize];
    assert_eq!(shared(eeprom, &polls, |driver| driver.diagnose()), Err(Error::Busy));
    shared(Part::MB85RS2MT, &[sent(&[0xB9])], |driver| {
        driver.sleep().unwrap();
        assert_eq!(driver.diagnose(), Err(Error::Asleep));
    });
}

#[test]
fn a_driver_without_a_probe_clears_a_protection() {
    let frames = [rdsr(0x0C), sent(&[WREN]), sent(&[0x01, 0x00]), rdsr(0x00)];
    let frames = [&frames[..], &latch(0x00)].concat();
    shared(Part::MB85RS64V, &frames, |driver| {
        driver.set_block_protect(BlockProtect::None).unwrap();
        assert_eq!(driver.diagnose(), Ok(None));
    });
}

#[test]
fn a_part_that_rolls_over_is_found_at_its_real_capacity() {
    let described = Part::new("64K", 64 * 1024, AddressWidth::Two);
    for real in [512u32, 1024, 4096, 32 * 1024] {
        let byte = |address: u32| (address % real).wrapping_mul(2_654_435_761).to_le_bytes()[2];
        let window = |address: u32, length: u32| {
            let bytes: Vec<u8> = (address..address + length).map(byte).collect();
            read(&described, address, &bytes)
        };
        let mut frames = latch(0x00).to_vec();
        frames.push(window(0, 64));
        frames.extend((9..).map(|exponent| 1 << exponent).take_while(|power| *power <= real).map(|at| window(at, 64)));
        for at in (64..described.capacity - real).step_by(32) {
            frames.extend([window(at, 32), window(at + real, 32)]);
        }
        // It is no pattern of 256 bytes.
        frames.extend([window(0, 32), window(256, 32)]);
        let smaller = StorageFault::Smaller { capacity: real };
        assert_eq!(new_shared(described, &frames, &[Wait::delay_us(600)]), Err(ProbeError::Storage(smaller)));
    }
}

#[test]
fn two_copies_of_something_do_not_pass_for_a_part_that_rolls_over() {
    let part = Part::new("2K", 2048, AddressWidth::Two);
    // The copy at 512 is 96 bytes long, that at 1024 all there is behind it.
    let frames = [
        &latch(0x00)[..],
        &[
            read(&part, 0, &content(0)),
            read(&part, 512, &content(0)),
            read(&part, 64, &[1; 32]),
            read(&part, 576, &[1; 32]),
            read(&part, 96, &[2; 32]),
            read(&part, 608, &[3; 32]),
            read(&part, 1024, &content(1)),
        ],
    ]
    .concat();
    assert_eq!(new(part, &frames), Ok(()));
}

#[test]
fn a_part_whose_description_contradicts_itself_is_refused_before_anything_is_sent() {
    let mut part = Part::MB85RS64V;
    part.capacity = 128 * 1024;
    let refused = Error::Contradiction;
    assert_eq!(new_shared(part, &[], &[]), Err(ProbeError::Part(PartError::BeyondAddresses)));
    shared(part, &[], |driver| {
        assert_eq!(driver.write(65_537, &[1]), Err(refused));
        assert_eq!(driver.write_gather(0, &[&[1], &[2]]), Err(refused));
        assert_eq!(driver.write_stream(0, 1, &mut |sink| sink(&[1])), Err(refused));
        assert_eq!(driver.write_abortable(0, &[&[1]], &mut || false), Err(refused));
        assert_eq!(driver.read(0, &mut [0]), Err(refused));
        assert_eq!(driver.read_abortable(0, &mut [0], &mut || false), Err(refused));
        assert_eq!(driver.status().map(|_| ()), Err(refused));
        assert_eq!(
            driver.set_block_protect(BlockProtect::All).map_err(|error| error.to_string()),
            Err(refused.to_string())
        );
        assert_eq!(driver.diagnose(), Err(refused));
        assert_eq!(driver.sync(), Err(refused));
    });
    let mut part = Part::MB85RS2MT;
    part.row_size = 0;
    shared(part, &[], |driver| {
        let refused = SleepError::Access(Error::Contradiction);
        assert_eq!(driver.sleep(), Err(refused));
        assert_eq!(driver.wake(&mut NoopDelay::new()), Err(refused));
    });
}

#[test]
fn an_error_says_what_to_do() {
    type Any = ProbeError<Infallible, Infallible>;
    let texts = [
        (Any::Storage(StorageFault::Absent), "look at power, wiring and chip select"),
        (Any::Storage(StorageFault::Protected { from: 6144 }), "from byte 6144 on: clear its block protection"),
        (
            Any::Storage(StorageFault::Smaller { capacity: 32_768 }),
            "only 32768 bytes: describe it by its real capacity",
        ),
        (Any::NoWriteEnable, "look at its WP pin"),
        (Any::Part(PartError::BeyondAddresses), "two address bytes reach 64 KiB"),
    ];
    for (error, advice) in texts {
        assert!(error.to_string().contains(advice), "{error}");
    }
}
