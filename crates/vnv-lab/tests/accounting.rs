//! The accounting, by exhaustive enumeration: after every short history the dirty limit holds, and a snapshot writes
//! no more than was announced (the player checks both after each operation).

#![allow(clippy::unwrap_used, clippy::panic)]

use vnv_lab::device::Recorder;
use vnv_lab::journal::Journal;
use vnv_lab::life::Life;
use vnv_lab::op::Op;
use vnv_lab::player::play;
use vnv_lab::state::State;

/// Formats, plays, takes a snapshot, reboots and compares.
fn history(life: &Life, ops: &[Op]) {
    let life = Life { ops: life.ops.iter().chain(ops).copied().collect(), ..life.clone() };
    let (recorder, _, tape) = Recorder::new(vec![0xFF; life.capacity as usize], life.row);
    let position = || tape.position.get();
    let journal = Journal::new(State::default(), 0, &position);
    if let Err(stopped) = play(recorder, &life, 0, &journal, true) {
        panic!("{}\nreplay: cargo xtask crash --ops '{life}'", stopped.what());
    }
}

#[test]
fn every_short_history_keeps_the_limit_and_announces_its_snapshot() {
    let alphabet: Vec<Op> = [
        "new 0 1",
        "push 0 2",
        "set 0 3",
        "blob 0 30",
        "pop 0",
        "count 3 4",
        "span 8 9 5",
        "mark 6",
        "evict 0",
        "commit",
        "begin",
        "end",
        "rollback",
        "held 0 7",
    ]
    .map(|text| text.parse().unwrap())
    .into();
    let base = [Op::New(0, 9), Op::Count(0, 9), Op::Commit];
    let (length, mut count) = (4, 0u32);
    for (row, capacity, dirty) in [(8, 4096, 240), (32, 8192, 480)] {
        let mut life = Life::new("enumerated", Vec::new());
        (life.row, life.capacity, life.options.dirty_limit) = (row, capacity, dirty);
        let length = if row == 8 { length } else { length - 1 };
        for number in 0..alphabet.len().pow(length) {
            let middle = (0..length).map(|at| alphabet[number / alphabet.len().pow(at) % alphabet.len()]);
            let ops: Vec<Op> = base.into_iter().chain(middle).chain([Op::End, Op::Snapshot, Op::Reopen]).collect();
            history(&life, &ops);
            count += 1;
        }
    }
    println!("{count} histories");
}
