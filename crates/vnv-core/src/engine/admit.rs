//! Admitting new objects and freeing old ones.

use super::{ENTRY_BYTES, Engine, EngineError, MOVED_BYTES, TypeKey};
use crate::arena::{GONE, MUTABLE, Resident, ResidentHeader, arena_words, state};
use crate::entry::{Entry, FREED_EARLY, Item, LAST_GENERATION, MAX_UNITS, NO_PLACE, ObjectId, SCHEMA_TYPE, flag};
use crate::error::Error;
use crate::policy::Policy;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::{Device, fault};

impl<'m, D, P, R, S> Engine<'m, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Whether a guard is open on the object.
    pub fn is_pinned(&self, index: u16) -> bool {
        self.resident(index).is_some_and(|resident| resident.header().pins != 0)
    }

    /// Lets copies of freed objects go whose last guard was dropped after the commit that recorded them. `true`: slots are free now.
    #[cold]
    #[inline(never)]
    pub(super) fn release_buried(&mut self) -> bool {
        let mut released = false;
        for index in 0..self.used {
            let entry = self.slot(index);
            let buried = self.word(index) & (flag::DEAD | flag::PENDING) == flag::DEAD && entry.type_index() != 0;
            if buried && entry.place() == NO_PLACE && !self.is_pinned(index) {
                // It may have been evicted meanwhile.
                self.drop_copy(index);
                self.release_slot(index, entry.generation(), 0);
                released = true;
            }
        }
        released
    }

    /// A slot for a new object, not taken yet.
    fn free_slot(&mut self) -> Result<u16, EngineError<D>> {
        if self.free_slots != 0 {
            return Ok(self.free_slots);
        }
        if usize::from(self.used) < self.entries.len() { Ok(self.used) } else { Err(Error::ObjectsFull) }
    }

    /// Admits an object of `size` bytes and `key`'s type: a slot, a place, arena room; pinned for changing it, and counted as open.
    /// Its bytes are whatever stood there, but for padding behind them. No bus traffic with room. Objects larger than the
    /// dirty limit have to be written through by [`write_through`](Self::write_through) once they are filled.
    pub(crate) fn admit_object(
        &mut self,
        size: usize,
        key: &'static TypeKey,
    ) -> Result<(u16, Resident), EngineError<D>> {
        self.admit_carefully(size, Some(key), 0)
    }

    /// [`admit_any`](Self::admit_any), whatever is going on: once for objects and schemas.
    #[inline(never)]
    pub(super) fn admit_carefully(
        &mut self,
        size: usize,
        key: Option<&'static TypeKey>,
        index: u16,
    ) -> Result<(u16, Resident), EngineError<D>> {
        self.admit_any::<false>(size, key, index)
    }

    /// The same where the gate is open: no transaction or collection is running, and pins are not counted. `None`: something has to
    /// be done first, or there is an error; nothing has changed.
    #[inline(always)]
    pub(crate) fn admit_known(&mut self, size: usize, key: &'static TypeKey) -> Option<(u16, Resident)> {
        self.admit_any::<true>(size, Some(key), 0).ok()
    }

    /// Admits an object of this type, or, without one, a schema at a free slot of its own, which is not pinned. `KNOWN`: as
    /// [`admit_known`](Self::admit_known), with any error.
    #[inline(always)]
    fn admit_any<const KNOWN: bool>(
        &mut self,
        size: usize,
        key: Option<&'static TypeKey>,
        mut index: u16,
    ) -> Result<(u16, Resident), EngineError<D>> {
        // Bit 15 of a size in a snapshot's directory says that only changed granules follow.
        if size >= usize::from(super::PARTIAL) {
            return Err(Error::TooLarge);
        }
        let mut type_index = SCHEMA_TYPE;
        let mut is_slice = false;
        if let Some(key) = key {
            if !KNOWN && self.geometry.guards != 0 && self.attention.pins() >= self.geometry.guards {
                return Err(Error::TooManyGuards);
            }
            if key.has_links {
                self.check_traceable(size, key)?;
            }
            type_index = if KNOWN { self.known_type(key).ok_or(Error::TypesFull)? } else { self.type_of(key)? };
            is_slice = key.is_slice;
            index = match self.free_slot() {
                Err(Error::ObjectsFull) if !KNOWN && self.release_buried() => self.free_slot()?,
                slot => slot?,
            };
        }
        let block_len = self.block_for(size);
        let units = block_len >> self.unit_shift();
        if units >= usize::from(MAX_UNITS) {
            return Err(Error::TooLarge);
        }
        let units = units as u16;
        let old = self.slot(index);
        // A free slot has no copy, and no flag but this one.
        let pending = old.word() & flag::PENDING;
        let whole = self.whole_bytes(block_len);
        let through = whole + ENTRY_BYTES > self.geometry.dirty_limit;
        if KNOWN && through {
            return Err(Error::DirtyLimit);
        }
        let in_transaction = !KNOWN && self.mark.is_some();
        let bytes = if through { 0 } else { whole } + if pending != 0 { 0 } else { ENTRY_BYTES };
        let items = u16::from(pending == 0 || in_transaction);
        if KNOWN {
            self.admit_bytes(bytes)?;
            self.admit_items(items)?;
        } else {
            self.admit(bytes, items)?;
        }
        let words = arena_words(block_len, is_slice);
        let known = if self.ram_stale { None } else { self.ram.allocate(words as u16, 1) };
        let (offset, still) = match known {
            Some(offset) => (offset, Ok(())),
            None if KNOWN => return Err(Error::RamFull),
            // Making room may have synced others: the slot is still free, but the budgets are asked again.
            None => (self.ram_allocate(words)?, self.admit(bytes, items)),
        };
        let space = match still {
            Err(error) => Err(error),
            Ok(()) => match self.space_known(units) {
                Some(place) => Ok(place),
                None if KNOWN => Err(Error::StorageFull),
                None => self.space_search(units),
            },
        };
        let place = match space {
            Ok(place) => place,
            Err(error) => {
                self.ram_free(offset, words as u16);
                return Err(error);
            }
        };
        // The policy may panic: nothing refers to the object yet.
        let hint = self.policy.loaded();
        if index == self.free_slots {
            self.free_slots = old.place();
        }
        if index == self.used {
            self.used += 1;
        }
        self.mark_changed(index);
        if items != 0 {
            self.append_item(Item::new(index, NO_PLACE, pending == 0));
        }
        let mut entry = Entry::new(place, old.generation(), units, type_index, 0);
        entry.set_resident(offset);
        self.change_slot(index, |slot| *slot = entry);
        self.dirty += bytes;
        // SAFETY: the allocator has just given this range to the block; the header is written at once.
        let resident = unsafe { self.arena.at(offset) };
        let transaction = if in_transaction { state::TRANSACTION } else { 0 };
        let dirty = if through { 0 } else { state::DIRTY };
        resident.set_header(ResidentHeader {
            generation: old.generation() as i16,
            // Pending in any case: by its item of now, or of before.
            word: flag::UNWRITTEN | flag::PENDING | if key.is_some() { flag::OWNED } else { 0 },
            pins: if key.is_some() { MUTABLE } else { 0 },
            state: dirty | transaction | if is_slice { state::SLICE } else { 0 },
            hint,
        });
        // SAFETY: the block belongs to nobody else yet, and its length is a multiple of the unit, at least 8.
        unsafe { resident.begin_block(size as u16, block_len) };
        if is_slice {
            // SAFETY: a slice's bitmap, of this block, not borrowed by anyone else.
            unsafe { resident.bitmap(block_len) }.clear();
        }
        if key.is_some() {
            if !KNOWN && self.geometry.guards != 0 {
                self.attention.pinned();
            }
            self.attention.opened();
            if through {
                self.attention.fill(true);
            }
        }
        if !KNOWN && self.marks.is_some() {
            self.mark_grey(index);
            if key.is_some() {
                self.mark_grey(u16::from(type_index));
            }
        }
        Ok((index, resident))
    }

    /// Writes a new object that is larger than the dirty limit to its place: one write. Others are left alone.
    ///
    /// # Errors
    ///
    /// The device's; the object is freed.
    pub(crate) fn write_through(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let Some(resident) = self.resident(index) else { return Ok(()) };
        if resident.header().state & state::DIRTY != 0 {
            return Ok(());
        }
        // Dirty for the length of the write only: no snapshot can fall inside, since the object is not reachable yet.
        resident.update(|header| header.state |= state::DIRTY);
        self.dirty += self.whole_cost(index);
        let written = self.sync_object(index);
        if let Err(error) = &written {
            // In a transaction the object stays marked until its end: its bytes must not count meanwhile.
            self.dirty -= self.whole_cost(index);
            resident.update(|header| header.state &= !state::DIRTY);
            // After an alarm it is tried again.
            if !matches!(error, Error::Interrupted) {
                let behind = self.cursor;
                self.free(index);
                // The next one goes elsewhere: a row may not take writes any more.
                self.cursor = behind;
            }
        }
        written
    }

    /// Whether freed objects wait for a commit to record them.
    pub const fn zombies(&self) -> u16 {
        self.zombies
    }

    /// Frees a live object: never fails, never touches the bus.
    ///
    /// An object that was never written gives everything back at once; another one's place and slot are free
    /// after the next commit. Inside a transaction the object is only marked, and freed when it commits.
    pub fn free(&mut self, index: u16) {
        let entry = self.slot(index);
        if entry.type_index() != 0 {
            self.free_entry(index, entry, flag::OWNED);
        }
    }

    /// Frees an object that a handle or link refers to.
    ///
    /// # Errors
    ///
    /// Those of [`resolve`](Self::resolve); [`Error::AlreadyBorrowed`] if a guard is open on it.
    pub fn free_object(&mut self, id: ObjectId, fingerprint: u64) -> Result<(), EngineError<D>> {
        let index = self.resolve(id, fingerprint)?;
        let entry = self.slot(index);
        let resident = self.copy_of(entry);
        if resident.map_or(entry.word(), Resident::word) & (flag::DEAD | flag::FREED_IN_TRANSACTION) != 0 {
            return Err(Error::Stale);
        }
        if resident.is_some_and(|resident| resident.pins() != 0) {
            return Err(Error::AlreadyBorrowed);
        }
        // An `Owned` handle of it, if there is one, owns it again after a rollback.
        self.free_entry(index, entry, 0);
        Ok(())
    }

    /// Frees the object with this id, if it is still there; its `Owned` handle is gone.
    pub(crate) fn free_id(&mut self, id: ObjectId) {
        if let Some(entry) = self.entry_of(id) {
            self.free_entry(id.index, entry, flag::OWNED);
        }
    }

    /// Frees an object. In a transaction, the flags in `lost` (of [`flag::OWNED`]) do not come back with a rollback.
    fn free_entry(&mut self, index: u16, entry: Entry, lost: u16) {
        let resident = self.copy_of(entry);
        let word = resident.map_or(entry.word(), Resident::word);
        if word & (flag::DEAD | flag::FREED_IN_TRANSACTION) != 0 {
            if word & flag::FREED_IN_TRANSACTION != 0 {
                self.set_flags(index, 0, lost);
            }
            return;
        }
        if self.mark.is_some() {
            if self.stays_guarded(index) {
                return;
            }
            // The generation stays until the commit: a copy that is evicted meanwhile keeps its identity.
            self.set_flags(index, flag::FREED_IN_TRANSACTION, lost);
            return;
        }
        self.free_now(index, entry, resident, word & !flag::OWNED);
    }

    /// Frees an object with these flags and tag outside of a transaction: its handles are stale from here on.
    pub(super) fn free_now(&mut self, index: u16, mut entry: Entry, resident: Option<Resident>, word: u16) {
        let raised = u16::from(!fault!(KeepGeneration));
        entry.set_generation((entry.generation() + raised).min(LAST_GENERATION));
        if let Some(resident) = resident {
            if resident.pins() != 0 {
                return self.free_guarded(index, entry, resident, word);
            }
            let state = resident.state();
            let block_len = usize::from(entry.units()) << self.unit_shift();
            self.forget_changes(index, block_len, state, word);
            self.ram_free(entry.resident().unwrap_or(0), arena_words(block_len, state & state::SLICE != 0) as u16);
        }
        let unknown = word & flag::UNWRITTEN != 0 || self.is_passing(word);
        if unknown && word & flag::HAS_ITEM == 0 {
            // One that was written wears: the places go on rotating.
            if word & flag::UNWRITTEN != 0 {
                self.space_return(entry.place(), entry.units());
            } else {
                self.space_free(entry.place(), entry.units());
            }
            self.release_slot(index, entry.generation(), word & flag::PENDING);
            return;
        }
        entry.set_word(word | flag::DEAD);
        self.enter_freed(index, entry);
    }

    /// The changes of an object that is freed are not written any more.
    #[inline]
    fn forget_changes(&mut self, index: u16, block_len: usize, state: u8, word: u16) {
        if state & state::DIRTY != 0 {
            let whole = self.whole_bytes(block_len);
            self.dirty -= if state & state::PARTIAL == 0 { whole } else { self.dirty_cost(index, state) };
            self.debt -= u16::from(word & flag::UNWRITTEN == 0);
            self.dirty -= if word & flag::PENDING == 0 { MOVED_BYTES } else { 0 };
        }
    }

    /// Whether an object that a guard is open on is garbage now instead of being freed: a program that is resumed goes on with its
    /// guards, and what they refer to must be in storage.
    fn stays_guarded(&mut self, index: u16) -> bool {
        let stays = self.geometry.guards != 0 && self.is_pinned(index);
        if stays {
            self.set_flags(index, 0, flag::OWNED);
        }
        stays
    }

    /// Frees an object that a guard is open on: the copy stays as long as that.
    #[cold]
    #[inline(never)]
    fn free_guarded(&mut self, index: u16, entry: Entry, resident: Resident, word: u16) {
        if self.stays_guarded(index) {
            return;
        }
        self.forget_changes(index, self.block_len(index), resident.state(), word);
        resident.update(|header| {
            header.word = word | flag::DEAD;
            header.generation = GONE;
            header.state &= !(state::DIRTY | state::PARTIAL | state::UNAPPLIED | state::TRANSACTION);
        });
        self.enter_freed(index, entry);
    }

    /// Enters an object as freed, for the next record.
    #[inline(never)]
    fn enter_freed(&mut self, index: u16, entry: Entry) {
        self.change_slot(index, |slot| *slot = entry);
        self.mark_changed(index);
        self.record_death(index);
    }

    /// Puts a dead object's place on the pending list if there is room; otherwise it stays a zombie.
    pub(super) fn record_death(&mut self, index: u16) -> bool {
        let (mut entry, word) = (self.slot(index), self.word(index));
        let pending = word & flag::PENDING != 0;
        let bytes = if pending { 0 } else { MOVED_BYTES };
        if self.admit(bytes, 1).is_err() {
            self.zombies += 1;
            return false;
        }
        if fault!(ReuseFreedPlaceEarly) {
            self.space_free(entry.place(), entry.units());
            entry.place = FREED_EARLY;
        }
        let place = core::mem::replace(&mut entry.place, NO_PLACE);
        self.append_item(Item::new(index, place, !pending));
        self.change_slot(index, |slot| *slot = entry);
        self.set_word(index, word | flag::PENDING | if place == NO_PLACE { 0 } else { flag::HAS_ITEM });
        self.dirty += bytes;
        true
    }

    /// Makes a slot free; a generation that is used up retires it.
    pub(super) fn release_slot(&mut self, index: u16, generation: u16, flags: u16) {
        let is_schema = usize::from(index) <= self.types.len();
        let chained = generation != LAST_GENERATION && !is_schema;
        let next = if chained { self.free_slots } else { 0 };
        let mut entry = Entry::new(next, generation, 0, 0, 0);
        entry.set_word(flags);
        if flags != 0 {
            self.mark_changed(index);
        }
        self.change_slot(index, |slot| *slot = entry);
        if chained {
            self.free_slots = index;
        }
    }

    /// Enters an object found in storage, while an image is being opened.
    pub fn restore_slot(&mut self, index: u16, entry: Entry) -> bool {
        let known = usize::from(index) < self.entries.len() && !self.is_resident(index);
        if known {
            self.used = self.used.max(index + 1);
            self.change_slot(index, |slot| *slot = entry);
        }
        known
    }

    /// Enters the tag of an object that a delta changed, while an image is being opened.
    pub fn restore_tag(&mut self, index: u16, tag: u16) {
        self.set_word(index, tag);
    }

    /// Enters that a slot was freed, while an image is being opened.
    pub fn restore_freed(&mut self, index: u16) {
        if index < self.used && self.slot(index).type_index() != 0 && !self.is_resident(index) {
            let generation = (self.slot(index).generation() + 1).min(LAST_GENERATION);
            self.change_slot(index, |slot| *slot = Entry::new(NO_PLACE, generation, 0, 0, 0));
        }
    }

    /// Chains the free slots, after an image was read.
    pub fn chain_free_slots(&mut self) {
        self.free_slots = 0;
        for index in (0..self.used).rev() {
            if index != 0 && self.slot(index).type_index() == 0 {
                self.release_slot(index, self.slot(index).generation(), 0);
            }
        }
    }
}
