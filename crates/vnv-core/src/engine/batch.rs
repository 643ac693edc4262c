//! Several dirty objects in one burst, into neighbouring places: fresh ones, or, to make room, their own where they were never
//! written.

use super::residents::Candidates;
use super::{Engine, EngineError};
use crate::arena::{MUTABLE, Resident, state};
use crate::entry::{SCHEMA_TYPE, flag};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

/// The dirty limit is made room below in bursts of one part in so many of it.
const WRITE_BACKS: u32 = 6;
/// Bytes of a burst that is worth its transaction.
const WORTHWHILE: u32 = 512;

/// Whether a dirty object, with this copy, is written with the others.
type Picks<'p, Engine, E> = &'p mut dyn FnMut(&Engine, u16, Resident) -> Result<bool, E>;

/// The objects that were marked for the batch.
#[derive(Clone, Copy, Default)]
pub(super) struct Chosen {
    units: u16,
    /// They go to another range: some have been written before, or the places are to rotate.
    moves: bool,
}

/// A run of adjoining blocks.
#[derive(Clone, Copy, Default)]
struct Run {
    first: u16,
    place: u16,
    end: u16,
    objects: u16,
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Syncs every dirty object, in as few writes as possible; with `delta_room` > 0, partly changed slices whose
    /// deltas fit into so many bytes stay dirty, for the record.
    ///
    /// Cost: one write if one range of fresh places is found for all, else up to one per object.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`], [`Error::StorageFull`] (some objects may be synced already: that is a valid state), the device's.
    pub fn sync_all(&mut self, delta_room: u32) -> Result<(), EngineError<D>> {
        let chosen = self.choose_all(delta_room);
        self.write_chosen(chosen)
    }

    /// Makes room below the dirty limit: syncs the dirty objects that the policy picks, a sixth of the limit or more in one write.
    /// `false`: there is nothing that can be synced.
    ///
    /// # Errors
    ///
    /// [`Error::StorageFull`], the device's.
    pub fn write_back(&mut self) -> Result<bool, EngineError<D>> {
        self.begin_batch();
        let limit = self.geometry.dirty_limit;
        let most = (limit / WRITE_BACKS).max(WORTHWHILE.min(limit / 2));
        let chosen = self.choose(Chosen::default(), most);
        let any = !matches!(chosen, Ok(Chosen { units: 0, .. }));
        self.write_chosen(chosen)?;
        Ok(any)
    }

    /// Whether a commit would make more room below the dirty limit than a sync: entries and old places take half of it.
    pub const fn prefers_commit(&self) -> bool {
        2 * super::ENTRY_BYTES * self.items_len as u32 > self.geometry.dirty_limit
    }

    /// Syncs a dirty object that has to leave the arena, with others that will be next: in one write, as long as they are not more than
    /// 1/16 of the arena.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`] if a mutable guard is open on it; [`Error::StorageFull`], the device's.
    pub(super) fn sync_victim(&mut self, index: u16) -> Result<(), EngineError<D>> {
        self.begin_batch();
        let most = u32::from(self.arena.words()) / 2;
        let chosen = self.choose_one(index, Chosen::default());
        let chosen = self.choose(chosen, most);
        self.write_chosen(chosen)
    }

    /// Begins to choose. If the policy has panicked in the batch before, its marks go: there may be guards on those objects
    /// by now.
    fn begin_batch(&mut self) {
        if core::mem::replace(&mut self.in_batch, true) {
            self.take_back_choice();
            self.space_stale = true;
        }
    }

    fn take_back_choice(&mut self) {
        for index in self.changed() {
            if let Some(resident) = self.resident(index) {
                resident.update(|header| header.state &= !state::BATCH);
            }
        }
    }

    /// Marks one object more for the batch.
    fn choose_one(&mut self, index: u16, chosen: Chosen) -> Chosen {
        let Some(resident) = self.resident(index) else { return chosen };
        resident.update(|header| header.state |= state::BATCH);
        let moves = chosen.moves || resident.word() & flag::UNWRITTEN == 0;
        Chosen { units: chosen.units.saturating_add(self.slot(index).units()), moves }
    }

