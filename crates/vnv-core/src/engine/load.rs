//! Residency: loading.

use super::{Engine, EngineError, TypeKey};
use crate::arena::{MUTABLE, Resident, ResidentHeader, arena_words, state};
use crate::block::{BlockHeader, HEADER};
use crate::entry::{ObjectId, flag};
use crate::error::Error;
use crate::policy::{Advice, Policy};
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
    /// The resident copy of an object, loaded if it was not there: one read of its block.
    ///
    /// A hit costs no list walk and no bus traffic.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`], [`Error::Damaged`], [`Error::RamFull`]; errors of evicting others.
    pub(crate) fn obtain(&mut self, id: ObjectId, key: &TypeKey) -> Result<Resident, EngineError<D>> {
        let index = self.resolve(id, key.fingerprint)?;
        if let Some(resident) = self.resident(index) {
            let header = resident.header();
            if header.word & (flag::DEAD | flag::FREED_IN_TRANSACTION) != 0 {
                return Err(Error::Stale);
            }
            return Ok(resident);
        }
        if !self.is_live(index) {
            return Err(Error::Stale);
        }
        self.load(index, Some(key.is_valid))
    }

    /// Loads the block of a live, not resident object.
    fn load(&mut self, index: u16, is_valid: Option<fn(&[u8]) -> bool>) -> Result<Resident, EngineError<D>> {
        let entry = self.slot(index);
        let is_slice = self.is_slice(entry.type_index());
        let block_len = self.block_len(index);
        let words = arena_words(block_len, is_slice);
        let offset = self.ram_allocate(words)?;
        let at = self.offset_of(entry.place());
        // SAFETY: the allocator has just given this range to the block; the header is written at once.
        let resident = unsafe { self.arena.at(offset) };
        resident.set_header(ResidentHeader {
            generation: entry.generation() as i16,
            word: entry.word(),
            pins: 0,
            state: if is_slice { state::SLICE } else { 0 },
            hint: self.policy.loaded(),
        });
        // SAFETY: the block belongs to nobody else yet.
        let block = unsafe { resident.block_bytes_mut(block_len) };
        let checked = self.read(at, block).and_then(|()| self.check(index, block, is_valid));
        let header = match checked {
            Ok(header) => header,
            Err(error) => {
                self.ram_free(offset, words as u16);
                return Err(error);
            }
        };
        if is_slice {
            // SAFETY: a slice's bitmap, of this block, not borrowed by anyone else.
            unsafe { resident.bitmap(block_len) }.clear();
        }
        let word = (entry.word() & !crate::entry::TAG_MASK) | header.tag;
        resident.update(|resident| resident.word = word);
        self.change_slot(index, |entry| entry.set_resident(offset));
        Ok(resident)
    }

    /// Checks a block's bytes against its entry.
    pub(super) fn check(
        &self,
        index: u16,
        block: &[u8],
        is_valid: Option<fn(&[u8]) -> bool>,
    ) -> Result<BlockHeader, EngineError<D>> {
        let entry = self.slot(index);
        let header = BlockHeader::from_bytes(block);
        let damaged = Error::Damaged { index };
        let object = block.get(HEADER..HEADER + usize::from(header.size)).ok_or(damaged)?;
        // Its padding is less than a unit.
        let padding = block.len() - HEADER - object.len();
        let crc = self.checksum(self.identity(index, entry.place()), header.tag, object)?;
        let tag = crate::entry::TAG_MASK & self.word(index);
        let sound = header.tag_matches(tag)
            && padding < self.geometry.unit as usize
            && (crc == header.crc || fault!(SkipBlockChecksum));
        if sound && is_valid.is_none_or(|is_valid| is_valid(object)) {
            Ok(header)
        } else {
            Err(Error::Damaged { index })
        }
    }

    /// The bytes of a live object, loaded if need be, without a type: for tracing and tools.
    ///
    /// # Errors
    ///
    /// As a load.
    pub fn object_bytes(&mut self, index: u16) -> Result<&[u8], EngineError<D>> {
        let resident = match self.resident(index) {
            Some(resident) => resident,
            None if self.is_live(index) => self.load(index, None)?,
            None => return Err(Error::Stale),
        };
        if resident.header().pins == MUTABLE {
            return Err(Error::AlreadyBorrowed);
        }
        // SAFETY: no mutable guard is open, and the result borrows the engine, so that none can be opened.
        let block = unsafe { resident.block_bytes(self.block_len(index)) };
        let size = usize::from(BlockHeader::from_bytes(block).size);
        block.get(HEADER..HEADER + size).ok_or(Error::Damaged { index })
    }

    /// Pins a resident object, so that it is not evicted; for tracing. Pair with [`unpin`](Self::unpin).
    pub(super) fn pin(&mut self, index: u16) -> bool {
        let Some(resident) = self.resident(index).filter(|resident| resident.header().pins < MUTABLE - 1) else {
            return false;
        };
        resident.update(|header| header.pins += 1);
        true
    }

    /// Undoes [`pin`](Self::pin).
    pub(super) fn unpin(&mut self, index: u16) {
        if let Some(resident) = self.resident(index) {
            resident.update(|header| header.pins = header.pins.saturating_sub(1));
        }
    }

    /// Tells the policy what is known of an object's future.
    pub fn advise(&mut self, index: u16, advice: Advice) {
        if let Some(resident) = self.resident(index) {
            let hint = self.policy.advised(resident.header().hint, advice);
            resident.update(|header| header.hint = hint);
        }
    }
}
