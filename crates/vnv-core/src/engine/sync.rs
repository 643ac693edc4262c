//! Writing dirty objects out: to fresh places, to their own (last resort), or as deltas applied in place.

use super::{Engine, EngineError};
use crate::arena::{Bits, MUTABLE, Resident, bitmap_bytes, state};
use crate::block::{BlockHeader, GRANULE, HEADER};
use crate::entry::{FREED_EARLY, NO_PLACE, TAG_MASK, flag};
use crate::error::Error;
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
    pub(super) fn seal<'a>(&self, index: u16, resident: Resident, place: u16) -> Result<&'a [u8], EngineError<D>> {
        let block_len = self.block_len(index);
        // SAFETY: callers have checked that no mutable guard is open.
        let block = unsafe { resident.block_bytes(block_len) };
        let size = BlockHeader::from_bytes(block).size;
        let object = block.get(HEADER..HEADER + usize::from(size)).ok_or(Error::Damaged { index })?;
        let crc = self.checksum(self.identity(index, place), self.tag, object)?;
        let header = BlockHeader { crc, size, tag: self.tag }.to_bytes();
        // SAFETY: as above; shared guards lend the bytes of the object only, not the header's, and `block` is not used any more.
        unsafe {
            resident.set_block_header(header);
            Ok(resident.block_bytes(block_len))
        }
    }

    /// Whether nothing will ever lead to the place of an object with these flags once it stands elsewhere: it was written since the
    /// last commit, and neither a snapshot nor the state before the running transaction names it.
    pub(super) fn is_passing(&self, word: u16) -> bool {
        word & flag::PENDING != 0 && self.mark.is_none() && !self.attention.retains()
    }

    /// Records that a dirty object's block now stands at `place`.
    pub(super) fn synced(&mut self, index: u16, place: u16) {
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
            let passing = old != place && self.is_passing(header.word);
            let too_early = old != place && !passing && fault!(ReusePlaceEarly);
            if passing || too_early {
                self.space_free(old, units);
            }
            if !passing || header.word & flag::PENDING == 0 {
                let kept = if too_early { FREED_EARLY } else { old };
                self.push_item(index, if old == place || passing { NO_PLACE } else { kept });
                if header.state & state::TRANSACTION == 0 {
                    self.move_below_mark();
                }
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
        let Some(resident) = self.dirty_copy(index) else { return Ok(()) };
        let header = resident.header();
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

    /// Whether the block of an object in storage lacks nothing but a delta with this tag: it is live, has a place that was written, and its
    /// last version has that tag.
    pub fn follows_delta(&self, index: u16, tag: u16) -> bool {
        let word = self.word(index);
        self.entry(index).is_some_and(|entry| entry.type_index() != 0 && entry.place() != NO_PLACE)
            && word & (flag::DEAD | flag::UNWRITTEN) == 0
            && word & TAG_MASK == tag
    }

    /// Whether the object's changes go out as a delta in the next record, and the delta's bytes.
    pub(super) fn delta_bytes(&self, index: u16) -> Option<u32> {
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

    /// Last resort of a commit, once a live snapshot holds every dirty object: each is written over its own place. They stay dirty
    /// until the base is complete: a snapshot that supersedes the first one must hold them too, since `open` applies the deltas of
    /// the log before it empties a snapshot.
    ///
    /// # Errors
    ///
    /// The device's; a retry writes the rest.
    pub fn rewrite_in_place(&mut self) -> Result<(), EngineError<D>> {
        for index in self.changed() {
            let Some(resident) = self.dirty_copy(index) else { continue };
            let header = resident.header();
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