    /// Marks dirty objects that the policy picks, as long as the batch, which has some already, is shorter than `most` bytes.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], before each choice.
    fn choose(&mut self, mut chosen: Chosen, most: u32) -> Result<Chosen, EngineError<D>> {
        while u32::from(chosen.units) * self.geometry.unit < most {
            let Some(index) = self.victim(Candidates::Dirty(self.changed()))? else { break };
            // A range of fresh places for all of them must be found.
            if chosen.units.checked_add(self.slot(index).units()).is_none() {
                break;
            }
            chosen = self.choose_one(index, chosen);
        }
        Ok(chosen)
    }

    /// Marks the dirty objects that a commit has to write.
    fn choose_all(&mut self, delta_room: u32) -> Result<Chosen, EngineError<D>> {
        let mut room = delta_room;
        self.choose_where(&mut |engine, index, copy| {
            if copy.pins() == MUTABLE {
                return Err(Error::GuardOpen);
            }
            let delta = engine.delta_bytes(index).filter(|bytes| *bytes <= room);
            room -= delta.unwrap_or(0);
            Ok(delta.is_none())
        })
    }

    /// Marks the dirty objects that are picked.
    ///
    /// # Errors
    ///
    /// Those of `picks`; [`Error::Interrupted`], before each slot.
    pub(super) fn choose_where(&mut self, picks: Picks<'_, Self, EngineError<D>>) -> Result<Chosen, EngineError<D>> {
        self.begin_batch();
        // The farther the places rotate, the longer it takes until an object comes back to one that it left: a copy that stands there
        // would look right if the part dropped the write.
        let mut chosen = Chosen { units: 0, moves: true };
        for index in self.changed() {
            self.safe_point()?;
            if let Some(copy) = self.dirty_copy(index)
                && picks(self, index, copy)?
            {
                chosen = self.choose_one(index, chosen);
            }
        }
        Ok(chosen)
    }

    /// Writes the objects that were chosen, or takes the choice back.
    pub(super) fn write_chosen(&mut self, chosen: Result<Chosen, EngineError<D>>) -> Result<(), EngineError<D>> {
        let written = match chosen {
            Ok(Chosen { units: 0, .. }) => Ok(()),
            Ok(chosen) => {
                let written = self.write_batch(chosen);
                // Nothing refers to fresh places that were not written: the allocator forgets them.
                self.space_stale |= written.is_err();
                written
            }
            Err(error) => Err(error),
        };
        if written.is_err() {
            self.take_back_choice();
        }
        self.in_batch = false;
        written
    }

    /// Writes the chosen objects in runs of adjoining places: in one if their own places will do and adjoin, or if there is a free range
    /// for all of them; otherwise those that were never written at their own places, and the others in as few ranges
    /// as they fit into.
    fn write_batch(&mut self, chosen: Chosen) -> Result<(), EngineError<D>> {
        let splits = self.space.splits() && !fault!(WriteInPlace);
        // Behind a write that failed the places are others: a row may not take writes any more.
        let moves = splits && (chosen.moves || self.space_stale || !self.adjoin());
        let together = if moves { self.space_allocate(chosen.units).ok() } else { None };
        let mut fresh = together.map_or((0, 0), |place| (place, chosen.units));
        let mut run = Run::default();
        for index in self.changed() {
            let Some(resident) = self.resident(index).filter(|copy| copy.state() & state::BATCH != 0) else { continue };
            let units = self.slot(index).units();
            let own = resident.word() & flag::UNWRITTEN != 0 || fault!(WriteInPlace);
            let place = if own && together.is_none() {
                self.slot(index).place()
            } else {
                if fresh.1 < units {
                    fresh = match self.range_for(index, splits) {
                        Some(range) => range,
                        None => {
                            // The places of the run are known to nobody else: it is written before others are looked for.
                            self.write_run(run)?;
                            run.objects = 0;
                            (self.space_allocate(units)?, units)
                        }
                    };
                }
                // The last unit of a part may be number 65,535: then the end wraps to 0, where no place is.
                let place = fresh.0;
                fresh = (place.wrapping_add(units), fresh.1 - units);
                place
            };
            if run.objects != 0 && place != run.end {
                self.write_run(run)?;
                run.objects = 0;
            }
            if run.objects == 0 {
                run = Run { first: index, place, end: place, objects: 0 };
            }
            self.seal(index, resident, place)?;
            run.objects += 1;
            run.end = place.wrapping_add(units);
        }
        self.write_run(run)
    }

