//! What is done with the bytes that a cut leaves: a new instance opens them, and life goes on; and is cut again.

use crate::device::{LabDevice as _, Recorder, Write, torn};
use crate::found::{Found, found};
use crate::journal::{Journal, Moment, at};
use crate::life::Life;
use crate::player::play;
use crate::point::Point;
use crate::refine::{Traffic, former_finds, refine};
use crate::report::Counts;
use crate::shape::Shape;
use crate::state::{Held, State, Unreadable};
use crate::types::Ram;
use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use vnv_persist::{Finding, OpenError, verify};
use vnv_sim::{Garbage, Tear, TearStorage};
use xxhash_rust::xxh3::xxh3_128;

/// How thorough a run is.
#[derive(Clone, Debug)]
pub struct Extent {
    /// Most cuts one after the other.
    pub depth: usize,
    /// Only this rung of the ladder.
    pub rung: Option<usize>,
    /// All second cuts (`nested` and `second` of the lives taken as 1), sampled third cuts; every garbage in the second
    /// cuts of lives that have a `second`.
    pub full: bool,
    /// Only one garbage a rung, in first cuts too.
    pub coarse: bool,
    /// Second cuts are this many times rarer.
    pub sparse: usize,
    /// Only these cuts: a replay.
    pub only: Option<Vec<Point>>,
}

impl Extent {
    /// The rungs of cut writes for a cut at this depth (0: the first), with every garbage for first cuts, and for second
    /// ones if the run is full and the life is one of the `exhaustive`.
    pub fn tears(&self, depth: usize, exhaustive: bool) -> impl Iterator<Item = Tear> + use<> {
        let some = [Tear::T0, Tear::T1(Garbage::Ones), Tear::T2(Garbage::Inverted), Tear::T3(Garbage::Seeded(0x5EED))];
        let all = (self.full && depth < 2 && exhaustive || depth == 0 || self.only.is_some()) && !self.coarse;
        let rung = self.rung;
        Tear::of_writes()
            .filter(move |tear| all || some.contains(tear))
            .filter(move |tear| rung.is_none_or(|rung| rung == crate::point::rung(*tear)))
    }

    /// Whether a cut at `depth` is one of those to be replayed.
    pub fn wants(&self, depth: usize, point: Point) -> bool {
        self.only.as_ref().is_none_or(|only| only.get(depth) == Some(&point))
    }

    /// Whether a replay is to cut at `depth`.
    fn goes_deeper(&self, depth: usize) -> bool {
        self.only.as_ref().is_none_or(|only| only.len() > depth)
    }
}

/// The bytes that a cut left, and what is expected of them.
#[derive(Clone)]
pub struct Suspect {
    /// The storage.
    pub image: Vec<u8>,
    /// The states that may be found; the first one was acknowledged.
    pub legal: Vec<Arc<State>>,
    /// The states before the acknowledged one: what T4 and T5 may bring back where they hit the last record.
    pub older: Vec<Arc<State>>,
    /// A layout that was there before the last formatting, and the only state that a program of it may find.
    pub former: Option<(Shape, Option<Arc<State>>)>,
    /// The operation that was running.
    pub op: usize,
    /// The cuts so far.
    pub path: Vec<Point>,
    /// Number of the suspect, for sampling.
    pub number: usize,
}

impl Suspect {
    /// Image, expectations and what comes next in one number: what has been seen need not be looked at again.
    #[must_use]
    pub fn key(&self) -> u128 {
        // In order, so that equal states do not cancel each other.
        let mix = |sum: u64, part: u64| (sum.rotate_left(9) ^ part).wrapping_mul(0x9E37_79B9_7F4A_7C15);
        let former = self.former.as_ref().and_then(|(_, state)| state.as_ref());
        let legal = self.legal.iter().chain(former);
        let expected = legal.fold(self.op as u64, |sum, state| mix(sum, state.fingerprint()));
        xxh3_128(&self.image) ^ u128::from(expected)
    }

    fn rung(&self) -> usize {
        self.path.last().map_or(0, Point::rung)
    }
}

/// A violation: the cuts that lead to it, and what was found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Violation {
    /// The life.
    pub life: String,
    /// The cuts.
    pub path: String,
    /// What is wrong.
    pub what: String,
}

/// Checks suspects of one life.
pub struct Checker<'l> {
    life: &'l Life,
    extent: &'l Extent,
    seen: [Mutex<HashSet<u128>>; 16],
    /// What was counted, by rung of the last cut.
    pub counts: Mutex<[Counts; 6]>,
    /// What was found.
    pub violations: Mutex<Vec<Violation>>,
    /// Stop at the first violation.
    first_only: bool,
}

