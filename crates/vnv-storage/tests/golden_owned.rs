//! The whole conversation of each operation on a bus of its own, byte by byte.

use embedded_hal_mock::eh1::digital::{Mock as Pin, State, Transaction as Edge};
use embedded_hal_mock::eh1::spi::{Mock, Transaction};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{Device as _, Error, OwnedSpiFram, Part};

/// One frame: the bus writes, then the bus read, then the flush.
fn frame(written: &[&[u8]], read: &[u8]) -> Vec<Transaction<u8>> {
    let mut transactions: Vec<_> = written.iter().map(|bytes| Transaction::write_vec(bytes.to_vec())).collect();
    if !read.is_empty() {
        transactions.push(Transaction::read_vec(read.to_vec()));
    }
    transactions.push(Transaction::flush());
    transactions
}

fn check<R>(
    frames: &[Vec<Transaction<u8>>],
    chunk_size: usize,
    body: impl FnOnce(&mut OwnedSpiFram<Mock<u8>, Pin>) -> R,
) -> R {
    let edges: Vec<_> = frames.iter().flat_map(|_| [Edge::set(State::Low), Edge::set(State::High)]).collect();
    let mut fram = OwnedSpiFram::without_probe(Mock::new(&frames.concat()), Pin::new(&edges), Part::MB85RS64V)
        .with_chunk_size(chunk_size);
    let result = body(&mut fram);
    let (mut bus, mut pin) = fram.release();
    bus.done();
    pin.done();
    result
}

#[test]
fn read() {
    let mut bytes = [0; 2];
    check(&[frame(&[&[0x03, 0x1F, 0xFE]], &[7, 8])], 64, |fram| fram.read(0x1FFE, &mut bytes)).unwrap();
    assert_eq!(bytes, [7, 8]);
}

#[test]
fn write_is_one_bus_write_whatever_the_chunk_size() {
    let frames = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x10], &[9; 200]], &[])];
    check(&frames, 64, |fram| fram.write(0x10, &[9; 200])).unwrap();
}

#[test]
fn gather_is_one_frame_for_any_number_of_slices() {
    let bytes: Vec<u8> = (0..100).collect();
    let slices: Vec<&[u8]> = bytes.chunks(1).collect();
    let data = [&[&[0x02, 0x01, 0x00][..]], &slices[..]].concat();
    let frames = [frame(&[&[0x06]], &[]), frame(&data, &[])];
    check(&frames, 64, |fram| fram.write_gather(0x100, &slices)).unwrap();
}

#[test]
fn an_abortable_write_asks_between_chunks_and_ends_the_frame() {
    let whole = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x00], &[1, 1, 1], &[2], &[2, 2, 2, 2], &[2]], &[])];
    let slices: [&[u8]; 2] = [&[1; 3], &[2; 6]];
    let mut asked = 0;
    let written = check(&whole, 4, |fram| {
        fram.write_abortable(0, &slices, &mut || {
            asked += 1;
            false
        })
    });
    assert_eq!((written, asked), (Ok(9), 2));

    let ended = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x00], &[1, 1, 1], &[2]], &[])];
    assert_eq!(check(&ended, 4, |fram| fram.write_abortable(0, &slices, &mut || true)), Ok(4));
}

#[test]
fn a_write_that_ends_with_its_chunk_does_not_ask() {
    let frames = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x00], &[1; 4]], &[])];
    let written = check(&frames, 4, |fram| fram.write_abortable(0, &[&[1; 4], &[]], &mut || panic!("asked")));
    assert_eq!(written, Ok(4));
}

#[test]
fn nothing_is_sent_for_empty_or_refused_accesses() {
    check(&[], 64, |fram| {
        assert_eq!(fram.read(8192, &mut []), Ok(()));
        assert_eq!(fram.write(0, &[]), Ok(()));
        assert_eq!(fram.write_abortable(0, &[&[]], &mut || true), Ok(0));
        assert_eq!(fram.read(8192, &mut [0]), Err(Error::OutOfBounds));
        assert_eq!(fram.write(8191, &[0; 2]), Err(Error::OutOfBounds));
    });
}
