//! Admitting new objects and freeing old ones.

use super::{ENTRY_BYTES, Engine, EngineError, TypeKey};
use crate::arena::{Pin, Resident, ResidentHeader, state};
use crate::block::{BlockHeader, HEADER};
use crate::entry::{Entry, LAST_GENERATION, MAX_UNITS, NO_PLACE, ObjectId, SCHEMA_TYPE, flag};
use crate::error::Error;
use crate::memory::TypeInfo;
use crate::policy::{Advice, Policy};
use crate::schema::Schema;
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
    /// Admits an object of `size` bytes and `key`'s type: a slot, a place, arena room, zeroed and mutably pinned.
    /// No bus traffic with room. Objects larger than the dirty limit have to be written through by
    /// [`write_through`](Self::write_through) once they are filled.
    pub(crate) fn admit_object(
        &mut self,
        size: usize,
        key: &TypeKey,
    ) -> Result<(ObjectId, Pin<'m>, Resident), EngineError<D>> {
        if self.geometry.guards != 0 && self.attention.pins() >= self.geometry.guards {
            return Err(Error::TooManyGuards);
        }
        self.check_traceable(size, key)?;
        let type_index = self.type_of(key)?;
        let index = self.free_slot()?;
        let resident = self.admit_at(index, size, type_index, key.is_slice)?;
        let pin = Pin::mutable(resident, self.attention).ok_or(Error::AlreadyBorrowed)?;
        self.set_flags(index, flag::OWNED, 0);
        self.mark_grey(index);
        self.mark_grey(u16::from(type_index));
        Ok((ObjectId { index, generation: self.slot(index).generation() }, pin, resident))
    }

    /// Whether an object of `size` bytes would be admitted now: enters the type, makes arena room, changes nothing else.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn check_room(&mut self, size: usize, key: &TypeKey) -> Result<(), EngineError<D>> {
        self.check_traceable(size, key)?;
        let type_index = self.type_of(key)?;
        self.mark_grey(u16::from(type_index));
        let index = self.free_slot()?;
        let was_pending = index < self.used && self.word(index) & flag::PENDING != 0;
        let resident = self.admit_at(index, size, type_index, key.is_slice)?;
        // Nobody has seen the object: all of its admission is taken back, and the slot keeps its generation.
        self.dirty -= self.dirty_cost(index, resident.header().state);
        let entry = self.slot(index);
        self.drop_copy(index);
        self.space_free(entry.place(), entry.units());
        if !was_pending {
            self.dirty -= ENTRY_BYTES;
        }
        if !was_pending || self.mark.is_some() {
            self.items_len -= 1;
        }
        self.release_slot(index, if was_pending { flag::PENDING } else { 0 });
        Ok(())
    }

    /// Whether a guard is open on the object.
    pub fn is_pinned(&self, index: u16) -> bool {
        self.resident(index).is_some_and(|resident| resident.header().pins != 0)
    }

    /// The row of a type; a type new to the image is entered, with its schema as an object.
    fn type_of(&mut self, key: &TypeKey) -> Result<u8, EngineError<D>> {
        let known = |info: &TypeInfo| info.is_used() && info.fingerprint() == key.fingerprint;
        if let Some(row) = self.types.iter().position(known) {
            return Ok(row as u8 + 1);
        }
        let (mut free, mut awaited) = (None, false);
        for row in 1..=self.type_rows() {
            if free.is_none() && self.type_info(row).is_none() {
                // The schema stays until the next commit, and copies of freed objects as long as guards are open on them.
                let locked = self.slot(u16::from(row)).type_index() != 0 || self.has_resident_of(row);
                awaited |= locked;
                free = (!locked).then_some(row);
            }
        }
        // A collected schema gives its row back with the next commit.
        let row = free.ok_or(if awaited { Error::PendingFull } else { Error::TypesFull })?;
        // What `open` would refuse must not be entered.
        Schema::parse(key.schema).map_err(|_| Error::TooLarge)?;
        let index = u16::from(row);
        let resident = self.admit_at(index, key.schema.len(), SCHEMA_TYPE, false)?;
        let end = HEADER + key.schema.len();
        // SAFETY: the block was admitted for this many bytes a moment ago; nobody else refers to it.
        if let Some(object) = unsafe { resident.block_bytes_mut(self.block_len(index)) }.get_mut(HEADER..end) {
            object.copy_from_slice(key.schema);
        }
        // A schema larger than the dirty limit goes to its place at once, as any such object.
        if !fault!(KeepLargeSchema) {
            let written = self.write_through(index);
            if matches!(written, Err(Error::Interrupted)) {
                // The schema is entered again when the operation is run again.
                self.free(index);
            }
            written?;
        }
        // Only a collection looks at it.
        self.advise(index, Advice::WontNeed);
        self.set_type_info(row, TypeInfo::new(key.fingerprint, key.has_links, key.is_slice));
        Ok(row)
    }

    /// Whether a copy of an object of this type, freed or not, is in RAM. Copies of freed objects whose last guard was
    /// dropped after the commit that recorded them go now.
    fn has_resident_of(&mut self, row: u8) -> bool {
        let mut found = false;
        for index in 0..self.used {
            if self.slot(index).type_index() != row || !self.is_resident(index) {
                continue;
            }
            let buried = self.word(index) & (flag::DEAD | flag::PENDING) == flag::DEAD;
            if buried && self.slot(index).place() == NO_PLACE && !self.is_pinned(index) {
                self.drop_copy(index);
                self.release_slot(index, 0);
            } else {
                found = true;
            }
        }
        found
    }

    /// A slot for a new object, not taken yet.
    fn free_slot(&mut self) -> Result<u16, EngineError<D>> {
        if self.free_slots != 0 {
            return Ok(self.free_slots);
        }
        if usize::from(self.used) < self.entries.len() { Ok(self.used) } else { Err(Error::ObjectsFull) }
    }

    fn admit_at(
        &mut self,
        index: u16,
        size: usize,
        type_index: u8,
        is_slice: bool,
    ) -> Result<Resident, EngineError<D>> {
        let unit = self.geometry.unit as usize;
        let units = (HEADER + size).div_ceil(unit);
        if units >= usize::from(MAX_UNITS) || size > usize::from(u16::MAX) {
            return Err(Error::TooLarge);
        }
        let (units, block_len) = (units as u16, units * unit);
        let pending = index < self.used && self.word(index) & flag::PENDING != 0;
        let whole = self.geometry.whole_bytes(block_len);
        let through = whole + ENTRY_BYTES > self.dirty_room();
        let bytes = if through { 0 } else { whole } + if pending { 0 } else { ENTRY_BYTES };
        let items = u16::from(!pending || self.mark.is_some());
        self.admit(bytes, items)?;
        let offset = self.ram_allocate(block_len, is_slice)?;
        let words = self.arena_words(block_len, is_slice);
        // Making room may have synced others: the slot is still free, but the budgets are asked again.
        let place = self.admit(bytes, items).and_then(|()| self.space_allocate(units));
        let place = match place {
            Ok(place) => place,
            Err(error) => {
                self.ram_free(offset, words);
                return Err(error);
            }
        };
        let generation = self.slot(index).generation();
        let old = self.slot(index);
        if index == self.free_slots {
            self.free_slots = old.place();
        }
        if index == self.used {
            self.used += 1;
        }
        self.mark_changed(index);
        let flags = if pending { flag::PENDING } else { 0 };
        let mut entry = Entry::new(place, generation, units, type_index, 0);
        entry.set_word(flags | flag::UNWRITTEN);
        self.change_slot(index, |slot| *slot = entry);
        if items != 0 {
            self.push_item(index, NO_PLACE);
        }
        // SAFETY: the allocator has just given this range to the block; the header is written at once.
        let resident = unsafe { self.arena.at(offset) };
        let transaction = if self.mark.is_some() { state::TRANSACTION } else { 0 };
        let dirty = if through { 0 } else { state::DIRTY };
        resident.set_header(ResidentHeader {
            index,
            word: self.slot(index).word(),
            pins: 0,
            state: dirty | transaction | if is_slice { state::SLICE } else { 0 },
            hint: self.policy.loaded(),
        });
        self.change_slot(index, |entry| entry.set_resident(offset));
        self.dirty += bytes;
        // SAFETY: the block belongs to nobody else yet.
        let block = unsafe { resident.block_bytes_mut(block_len) };
        block.fill(0);
        let header = BlockHeader { crc: 0, size: size as u16, tag: 0 };
        if let Some(bytes) = block.get_mut(..HEADER) {
            bytes.copy_from_slice(&header.to_bytes());
        }
        if is_slice {
            // SAFETY: a slice's bitmap, of this block, not borrowed by anyone else.
            unsafe { resident.bitmap(block_len) }.clear();
        }
        Ok(resident)
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
                self.free(index);
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
        if !self.is_live(index) {
            return;
        }
        if self.mark.is_some() {
            // The generation stays until the commit: a copy that is evicted meanwhile keeps its identity.
            self.set_flags(index, flag::FREED_IN_TRANSACTION, flag::OWNED);
            return;
        }
        self.set_flags(index, 0, flag::OWNED);
        self.free_now(index);
    }

    /// Frees an object outside of a transaction: its handles are stale from here on.
    pub(super) fn free_now(&mut self, index: u16) {
        let raised = u16::from(!fault!(KeepGeneration));
        let generation = (self.slot(index).generation() + raised).min(LAST_GENERATION);
        self.change_slot(index, |entry| entry.set_generation(generation));
        if let Some(resident) = self.resident(index) {
            let header = resident.header();
            if header.state & state::DIRTY != 0 {
                self.dirty -= self.dirty_cost(index, header.state);
                if header.word & flag::UNWRITTEN == 0 {
                    self.debt -= 1;
                }
                if header.word & flag::PENDING == 0 {
                    self.dirty -= ENTRY_BYTES;
                }
                resident.update(|header| header.state &= !(state::DIRTY | state::PARTIAL));
            }
            resident.update(|header| header.state &= !(state::UNAPPLIED | state::TRANSACTION));
            if header.pins == 0 {
                self.drop_copy(index);
            }
        }
        let word = self.word(index);
        let entry = self.slot(index);
        let unknown = word & flag::UNWRITTEN != 0 || self.is_passing(word);
        if unknown && word & flag::HAS_ITEM == 0 && self.resident(index).is_none() {
            self.space_free(entry.place(), entry.units());
            self.release_slot(index, word & flag::PENDING);
            return;
        }
        self.set_flags(index, flag::DEAD, 0);
        self.record_death(index);
    }

    /// Puts a dead object's place on the pending list if there is room; otherwise it stays a zombie.
    pub(super) fn record_death(&mut self, index: u16) -> bool {
        let entry = self.slot(index);
        let pending = self.word(index) & flag::PENDING != 0;
        let bytes = if pending { 0 } else { ENTRY_BYTES };
        if self.admit(bytes, 1).is_err() {
            self.zombies += 1;
            return false;
        }
        if fault!(ReuseFreedPlaceEarly) {
            self.space_free(entry.place(), entry.units());
        }
        self.push_item(index, if fault!(ReuseFreedPlaceEarly) { NO_PLACE } else { entry.place() });
        self.change_slot(index, |entry| entry.place = NO_PLACE);
        self.dirty += bytes;
        true
    }

    /// Makes a slot free; a generation that is used up retires it.
    pub(super) fn release_slot(&mut self, index: u16, flags: u16) {
        let generation = self.slot(index).generation();
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
                self.release_slot(index, 0);
            }
        }
    }
}
