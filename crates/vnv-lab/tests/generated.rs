//! Generated lives: a state machine proposes operations that make sense, each life is swept, and a failure shrinks to
//! a short life with the command that replays it.

#![allow(clippy::panic, clippy::unwrap_used)]

use proptest::prelude::*;
use proptest::strategy::BoxedStrategy;
use proptest_state_machine::ReferenceStateMachine;
use vnv_lab::check::Extent;
use vnv_lab::life::Life;
use vnv_lab::op::Op;
use vnv_lab::start::Start;
use vnv_lab::sweep::sweep;

/// What the generator has to know: which chains are filled, and whether a transaction runs.
#[derive(Clone, Debug, Default)]
struct Shape {
    filled: [bool; 8],
    in_transaction: bool,
    uncommitted: u32,
}

impl ReferenceStateMachine for Shape {
    type State = Self;
    type Transition = Op;

    fn init_state() -> BoxedStrategy<Self> {
        Just(Self::default()).boxed()
    }

    fn transitions(state: &Self) -> BoxedStrategy<Op> {
        let filled: Vec<u8> = (0..8).filter(|slot| state.filled[usize::from(*slot)]).collect();
        let anywhere = (0u8..8, 0u32..1000);
        let mut choices = vec![
            (3, anywhere.clone().prop_map(|(slot, value)| Op::New(slot, value)).boxed()),
            (3, anywhere.prop_map(|(slot, value)| Op::Push(slot, value)).boxed()),
            (3, (0u8..48, 0u32..1000).prop_map(|(at, value)| Op::Count(at, value)).boxed()),
            (1, (0u8..48, 1u8..30, 0u32..1000).prop_map(|(at, len, value)| Op::Span(at, len, value)).boxed()),
            (1, (0u32..1000).prop_map(Op::Mark).boxed()),
            (1, Just(Op::Unmark).boxed()),
        ];
        if !filled.is_empty() {
            let slot = proptest::sample::select(filled);
            choices.extend([
                (6, (slot.clone(), 0u32..1000).prop_map(|(slot, value)| Op::Set(slot, value)).boxed()),
                (3, slot.clone().prop_map(Op::Pop).boxed()),
                (2, (slot.clone(), 0u16..70).prop_map(|(slot, len)| Op::Blob(slot, len)).boxed()),
                (1, slot.clone().prop_map(Op::Drop).boxed()),
                (2, slot.clone().prop_map(Op::Read).boxed()),
                (2, slot.clone().prop_map(Op::Evict).boxed()),
                (1, (slot, 0u32..1000).prop_map(|(slot, value)| Op::Held(slot, value)).boxed()),
            ]);
        }
        if state.in_transaction {
            choices.extend([(4, Just(Op::End).boxed()), (2, Just(Op::Rollback).boxed())]);
        } else {
            let commit = 2 + state.uncommitted;
            choices.extend([
                (commit, Just(Op::Commit).boxed()),
                (2, Just(Op::Snapshot).boxed()),
                (2, Just(Op::Begin).boxed()),
                (1, Just(Op::Reopen).boxed()),
                (1, Just(Op::Collect).boxed()),
                (1, (0u8..3, 0u8..60).prop_map(|(write, bytes)| Op::Busfail(write, bytes)).boxed()),
                (1, (any::<u16>(), any::<u16>()).prop_map(|(a, b)| Op::Settings(a, b)).boxed()),
                (1, Just(Op::Migrate).boxed()),
                (1, (0usize..3, 0u32..3).prop_map(|(dirty, log)| Op::Format([0, 352, 400][dirty], log * 72)).boxed()),
            ]);
        }
        proptest::strategy::Union::new_weighted(choices).boxed()
    }

    fn apply(mut state: Self, op: &Op) -> Self {
        match *op {
            Op::New(slot, _) | Op::Push(slot, _) => state.filled[usize::from(slot)] = true,
            Op::Drop(slot) => state.filled[usize::from(slot)] = false,
            Op::Format(..) => state.filled = [false; 8],
            Op::Begin => state.in_transaction = true,
            Op::End | Op::Rollback => state.in_transaction = false,
            _ => {}
        }
        state.uncommitted = if matches!(op, Op::Commit | Op::Snapshot) { 0 } else { state.uncommitted + 1 };
        state
    }
}

/// What the storage holds before: blank, noise, and what lives of the same and of another layout have left.
const STARTS: [&str; 6] = [
    "ff",
    "noise 11",
    "{ new 0 1; count 0 2; commit; set 0 3; commit; count 1 4; snapshot; halt }",
    "{ log 96; new 0 1; blob 0 20; commit; mark 2; commit; set 0 3; snapshot; halt }",
    "{ new 0 1; commit; format } last1.5@T2-ones",
    "{ start { log 96; mark 1; commit; snapshot }; count 0 1; commit; count 0 2; commit; count 0 3; commit }",
];

proptest! {
    #![proptest_config(ProptestConfig { max_shrink_iters: 200, ..ProptestConfig::with_cases(40) })]

    #[test]
    fn generated_lives_survive((_, ops, _) in Shape::sequential_strategy(1..30), geometry in 0usize..4, start in 0usize..6) {
        // A storage that is refused would end the life at once.
        let ops = if start == 0 { ops } else { core::iter::once(Op::Format(0, 0)).chain(ops).collect() };
        let mut life = Life::new("generated", ops);
        (life.capacity, life.row) = [(2560, 8), (4096, 8), (4096, 4), (8192, 32)][geometry];
        life.options.dirty_limit = if life.row == 32 { 640 } else { 320 };
        life.start = Start::parse(STARTS[start], &life).unwrap();
        let extent = Extent { depth: 2, rung: None, full: false, coarse: true, sparse: 20, only: None };
        let report = sweep(&life, &extent, true, &|_, _| {});
        if let Some(violation) = report.violations.first() {
            let replay = if violation.path.is_empty() { String::new() } else { format!(" --replay {}", violation.path) };
            panic!("{}\nreplay: cargo xtask crash --ops '{life}'{replay}", violation.what);
        }
    }
}
