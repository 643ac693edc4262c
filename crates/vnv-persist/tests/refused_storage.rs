//! Only what is blank everywhere, or half formatted, is formatted by `open_or_format`. Anything else is refused by name, and
//! not a byte of it is changed.

// Sweeps of bytes in storage, with nothing unsafe of their own: too long for Miri.
#![cfg(not(miri))]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod recorded;

use crc::{CRC_32_ISO_HDLC, Crc};
use fastrand::Rng;
use recorded::{Findings, Hand, Recorded, by_extent, sweep};
use vnv_persist::{Damage, Error, Heap, Memory, OpenError, Options, verify};
use vnv_sim::{SharedStorage, TearError, TearStorage};
use vnv_storage::StorageFault;

type Ram = Memory<8, 6, 2, 1, 64>;
type TestHeap<'m, 'r> = Heap<'m, Hand<'r>, Ram>;

const ROWS: [u32; 5] = [4, 8, 32, 64, 256];

fn options(row: u32) -> Options {
    Options::new(if row > 8 { 160 + 2 * row } else { 160 }).log_bytes(64)
}

fn capacity(row: u32) -> usize {
    2048.max(24 * row) as usize
}

/// Bytes from one superblock to the other.
fn superblock(row: u32) -> usize {
    64usize.next_multiple_of(row.max(8) as usize)
}

/// A heap whose root leads to 5.
fn heap_of_ours(row: u32) -> Vec<u8> {
    let recorded = Recorded::new(vec![0xFF; capacity(row)], row);
    let mut memory = Ram::new();
    let heap: TestHeap<'_, '_> = Heap::format(Hand(&recorded), &mut memory, options(row)).unwrap();
    let value = heap.allocate(5u32).unwrap().into_link();
    heap.set_root("value", Some(value)).unwrap();
    heap.commit().unwrap();
    recorded.into_image()
}

/// What a start makes of `image`: an error, or the value that the root leads to.
fn start(image: &[u8], row: u32) -> (Result<Option<u32>, OpenError<&'static str>>, Vec<u8>) {
    let recorded = Recorded::new(image.to_vec(), row);
    let mut memory = Ram::new();
    let opened: Result<TestHeap<'_, '_>, _> = Heap::open_or_format(Hand(&recorded), &mut memory, options(row));
    let value = opened.map(|heap| heap.root::<u32>("value").unwrap().map(|value| *heap.get(value).unwrap()));
    (value, recorded.into_image())
}

