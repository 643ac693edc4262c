//! Several damages at a time on what a life has left: records, superblocks, snapshots, in pairs and triples.
//!
//! Legal is a typed error, or a whole state as the format promises it: with one superblock copy the last one; without the
//! live snapshot that of the log; without the last records, if all that is destroyed of the log is its end, the one before
//! them. Whatever opens takes further commits, and none of them ever brings an old state back.

use crate::check::Extent;
use crate::device::Recorder;
use crate::found::{Found, found};
use crate::journal::Journal;
use crate::life::Life;
use crate::op::Op;
use crate::player::play;
use crate::point::Point;
use crate::recording::Recording;
use crate::shape::Shape;
use crate::start::Start;
use crate::state::{Held, State, Unreadable};
use crate::types::Ram;
use rayon::prelude::*;
use serde::Serialize;
use std::sync::Arc;
use vnv_persist::{Examined, Region, RegionKind, examine};
use vnv_sim::{Garbage, TearStorage};

/// What came out of the damaged images of a life.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq, Serialize)]
pub struct DamageCounts {
    /// Pairs.
    pub pairs: u64,
    /// Triples.
    pub triples: u64,
    /// Ended in a typed error.
    pub noticed: u64,
    /// Found: the last state.
    pub last: u64,
    /// Found: the whole state before what was destroyed.
    pub older: u64,
}

impl DamageCounts {
    /// Adds others.
    pub fn add(&mut self, other: &Self) {
        self.pairs += other.pairs;
        self.triples += other.triples;
        self.noticed += other.noticed;
        self.last += other.last;
        self.older += other.older;
    }

    /// Damaged images.
    #[must_use]
    pub const fn images(&self) -> u64 {
        self.pairs + self.triples
    }
}

/// The damages, and what happened.
pub type Wrong = (Vec<Point>, String);

/// How a region is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Damage {
    /// A bit of the header's own check: nothing tells that a record is there.
    Header,
    /// A bit of the checksum of the whole.
    Checksum,
    /// A bit of the last byte.
    Last,
    /// The first row: the beginning of the header.
    Row,
}

const DAMAGES: [Damage; 4] = [Damage::Header, Damage::Checksum, Damage::Last, Damage::Row];

impl Damage {
    fn point(self, region: &Region, row: u32) -> Point {
        let at = region.offset as usize;
        match self {
            Self::Header => Point::Flip(at + 4, 3),
            Self::Checksum => Point::Flip(at, 6),
            Self::Last => Point::Flip(at + region.length as usize - 1, 0),
            Self::Row => Point::Stray(at / row as usize, Garbage::Seeded(0x5EED)),
        }
    }

    /// The header does not fit any more.
    const fn hides(self) -> bool {
        matches!(self, Self::Header | Self::Row)
    }
}

/// One damage: to which of the parts, and how.
type Hit = (usize, Damage);

/// What a life has left, and the parts that its state depends on.
struct Remains<'r> {
    life: &'r Life,
    shape: Shape,
    image: &'r [u8],
    /// Superblocks, then base and commits in order, then the live snapshot.
    parts: Vec<Region>,
    /// The state that each base, commit or snapshot makes.
    states: Vec<Option<Arc<State>>>,
}

/// Damages what the life has left, if it says so; returns the counts, and what was wrong: the damages, and what happened.
///
/// # Errors
///
/// If what it has left cannot be examined.
pub fn damaged(life: &Life, recording: &Recording, extent: &Extent) -> Result<(DamageCounts, Vec<Wrong>), String> {
    if life.damaged == 0 {
        return Ok(Default::default());
    }
    let remains = Remains::of(life, recording)?;
    let hits: Vec<Hit> = (0..remains.parts.len()).flat_map(|part| DAMAGES.map(|damage| (part, damage))).collect();
    let pairs = (0..hits.len()).flat_map(|a| (a + 1..hits.len()).map(move |b| vec![a, b]));
    let every = if extent.full { 1 } else { life.damaged };
    let triples = (0..hits.len())
        .flat_map(|a| (a + 1..hits.len()).map(move |b| (a, b)))
        .flat_map(|(a, b)| (b + 1..hits.len()).map(move |c| vec![a, b, c]));
    let chosen = |numbers: Vec<usize>| -> Option<Vec<Hit>> {
        let chosen: Vec<Hit> = numbers.iter().filter_map(|number| hits.get(*number).copied()).collect();
        // Of each part only one thing is damaged.
        chosen.windows(2).all(|two| two[0].0 != two[1].0).then_some(chosen)
    };
    let triples = triples.filter_map(chosen).step_by(every);
    let all: Vec<Vec<Hit>> = pairs.filter_map(chosen).chain(triples).collect();
    let only = extent.only.as_deref();
    let results: Vec<_> = all
        .into_par_iter()
        .filter_map(|hits| {
            let points: Vec<Point> = hits.iter().map(|hit| hit.1.point(&remains.parts[hit.0], life.row)).collect();
            only.is_none_or(|only| only == points).then(|| {
                let checked = std::panic::catch_unwind(|| remains.check(&hits, &points));
                let checked = checked.unwrap_or_else(|_| Err("panic".to_string()));
                (points, checked)
            })
        })
        .collect();
    let mut counts = DamageCounts::default();
    let mut wrong = Vec::new();
    for (points, checked) in results {
        if points.len() == 2 {
            counts.pairs += 1
        } else {
            counts.triples += 1
        }
        match checked {
            Ok(Outcome::Noticed) => counts.noticed += 1,
            Ok(Outcome::Last) => counts.last += 1,
            Ok(Outcome::Older) => counts.older += 1,
            Err(what) => wrong.push((points, what)),
        }
    }
    Ok((counts, wrong))
}

