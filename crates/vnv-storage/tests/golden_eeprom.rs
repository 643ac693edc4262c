//! The whole conversation with parts that have pages, write cycles or sleep, byte by byte.
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use core::ops::ControlFlow;

use embedded_hal_mock::eh1::delay::{CheckedDelay, NoopDelay, Transaction as Wait};
use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Edge};
use embedded_hal_mock::eh1::spi::{Mock, Transaction};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{
    AddressWidth, BlockProtect, Device as _, Error, OwnedSpiFram, Part, ProbeError, SleepError, SpiFram, Status,
    StorageFault,
};

const PART: Part = Part::MICROCHIP_25LC256;
/// 16 polls at most.
const SHORT: Part =
    Part::new("short cycle", 32 * 1024, AddressWidth::Two).with_pages::<64>(10).with_max_clock_hz(12_800_000);

/// One frame: what is written, and what is read.
type Frame = (Vec<u8>, Vec<u8>);

fn sent(bytes: &[u8]) -> Frame {
    (bytes.to_vec(), Vec::new())
}

fn wren() -> Frame {
    sent(&[0x06])
}

/// RDSR with its answer: 0x03 is busy, 0x00 ready.
fn rdsr(answer: u8) -> Frame {
    (vec![0x05], vec![answer])
}

/// WRITE at a two-byte address.
fn page(address: u16, bytes: &[u8]) -> Frame {
    let [high, low] = address.to_be_bytes();
    sent(&[&[0x02, high, low][..], bytes].concat())
}

fn read(address: u16, answer: &[u8]) -> Frame {
    let [high, low] = address.to_be_bytes();
    (vec![0x03, high, low], answer.to_vec())
}

/// A bus that does not care in how many pieces a frame is handed to it.
fn transactions(frames: &[Frame]) -> Vec<Transaction<u8>> {
    let mut all = Vec::new();
    for (written, answer) in frames {
        all.push(Transaction::transaction_start());
        // The header apart, as the driver sends it.
        let header = match written.first() {
            Some(0x02 | 0x03) => 3,
            _ => 1,
        };
        let (header, data) = written.split_at(header);
        all.push(Transaction::write_vec(header.to_vec()));
        if !data.is_empty() {
            all.push(Transaction::write_vec(data.to_vec()));
        }
        if !answer.is_empty() {
            all.push(Transaction::read_vec(answer.clone()));
        }
        all.push(Transaction::transaction_end());
    }
    all
}

fn shared<R>(part: Part, frames: &[Frame], body: impl FnOnce(&mut SpiFram<Mock<u8>>) -> R) -> R {
    let mut driver = SpiFram::without_probe(Mock::new(&transactions(frames)), part);
    let result = body(&mut driver);
    driver.release().done();
    result
}

fn owned<R>(part: Part, frames: &[Frame], body: impl FnOnce(&mut OwnedSpiFram<Mock<u8>, Pin>) -> R) -> R {
    // Each transaction ends with a flush instead.
    let bus: Vec<_> = transactions(frames)
        .into_iter()
        .filter(|transaction| *transaction != Transaction::transaction_start())
        .map(
            |transaction| {
                if transaction == Transaction::transaction_end() { Transaction::flush() } else { transaction }
            },
        )
        .collect();
    let edges: Vec<_> = frames.iter().flat_map(|_| [Edge::set(State::Low), Edge::set(State::High)]).collect();
    let mut driver = OwnedSpiFram::without_probe(Mock::new(&bus), Pin::new(&edges), part);
    let result = body(&mut driver);
    let (mut bus, mut pin) = driver.release();
    bus.done();
    pin.done();
    result
}

#[test]
fn a_write_is_split_at_pages_and_waits_before_each() {
    let bytes: Vec<u8> = (0..140).collect();
    let frames = [
        rdsr(0x00),
        wren(),
        page(0x003E, &bytes[..2]),
        rdsr(0x03),
        rdsr(0x03),
        rdsr(0x00),
        wren(),
        page(0x0040, &bytes[2..66]),
        rdsr(0x00),
        wren(),
        page(0x0080, &bytes[66..130]),
        rdsr(0x03),
        rdsr(0x00),
        wren(),
        page(0x00C0, &bytes[130..]),
    ];
    shared(PART, &frames, |driver| driver.write(0x3E, &bytes)).unwrap();
    owned(PART, &frames, |driver| driver.write(0x3E, &bytes)).unwrap();
}

