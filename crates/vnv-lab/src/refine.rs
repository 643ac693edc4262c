//! What is legal inside of a formatting: between two writes exactly one thing is found, and a write that is cut leaves
//! what was found before it or what is found behind it.

use crate::device::{Recorder, Write};
use crate::found::{Found, found};
use crate::journal::{Formatting, Former, Legal, Moment};
use crate::life::Life;
use crate::shape::Shape;
use crate::state::{Held, State};
use std::sync::Arc;

/// A recorded traffic: what the storage held before, and the writes with their positions.
pub struct Traffic<'t> {
    /// What the storage held before.
    pub image: &'t [u8],
    /// The writes, each with its position.
    pub writes: &'t [(usize, Write)],
    /// The formattings in it.
    pub formats: &'t [Formatting],
    /// The states that the moments speak of.
    pub states: &'t [Arc<State>],
}

/// Narrows the moments inside of each formatting to what is found between its writes: first what was there before, then
/// nothing, then an empty heap, and never back.
///
/// # Errors
///
/// Anything else that is found.
pub fn refine(life: &Life, traffic: &Traffic<'_>, moments: Vec<Moment>) -> Result<Vec<Moment>, String> {
    let mut refined = Vec::new();
    let mut rest = moments.into_iter().enumerate().peekable();
    let mut image = traffic.image.to_vec();
    let mut writes = traffic.writes.iter().peekable();
    for format in traffic.formats {
        while let Some((position, write)) = writes.next_if(|(position, _)| *position < format.from) {
            let _ = position;
            apply(&mut image, write);
        }
        while let Some((_, moment)) = rest.next_if(|(number, _)| *number < format.moment) {
            refined.push(moment);
        }
        let Some((_, moment)) = rest.next_if(|(number, _)| *number == format.moment) else { break };
        let view = View { shape: life.shape_at(moment.op), row: life.row, format, traffic, former: moment.former };
        let mut before = view.of(&image, format.old)?;
        if before.0 != format.old {
            return Err("the storage does not hold what it held before it is formatted".to_string());
        }
        let moment_of = |position, legal, former| Moment { position, legal, former, ..moment.clone() };
        refined.push(moment_of(format.from, Legal::only(before.0), view.former(before.1)));
        let mut number = 0;
        while let Some((position, write)) = writes.next_if(|(position, _)| *position < format.to) {
            apply(&mut image, write);
            let after = view.of(&image, before.0).map_err(|what| format!("write {number} of a formatting: {what}"))?;
            if after.1 && !before.1 {
                return Err(format!("after write {number} of a formatting the former layout opens again"));
            }
            let running = if after.0 == before.0 { Vec::new() } else { vec![after.0] };
            refined.push(moment_of(*position, Legal { acknowledged: before.0, running }, view.former(before.1)));
            refined.push(moment_of(position + 1, Legal::only(after.0), view.former(after.1)));
            before = after;
            number += 1;
        }
        if format.to != usize::MAX && (before.0 != format.new || before.1) {
            return Err("a formatting has left something else than an empty heap".to_string());
        }
    }
    refined.extend(rest.map(|(_, moment)| moment));
    Ok(refined)
}

fn apply(image: &mut [u8], write: &Write) {
    let at = write.offset as usize;
    if let Some(to) = image.get_mut(at..at + write.bytes.len()) {
        to.copy_from_slice(&write.bytes);
    }
}

struct View<'v> {
    shape: Shape,
    row: u32,
    format: &'v Formatting,
    traffic: &'v Traffic<'v>,
    former: Option<Former>,
}

impl View<'_> {
    /// The number of the state that is found, at least `from`, and whether a program of the former layout finds one.
    fn of(&self, image: &[u8], from: usize) -> Result<(usize, bool), String> {
        let former = match self.former {
            Some(Former { shape, state }) => former_finds(image, shape)?.map(|found| (found, state)),
            None => None,
        };
        if let Some((found, state)) = &former {
            let expected = state.and_then(|state| self.traffic.states.get(state));
            if expected.is_none_or(|expected| **expected != *found) {
                return Err(format!("a program of the former layout finds {found:?}"));
            }
        }
        let opens = former.is_some();
        let state = match found(Recorder::new(image.to_vec(), self.row).0, self.shape) {
            Found::State(state) => state,
            Found::OtherLayout => match former {
                Some((state, _)) => state,
                // What stands there is of a layout that is no longer known.
                None => State::foreign(),
            },
            Found::Unreadable(what) => return Err(format!("{what:?}")),
        };
        let known = [self.format.old, self.format.blank, self.format.new];
        let number = known
            .into_iter()
            .filter(|number| *number >= from)
            .find(|number| self.traffic.states.get(*number).is_some_and(|known| **known == state));
        number.map(|number| (number, opens)).ok_or_else(|| format!("found {state:?}"))
    }

    fn former(&self, opens: bool) -> Option<Former> {
        self.former.map(|former| Former { state: former.state.filter(|_| opens), ..former })
    }
}

/// What a program of a former layout finds, if it finds a heap of its own.
///
/// # Errors
///
/// Data that no state ever had.
pub fn former_finds(image: &[u8], shape: Shape) -> Result<Option<State>, String> {
    let Some(part) = image.get(..shape.capacity as usize) else { return Ok(None) };
    match found(Recorder::new(part.to_vec(), shape.row).0, shape) {
        Found::State(state) if matches!(state.held, Held::Heap(_)) => Ok(Some(state)),
        _ => Ok(None),
    }
}
