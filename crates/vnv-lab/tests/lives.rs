//! The written lives: what their text says, that they use everything, and a quick sweep of each.

#![allow(clippy::unwrap_used)]

use std::mem::discriminant;
use vnv_lab::check::Extent;
use vnv_lab::life::Life;
use vnv_lab::op::Op;
use vnv_lab::sweep::sweep;

#[test]
fn a_life_is_its_text() {
    for life in Life::written().unwrap() {
        let again = Life::parse(&life.name, &life.to_string()).unwrap();
        assert_eq!(again.to_string(), life.to_string());
        assert_eq!((again.ops, again.options), (life.ops.clone(), life.options));
        assert_eq!((again.capacity, again.row, again.chip), (life.capacity, life.row, life.chip));
        assert_eq!((again.nested, again.second), (life.nested, life.second));
    }
    assert!(Life::parse("wrong", "set 0").is_err() && Life::parse("wrong", "fly 1 2").is_err());
}

#[test]
fn the_lives_use_every_operation() {
    let all: Vec<Op> = Life::written().unwrap().into_iter().flat_map(|life| life.ops).collect();
    for text in [
        "new 0 0",
        "push 0 0",
        "pop 0",
        "set 0 0",
        "blob 0 0",
        "drop 0",
        "count 0 0",
        "span 0 0 0",
        "mark 0",
        "unmark",
        "settings 0 0",
        "migrate",
        "read 0",
        "evict 0",
        "held 0 0",
        "fill 0",
        "collect",
        "commit",
        "snapshot",
        "reopen",
        "format",
        "halt",
        "begin",
        "end",
        "rollback",
        "busfail 0 0",
    ] {
        let op: Op = text.parse().unwrap();
        assert!(all.iter().any(|other| discriminant(other) == discriminant(&op)), "no life has `{text}`");
    }
}

/// One garbage a rung, no second cuts: what the mutation tests run, too.
#[test]
fn the_lives_survive_a_coarse_sweep() {
    let extent = Extent { depth: 1, rung: None, full: false, coarse: true, sparse: 1, only: None };
    for life in Life::written().unwrap() {
        let report = sweep(&life, &extent, true, &|_, _| {});
        assert!(report.violations.is_empty(), "{:?}", report.violations);
        let total = report.total();
        if life.chip.is_some() {
            continue;
        }
        assert!(total.acknowledged > 0 && total.running > 0, "{}: both sides are reached", life.name);
    }
}

/// What stands before a life can be read and printed, however deep.
#[test]
fn a_start_is_its_text() {
    for text in [
        "start 00; reopen; count 0 1",
        "start noise 7 wiped64@zeros newer1; reopen; format; count 0 1",
        "dirty 400; start { log 80; new 0 1; commit; format dirty 352 log 72 } last2.3@T3-noise stray4@ones flip99.7; format",
        "start { start { row 32; dirty 640; mark 1 } cut3.0@T0; mark 2; halt }; nested 4; second 9; third 5; damaged 3; mark 3",
        "start life counter; chip 2048; mark 3",
    ] {
        let life = Life::parse("text", text).unwrap();
        let again = Life::parse("text", &life.to_string()).unwrap();
        assert_eq!(again.to_string(), life.to_string());
        assert_eq!((again.ops, again.third, again.damaged), (life.ops, life.third, life.damaged));
    }
    for wrong in ["start", "start noise", "start { mark 1", "start ff wiped@ones", "start life nobody", "format dirty"]
    {
        assert!(Life::parse("wrong", wrong).is_err(), "{wrong}");
    }
}

#[test]
fn lives_begin_on_every_kind_of_storage() {
    use vnv_lab::start::StartKind;
    let kinds: Vec<StartKind> =
        Life::written().unwrap().iter().map(|life| life.start.begin(life).unwrap().kind).collect();
    for kind in [StartKind::Blank, StartKind::Noise, StartKind::SameLayout, StartKind::OtherLayout] {
        assert!(kinds.contains(&kind), "no life begins on {kind}");
    }
}
