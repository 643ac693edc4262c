//! What a resume record holds besides a snapshot, and how the arena is filled again from storage. The program goes on with
//! the guards it had, so that this writes below live references: the one exception to Miri.

use super::{Engine, EngineError};
use crate::arena::{GONE, ResidentHeader, state};
use crate::block::{BlockHeader, GRANULE, HEADER};
use crate::entry::flag;
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, Sink};

/// Bytes of a resume record for each object that comes back to its address: its offset in the arena, its header there.
pub const KEPT_BYTES: u32 = 10;

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// The objects that come back to their addresses: pinned or dirty ones.
    fn kept(&self) -> impl Iterator<Item = (u16, ResidentHeader)> + '_ {
        (0..self.used).filter_map(|index| {
            let resident = self.resident(index)?;
            (resident.pins() != 0 || resident.is_dirty()).then(|| (index, resident.header()))
        })
    }

    /// How many objects come back to their addresses; each takes [`KEPT_BYTES`] of [`resume_tail`](Self::resume_tail).
    pub fn count_kept(&self) -> u16 {
        self.kept().count() as u16
    }

    /// Hands what a resume record holds besides a snapshot to `sink`: how many objects come back (2 bytes), as
    /// [`count_kept`](Self::count_kept) has it, and where.
    pub fn resume_tail(&self, kept: u16, sink: Sink<'_>) -> ControlFlow<()> {
        sink(&kept.to_le_bytes())?;
        for (index, header) in self.kept() {
            sink(&self.slot(index).resident().unwrap_or(0).to_le_bytes())?;
            let ([i0, i1], [w0, w1], [h0, h1]) =
                (index.to_le_bytes(), header.word.to_le_bytes(), header.hint.to_le_bytes());
            sink(&[i0, i1, w0, w1, header.pins, header.state, h0, h1])?;
        }
        ControlFlow::Continue(())
    }

    /// Gives up what does not come back: copies that are neither pinned nor dirty, and the running collection. Their room in the
    /// arena is given back by [`settle_arena`](Self::settle_arena), when power is there again. Returns whether deltas have to be
    /// applied from the log.
    pub fn suspend(&mut self) -> bool {
        self.ram_stale = true;
        self.end_marks();
        let mut unapplied = false;
        for index in 0..self.used {
            let Some(resident) = self.resident(index) else { continue };
            unapplied |= resident.state() & state::UNAPPLIED != 0;
            if resident.pins() == 0 && !resident.is_dirty() {
                let word = resident.word();
                self.change_slot(index, |entry| entry.set_word(word));
            }
        }
        unapplied
    }

    /// After [`suspend`](Self::suspend), and when the headers of what comes back are there: nothing else takes room in the arena.
    pub fn settle_arena(&mut self) {
        self.ram.reset(self.arena.words());
        self.ram_stale = false;
        for index in 0..self.used {
            if let Some((offset, words)) = self.range(index) {
                // In a gap that the allocator has forgotten: it is rebuilt before it is asked again.
                self.ram_stale |= self.ram.reserve(offset, words).is_err();
            }
        }
    }

    /// Base and size of the arena in bytes.
    pub fn arena_region(&self) -> (*mut u8, usize) {
        self.arena.region()
    }

    /// Puts back the header of a resident copy, from a resume record.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]: the record does not fit the table.
    ///
    /// # Safety
    ///
    /// The program stands still, and goes on only when its arena is as it left it: its guards rely on what is written here.
    pub unsafe fn resume_header(&mut self, bytes: [u8; KEPT_BYTES as usize]) -> Result<u16, EngineError<D>> {
        let [o0, o1, i0, i1, w0, w1, pins, flags, h0, h1] = bytes;
        let index = u16::from_le_bytes([i0, i1]);
        let offset = u16::from_le_bytes([o0, o1]);
        if self.entry(index).and_then(|entry| entry.resident()) != Some(offset) {
            return Err(Error::Damaged { index });
        }
        let resident = self.resident(index).ok_or(Error::Damaged { index })?;
        let word = u16::from_le_bytes([w0, w1]);
        let hint = u16::from_le_bytes([h0, h1]);
        let generation = if word & flag::DEAD != 0 { GONE } else { self.slot(index).generation() as i16 };
        resident.set_header(ResidentHeader { generation, word, pins, state: flags, hint });
        if let Some(bitmap) = self.bitmap(index) {
            bitmap.clear();
        }
        Ok(index)
    }

    /// Fills a copy that is not wholly dirty from its place, with whose deltas all have been applied.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`], the device's.
    ///
    /// # Safety
    ///
    /// The program stands still, and goes on only when its arena is as it left it: its guards rely on what is written here.
    pub unsafe fn resume_load(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let Some(resident) = self.resident(index) else { return Ok(()) };
        let header = resident.header();
        let dirty = header.state & state::DIRTY != 0;
        if dirty && header.state & state::PARTIAL == 0 {
            return Ok(());
        }
        let at = self.offset_of(self.slot(index).place());
        // SAFETY: the caller's word: its guards see the bytes they saw before.
        let block = unsafe { resident.block_bytes_mut(self.block_len(index)) };
        self.device.get_mut().read(at, block).map_err(Error::Device)?;
        if !dirty {
            self.check(index, block, None)?;
            resident.update(|header| header.state &= !state::UNAPPLIED);
        }
        Ok(())
    }

    /// The size of a wholly dirty object, from the directory of a resume record.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]: the record does not fit the table.
    ///
    /// # Safety
    ///
    /// The program stands still, and goes on only when its arena is as it left it: its guards rely on what is written here.
    pub unsafe fn resume_size(&mut self, index: u16, size: u16) -> Result<u32, EngineError<D>> {
        let resident = self.resident(index).ok_or(Error::Damaged { index })?;
        let block_len = self.block_len(index);
        // SAFETY: as in `resume_load`.
        let block = unsafe { resident.block_bytes_mut(block_len) };
        let header = BlockHeader { crc: 0, size, tag: self.tag };
        block.get_mut(..HEADER).ok_or(Error::Damaged { index })?.copy_from_slice(&header.to_bytes());
        Ok((block_len - HEADER) as u32)
    }

    /// Fills bytes of an object from storage at `from`.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`]: they lie outside of the object; the device's.
    ///
    /// # Safety
    ///
    /// The program stands still, and goes on only when its arena is as it left it: its guards rely on what is written here.
    pub unsafe fn resume_bytes(&mut self, index: u16, at: u32, len: u32, from: u32) -> Result<(), EngineError<D>> {
        let resident = self.resident(index).ok_or(Error::Damaged { index })?;
        // SAFETY: as in `resume_load`.
        let block = unsafe { resident.block_bytes_mut(self.block_len(index)) };
        let start = HEADER + at as usize;
        let bytes = block.get_mut(start..start + len as usize).ok_or(Error::Damaged { index })?;
        self.device.get_mut().read(from, bytes).map_err(Error::Device)
    }

    /// Marks granules of an object as changed.
    pub fn resume_granules(&mut self, index: u16, first: u16, granules: u16) {
        if let Some(bitmap) = self.bitmap(index) {
            (first..first.saturating_add(granules)).for_each(|at| bitmap.set(usize::from(at), true));
        }
    }

    /// Bytes in a granule.
    #[must_use]
    pub const fn granule() -> u32 {
        GRANULE as u32
    }
}