    /// Whether the places of the chosen objects adjoin in the order of their slots, in which they are written.
    fn adjoin(&self) -> bool {
        let mut last = None;
        self.chosen_from(0).all(|index| {
            let (place, units) = (self.slot(index).place(), self.slot(index).units());
            last.replace(place.wrapping_add(units)).is_none_or(|end| end == place)
        })
    }

    /// A fresh range for as many of the chosen objects from slot `first` on that were written before as the largest one holds, or,
    /// if ranges cannot be split, for the first one: place and units. `None`: the allocator knows none.
    fn range_for(&mut self, first: u16, splits: bool) -> Option<(u16, u16)> {
        let most = if splits { self.space.largest_free() } else { 0 };
        let mut all = 0u16;
        for index in self.chosen_from(first) {
            if self.word(index) & flag::UNWRITTEN != 0 {
                continue;
            }
            let more = all.saturating_add(self.slot(index).units());
            if all != 0 && more > most {
                break;
            }
            all = more;
        }
        Some((self.space_known(all)?, all))
    }

    /// The chosen objects from slot `first` on.
    fn chosen_from(&self, first: u16) -> impl Iterator<Item = u16> + '_ {
        let is_chosen = |index: &u16| self.resident(*index).is_some_and(|copy| copy.state() & state::BATCH != 0);
        self.changed().starting_at(first).filter(is_chosen)
    }

    /// Writes one run of adjoining blocks and records it.
    fn write_run(&mut self, run: Run) -> Result<(), EngineError<D>> {
        if run.objects == 0 {
            return Ok(());
        }
        let at = self.offset_of(run.place);
        let length = u32::from(run.end.wrapping_sub(run.place)) << self.unit_shift();
        if !fault!(RecordBeforeBlocks) {
            self.stream(at, length, &|engine, sink| {
                for index in engine.chosen_from(run.first).take(usize::from(run.objects)) {
                    let Some(resident) = engine.resident(index) else { continue };
                    // SAFETY: no mutable guard is open on an object that was chosen.
                    sink(unsafe { resident.block_bytes(engine.block_len(index)) })?;
                }
                ControlFlow::Continue(())
            })?;
        }
        let (mut place, mut next) = (run.place, run.first);
        for _ in 0..run.objects {
            let Some(index) = self.chosen_from(next).next() else { break };
            self.synced(index, place);
            if self.slot(index).type_index() == SCHEMA_TYPE && !self.is_pinned(index) {
                // Only a collection looks at it again.
                self.drop_copy(index);
            }
            if fault!(RecordBeforeBlocks) {
                self.choose_one(index, Chosen::default());
            }
            place = place.wrapping_add(self.slot(index).units());
            next = index + 1;
        }
        Ok(())
    }

    /// The other half of that deliberate fault: the blocks are written after their record.
    ///
    /// # Errors
    ///
    /// The device's.
    #[doc(hidden)]
    pub fn write_late(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let Some(resident) = self.resident(index).filter(|it| it.state() & state::BATCH != 0) else { continue };
            resident.update(|header| header.state &= !state::BATCH);
            // SAFETY: commits run while no mutable guard is open.
            let block = unsafe { resident.block_bytes(self.block_len(index)) };
            let at = self.offset_of(self.slot(index).place());
            self.write(at, &[block])?;
        }
        Ok(())
    }
}
