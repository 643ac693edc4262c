//! The fifth rung: a write that is dropped or half done without an error, a row overwritten by nobody.
//!
//! Legal is the end of the life, anything that is noticed, and, where the last record was hit, an older state whole.

use crate::check::{Checker, Extent, Suspect};
use crate::device::Recorder;
use crate::journal::{Journal, Moment};
use crate::life::Life;
use crate::player::play;
use crate::point::Point;
use crate::recording::{Recording, before};
use crate::state::State;
use crate::stopped::Stopped;
use rayon::prelude::*;
use std::sync::Arc;
use vnv_sim::Garbage;

/// Every write of the life dropped and halved, every row of its last image overwritten.
pub fn fifth_rung(life: &Life, recording: &Recording, checker: &Checker<'_>, extent: &Extent) {
    let writes = recording.frames.iter().filter(|frame| frame.first() == Some(&0x02)).count();
    let spoilt: Vec<Point> = (0..writes).flat_map(|write| [Point::Dropped(write), Point::Halved(write)]).collect();
    let suspects: Vec<Suspect> = spoilt
        .into_par_iter()
        .filter(|point| extent.wants(0, *point))
        .filter_map(|point| {
            spoil(life, recording, point).unwrap_or_else(|what| {
                checker.blame(&[point], what);
                None
            })
        })
        .collect();
    let rows = recording.image.len() / life.row as usize;
    let strays = (0..rows)
        .flat_map(|row| [Garbage::Zeros, Garbage::Ones, Garbage::Seeded(0x5EED)].map(|garbage| (row, garbage)));
    let strays = strays.map(|(row, garbage)| {
        let mut image = recording.image.clone();
        let point = Point::Stray(row, garbage);
        point.spoil(&mut image, life.row);
        end((&recording.states, &recording.moments), image, point, life, recording)
    });
    let strays: Vec<Suspect> = strays.filter(|suspect| extent.wants(0, suspect.path[0])).collect();
    suspects.par_iter().chain(strays.par_iter()).for_each(|suspect| {
        if checker.is_new(suspect) {
            checker.check(suspect);
        }
    });
}

fn end(
    (states, moments): (&[Arc<State>], &[Moment]),
    image: Vec<u8>,
    point: Point,
    life: &Life,
    recording: &Recording,
) -> Suspect {
    let last = moments.last().map(|moment| moment.legal.clone()).unwrap_or_default();
    let mut older = before(states, moments, last.acknowledged);
    if states.first() == states.get(last.acknowledged) {
        older.extend(recording.older.iter().cloned());
    }
    Suspect {
        image,
        legal: last.all().filter_map(|state| states.get(state).cloned()).collect(),
        older,
        former: None,
        op: life.ops.len(),
        path: vec![point],
        number: 0,
    }
}

/// Runs the life again, with one write that does not do what it should. `Ok(None)`: that was noticed.
fn spoil(life: &Life, recording: &Recording, point: Point) -> Result<Option<Suspect>, String> {
    let (recorder, storage, tape) = Recorder::new(recording.initial.clone(), life.row);
    match point {
        Point::Dropped(write) => storage.borrow_mut().drop_write_at(write as u64),
        Point::Halved(write) => storage.borrow_mut().truncate_write_at(write as u64, life.row as usize / 2),
        _ => return Ok(None),
    }
    let position = || tape.position.get();
    let before = recording.states.first().map(|state| (**state).clone()).unwrap_or_default();
    let journal = Journal::new(before, 0, &position);
    let played = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(recorder, life, 0, &journal, true)));
    match played {
        Ok(Ok(device)) => drop(device),
        Ok(Err(Stopped::Noticed(_) | Stopped::Older(_))) => return Ok(None),
        Ok(Err(Stopped::Violation(what))) => return Err(what),
        Err(_) => return Err("panic".to_string()),
    }
    let states: Vec<Arc<State>> = journal.states.take().into_iter().map(Arc::new).collect();
    let image = storage.borrow().image().to_vec();
    Ok(Some(end((&states, &journal.moments()), image, point, life, recording)))
}
