//! Cuts one life at every bit of every frame that went over the bus.

use crate::check::{Checker, Expected, Extent, Suspect, lock};
use crate::damaged::{DamageCounts, damaged};
use crate::faults::fifth_rung;
use crate::journal::at;
use crate::life::Life;
use crate::point::{Point, rung};
use crate::recording::{Recording, record, small_part};
use crate::report::LifeReport;
use crate::state::State;
use rayon::prelude::*;
use std::sync::Arc;
use std::time::Instant;
use vnv_sim::{Fram, Tear};

const WRITE: u8 = 0x02;
const READ: u8 = 0x03;
/// Bytes of a read from which on it is cut once a byte only, unless the run is full: where formatting reads the whole storage.
const LONG_READ: usize = 36;
/// Suspects that are checked together, on all cores.
const BATCH: usize = 512;

/// Sweeps a life. `progress` is told how many of how many frames are done.
#[must_use]
pub fn sweep(life: &Life, extent: &Extent, first_only: bool, progress: &dyn Fn(usize, usize)) -> LifeReport {
    let start = Instant::now();
    let checker = Checker::new(life, extent, first_only);
    let mut report = LifeReport { name: life.name.clone(), operations: life.ops.len(), ..LifeReport::default() };
    if life.chip.is_some() {
        if let Err(what) = small_part(life) {
            checker.blame(&[], what);
        }
        report.violations = lock(&checker.violations).clone();
        report.seconds = start.elapsed().as_secs_f64();
        return report;
    }
    match std::panic::catch_unwind(|| record(life)) {
        Ok(Ok(recording)) => {
            report.frames = recording.frames.len();
            report.bits = recording.frames.iter().map(|frame| frame.len() as u64 * 8).sum();
            report.start = recording.start;
            report.commits = recording.commits;
            report.refusals = recording.refusals;
            report.bytes = recording.states.iter().map(|state| state.bytes()).max().unwrap_or(0);
            frames(life, &recording, &checker, progress);
            if extent.rung.is_none_or(|rung| rung == 5) {
                fifth_rung(life, &recording, &checker, extent);
                report.damaged = several(life, &recording, &checker);
            }
        }
        Ok(Err(what)) => checker.blame(&[], format!("without any cut: {what}")),
        Err(_) => checker.blame(&[], "without any cut: panic".to_string()),
    }
    report.rungs = *lock(&checker.counts);
    report.violations = lock(&checker.violations).clone();
    report.seconds = start.elapsed().as_secs_f64();
    report
}

/// What the lab holds while it walks through the frames.
struct Walk<'w, 'l> {
    recording: &'w Recording,
    checker: &'w Checker<'l>,
    extent: &'w Extent,
    batch: Vec<Suspect>,
    images: usize,
}

impl Walk<'_, '_> {
    /// Takes in what is left of the storage after a cut.
    fn suspect(&mut self, image: Vec<u8>, point: Point, expected: &Expected, older: &[Arc<State>]) {
        let older = if point.rung() >= 4 { older.to_vec() } else { Vec::new() };
        let path = vec![point];
        let Expected { legal, former, op } = expected.clone();
        let suspect = Suspect { image, legal, older, former, op, path, number: self.images };
        if self.checker.is_new(&suspect) {
            self.images += 1;
            self.batch.push(suspect);
        }
        if self.batch.len() >= BATCH {
            self.flush();
        }
    }

    fn flush(&mut self) {
        std::mem::take(&mut self.batch).par_iter().for_each(|suspect| self.checker.check(suspect));
    }

    /// What may be found after a cut in a frame, and the older states.
    fn expected(&self, frame: usize) -> (Expected, Vec<Arc<State>>) {
        let moment = at(&self.recording.moments, frame);
        let older = self.recording.older(moment.legal.acknowledged);
        (Expected::of(&moment, &self.recording.states), older)
    }

    /// Cuts after every bit of a frame.
    fn frame(&mut self, chip: &Fram, number: usize, bytes: &[u8]) {
        let (expected, older) = self.expected(number);
        let tears: Vec<Tear> = match bytes.first() {
            Some(&WRITE) => self.extent.tears(0, true).collect(),
            Some(&READ) => {
                let rung = self.extent.rung;
                let all = core::iter::once(Tear::T0).chain(Tear::of_reads());
                all.filter(|tear| rung.is_none_or(|rung| rung == crate::point::rung(*tear))).collect()
            }
            _ => self.extent.tears(0, true).filter(|tear| rung(*tear) == 0).collect(),
        };
        for (position, byte) in bytes.iter().enumerate() {
            for bit in 0..8u8 {
                let bits = position * 8 + usize::from(bit) + 1;
                // All bits of a byte that is read leave the same.
                let is_thinned = bytes.first() == Some(&READ) && position >= LONG_READ && bit != 0;
                for tear in tears.iter().filter(|_| !is_thinned || self.extent.full || self.extent.only.is_some()) {
                    let point = Point::Frame(number, bits, *tear);
                    if !self.extent.wants(0, point) || self.checker.is_done() {
                        continue;
                    }
                    let fork = chip.fork();
                    fork.set_tear(*tear);
                    fork.cut_after_bits(1);
                    let _ = fork.clock_bit_of(*byte, bit);
                    // On the third rung the host goes on until the frame ends.
                    if matches!(tear, Tear::T3(_)) {
                        let _ = (bit + 1..8).try_for_each(|bit| fork.clock_bit_of(*byte, bit));
                        let rest = bytes.iter().skip(position + 1);
                        let _ = rest
                            .flat_map(|byte| (0..8).map(move |bit| (*byte, bit)))
                            .try_for_each(|(byte, bit)| fork.clock_bit_of(byte, bit));
                    }
                    self.suspect(fork.image(), point, &expected, &older);
                }
                let _ = chip.clock_bit_of(*byte, bit);
            }
        }
    }
}

fn frames(life: &Life, recording: &Recording, checker: &Checker<'_>, progress: &dyn Fn(usize, usize)) {
    use embedded_hal::digital::OutputPin as _;
    let chip = Fram::from_image(life.part(), recording.initial.clone());
    let mut select = chip.chip_select();
    let extent = checker.extent();
    let mut walk = Walk { recording, checker, extent, batch: Vec::new(), images: 0 };
    for (number, bytes) in recording.frames.iter().enumerate() {
        progress(number, recording.frames.len());
        let _ = select.set_low();
        walk.frame(&chip, number, bytes);
        let _ = select.set_high();
        if checker.is_done() {
            return;
        }
    }
    // What is there after the last bit.
    let (expected, older) = walk.expected(recording.frames.len());
    if extent.only.is_none() {
        walk.suspect(recording.image.clone(), Point::Frame(recording.frames.len(), 0, Tear::T0), &expected, &older);
    }
    walk.flush();
    if chip.image() != recording.image && extent.only.is_none() {
        checker.blame(&[], "the recorded frames do not lead to the recorded image".to_string());
    }
}

/// Several damages at a time, if the life says so.
fn several(life: &Life, recording: &Recording, checker: &Checker<'_>) -> DamageCounts {
    if checker.is_done() {
        return DamageCounts::default();
    }
    match damaged(life, recording, checker.extent()) {
        Ok((counts, wrong)) => {
            wrong.into_iter().take(5).for_each(|(points, what)| checker.blame(&points, what));
            counts
        }
        Err(what) => {
            checker.blame(&[], what);
            DamageCounts::default()
        }
    }
}