/// A lock that a caught panic has poisoned is as good as any other here.
pub fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<'l> Checker<'l> {
    /// For the suspects of `life`.
    #[must_use]
    pub fn new(life: &'l Life, extent: &'l Extent, first_only: bool) -> Self {
        Self {
            life,
            extent,
            seen: Default::default(),
            counts: Mutex::default(),
            violations: Mutex::default(),
            first_only,
        }
    }

    /// How thorough the run is.
    #[must_use]
    pub const fn extent(&self) -> &'l Extent {
        self.extent
    }

    /// Whether enough was found.
    pub fn is_done(&self) -> bool {
        lock(&self.violations).len() >= if self.first_only { 1 } else { 5 }
    }

    /// Counts a cut; tells whether its suspect is new.
    pub fn is_new(&self, suspect: &Suspect) -> bool {
        let key = suspect.key();
        let shard = &self.seen[(key >> 124) as usize];
        let new = lock(shard).insert(key);
        self.count(suspect, |counts| {
            counts.cuts += 1;
            counts.images += u64::from(new);
            counts.nested += u64::from(suspect.path.len() > 1);
        });
        new
    }

    fn count(&self, suspect: &Suspect, add: impl FnOnce(&mut Counts)) {
        if let Some(counts) = lock(&self.counts).get_mut(suspect.rung()) {
            add(counts);
        }
    }

    /// Notes a violation.
    pub fn blame(&self, path: &[Point], what: String) {
        let violation = Violation { life: self.life.name.clone(), path: crate::point::path_text(path), what };
        lock(&self.violations).push(violation);
    }

    /// Opens what a cut left, checks it, goes on, cuts again. Panics inside count as violations.
    pub fn check(&self, suspect: &Suspect) {
        if self.is_done() {
            return;
        }
        let checked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| self.examine(suspect)));
        let what = match checked {
            Ok(Ok(())) => return,
            Ok(Err(what)) => what,
            Err(panic) => {
                let text = panic.downcast_ref::<String>().map(String::as_str);
                format!("panic: {}", text.or(panic.downcast_ref::<&str>().copied()).unwrap_or("without a message"))
            }
        };
        self.blame(&suspect.path, what);
    }

    fn examine(&self, suspect: &Suspect) -> Result<(), String> {
        // The rungs that a checksum can notice, but not repair.
        let may_notice = suspect.path.iter().any(|point| point.rung() >= 4);
        let shape = self.life.shape_at(suspect.op);
        self.verify(&suspect.image, shape, may_notice)?;
        if !may_notice {
            former(suspect)?;
        }
        self.count(suspect, |counts| counts.recoveries += 1);
        let (recorder, storage, tape) = Recorder::new(suspect.image.clone(), self.life.row);
        tape.recording.set(true);
        let found = match recover(recorder, shape, suspect) {
            // A typed error.
            Ok(state) if may_notice && state.held == Held::Foreign => {
                self.count(suspect, |counts| counts.noticed += 1);
                return Ok(());
            }
            Ok(state) => state,
            Err(Unreadable::Error(_)) if may_notice => {
                self.count(suspect, |counts| counts.noticed += 1);
                return Ok(());
            }
            Err(Unreadable::Error(what) | Unreadable::Wrong(what)) => return Err(what),
        };
        let Some(which) = suspect.legal.iter().position(|state| **state == found) else {
            if may_notice && suspect.older.iter().any(|state| **state == found) {
                self.count(suspect, |counts| counts.older += 1);
                return Ok(());
            }
            return Err(self.describe(suspect, &found));
        };
        self.count(suspect, |counts| if which == 0 { counts.acknowledged += 1 } else { counts.running += 1 });
        let Some(state) = suspect.legal.get(which).cloned() else { return Ok(()) };
        if may_notice {
            return Ok(());
        }
        if found.held.is_refused(shape) && tape.position.get() != 0 {
            return Err("a storage was refused, and changed".to_string());
        }
        let writes = tape.writes.take();
        let depth = suspect.path.len();
        if depth < self.extent.depth && self.extent.goes_deeper(depth) && self.takes_nested(suspect) {
            self.cut_recovery(suspect, &writes, &state);
        }
        drop(storage);
        self.go_on(suspect, &state, writes.len())
    }

    fn describe(&self, suspect: &Suspect, found: &State) -> String {
        let legal: Vec<_> = suspect.legal.iter().map(|state| format!("{:?}", &**state)).collect();
        format!("neither the last commit nor the running one; found {found:?}; legal {}", legal.join(" or "))
    }

    fn verify(&self, image: &[u8], shape: Shape, may_notice: bool) -> Result<(), String> {
        let mut memory = Ram::new();
        let mut findings = Vec::new();
        let device = TearStorage::from_image(image.to_vec(), self.life.row);
        let verified = verify(device, &mut memory, shape.options(), &mut |finding| findings.push(finding));
        match verified {
            _ if may_notice => Ok(()),
            Err(OpenError::Heap(error)) => Err(format!("verify: {error:?}")),
            // A storage that is being formatted; `recover` tells whether that is legal.
            Err(_) => Ok(()),
            Ok(verified) if !verified.snapshot => {
                match findings.iter().find(|finding| !matches!(finding, Finding::Superblock)) {
                    Some(finding) => Err(format!("verify finds {finding:?}")),
                    None => Ok(()),
                }
            }
            // Objects that a live snapshot supersedes may be torn.
            Ok(_) => Ok(()),
        }
    }

    fn takes_nested(&self, suspect: &Suspect) -> bool {
        self.is_sample(suspect, if suspect.path.len() > 1 { self.third() } else { self.life.nested })
    }

    /// Third cuts are sampled.
    fn third(&self) -> usize {
        match self.life.third {
            0 if self.extent.full || self.extent.only.is_some() => 23,
            every => every,
        }
    }

    /// Whether a suspect is cut again, if every `every`-th is (0: none).
    fn is_sample(&self, suspect: &Suspect, every: usize) -> bool {
        let every = if self.extent.full && suspect.path.len() == 1 { every.min(1) } else { every * self.extent.sparse };
        self.extent.only.is_some() || (every != 0 && suspect.number % every == 0)
    }

    /// Cuts the recovery at every byte that it writes: nothing may change (G7).
    fn cut_recovery(&self, suspect: &Suspect, writes: &[Write], state: &Arc<State>) {
        let next = Suspect { legal: vec![Arc::clone(state)], ..suspect.clone() };
        self.cut_writes(&next, writes, 0, Point::Recovery, &|_| Expected {
            legal: next.legal.clone(),
            former: next.former.clone(),
            op: next.op,
        });
    }

    /// Cuts at every byte of `writes` from number `from` on; `expect` tells what is legal during each, and the
    /// operation that runs.
    fn cut_writes(
        &self,
        suspect: &Suspect,
        writes: &[Write],
        from: usize,
        point: impl Fn(usize, usize, Tear) -> Point,
        expect: &dyn Fn(usize) -> Expected,
    ) {
        let depth = suspect.path.len();
        let mut image = suspect.image.clone();
        for (number, write) in writes.iter().enumerate() {
            for byte in 0..write.bytes.len().max(1) {
                if number < from {
                    break;
                }
                for tear in self.extent.tears(depth, self.life.second != 0) {
                    let point = point(number, byte, tear);
                    if !self.extent.wants(depth, point) || self.is_done() {
                        continue;
                    }
                    let mut path = suspect.path.clone();
                    path.push(point);
                    let image = torn(&image, self.life.row, write, byte, tear);
                    let Expected { legal, former, op } = expect(number);
                    let number = suspect.number + byte + number;
                    let next = Suspect { image, path, legal, former, op, number, older: Vec::new() };
                    if self.is_new(&next) {
                        self.check(&next);
                    }
                }
            }
            let at = write.offset as usize;
            image[at..at + write.bytes.len()].copy_from_slice(&write.bytes);
        }
    }

    /// The rest of the life, a clean commit, and another reopening: nothing acknowledged may be lost.
    fn go_on(&self, suspect: &Suspect, state: &Arc<State>, recovery: usize) -> Result<(), String> {
        let depth = suspect.path.len();
        let every = if depth < 2 { self.life.second } else { self.life.third };
        let second = depth < self.extent.depth && self.extent.goes_deeper(depth) && self.is_sample(suspect, every);
        let (recorder, storage, tape) = Recorder::new(suspect.image.clone(), self.life.row);
        tape.recording.set(second);
        let position = || tape.position.get();
        let journal = Journal::new((**state).clone(), suspect.op, &position);
        journal.resumed.set(true);
        if let Some((shape, former)) = suspect.former.as_ref().filter(|(shape, _)| state.shape() != Some(*shape)) {
            // Once there is a heap again, there is no other one.
            let former = former.as_deref().filter(|_| state.held == Held::Blank);
            journal.set_former(*shape, former);
        }
        let played = play(recorder, self.life, suspect.op, &journal, true);
        drop(played.map_err(|stopped| format!("going on: {}", stopped.what()))?);
        let image = storage.borrow().image().to_vec();
        let shape = self.life.shape_at(self.life.ops.len());
        self.verify(&image, shape, false).map_err(|error| format!("at the end of life: {error}"))?;
        self.count(suspect, |counts| counts.recoveries += 2);
        let end = journal.now.borrow().clone();
        let last = Suspect { legal: vec![Arc::new(end.clone())], ..suspect.clone() };
        match recover(Recorder::new(image, self.life.row).0, shape, &last) {
            Ok(found) if found == end || journal.resolve(&found) => {}
            Ok(found) => return Err(format!("an acknowledged commit is lost: {found:?} instead of {end:?}")),
            Err(Unreadable::Error(what) | Unreadable::Wrong(what)) => {
                return Err(format!("at the end of life: {what}"));
            }
        }
        if second {
            self.cut_rest(suspect, &journal, tape.writes.take(), recovery)?;
        }
        Ok(())
    }

    /// Cuts what followed a recovery, up to the end of the first commit.
    fn cut_rest(
        &self,
        suspect: &Suspect,
        journal: &Journal<'_>,
        mut writes: Vec<Write>,
        recovery: usize,
    ) -> Result<(), String> {
        let moments = journal.moments();
        let states: Vec<Arc<State>> = journal.states.borrow().iter().cloned().map(Arc::new).collect();
        let formats = journal.formats();
        let formatted = formats.first().filter(|format| format.old == 0).map_or(0, |format| format.new);
        let first = moments.iter().find(|moment| moment.legal.acknowledged > formatted).map(|moment| moment.position);
        writes.truncate(first.unwrap_or(writes.len()));
        let numbered: Vec<(usize, Write)> = writes.iter().cloned().enumerate().collect();
        let formats: Vec<_> = formats.into_iter().filter(|format| format.to <= writes.len()).collect();
        let traffic = Traffic { image: &suspect.image, writes: &numbered, formats: &formats, states: &states };
        let moments = refine(self.life, &traffic, moments)?;
        self.cut_writes(suspect, &writes, recovery, Point::GoingOn, &|number| {
            let moment = at(&moments, number);
            Expected::of(&moment, &states)
        });
        Ok(())
    }
}