#[test]
fn the_wait_comes_before_the_next_access_and_only_then() {
    let frames = [
        rdsr(0x00),
        wren(),
        page(0x0010, &[1, 2]),
        rdsr(0x03),
        rdsr(0x00),
        read(0x0010, &[1, 2]),
        read(0x0010, &[1, 2]),
    ];
    owned(PART, &frames, |driver| {
        let mut bytes = [0; 2];
        driver.write(0x10, &[1, 2]).unwrap();
        driver.read(0x10, &mut bytes).unwrap();
        assert_eq!(bytes, [1, 2]);
        driver.read(0x10, &mut bytes).unwrap();
        driver.sync().unwrap();
    });
    let frames = [rdsr(0x00), wren(), page(0x0010, &[1]), rdsr(0x03), rdsr(0x00)];
    owned(PART, &frames, |driver| {
        driver.write(0x10, &[1]).unwrap();
        driver.sync().unwrap();
        driver.sync().unwrap();
    });
}

#[test]
fn all_slices_of_a_page_go_out_in_one_frame() {
    let bytes: Vec<u8> = (0..70).collect();
    let mut slices: Vec<&[u8]> = bytes.chunks(1).collect();
    slices.insert(3, &[]);
    let frames = [rdsr(0x00), wren(), page(0x0100, &bytes[..64]), rdsr(0x00), wren(), page(0x0140, &bytes[64..])];
    shared(PART, &frames, |driver| driver.write_gather(0x100, &slices)).unwrap();
    owned(PART, &frames, |driver| driver.write_gather(0x100, &slices)).unwrap();
}

#[test]
fn a_stream_crosses_pages_and_ends_at_its_length() {
    let bytes: Vec<u8> = (0..70).collect();
    let frames = [rdsr(0x00), wren(), page(0x7FBA, &bytes[..6]), rdsr(0x00), wren(), page(0x7FC0, &bytes[6..])];
    owned(PART, &frames, |driver| {
        driver.write_stream(0x7FBA, 70, &mut |sink| {
            bytes.chunks(7).try_for_each(&mut *sink)?;
            sink(&[0xEE; 100])
        })
    })
    .unwrap();
    // A stream that is given up: its last page is not written.
    let frames = [rdsr(0x00), wren(), page(0x0000, &bytes[..64])];
    shared(PART, &frames, |driver| {
        driver.write_stream(0, 70, &mut |sink| {
            sink(&bytes)?;
            ControlFlow::Break(())
        })
    })
    .unwrap();
    let beyond = owned(PART, &[], |driver| driver.write_stream(0x7FF0, 17, &mut |sink| sink(&[1; 17])));
    assert_eq!(beyond, Err(Error::OutOfBounds));
}

#[test]
fn an_abort_comes_between_pages_on_every_bus() {
    let bytes = [7; 130];
    let first = [rdsr(0x00), wren(), page(0x0020, &bytes[..32]), rdsr(0x03), rdsr(0x00)];
    assert_eq!(owned(PART, &first, |driver| driver.write_abortable(0x20, &[&bytes], &mut || true)), Ok(32));
    assert_eq!(shared(PART, &first, |driver| driver.write_abortable(0x20, &[&bytes], &mut || true)), Ok(32));
    let mut asked = 0;
    let second = [&first[..], &[wren(), page(0x0040, &bytes[..64]), rdsr(0x00)]].concat();
    let written = owned(PART, &second, |driver| {
        driver.write_abortable(0x20, &[&bytes], &mut || {
            asked += 1;
            asked == 2
        })
    });
    assert_eq!(written, Ok(96));
    let whole = [rdsr(0x00), wren(), page(0x0000, &bytes[..64])];
    let written = owned(PART, &whole, |driver| driver.write_abortable(0, &[&bytes[..64]], &mut || panic!("asked")));
    assert_eq!(written, Ok(64));
}

#[test]
fn a_part_that_stays_busy_is_an_error_after_twice_its_cycle() {
    assert_eq!(PART.max_polls(), 6250);
    assert_eq!(Part::AT25128A.max_polls(), 12_500);
    assert_eq!(Part::MB85RS64V.max_polls(), 1);
    // 2 x 10 us x 13 MHz / 16, rounded up.
    assert_eq!(SHORT.max_polls(), 17);
    let stuck = vec![rdsr(0x03); 17];
    let mut frames = [&[rdsr(0x00), wren(), page(0x003F, &[1])][..], &stuck, &stuck, &[rdsr(0x00)]].concat();
    frames.extend([wren(), page(0x0040, &[2])]);
    owned(SHORT, &frames, |driver| {
        assert_eq!(driver.write(0x3F, &[1, 2]), Err(Error::Busy), "the second page");
        assert_eq!(driver.sync(), Err(Error::Busy), "it asks again");
        assert_eq!(driver.write(0x40, &[2]), Ok(()));
    });
}

