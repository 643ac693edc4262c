//! Dirty accounting of changes.

use super::sync::count;
use super::{Engine, EngineError, MOVED_BYTES, TypeKey};
use crate::arena::{Resident, state};
use crate::block::{GRANULE, HEADER};
use crate::entry::{ObjectId, flag};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Obtains an object to read it, pinned.
    pub(crate) fn obtain_shared(&mut self, id: ObjectId, key: &TypeKey) -> Result<Resident, EngineError<D>> {
        let was_resident = self.is_resident(id.index);
        let resident = self.obtain(id, key)?;
        self.may_pin(resident)?;
        self.note_use(resident, was_resident);
        if resident.pin(self.attention) { Ok(resident) } else { Err(Error::AlreadyBorrowed) }
    }

    /// Pins an object for changing it, and counts it as open.
    fn pin_mutable(&self, resident: Resident) -> Result<Resident, EngineError<D>> {
        if !resident.pin_mutable(self.attention) {
            return Err(Error::AlreadyBorrowed);
        }
        self.attention.opened();
        Ok(resident)
    }

    /// Obtains an object to change it, or the bytes `range` of it: they count as dirty from here on. It is pinned, and counted
    /// as open.
    pub(crate) fn obtain_mutable(
        &mut self,
        id: ObjectId,
        key: &TypeKey,
        range: Option<(usize, usize)>,
    ) -> Result<Resident, EngineError<D>> {
        let was_resident = self.is_resident(id.index);
        let resident = self.obtain(id, key)?;
        if let Some((from, to)) = range
            && (from > to || to > resident.size())
        {
            return Err(Error::OutOfBounds);
        }
        self.mark_grey(id.index);
        if resident.pins() != 0 {
            return Err(Error::AlreadyBorrowed);
        }
        self.may_pin(resident)?;
        match range {
            None => self.change_whole(id.index, resident)?,
            Some((from, to)) => self.change_range(id.index, resident, from, to)?,
        }
        self.note_use(resident, was_resident);
        self.pin_mutable(resident)
    }

    /// Tells the policy of a use, once; a load has told it already. It may panic: the copy is not pinned yet.
    fn note_use(&mut self, resident: Resident, was_resident: bool) {
        if was_resident {
            resident.set_hint(self.policy.used(resident.hint()));
        }
    }

    /// Whether one more object may be pinned: each takes room in a resume record.
    fn may_pin(&self, resident: Resident) -> Result<(), EngineError<D>> {
        let guards = self.geometry.guards;
        if guards != 0 && resident.pins() == 0 && self.attention.pins() >= guards {
            return Err(Error::TooManyGuards);
        }
        Ok(())
    }

    /// What has to happen before the first change of an object in a transaction: the state to return to is synced.
    fn before_change(&mut self, index: u16, resident: Resident) -> Result<(), EngineError<D>> {
        if self.mark.is_none() || resident.header().state & state::TRANSACTION != 0 {
            return Ok(());
        }
        let state = resident.header().state;
        if state & state::DIRTY != 0 {
            self.sync_object(index)
        } else if state & state::UNAPPLIED != 0 {
            self.apply_delta(index)
        } else {
            Ok(())
        }
    }

    fn became_dirty(&mut self, index: u16, resident: Resident, partial: bool) {
        let header = resident.header();
        if header.state & state::DIRTY == 0 {
            if header.word & flag::UNWRITTEN == 0 {
                self.debt += 1;
            }
            if header.word & flag::PENDING == 0 && !fault!(ForgetEntryBytes) {
                // The entry that a snapshot or record would need; it is taken back by a rollback, or by the commit.
                self.dirty += MOVED_BYTES;
            }
        }
        self.mark_changed(index);
        let transaction = if self.mark.is_some() { state::TRANSACTION } else { 0 };
        resident.update(|header| {
            let kept = header.state & !state::PARTIAL;
            header.state = kept | state::DIRTY | transaction | if partial { state::PARTIAL } else { 0 };
        });
    }

    fn entry_and_item(&self, resident: Resident) -> (u32, u16) {
        let header = resident.header();
        if header.state & state::DIRTY != 0 {
            return (0, 0);
        }
        let entry = if header.word & flag::PENDING == 0 { MOVED_BYTES } else { 0 };
        (entry, u16::from(header.word & flag::UNWRITTEN == 0))
    }

    fn change_whole(&mut self, index: u16, resident: Resident) -> Result<(), EngineError<D>> {
        self.before_change(index, resident)?;
        let state = resident.header().state;
        if state & (state::DIRTY | state::PARTIAL) == state::DIRTY {
            // A mutable hit on a dirty object.
            let transaction = if self.mark.is_some() { state::TRANSACTION } else { 0 };
            resident.update(|header| header.state |= transaction);
            return Ok(());
        }
        let whole = self.whole_cost(index);
        if whole + MOVED_BYTES > self.geometry.dirty_limit {
            return Err(Error::TooLargeToChange);
        }
        let now = self.dirty_cost(index, state);
        let (entry, item) = self.entry_and_item(resident);
        self.admit((whole + entry).saturating_sub(now), item)?;
        self.became_dirty(index, resident, false);
        self.dirty = self.dirty + whole - now;
        Ok(())
    }

    /// The granules that have to be saved with `first..last`: a torn write destroys whole rows, and the row of the block
    /// header is rewritten with every change. With rows of at most 8 bytes these are the granules themselves.
    fn whole_rows(&self, first: usize, last: usize, granules: usize) -> [core::ops::Range<usize>; 2] {
        let row = self.geometry.row as usize;
        if row <= GRANULE || fault!(SavePartsOfRows) {
            return [first..last, 0..0];
        }
        // Granule 0 stands behind the block header.
        let granule = |byte: usize| (byte.saturating_sub(HEADER) / GRANULE).min(granules);
        let start = granule((HEADER + first * GRANULE) / row * row);
        let end = granule((HEADER + last * GRANULE).next_multiple_of(row));
        let head = granule(row);
        if first == last {
            [0..0, 0..0]
        } else if start <= head {
            [0..end.max(head), 0..0]
        } else {
            [0..head, start..end]
        }
    }

    fn change_range(&mut self, index: u16, resident: Resident, from: usize, to: usize) -> Result<(), EngineError<D>> {
        self.before_change(index, resident)?;
        let header = resident.header();
        let whole_dirty = header.state & (state::DIRTY | state::PARTIAL) == state::DIRTY;
        if whole_dirty || header.word & flag::UNWRITTEN != 0 || header.state & state::SLICE == 0 {
            return self.change_whole(index, resident);
        }
        let now = self.dirty_cost(index, header.state);
        let Some(bitmap) = self.bitmap(index) else { return Ok(()) };
        let ranges = self.whole_rows(from / GRANULE, to.div_ceil(GRANULE), bitmap.bits());
        let is_set = |at: usize| bitmap.get(at);
        let mut cost = now;
        if header.state & state::DIRTY == 0 {
            let (runs, granules) = count(bitmap);
            cost = self.partial_cost(runs, granules);
        }
        // Each new granule starts a run, lengthens one, or joins two.
        for range in ranges.clone() {
            let first = range.start;
            for at in range.filter(|at| !is_set(*at)) {
                let left = at > first || at.checked_sub(1).is_some_and(is_set);
                let joined = i32::from(left) + i32::from(is_set(at + 1));
                cost = cost.saturating_add(GRANULE as u32).saturating_add_signed(4 * (1 - joined));
            }
        }
        let room = self.geometry.dirty_limit;
        let whole = self.whole_cost(index);
        let by_all = cost >= whole && whole + MOVED_BYTES <= room;
        let admitted = if by_all {
            self.change_whole(index, resident)
        } else if cost + MOVED_BYTES <= room {
            let (entry, item) = self.entry_and_item(resident);
            self.admit((cost + entry).saturating_sub(now), item)
        } else if header.state & state::DIRTY != 0 {
            // Of the changes until now a commit or a sync leaves nothing.
            Err(Error::DirtyLimit)
        } else {
            Err(Error::TooLargeToChange)
        };
        let over_limit = matches!(admitted, Err(Error::DirtyLimit | Error::TooLargeToChange));
        if over_limit && header.state & (state::DIRTY | state::UNAPPLIED) == state::UNAPPLIED {
            // What is committed already does not count once it stands in its place.
            self.apply_delta(index)?;
            return self.change_range(index, resident, from, to);
        }
        if by_all {
            return admitted;
        }
        admitted?;
        ranges.into_iter().flatten().for_each(|at| bitmap.set(at, true));
        self.became_dirty(index, resident, true);
        self.dirty = self.dirty + cost - now;
        Ok(())
    }
}
