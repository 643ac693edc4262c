//! The whole conversation of each operation behind an `SpiDevice`, byte by byte.

use embedded_hal_mock::eh1::spi::{Mock, Transaction};
use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{BlockProtect, Device as _, Error, Part, SpiFram, StatusError};

/// One frame: what is written, in pieces, and what is read.
fn frame(written: &[&[u8]], read: &[u8]) -> Vec<Transaction<u8>> {
    let mut transactions = vec![Transaction::transaction_start()];
    transactions.extend(written.iter().map(|bytes| Transaction::write_vec(bytes.to_vec())));
    if !read.is_empty() {
        transactions.push(Transaction::read_vec(read.to_vec()));
    }
    transactions.push(Transaction::transaction_end());
    transactions
}

fn check<R>(part: Part, frames: &[Vec<Transaction<u8>>], body: impl FnOnce(&mut SpiFram<Mock<u8>>) -> R) -> R {
    let mut fram = SpiFram::without_probe(Mock::new(&frames.concat()), part);
    let result = body(&mut fram);
    fram.release().done();
    result
}

#[test]
fn read() {
    let frames = [frame(&[&[0x03, 0x1F, 0xFE]], &[7, 8])];
    let mut bytes = [0; 2];
    check(Part::MB85RS64V, &frames, |fram| fram.read(0x1FFE, &mut bytes)).unwrap();
    assert_eq!(bytes, [7, 8]);
    let frames = [frame(&[&[0x03, 0x07, 0xFF, 0xFE]], &[7, 8])];
    check(Part::MB85RS4MT, &frames, |fram| fram.read(0x7_FFFE, &mut bytes)).unwrap();
}

#[test]
fn write_has_a_wren_of_its_own_each_time() {
    let frames = [
        frame(&[&[0x06]], &[]),
        frame(&[&[0x02, 0x00, 0x10], &[1, 2]], &[]),
        frame(&[&[0x06]], &[]),
        frame(&[&[0x02, 0x00, 0x20], &[3]], &[]),
    ];
    check(Part::MB85RS64V, &frames, |fram| {
        fram.write(0x10, &[1, 2]).unwrap();
        fram.write(0x20, &[3]).unwrap();
    });
}

#[test]
fn gather_is_one_frame_without_empty_slices() {
    let frames = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x10], &[1], &[2, 3]], &[])];
    check(Part::MB85RS64V, &frames, |fram| fram.write_gather(0x10, &[&[], &[1], &[], &[2, 3], &[]])).unwrap();
}

#[test]
fn gather_of_more_than_32_slices_is_several_frames() {
    let bytes: Vec<u8> = (0..65).collect();
    let slices: Vec<&[u8]> = bytes.chunks(1).collect();
    let whole = |low: u8, range: core::ops::Range<usize>| {
        let header = [0x02, 0x01, low];
        frame(&[&[&header[..]], &slices[range]].concat(), &[])
    };
    let wren = || frame(&[&[0x06]], &[]);
    let frames = [wren(), whole(0, 0..32), wren(), whole(32, 32..64), wren(), whole(64, 64..65)];
    check(Part::MB85RS64V, &frames, |fram| fram.write_gather(0x100, &slices)).unwrap();
    let frames = [wren(), whole(0, 0..32)];
    check(Part::MB85RS64V, &frames, |fram| fram.write_gather(0x100, &slices[..32])).unwrap();
}

#[test]
fn an_abortable_write_is_whole_on_a_shared_bus() {
    let frames = [frame(&[&[0x06]], &[]), frame(&[&[0x02, 0x00, 0x00], &[5; 200]], &[])];
    let written = check(Part::MB85RS64V, &frames, |fram| fram.write_abortable(0, &[&[5; 200]], &mut || true));
    assert_eq!(written, Ok(200));
}

#[test]
fn nothing_is_sent_for_empty_or_refused_accesses() {
    check(Part::MB85RS64V, &[], |fram| {
        assert_eq!(fram.capacity(), 8192);
        assert_eq!(fram.read(8192, &mut []), Ok(()));
        assert_eq!(fram.write(0, &[]), Ok(()));
        assert_eq!(fram.write_gather(0, &[&[], &[]]), Ok(()));
        assert_eq!(fram.write_abortable(0, &[], &mut || true), Ok(0));
        assert_eq!(fram.sync(), Ok(()));
        assert_eq!(fram.read(8191, &mut [0; 2]), Err(Error::OutOfBounds));
        assert_eq!(fram.write(8192, &[0]), Err(Error::OutOfBounds));
        assert_eq!(fram.write(u32::MAX, &[0; 2]), Err(Error::OutOfBounds));
        assert_eq!(fram.write_gather(8190, &[&[0], &[0; 2]]), Err(Error::OutOfBounds));
    });
}

#[test]
fn status_and_protection() {
    check(Part::MB85RS64V, &[frame(&[&[0x05]], &[0x8A])], |fram| {
        let status = fram.status().unwrap();
        assert!(status.write_protect_enabled() && status.write_enabled());
        assert_eq!(status.block_protect(), BlockProtect::UpperHalf);
    });
    let protect = |answer| {
        [
            frame(&[&[0x05]], &[0x40]),
            frame(&[&[0x06]], &[]),
            frame(&[&[0x01], &[0x44]], &[]),
            frame(&[&[0x05]], &[answer]),
        ]
    };
    let quarter = BlockProtect::UpperQuarter;
    check(Part::MB85RS64V, &protect(0x44), |fram| fram.set_block_protect(quarter)).unwrap();
    let refused = check(Part::MB85RS64V, &protect(0x40), |fram| fram.set_block_protect(quarter));
    assert!(matches!(refused, Err(StatusError::Refused { found }) if found.bits() == 0x40));
}
