//! Entries of commit and snapshot records.

use crate::layout::RECORD_HEADER;
use crate::record::{RecordHeader, read_array};
use crate::replay::restore_entry;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::Engine;
use vnv_core::entry::{ENTRY_BYTES, Entry, LAST_GENERATION, MOVED, MOVED_BYTES, NO_PLACE};
use vnv_core::{Error, Policy};
use vnv_storage::Device;

/// The entries of a record that were not read yet.
pub(crate) struct Entries {
    at: u32,
    end: u32,
}

/// An entry, and whose it is.
#[derive(Clone, Copy)]
pub(crate) struct RecordEntry {
    /// The slot.
    pub index: u16,
    /// All of the entry, or only the place of an object that the slot has already.
    moved: bool,
    /// All of it lies inside the record's entries.
    whole: bool,
    bytes: [u8; 6],
}

impl Entries {
    /// Those of the record at `at`.
    pub const fn of(at: u32, header: &RecordHeader) -> Self {
        Self { at: at + RECORD_HEADER, end: at + header.roots_at() }
    }

    /// The next one, in one read of at most 8 bytes. `None`: there are no more.
    pub fn next<D: Device>(&mut self, device: &mut D) -> Result<Option<RecordEntry>, Error<D::Error>>
    where
        D::Error: Debug,
    {
        let left = self.end.saturating_sub(self.at);
        let [i0, i1, bytes @ ..] = match left {
            0 => return Ok(None),
            1..8 => {
                let [a, b, c, d] = read_array(device, self.at)?;
                [a, b, c, d, 0, 0, 0, 0]
            }
            _ => read_array(device, self.at)?,
        };
        let index = u16::from_le_bytes([i0, i1]);
        let moved = index & MOVED != 0;
        let length = if moved { MOVED_BYTES } else { ENTRY_BYTES };
        self.at += length;
        Ok(Some(RecordEntry { index: index & !MOVED, moved, whole: length <= left, bytes }))
    }
}

impl RecordEntry {
    /// Enters it into the table, if it is possible.
    pub fn restore<D, P, R, S>(self, engine: &mut Engine<'_, D, P, R, S>, tag: u16) -> bool
    where
        D: Device,
        D::Error: Debug,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        let mut entry = Entry::from_bytes(self.bytes, tag);
        if self.moved {
            // A slot that was not used before has generation 0.
            let old = engine.entry(self.index).copied().unwrap_or(Entry::EMPTY);
            let place = entry.place();
            entry = if place == NO_PLACE {
                Entry::new(NO_PLACE, (old.generation() + 1).min(LAST_GENERATION), 0, 0, 0)
            } else {
                Entry::new(place, old.generation(), old.units(), old.type_index(), tag)
            };
        }
        self.whole && restore_entry(engine, self.index, entry)
    }
}
