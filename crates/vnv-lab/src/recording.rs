//! A life, run once on the simulated part behind the driver, with everything that went over the bus.

use crate::device::SpiPart;
use crate::journal::{Journal, Moment};
use crate::life::Life;
use crate::player::{Stopped, play};
use crate::state::State;
use crate::types::Ram;
use std::sync::Arc;
use vnv_persist::format;
use vnv_sim::Fram;

/// What happened on the bus, and what was legal meanwhile.
pub struct Recording {
    /// What the storage held before the life.
    pub blank: Vec<u8>,
    /// What the host sent, frame by frame.
    pub frames: Vec<Vec<u8>>,
    /// What was legal when; positions are numbers of frames.
    pub moments: Vec<Moment>,
    /// The states that the moments speak of.
    pub states: Vec<Arc<State>>,
    /// What the storage held at the end.
    pub image: Vec<u8>,
    /// Commits and snapshots.
    pub commits: usize,
    /// Operations that the heap refused, because it was full.
    pub refusals: usize,
}

/// What may come back where the last record is destroyed: the last acknowledged state before number `last` that
/// differs from it, or one that was running since then.
#[must_use]
pub fn before<S: PartialEq + Clone>(states: &[S], moments: &[Moment], last: usize) -> Vec<S> {
    let Some(newest) = states.get(last) else { return Vec::new() };
    let acknowledged = moments.iter().map(|moment| moment.legal.acknowledged);
    let from = acknowledged.filter(|number| *number < last && states.get(*number) != Some(newest)).max();
    from.and_then(|from| states.get(from..last)).unwrap_or_default().to_vec()
}

/// Runs a life from a blank storage on.
///
/// # Errors
///
/// What went wrong without any cut.
pub fn record(life: &Life) -> Result<Recording, String> {
    let part = life.part();
    let blank = vec![0xFF; life.capacity as usize];
    let fram = Fram::from_image(part, blank.clone());
    fram.record_frames();
    let position = || fram.recorded_frames();
    let journal = Journal::new(State::default(), 0, &position);
    let mut device = SpiPart::new(&fram, part)?;
    journal.formatting();
    format(&mut device, &mut Ram::new(), life.options).map_err(|error| format!("format: {error:?}"))?;
    journal.formatted();
    let played = play(device, life.options, &life.ops, 0, &journal, false);
    played.map_err(Stopped::what)?;
    if let Some(offence) = fram.violations().first() {
        return Err(format!("the driver offends against the protocol: {offence:?}"));
    }
    let states = journal.states.take().into_iter().map(Arc::new).collect();
    Ok(Recording {
        blank,
        image: fram.image(),
        moments: journal.moments(),
        states,
        commits: journal.commits.get(),
        refusals: journal.refusals.get(),
        frames: fram.take_frames(),
    })
}