#[test]
fn probing_waits_for_a_cycle_that_another_life_began() {
    // A blank part: its first bytes, and no more.
    let rest = [wren(), rdsr(0x02), sent(&[0x04]), rdsr(0x00), read(0, &[0xFF; 64])];
    let probe = |frames: &[Frame]| shared(SHORT, frames, |driver| driver.probe(&mut NoopDelay::new()));
    assert_eq!(probe(&[&[rdsr(0x03), rdsr(0xFF), rdsr(0x00)][..], &rest].concat()), Ok(()));
    let absent = Err(ProbeError::Storage(StorageFault::Absent));
    assert_eq!(probe(&vec![rdsr(0xFF); 17]), absent);
    assert_eq!(probe(&vec![rdsr(0x03); 17]), Err(ProbeError::Access(Error::Busy)));
    let nobody = [rdsr(0x00), wren(), rdsr(0x00), sent(&[0x04]), rdsr(0x00)];
    assert_eq!(probe(&nobody), absent);
}

#[test]
fn the_status_register_has_a_write_cycle_too() {
    let frames = [rdsr(0x00), rdsr(0x00), wren(), sent(&[0x01, 0x08]), rdsr(0x03), rdsr(0x08), rdsr(0x08)];
    owned(PART, &frames, |driver| driver.set_block_protect(BlockProtect::UpperHalf)).unwrap();
    // A part that holds bit 6 at 1 has not refused.
    let frames = [wren(), sent(&[0x01, 0x0C]), rdsr(0x4C)];
    shared(Part::CY15B104Q, &frames, |driver| driver.set_status(Status::from_bits(0x0C))).unwrap();
}

#[test]
fn sleep_and_wake_are_frames_of_one_byte() {
    for (part, opcode) in [(Part::MB85RS2MT, 0x05), (Part::CY15B104Q, 0x05), (Part::MR25H40, 0xAB)] {
        let mut delay = CheckedDelay::new(&[Wait::delay_us(400)]);
        let after = (vec![0x05], vec![0x00]);
        owned(part, &[sent(&[0xB9]), sent(&[opcode]), after], |driver| {
            driver.sleep().unwrap();
            driver.sleep().unwrap();
            assert_eq!(driver.read(0, &mut [0]), Err(Error::Asleep));
            assert_eq!(driver.write(0, &[0]), Err(Error::Asleep));
            assert_eq!(driver.write_stream(0, 1, &mut |sink| sink(&[0])), Err(Error::Asleep));
            assert_eq!(driver.read_abortable(0, &mut [0], &mut || false), Err(Error::Asleep));
            assert_eq!(driver.status(), Err(Error::Asleep));
            assert_eq!(driver.sync(), Err(Error::Asleep));
            assert_eq!(driver.read(0, &mut []), Ok(()), "nothing to do");
            driver.wake(&mut delay).unwrap();
            assert_eq!(driver.status(), Ok(Status::default()));
        });
        delay.done();
    }
    for part in [Part::MB85RS64V, Part::MB85RS2MTA, Part::MB85RS4MT, PART] {
        owned(part, &[], |driver| {
            assert_eq!(driver.sleep(), Err(SleepError::NoSleepMode));
            assert_eq!(driver.wake(&mut NoopDelay::new()), Err(SleepError::NoSleepMode));
        });
    }
}

#[test]
fn pages_above_the_buffer_are_written_in_parts() {
    let large = Part::new("large pages", 64 * 1024, AddressWidth::Two).with_pages::<512>(10);
    let bytes = [3; 520];
    let frames = [
        rdsr(0x00),
        wren(),
        page(0x0008, &bytes[..256]),
        rdsr(0x00),
        wren(),
        page(0x0108, &bytes[..248]),
        rdsr(0x00),
        wren(),
        page(0x0200, &bytes[..16]),
    ];
    owned(large, &frames, |driver| driver.write(8, &bytes)).unwrap();
}