/// What may be found after a cut.
#[derive(Clone)]
pub struct Expected {
    /// The legal states, the acknowledged one first.
    pub legal: Vec<Arc<State>>,
    /// As [`Suspect::former`].
    pub former: Option<(Shape, Option<Arc<State>>)>,
    /// The operation that runs.
    pub op: usize,
}

impl Expected {
    /// What is legal at a moment.
    pub fn of(moment: &Moment, states: &[Arc<State>]) -> Self {
        let state = |number: usize| states.get(number).cloned();
        let former = moment.former.map(|former| (former.shape, former.state.and_then(state)));
        Self { legal: moment.legal.all().filter_map(state).collect(), former, op: moment.op }
    }
}

/// Opens and reads everything, as a program of `shape` does; where that finds a heap of another layout, as one of the layouts
/// that are legal.
fn recover(recorder: Recorder, shape: Shape, suspect: &Suspect) -> Result<State, Unreadable> {
    let again = recorder.again().map_err(Unreadable::Error)?;
    match found(recorder, shape) {
        Found::State(state) => return Ok(state),
        Found::Unreadable(what) => return Err(what),
        Found::OtherLayout => {}
    }
    let image = again.image();
    for former in suspect.legal.iter().chain(&suspect.older).filter_map(|state| state.shape()) {
        let Some(part) = image.get(..former.capacity as usize).filter(|_| former != shape) else { continue };
        match found(Recorder::new(part.to_vec(), former.row).0, former) {
            Found::State(state) if state.shape().is_some() => return Ok(state),
            Found::Unreadable(what) => return Err(what),
            _ => {}
        }
    }
    // It is left alone, as everything else that is not known.
    Ok(State::foreign())
}

/// A program of the layout before the last formatting finds what was there before it, or nothing.
fn former(suspect: &Suspect) -> Result<(), String> {
    let Some((shape, expected)) = &suspect.former else { return Ok(()) };
    match (former_finds(&suspect.image, *shape)?, expected) {
        (Some(found), Some(expected)) if found == **expected => Ok(()),
        (Some(found), _) => Err(format!("a program of the former layout finds {found:?}")),
        (None, _) => Ok(()),
    }
}
