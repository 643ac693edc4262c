//! Writing dirty objects out: to fresh places, to their own (last resort), or as deltas applied in place.

use super::{Engine, EngineError};
use crate::arena::{Bits, MUTABLE, Resident, bitmap_bytes, state};
use crate::block::{BlockHeader, GRANULE, HEADER};
use crate::entry::{NO_PLACE, TAG_MASK, flag};
use crate::error::Error;
use crate::memory::Workspace;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

/// The runs of set granules in a bitmap: `(first, count)`.
pub(super) fn runs(bitmap: Bits) -> impl Iterator<Item = (u16, u16)> {
    let mut at = 0;
    core::iter::from_fn(move || {
        while at < bitmap.bits() && !bitmap.get(at) {
            at += 1;
        }
        let first = at;
        while bitmap.get(at) {
            at += 1;
        }
        (at > first).then_some((first as u16, (at - first) as u16))
    })
}

/// Runs and granules set in a bitmap.
pub(super) fn count(bitmap: Bits) -> (u32, u32) {
    runs(bitmap).fold((0, 0), |(runs, granules), (_, count)| (runs + 1, granules + u32::from(count)))
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    pub(super) fn bitmap(&self, index: u16) -> Option<Bits> {
        let resident = self.resident(index)?;
        // SAFETY: the state says that the object is a slice; the length is the block's.
        (resident.header().state & state::SLICE != 0).then(|| unsafe { resident.bitmap(self.block_len(index)) })
    }

    /// Snapshot bytes of a dirty object, its entry aside.
    pub(super) fn dirty_cost(&self, index: u16, state: u8) -> u32 {
        if state & state::DIRTY == 0 {
            0
        } else if state & state::PARTIAL == 0 {
            self.whole_cost(index)
        } else {
            let (runs, granules) = self.bitmap(index).map_or((0, 0), count);
            self.partial_cost(runs, granules)
        }
    }

    pub(super) fn whole_cost(&self, index: u16) -> u32 {
        self.whole_bytes(self.block_len(index))
    }

    pub(super) const fn partial_cost(&self, runs: u32, granules: u32) -> u32 {
        self.geometry.resume_bytes() + 10 + 4 * runs + GRANULE as u32 * granules
    }

    /// Computes the header of a dirty object's block for `place`, and returns the block.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`]: the block is as it was.
    fn seal<'a>(&self, index: u16, resident: Resident, place: u16) -> Result<&'a [u8], EngineError<D>> {
        // SAFETY: callers have checked that no mutable guard is open; the engine is borrowed alone.
        let block = unsafe { resident.block_bytes_mut(self.block_len(index)) };
        let (header, object) = block.split_at_mut_checked(HEADER).ok_or(Error::Damaged { index })?;
        let size = BlockHeader::from_bytes(header).size;
        let object = object.get(..usize::from(size)).unwrap_or_default();
        let crc = self.checksum(self.identity(index, place), self.tag, object)?;
        header.copy_from_slice(&BlockHeader { crc, size, tag: self.tag }.to_bytes());
        Ok(block)
    }

    /// Computes the block headers of partly dirty objects, which a snapshot holds.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`], unless the snapshot is the answer to the alarm.
    pub fn seal_partly_dirty(&self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            if let Some(resident) = self.resident(index) {
                let header = resident.header();
                let partial = state::DIRTY | state::PARTIAL;
                if header.state & partial == partial && header.pins != MUTABLE {
                    self.seal(index, resident, self.slot(index).place())?;
                }
            }
        }
        Ok(())
    }

    /// Records that a dirty object's block now stands at `place`.
    fn synced(&mut self, index: u16, place: u16) {
        let Some(resident) = self.resident(index) else { return };
        let (old, units) = (self.slot(index).place(), self.slot(index).units());
        let header = resident.header();
        self.dirty -= self.dirty_cost(index, header.state);
        if header.word & flag::UNWRITTEN != 0 {
            if old != place {
                self.space_free(old, units);
            }
        } else {
            self.debt -= 1;
            let early = fault!(ReusePlaceEarly) && old != place;
            if early {
                self.space_free(old, units);
            }
            self.push_item(index, if old == place || early { NO_PLACE } else { old });
            if header.state & state::TRANSACTION == 0 {
                self.move_below_mark();
            }
        }
        if let Some(bitmap) = self.bitmap(index) {
            bitmap.clear();
        }
        self.change_slot(index, |entry| entry.place = place);
        let tag = self.tag;
        resident.update(|header| {
            header.word = (header.word & !(flag::UNWRITTEN | TAG_MASK)) | tag;
            header.state &= !(state::DIRTY | state::PARTIAL | state::UNAPPLIED | state::BATCH);
        });
    }

    /// Syncs one dirty object: one write of its block to a fresh place.
    ///
    /// # Errors
    ///
    /// [`Error::StorageFull`]; [`Error::GuardOpen`] if a mutable guard is open on it; the device's.
    pub fn sync_object(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let Some(resident) = self.resident(index) else { return Ok(()) };
        let header = resident.header();
        if header.state & state::DIRTY == 0 {
            return Ok(());
        }
        if header.pins == MUTABLE {
            return Err(Error::GuardOpen);
        }
        let entry = self.slot(index);
        let fresh = header.word & flag::UNWRITTEN == 0 && !fault!(WriteInPlace);
        let place = if fresh { self.space_allocate(entry.units())? } else { entry.place() };
        let sealed = self.seal(index, resident, place);
        let written = sealed.and_then(|block| self.write(self.geometry.unit * u32::from(place), &[block]));
        if written.is_err() && fresh {
            self.space_free(place, entry.units());
        }
        written?;
        self.synced(index, place);
        Ok(())
    }

    /// Syncs the dirty objects on which no mutable guard is open, to make room below the dirty limit.
    ///
    /// # Errors
    ///
    /// As [`sync_object`](Self::sync_object).
    pub fn sync_unguarded(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let guarded = self.resident(index).is_none_or(|resident| resident.header().pins == MUTABLE);
            if !guarded {
                self.sync_object(index)?;
            }
        }
        Ok(())
    }

    /// Whether the object's changes go out as a delta in the next record, and the delta's bytes.
    fn delta_bytes(&self, index: u16) -> Option<u32> {
        let header = self.resident(index)?.header();
        let partial = state::DIRTY | state::PARTIAL;
        if !self.geometry.deltas || header.state & partial != partial || header.word & flag::UNWRITTEN != 0 {
            return None;
        }
        // A block written since the last commit has the tag that the delta would have: if the part dropped the write that
        // applies the delta, the older version would look right.
        if header.word & flag::PENDING != 0 {
            return None;
        }
        let (runs, granules) = count(self.bitmap(index)?);
        let bytes = 12 + 4 * runs + GRANULE as u32 * granules;
        (bytes + 16 < self.block_len(index) as u32).then_some(bytes)
    }

    /// Syncs every dirty object, in as few writes as possible; with `delta_room` > 0, partly changed slices whose
    /// deltas fit into so many bytes stay dirty, for the record.
    ///
    /// Cost: one write if one range of fresh places is found for all and they are not more than the pending list
    /// is long, else up to one per object.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`], [`Error::StorageFull`] (some objects may be synced already: that is a valid state), the device's.
    pub fn sync_all<W: Workspace>(&mut self, delta_room: u32) -> Result<(), EngineError<D>> {
        let units = self.choose_batch(delta_room)?;
        if units == 0 {
            return Ok(());
        }
        let written = self.write_batch::<W>(units);
        if written.is_err() {
            // Nothing refers to the fresh places that were not written: the allocator forgets them.
            self.space_stale = true;
        }
        written
    }

    /// Marks the dirty objects that `sync_all` has to write, and returns their units.
    fn choose_batch(&mut self, delta_room: u32) -> Result<u16, EngineError<D>> {
        let (mut room, mut units) = (delta_room, 0u16);
        for index in self.changed() {
            self.safe_point()?;
            let Some(resident) = self.resident(index) else { continue };
            let header = resident.header();
            let mut chosen = header.state & state::DIRTY != 0;
            if chosen && header.pins == MUTABLE {
                return Err(Error::GuardOpen);
            }
            if let Some(bytes) = self.delta_bytes(index).filter(|bytes| *bytes <= room) {
                room -= bytes;
                chosen = false;
            }
            resident.update(|header| {
                header.state = (header.state & !state::BATCH) | if chosen { state::BATCH } else { 0 };
            });
            if chosen {
                units = units.saturating_add(self.slot(index).units());
            }
        }
        Ok(units)
    }

    /// Writes the chosen objects in runs of adjoining places.
    fn write_batch<W: Workspace>(&mut self, units: u16) -> Result<(), EngineError<D>> {
        let mut together =
            if self.space.splits() && !fault!(WriteInPlace) { self.space_allocate(units).ok() } else { None };
        let mut slices = W::slices();
        let slices = slices.as_mut();
        let mut run = Run::default();
        for index in self.changed() {
            let Some(resident) = self.resident(index) else { continue };
            let header = resident.header();
            if header.state & state::BATCH == 0 {
                continue;
            }
            let units = self.slot(index).units();
            let place = match &mut together {
                Some(next) => core::mem::replace(next, *next + units),
                None if header.word & flag::UNWRITTEN != 0 || fault!(WriteInPlace) => self.slot(index).place(),
                None => match self.space_known(units) {
                    Some(place) => place,
                    None => {
                        // The places of the run are known to nobody else: it is written before others are looked for.
                        self.write_run(&run, slices)?;
                        run.objects = 0;
                        self.space_allocate(units)?
                    }
                },
            };
            if run.objects != 0 && (place != run.end || run.objects >= slices.len()) {
                self.write_run(&run, slices)?;
                run.objects = 0;
            }
            if run.objects == 0 {
                run = Run { first: index, place, end: place, objects: 0 };
            }
            if let Some(slice) = slices.get_mut(run.objects) {
                *slice = self.seal(index, resident, place)?;
            }
            run.objects += 1;
            run.end = place + units;
        }
        self.write_run(&run, slices)
    }

    /// Writes one run of adjoining blocks and records it.
    fn write_run(&mut self, run: &Run, slices: &[&[u8]]) -> Result<(), EngineError<D>> {
        let slices = slices.get(..run.objects).unwrap_or_default();
        if slices.is_empty() {
            return Ok(());
        }
        let at = self.offset_of(run.place);
        if !fault!(RecordBeforeBlocks) {
            self.write(at, slices)?;
        }
        let (mut place, mut left, mut index) = (run.place, run.objects, run.first);
        while left > 0 && index < self.used {
            if self.resident(index).is_some_and(|resident| resident.header().state & state::BATCH != 0) {
                self.synced(index, place);
                if fault!(RecordBeforeBlocks) {
                    self.mark_late(index);
                }
                place += self.slot(index).units();
                left -= 1;
            }
            index += 1;
        }
        Ok(())
    }

    /// A deliberate fault: the block is written after its record.
    fn mark_late(&self, index: u16) {
        if let Some(resident) = self.resident(index) {
            resident.update(|header| header.state |= state::BATCH);
        }
    }

    /// The other half of that fault.
    ///
    /// # Errors
    ///
    /// The device's.
    #[doc(hidden)]
    pub fn write_late(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let Some(resident) = self.resident(index).filter(|it| it.header().state & state::BATCH != 0) else {
                continue;
            };
            resident.update(|header| header.state &= !state::BATCH);
            // SAFETY: commits run while no mutable guard is open.
            let block = unsafe { resident.block_bytes(self.block_len(index)) };
            let at = self.offset_of(self.slot(index).place());
            self.write(at, &[block])?;
        }
        Ok(())
    }

    /// Last resort of a commit, once a live snapshot holds every dirty object: each is written over its own place. They stay dirty
    /// until the base is complete: a snapshot that supersedes the first one must hold them too, since `open` applies the deltas of
    /// the log before it empties a snapshot.
    ///
    /// # Errors
    ///
    /// The device's; a retry writes the rest.
    pub fn rewrite_in_place(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let Some(resident) = self.resident(index) else { continue };
            let header = resident.header();
            if header.state & state::DIRTY == 0 {
                continue;
            }
            if header.pins == MUTABLE {
                return Err(Error::GuardOpen);
            }
            let place = self.slot(index).place();
            let block = self.seal(index, resident, place)?;
            if header.state & state::PARTIAL != 0 {
                self.write_granules(index, block)?;
            } else {
                let at = self.offset_of(place);
                self.write(at, &[block])?;
            }
            // What stood there may have the same tag: a write that the part dropped would leave it looking right.
            let mut header = [0; HEADER];
            self.read(self.offset_of(place), &mut header)?;
            if !block.starts_with(&header) {
                return Err(Error::Damaged { index });
            }
        }
        Ok(())
    }

    /// Writes the block header and the granules of the bitmap in place.
    fn write_granules(&mut self, index: u16, block: &[u8]) -> Result<(), EngineError<D>> {
        let at = self.offset_of(self.slot(index).place());
        let Some(resident) = self.resident(index) else { return Ok(()) };
        // SAFETY: the object is a slice: only slices are partly dirty. The bitmap is only read here.
        let bitmap = unsafe { resident.bitmap(self.block_len(index)) };
        let mut with_header = false;
        for (first, granules) in runs(bitmap) {
            let from = if first == 0 { 0 } else { HEADER + usize::from(first) * GRANULE };
            with_header |= first == 0;
            let to = HEADER + usize::from(first + granules) * GRANULE;
            let Some(bytes) = block.get(from..to.min(block.len())) else { continue };
            self.write(at + from as u32, &[bytes])?;
        }
        if !with_header && let Some(header) = block.get(..HEADER) {
            self.write(at, &[header])?;
        }
        Ok(())
    }

    /// Applies the committed delta of a clean object to its place.
    pub(super) fn apply_delta(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let Some(resident) = self.resident(index) else { return Ok(()) };
        // SAFETY: the object is clean, so no mutable guard is open on it.
        let block = unsafe { resident.block_bytes(self.block_len(index)) };
        self.write_granules(index, block)?;
        if let Some(bitmap) = self.bitmap(index) {
            bitmap.clear();
        }
        resident.update(|header| header.state &= !state::UNAPPLIED);
        Ok(())
    }

    /// Applies every committed delta: needed before the log half that holds them is left.
    ///
    /// # Errors
    ///
    /// The device's; a retry goes on.
    pub fn apply_deltas(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let unapplied = self.resident(index).is_some_and(|resident| {
                resident.header().state & (state::UNAPPLIED | state::DIRTY) == state::UNAPPLIED
            });
            if unapplied {
                self.apply_delta(index)?;
            }
        }
        Ok(())
    }

    /// Encodes the delta of a dirty object into `out`; `None` if it does not fit. The block header is sealed with the
    /// next record's tag.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn encode_delta(&mut self, index: u16, out: &mut [u8]) -> Result<Option<usize>, EngineError<D>> {
        let resident = self.resident(index).filter(|resident| resident.header().pins != MUTABLE);
        let (Some(_), Some(resident)) = (self.delta_bytes(index), resident) else { return Ok(None) };
        let block = self.seal(index, resident, self.slot(index).place())?;
        if fault!(DeltaBeforeRecord) {
            let _ = self.write_granules(index, block);
        }
        Ok(self.put_delta(index, block, out))
    }

    fn put_delta(&self, index: u16, block: &[u8], out: &mut [u8]) -> Option<usize> {
        let bitmap = self.bitmap(index)?;
        let (count, _) = count(bitmap);
        let mut writer = Writer { out, at: 0 };
        writer.put(&index.to_le_bytes())?;
        writer.put(&(count as u16).to_le_bytes())?;
        writer.put(block.get(..HEADER)?)?;
        for (first, granules) in runs(bitmap) {
            writer.put(&first.to_le_bytes())?;
            writer.put(&granules.to_le_bytes())?;
            let from = HEADER + usize::from(first) * GRANULE;
            writer.put(block.get(from..from + usize::from(granules) * GRANULE)?)?;
        }
        Some(writer.at)
    }
}

/// A run of adjoining blocks.
#[derive(Default)]
struct Run {
    first: u16,
    place: u16,
    end: u16,
    objects: usize,
}

/// Appends to a byte buffer.
pub(super) struct Writer<'o> {
    pub out: &'o mut [u8],
    pub at: usize,
}

impl Writer<'_> {
    pub fn put(&mut self, bytes: &[u8]) -> Option<()> {
        self.out.get_mut(self.at..self.at + bytes.len())?.copy_from_slice(bytes);
        self.at += bytes.len();
        Some(())
    }
}

const _: () = assert!(bitmap_bytes(8) == 8 && bitmap_bytes(512) == 8 && bitmap_bytes(520) == 16);
