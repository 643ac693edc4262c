//! A life, run once on the simulated part behind the driver, with everything that went over the bus.

use crate::device::{SpiPart, Write};
use crate::journal::{Journal, Moment};
use crate::life::Life;
use crate::player::play;
use crate::refine::{Traffic, refine};
use crate::start::StartKind;
use crate::state::State;
use crate::stopped::Stopped;
use crate::types::Ram;
use std::sync::Arc;
use vnv_persist::{OpenError, StorageFault, format};
use vnv_sim::Fram;

/// What happened on the bus, and what was legal meanwhile.
pub struct Recording {
    /// What the storage held before the life.
    pub initial: Vec<u8>,
    /// What a destroyed record of before the life may bring back.
    pub older: Vec<Arc<State>>,
    /// What kind of storage that was.
    pub start: StartKind,
    /// What the host sent, frame by frame.
    pub frames: Vec<Vec<u8>>,
    /// What was legal when; positions are numbers of frames.
    pub moments: Vec<Moment>,
    /// The states that the moments speak of.
    pub states: Vec<Arc<State>>,
    /// The sequence number of each acknowledged commit or snapshot, and its state; 0: of a formatting.
    pub sequences: Vec<(u64, usize)>,
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

impl Recording {
    /// What may come back where the last record before a moment is destroyed.
    #[must_use]
    pub fn older(&self, acknowledged: usize) -> Vec<Arc<State>> {
        let older = before(&self.states, &self.moments, acknowledged);
        let first = self.states.first().is_some_and(|first| self.states.get(acknowledged) == Some(first));
        if first { older.into_iter().chain(self.older.iter().cloned()).collect() } else { older }
    }
}

/// Runs a life from what the storage holds before it.
///
/// # Errors
///
/// What went wrong without any cut.
pub fn record(life: &Life) -> Result<Recording, String> {
    let begun = life.start.begin(life)?;
    let part = life.part();
    let fram = Fram::from_image(part, begun.image.clone());
    fram.record_frames();
    let position = || fram.recorded_frames();
    let journal = Journal::new(begun.state, 0, &position);
    let device = SpiPart::new(&fram, part)?;
    let played = play(device, life, 0, &journal, false);
    played.map_err(Stopped::what)?;
    if let Some(offence) = fram.violations().first() {
        return Err(format!("the driver offends against the protocol: {offence:?}"));
    }
    let states: Vec<Arc<State>> = journal.states.take().into_iter().map(Arc::new).collect();
    let image = fram.image();
    let frames = fram.take_frames();
    let writes: Vec<(usize, Write)> = frames.iter().enumerate().filter_map(write_of).collect();
    let traffic = Traffic { image: &begun.image, writes: &writes, formats: &journal.formats(), states: &states };
    let moments = refine(life, &traffic, journal.moments())?;
    Ok(Recording {
        initial: begun.image,
        older: begun.older.into_iter().map(Arc::new).collect(),
        start: begun.kind,
        image,
        moments,
        states,
        sequences: journal.sequences.take(),
        commits: journal.commits.get(),
        refusals: journal.refusals.get(),
        frames,
    })
}

/// The write that a frame is: opcode, two bytes of address, data.
fn write_of((number, frame): (usize, &Vec<u8>)) -> Option<(usize, Write)> {
    match frame.as_slice() {
        [0x02, high, low, bytes @ ..] => {
            let offset = u32::from(u16::from_be_bytes([*high, *low]));
            Some((number, Write { offset, bytes: bytes.to_vec() }))
        }
        _ => None,
    }
}

/// Asks a part that is smaller than described to be formatted: that must be noticed, and named.
///
/// # Errors
///
/// If it is not.
pub fn small_part(life: &Life) -> Result<(), String> {
    let begun = life.start.begin(life)?;
    let fram = Fram::from_image(life.real_part(), begun.image);
    let Some(real) = life.chip else { return Ok(()) };
    let named = |text: &str| text.contains("Smaller") && text.contains(&real.to_string());
    let mut device = match SpiPart::new(&fram, life.part()) {
        Ok(device) => device,
        Err(error) if named(&error) => return Ok(()),
        Err(error) => return Err(format!("a part that is smaller than described: {error}")),
    };
    match format(&mut device, &mut Ram::new(), life.options) {
        Err(OpenError::Storage(StorageFault::Smaller { capacity })) if capacity == real => Ok(()),
        other => Err(format!("a part that is smaller than described is formatted: {other:?}")),
    }
}
