use super::*;
use crate::tear::Garbage;

fn filled() -> TearStorage {
    TearStorage::from_image((0..64).collect(), 8)
}

#[test]
fn every_cut_point_of_a_gathered_write_leaves_its_prefix() {
    for cut in 0..12 {
        let mut memory = filled();
        memory.cut_after_bytes(cut);
        assert_eq!(memory.write_gather(4, &[&[0xA0; 5], &[], &[0xB0; 7]]), Err(TearError::PowerLost));
        let wanted: Vec<u8> = (0..64u8)
            .map(|at| match u64::from(at) {
                index if index < 4 || index >= 4 + cut => at,
                index if index < 9 => 0xA0,
                _ => 0xB0,
            })
            .collect();
        assert_eq!(memory.image(), wanted, "cut {cut}");
        assert_eq!(memory.total_written(), cut);
    }
}

#[test]
fn a_cut_behind_the_last_byte_waits_for_the_next_write() {
    let mut memory = filled().with_tear(Tear::T2(Garbage::Zeros));
    memory.cut_after_bytes(6);
    memory.write(0, &[1; 4]).unwrap();
    memory.write(8, &[2; 2]).unwrap();
    assert!(memory.is_powered());
    assert_eq!(memory.write(16, &[3]), Err(TearError::PowerLost));
    assert_eq!(memory.image()[8..10], [2; 2]);
    assert_eq!(memory.image()[16..24], [0; 8]);
}

#[test]
fn nothing_works_until_power_returns() {
    let mut memory = filled();
    memory.cut_now();
    assert_eq!(memory.read(0, &mut [0]), Err(TearError::PowerLost));
    assert_eq!(memory.write(0, &[9]), Err(TearError::PowerLost));
    assert_eq!(memory.write_abortable(0, &[&[9]], &mut || false), Err(TearError::PowerLost));
    assert_eq!(memory.sync(), Err(TearError::PowerLost));
    memory.power_on();
    assert_eq!(memory.write(0, &[9]), Ok(()));
    assert_eq!(memory.into_image()[0], 9);
}

#[test]
fn every_rung_damages_no_more_than_the_contract_allows() {
    for tear in Tear::of_writes() {
        for cut in 0..20 {
            let mut memory = filled().with_tear(tear);
            memory.cut_after_bytes(cut);
            assert_eq!(memory.write(13, &[0xEE; 20]), Err(TearError::PowerLost));
            let row = (13 + cut as usize) / 8 * 8;
            let damaged = row..(row + 8).max(33);
            for (at, &byte) in memory.image().iter().enumerate().filter(|(at, _)| !damaged.contains(at)) {
                let wanted = if (13..33).contains(&at) { 0xEE } else { at as u8 };
                assert_eq!(byte, wanted, "{tear:?} cut {cut} at {at}");
            }
        }
    }
}

#[test]
fn a_cut_read_destroys_its_row_on_the_fourth_rung_only() {
    for (tear, destroyed) in [(Tear::T0, false), (Tear::T3(Garbage::Ones), false), (Tear::T4(Garbage::Ones), true)] {
        let mut memory = filled().with_tear(tear);
        memory.cut_after_bytes_read(10);
        assert_eq!(memory.read(0, &mut [0; 32]), Err(TearError::PowerLost));
        assert_eq!(memory.image()[8..16] == [0xFF; 8], destroyed, "{tear:?}");
        assert_eq!(memory.image()[16], 16);
    }
}

#[test]
fn injected_bus_errors_hit_the_transaction_they_name_once() {
    let mut memory = filled();
    memory.fail_write_at(1, 2);
    memory.fail_read_at(1);
    memory.write(0, &[9; 4]).unwrap();
    assert_eq!(memory.write(8, &[9; 4]), Err(TearError::Bus));
    assert_eq!(memory.image()[8..12], [9, 9, 10, 11]);
    memory.write(8, &[7; 4]).unwrap();
    memory.read(0, &mut [0]).unwrap();
    assert_eq!(memory.read(0, &mut [0]), Err(TearError::Bus));
    memory.read(0, &mut [0]).unwrap();
}

#[test]
fn the_fifth_rung_lies() {
    let mut memory = filled();
    memory.drop_write_at(0);
    memory.truncate_write_at(1, 3);
    memory.write(0, &[9; 4]).unwrap();
    memory.write(8, &[9; 4]).unwrap();
    memory.write(16, &[9; 4]).unwrap();
    memory.stray_write(62, &[1, 2, 3]);
    assert_eq!(memory.image()[..4], [0, 1, 2, 3]);
    assert_eq!(memory.image()[8..12], [9, 9, 9, 11]);
    assert_eq!(memory.image()[16..20], [9; 4]);
    assert_eq!(memory.image()[62..], [1, 2]);
}

#[test]
fn counters_know_transactions_bytes_and_rows() {
    let mut memory = filled();
    memory.write_gather(6, &[&[1, 2], &[3]]).unwrap();
    memory.write(8, &[]).unwrap();
    memory.write(56, &[5; 8]).unwrap();
    memory.read(0, &mut [0; 5]).unwrap();
    memory.read(0, &mut []).unwrap();
    memory.sync().unwrap();
    let counters = Counters { reads: 1, writes: 2, bytes_read: 5, bytes_written: 11, syncs: 1 };
    assert_eq!(memory.counters(), counters);
    assert_eq!(memory.row_writes(), [1, 1, 0, 0, 0, 0, 0, 1]);
    memory.reset_counters();
    assert_eq!((memory.total_written(), memory.total_read()), (0, 0));
    assert_eq!(memory.row_writes(), [0; 8]);
}

#[test]
fn bounds_are_exact_and_refusals_change_nothing() {
    let mut memory = filled();
    memory.write(63, &[1]).unwrap();
    assert_eq!(memory.write(63, &[2, 2]), Err(TearError::OutOfBounds));
    assert_eq!(memory.read(64, &mut [0]), Err(TearError::OutOfBounds));
    assert_eq!(memory.write_gather(60, &[&[1; 3], &[1; 2]]), Err(TearError::OutOfBounds));
    assert_eq!(memory.image()[60..], [60, 61, 62, 1]);
    assert_eq!(memory.counters().writes, 1);
}

#[test]
fn an_aborted_write_is_a_prefix_of_whole_chunks() {
    let mut memory = filled();
    memory.set_chunk_size(4);
    let mut asked = 0;
    let written = memory.write_abortable(0, &[&[9; 6], &[9; 10]], &mut || {
        asked += 1;
        asked == 2
    });
    assert_eq!(written, Ok(8));
    assert_eq!(memory.image()[..9], [9, 9, 9, 9, 9, 9, 9, 9, 8]);
    assert_eq!(memory.counters().writes, 1);
    assert_eq!(memory.write_abortable(0, &[&[1; 16]], &mut || false), Ok(16));
}
