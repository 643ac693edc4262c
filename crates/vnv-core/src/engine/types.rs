//! The type table: the rows of the types that the program uses, and the schemas that stand for them in storage.

use super::{Engine, EngineError, TypeKey};
use crate::block::HEADER;
use crate::entry::{Item, NO_PLACE};
use crate::error::Error;
use crate::memory::TypeInfo;
use crate::policy::{Advice, Policy};
use crate::schema::Schema;
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
    /// The row of a type; a type new to the image is entered, with its schema as an object.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn type_of(&mut self, key: &'static TypeKey) -> Result<u8, EngineError<D>> {
        match self.known_type(key) {
            Some(row) => Ok(row),
            None => self.enter_type(key),
        }
    }

    #[inline]
    pub(super) fn known_type(&self, key: &'static TypeKey) -> Option<u8> {
        let mut rows = (1u32..).zip(self.types.iter());
        rows.find(|(_, info)| info.has_key(key)).map(|(row, _)| row as u8)
    }

    /// The row of a type that the program uses for the first time.
    #[cold]
    #[inline(never)]
    fn enter_type(&mut self, key: &'static TypeKey) -> Result<u8, EngineError<D>> {
        if let Some(row) = self.types.iter_mut().position(|info| info.learns_key(key)) {
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
        let (_, resident) = self.admit_carefully(key.schema.len(), None, index)?;
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
                self.retract(index);
            }
            written?;
        }
        self.set_type_info(row, TypeInfo::of(key));
        // Only a collection looks at it. Last, for the policy may panic.
        self.advise(index, Advice::WontNeed);
        Ok(row)
    }

    /// Takes back an admission that nobody knows of yet: in a transaction too, slot and place are free at once.
    fn retract(&mut self, index: u16) {
        let mark = self.mark.take();
        self.free(index);
        self.mark = mark;
        // If the slot had an item already, the one of this transaction says nothing.
        let own = self.items.get(usize::from(self.mark.unwrap_or(self.items_len))..usize::from(self.items_len));
        let last = own.and_then(<[Item]>::last);
        if last.is_some_and(|item| item.index() == index && item.place == NO_PLACE && !item.is_first()) {
            self.items_len -= 1;
        }
    }

    /// Whether a copy of an object of this type, freed or not, is in RAM.
    fn has_resident_of(&mut self, row: u8) -> bool {
        self.release_buried();
        (0..self.used).any(|index| self.slot(index).type_index() == row && self.is_resident(index))
    }
}