/// `image` is refused with an error that `may_be`, by `open_or_format` and by `open`, and left as it is.
fn refused(image: &[u8], row: u32, may_be: impl Fn(&OpenError<&'static str>) -> bool) -> Result<(), String> {
    let (opened, after) = start(image, row);
    match opened {
        Ok(value) => return Err(format!("it was opened, or formatted: {value:?}")),
        Err(error) if !may_be(&error) => return Err(format!("it was refused with another error, {error:?}")),
        Err(_) => {}
    }
    if let Some(at) = (0..image.len()).find(|at| image[*at] != after[*at]) {
        return Err(format!("byte {at} was changed"));
    }
    let recorded = Recorded::new(image.to_vec(), row);
    let mut memory = Ram::new();
    let opened: Result<TestHeap<'_, '_>, _> = Heap::open(Hand(&recorded), &mut memory, options(row));
    match opened.err() {
        Some(error) if may_be(&error) => {}
        error => return Err(format!("`open` says {error:?}")),
    }
    let mut memory = Ram::new();
    let verified = verify(Hand(&recorded), &mut memory, options(row), &mut |_| {});
    if verified.is_ok() {
        return Err("`verify` finds it sound".into());
    }
    if *recorded.image.borrow() == image { Ok(()) } else { Err("`open` or `verify` changed it".into()) }
}

/// Neither advises to format what may be somebody's data nor calls it blank.
fn is_no_blank(error: &OpenError<&'static str>) -> bool {
    matches!(error, OpenError::Foreign | OpenError::Damaged(Damage::Superblock))
}

#[test]
fn data_behind_a_blank_beginning_is_refused_and_kept() {
    let found = sweep(by_extent(4000, 600, 2), |number, found| {
        let mut random = Rng::with_seed(number as u64);
        let row = ROWS[number % ROWS.len()];
        let blank = if number / ROWS.len() % 2 == 0 { 0 } else { 0xFF };
        let mut image: Vec<u8> = (0..capacity(row)).map(|_| random.u8(..)).collect();
        // The first 64 bytes, those of one superblock, of both, and more.
        let beginning = match number % 4 {
            0 => 64,
            1 => 2 * superblock(row),
            _ => random.usize(64..image.len() - 1),
        };
        image[..beginning].fill(blank);
        let result = refused(&image, row, is_no_blank);
        found.check(result, || format!("seed {number}, rows of {row}, {beginning} bytes of {blank:#04x}, then noise"));
    });
    found.report("blank beginnings");
}

#[test]
fn a_heap_whose_beginning_was_wiped_is_refused_and_kept() {
    for row in ROWS {
        let image = heap_of_ours(row);
        let found = sweep(2 * if cfg!(miri) { 2 } else { superblock(row) + 137 }, |number, found| {
            let (wiped, blank) = (64 + number / 2, if number % 2 == 0 { 0 } else { 0xFF });
            let mut torn = image.clone();
            torn[..wiped].fill(blank);
            let result = if wiped <= superblock(row) {
                // The second superblock is whole: the heap is there, and the first one is repaired.
                let (opened, after) = start(&torn, row);
                if opened == Ok(Some(5)) && after[..64] == image[..64] {
                    Ok(())
                } else {
                    Err(format!("the second superblock is whole, but: {opened:?}"))
                }
            } else {
                refused(&torn, row, is_no_blank)
            };
            found.check(result, || format!("rows of {row}, {wiped} bytes of {blank:#04x}"));
        });
        found.report("wiped beginnings of a heap");
    }
}

#[test]
fn one_byte_of_data_anywhere_is_enough_to_be_refused_and_kept() {
    for row in ROWS {
        // Where the first write of a format stands: of this it cannot be told whether it was torn.
        let first = superblock(row)..superblock(row) + row.max(8) as usize;
        let stride = by_extent(1, if row == 256 { 3 } else { 1 }, 997);
        let found = sweep(capacity(row) / stride, |number, found| {
            let at = number * stride;
            for blank in [0u8, 0xFF] {
                for byte in [blank ^ 1, blank ^ 0x80, !blank, 0x5A] {
                    let mut image = vec![blank; capacity(row)];
                    image[at] = byte;
                    let result = refused(&image, row, is_no_blank);
                    if result.is_err() && first.contains(&at) {
                        found.count("where the first write of a format stands");
                        continue;
                    }
                    found.check(result, || format!("rows of {row}, blank {blank:#04x} but for {byte:#04x} at {at}"));
                }
            }
        });
        found.report("single bytes in a blank storage");
    }
}

#[test]
fn what_is_blank_everywhere_is_formatted() {
    for row in ROWS {
        for blank in [0, 0xFF] {
            let image = vec![blank; capacity(row)];
            assert_eq!(start(&image, row).0, Ok(None), "rows of {row}, {blank:#04x}");
        }
        // Half of it zeros, half of it ones: somebody has written.
        let mut image = vec![0; capacity(row)];
        image[capacity(row) / 2..].fill(0xFF);
        assert_eq!(refused(&image, row, is_no_blank), Ok(()), "rows of {row}");
    }
}

/// A superblock of a version of the format that is not ours yet; or not any more.
fn of_version(version: u16, superblock: &[u8]) -> Vec<u8> {
    let mut bytes = superblock.to_vec();
    bytes[8..10].copy_from_slice(&version.to_le_bytes());
    let crc = Crc::<u32>::new(&CRC_32_ISO_HDLC).checksum(&bytes[..60]);
    bytes[60..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

/// What stands in the place of the other superblock.
type Neighbour<'n> = (&'static str, &'n dyn Fn(&mut [u8]));

#[test]
fn a_newer_version_in_either_superblock_is_named_and_kept() {
    let mut found = Findings::default();
    for row in ROWS {
        let image = heap_of_ours(row);
        let newer = of_version(4, &image[..64]);
        let places = [0, superblock(row)];
        for (number, at) in places.into_iter().enumerate() {
            let other = places[1 - number];
            let beside: [Neighbour<'_>; 6] = [
                ("ours", &|_| {}),
                ("zeros", &|bytes| bytes.fill(0)),
                ("ones", &|bytes| bytes.fill(0xFF)),
                ("noise", &|bytes| bytes.fill(0x5A)),
                ("one of ours with a flipped bit", &|bytes| bytes[30] ^= 1),
                ("another one like it", &|bytes| bytes.copy_from_slice(&newer)),
            ];
            for (name, make) in beside {
                let mut crafted = image.clone();
                crafted[at..at + 64].copy_from_slice(&newer);
                make(&mut crafted[other..other + 64]);
                let result = refused(&crafted, row, |error| *error == OpenError::Version(4));
                found.check(result, || format!("rows of {row}, version 4 at {at}, {name} at {other}"));
            }
            // An older one is no reason to take it for ours either.
            let mut crafted = image.clone();
            crafted[at..at + 64].copy_from_slice(&of_version(1, &image[..64]));
            let result = refused(&crafted, row, |error| *error == OpenError::Version(1));
            found.check(result, || format!("rows of {row}, version 1 at {at}, ours at {other}"));
            // Of two the newer one is named.
            let mut crafted = image.clone();
            crafted[at..at + 64].copy_from_slice(&of_version(1, &image[..64]));
            crafted[other..other + 64].copy_from_slice(&newer);
            let result = refused(&crafted, row, |error| *error == OpenError::Version(4));
            found.check(result, || format!("rows of {row}, version 1 at {at}, version 4 at {other}"));
        }
    }
    found.report("superblocks of other versions");
}

/// Two superblocks that are sound, but not of the same formatting: whichever is believed, the other one may be right.
#[test]
fn superblocks_of_two_formattings_are_refused_and_kept() {
    let mut found = Findings::default();
    for row in ROWS {
        let image = heap_of_ours(row);
        // The same layout, formatted once more; and another one.
        let formatted = |options: Options| {
            let recorded = Recorded::new(image.clone(), row);
            let mut memory = Ram::new();
            let _ = TestHeap::format(Hand(&recorded), &mut memory, options).unwrap();
            recorded.into_image()
        };
        let again = formatted(options(row));
        let other = formatted(Options { dirty_limit: options(row).dirty_limit + row, ..options(row) });
        for at in [0, superblock(row)] {
            let beside = superblock(row) - at;
            let put = |image: &[u8], source: &[u8]| {
                let mut image = image.to_vec();
                image[at..at + 64].copy_from_slice(&source[at..at + 64]);
                image
            };
            let result = refused(&put(&again, &image), row, |error| *error == OpenError::Damaged(Damage::Superblock));
            found.check(result, || format!("rows of {row}, of an earlier format at {at}, of the last one at {beside}"));
            let is_other = |error: &_| matches!(error, OpenError::OtherLayout { .. });
            found.check(refused(&put(&image, &other), row, is_other), || {
                format!("rows of {row}, another layout's at {at}, ours at {beside}")
            });
            for (name, blank) in [("zeros", 0), ("ones", 0xFF), ("noise", 0x5A)] {
                let mut crafted = put(&image, &other);
                crafted[beside..beside + 64].fill(blank);
                found.check(refused(&crafted, row, is_other), || {
                    format!("rows of {row}, another layout's at {at}, {name} at {beside}")
                });
            }
        }
    }
    found.report("superblocks of two formattings");
}

/// A read that fails says nothing about what the storage holds.
#[test]
fn a_start_of_which_a_read_fails_ends_with_the_error_and_formats_nothing() {
    for row in ROWS {
        let ours = heap_of_ours(row);
        let mut wiped = ours.clone();
        wiped[..2 * superblock(row)].fill(0xFF);
        for (image, value) in [(ours, Some(5)), (wiped, None)] {
            for failing in 0.. {
                assert!(failing < 10_000, "a start ends");
                let storage = SharedStorage::new(TearStorage::from_image(image.clone(), row));
                storage.borrow_mut().fail_read_at(failing);
                let mut memory = Ram::new();
                let opened = Heap::<_, Ram>::open_or_format(storage.clone(), &mut memory, options(row)).map(drop);
                assert!(storage.image() == image, "rows of {row}, read {failing}: it was written to");
                match opened {
                    Err(OpenError::Heap(Error::Device(TearError::Bus))) => {}
                    // The start is over before that read.
                    other => {
                        assert_eq!(other.is_ok(), value.is_some(), "rows of {row}, read {failing}: {other:?}");
                        assert!(failing > 2);
                        break;
                    }
                }
            }
            assert_eq!(start(&image, row).0.ok(), value.map(Some), "rows of {row}");
        }
    }
}

/// A part that cannot be written, or is not there, may read as a blank one.
#[test]
fn a_storage_that_cannot_be_written_is_named_and_not_formatted() {
    for fault in [StorageFault::Absent, StorageFault::Protected { from: 1536 }] {
        for row in ROWS {
            let image = vec![0xFF; capacity(row)];
            let storage = SharedStorage::new(TearStorage::from_image(image.clone(), row));
            storage.borrow_mut().set_diagnosis(Some(fault));
            let mut memory = Ram::new();
            let opened = Heap::<_, Ram>::open_or_format(storage.clone(), &mut memory, options(row));
            assert_eq!(opened.map(drop), Err(OpenError::Storage(fault)));
            let formatted = Heap::<_, Ram>::format(storage.clone(), &mut memory, options(row));
            assert_eq!(formatted.map(drop), Err(OpenError::Storage(fault)));
            assert!(storage.image() == image, "rows of {row}: it was written to");
        }
    }
}