/// What was found.
#[derive(Clone, Copy, Debug)]
enum Outcome {
    Noticed,
    Last,
    Older,
}

impl<'r> Remains<'r> {
    fn of(life: &'r Life, recording: &'r Recording) -> Result<Self, String> {
        let shape = life.shape_at(life.ops.len());
        let device = TearStorage::from_image(recording.image.clone(), life.row);
        let mut parts = Vec::new();
        let examined = examine(device, &mut Ram::new(), shape.options(), false, &mut |examined| {
            if let Examined::Live(region) = examined
                && !matches!(region.kind, RegionKind::Object(_))
            {
                parts.push(region);
            }
        });
        examined.map_err(|error| format!("what the life has left: {error:?}"))?;
        // Superblocks and the snapshot are reported first.
        let order = |region: &Region| match region.kind {
            RegionKind::Superblock(copy) => u64::from(copy),
            RegionKind::Base(sequence) | RegionKind::Commit(sequence) | RegionKind::Snapshot(sequence) => sequence + 2,
            _ => u64::MAX,
        };
        parts.sort_by_key(order);
        let last_format = recording.sequences.iter().rposition(|(sequence, _)| *sequence == 0).unwrap_or(0);
        let since = recording.sequences.get(last_format..).unwrap_or_default();
        let state_of = |region: &Region| match region.kind {
            RegionKind::Base(sequence) | RegionKind::Commit(sequence) | RegionKind::Snapshot(sequence) => {
                let state = since.iter().rev().find(|(known, _)| *known <= sequence).map(|(_, state)| *state);
                state.and_then(|state| recording.states.get(state).cloned())
            }
            _ => None,
        };
        let states = parts.iter().map(state_of).collect();
        Ok(Self { life, shape, image: &recording.image, parts, states })
    }

    /// The state that may be found, if any: everything up to the first damage, if nothing sound is behind it.
    fn legal(&self, hits: &[Hit]) -> Option<(Arc<State>, bool)> {
        let hit = |part: usize| hits.iter().find(|(hit, _)| *hit == part).map(|(_, damage)| *damage);
        let is = |part: usize, wanted: fn(&RegionKind) -> bool| wanted(&self.parts[part].kind);
        let parts = 0..self.parts.len();
        let superblocks = parts.clone().filter(|part| is(*part, |kind| matches!(kind, RegionKind::Superblock(_))));
        if superblocks.clone().count() == superblocks.filter(|part| hit(*part).is_some()).count() {
            return None;
        }
        let mut state = None;
        let mut destroyed = false;
        // The record before is the first one that is destroyed, and its header says where the next one is.
        let mut shown = false;
        for part in parts.filter(|part| !is(*part, |kind| matches!(kind, RegionKind::Superblock(_)))) {
            let snapshot = is(part, |kind| matches!(kind, RegionKind::Snapshot(_)));
            match hit(part) {
                // A sound one behind it tells.
                None if destroyed => return None,
                None => state.clone_from(&self.states[part]),
                Some(_) if snapshot => destroyed = true,
                // So does a header directly behind one.
                Some(damage) if shown && !damage.hides() => return None,
                Some(damage) => {
                    shown = !destroyed && !damage.hides();
                    destroyed = true;
                }
            }
        }
        // Without its base there is no log.
        state.map(|state| (state, destroyed))
    }

    fn check(&self, hits: &[Hit], points: &[Point]) -> Result<Outcome, String> {
        let mut image = self.image.to_vec();
        points.iter().for_each(|point| point.spoil(&mut image, self.life.row));
        let legal = self.legal(hits);
        let (recorder, storage, _) = Recorder::new(image.clone(), self.life.row);
        let state = match found(recorder, self.shape) {
            Found::Unreadable(Unreadable::Wrong(what)) => return Err(what),
            Found::Unreadable(Unreadable::Error(_)) | Found::OtherLayout => None,
            Found::State(state) if state.held == Held::Foreign => None,
            Found::State(state) if state.held == Held::Blank => {
                return Err("a damaged heap is taken for a blank storage".to_string());
            }
            Found::State(state) => Some(state),
        };
        let Some(state) = state else {
            let changed = storage.borrow().image() != image;
            return if changed { Err("it was refused, and changed".to_string()) } else { Ok(Outcome::Noticed) };
        };
        let destroyed = match legal {
            Some((legal, destroyed)) if *legal == state => destroyed,
            Some((legal, _)) => return Err(format!("found {state:?}, legal is {legal:?} or an error")),
            None => return Err(format!("found {state:?}, legal is only an error")),
        };
        // Commits of the same sizes as those before, each followed by a start; then larger ones.
        self.go_on(image, state, hits.iter().map(|hit| hit.0).sum())?;
        Ok(if destroyed { Outcome::Older } else { Outcome::Last })
    }

    /// Up to four more commits on what was opened.
    fn go_on(&self, image: Vec<u8>, state: State, variant: usize) -> Result<(), String> {
        let mut ops = vec![Op::Reopen];
        for number in 0..4u8 {
            let value = 1000 + u32::from(number);
            ops.push(match (variant + usize::from(number)) % 5 {
                3 => Op::Span(8, 6, value),
                4 => Op::New(5, value),
                _ => Op::Count(0, value),
            });
            ops.extend([Op::Commit, Op::Reopen]);
        }
        let mut life = Life::new("behind damage", ops);
        (life.capacity, life.row, life.options) = (self.life.capacity, self.life.row, self.shape.options());
        life.start = Start::BLANK;
        let (recorder, _, tape) = Recorder::new(image, self.life.row);
        let position = || tape.position.get();
        let journal = Journal::new(state, 0, &position);
        let played = play(recorder, &life, 0, &journal, true);
        played.map(drop).map_err(|stopped| format!("going on: {}", stopped.what()))
    }
}
