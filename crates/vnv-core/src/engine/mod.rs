//! The engine: object table, residency, dirty accounting. It knows objects by slot and bytes, not by Rust types,
//! and leaves *when* to commit to the layer above: an operation that a commit would help fails with an error for
//! which [`Error::commit_may_help`] holds, and changes nothing.

mod admit;
mod batch;
mod bus;
mod change;
mod changed;
mod commit;
mod hit;
mod load;
mod pending;
mod residents;
mod resume;
mod rising;
mod room;
mod snapshot;
mod space;
mod sync;
mod trace;
mod types;
mod undo;

pub use bus::{SAFE_POINT_BYTES, zeros};
pub use changed::Changed;
pub use commit::DELTA_BYTES;
pub use resume::KEPT_BYTES;
pub use snapshot::{PARTIAL, SnapshotPlan};
pub use trace::Collected;

pub use crate::entry::{ENTRY_BYTES, MOVED_BYTES};

use crate::arena::{Arena, GONE, Resident, state};
use crate::attention::Attention;
use crate::block::{HEADER, Identity};
use crate::entry::{Entry, Item, ObjectId, SCHEMA_TYPE, TAG_MASK, flag};
use crate::error::Error;
use crate::memory::TypeInfo;
use crate::policy::Policy;
use core::cell::RefCell;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// Most bytes of a snapshot besides entries, roots and objects: record header, length of the directory, bitmap of freed
/// slots.
#[must_use]
pub const fn snapshot_fixed(objects: u16) -> u32 {
    26 + (objects as u32).div_ceil(64) * 8
}

/// Where the data area lies, and how much may be dirty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Geometry {
    /// [`seed`](crate::block::seed) of the format's epoch, in the checksums of blocks.
    pub seed: u32,
    /// Bytes of a unit, a power of two, at least 8 and a row.
    pub unit: u32,
    /// Bytes of a row: what a torn write may destroy.
    pub row: u32,
    /// First unit of the data area.
    pub data_start: u16,
    /// Units of the data area.
    pub data_units: u16,
    /// Dirty limit in bytes.
    pub dirty_limit: u32,
    /// Whether deltas may be applied in place (rows of at most 8 bytes).
    pub deltas: bool,
    /// Most objects that may be pinned at once, for a resume record; 0: no resume records, and no limit.
    pub guards: u16,
}

impl Geometry {
    /// Bytes that a resume record takes for each object that comes back to its address.
    const fn resume_bytes(&self) -> u32 {
        if self.guards == 0 { 0 } else { KEPT_BYTES }
    }

    /// Bytes that a resume record takes besides dirty objects.
    #[must_use]
    pub const fn resume_fixed(guards: u16) -> u32 {
        if guards == 0 { 0 } else { 2 + KEPT_BYTES * guards as u32 }
    }
}

/// What an operation has to know of the type of an object. Only [`type_key`](crate::type_key) makes those with which objects are
/// read: guards rely on what is in them.
#[derive(Clone, Copy, Debug)]
pub struct TypeKey {
    pub(crate) fingerprint: u64,
    pub(crate) schema: &'static [u8],
    /// Whether values may hold links.
    pub(crate) has_links: bool,
    pub(crate) is_slice: bool,
    /// Whether bytes are a valid value.
    pub(crate) is_valid: fn(&[u8]) -> bool,
}

impl TypeKey {
    /// A type without links that is known by its schema only: it can be entered, no bytes are a valid value of it.
    #[must_use]
    pub const fn of_schema(schema: &'static [u8]) -> Self {
        let fingerprint = crate::schema::fingerprint(schema);
        Self { fingerprint, schema, has_links: false, is_slice: false, is_valid: |_| false }
    }

    /// CRC-64 of the schema.
    #[must_use]
    pub const fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}

/// The object engine over a device, an eviction policy, an arena allocator and a storage allocator.
pub struct Engine<'m, D, P, R, S> {
    /// Behind a cell, so that the device can write what the engine holds.
    device: RefCell<D>,
    /// Its dirty limit is what that leaves for entries, roots and objects.
    geometry: Geometry,
    /// Bytes of a unit (below), and slots of a group, as powers of two of 4 bits.
    shifts: u8,
    /// Snapshot bytes of a dirty object besides those of its block, its entry aside: may be negative.
    whole_extra: i8,
    entries: &'m mut [Entry],
    items: &'m mut [Item],
    types: &'m mut [TypeInfo],
    arena: Arena<'m>,
    ram: R,
    space: S,
    policy: P,
    /// Slots below this were used at some time.
    used: u16,
    /// First free slot; the chain goes on through the slots' places. 0: none.
    free_slots: u16,
    items_len: u16,
    /// Dirty objects whose sync will push an item.
    debt: u16,
    /// Snapshot bytes of entries and dirty objects.
    dirty: u32,
    /// Snapshot bytes of changed roots.
    root_dirty: u32,
    /// Freed slots that the pending list had no room for.
    zombies: u16,
    /// Length of the pending list when the running transaction began.
    mark: Option<u16>,
    /// Groups of slots that may have changed since the last commit.
    changed_groups: u32,
    /// Tag of the next record.
    tag: u16,
    /// Where the next fresh place is looked for.
    cursor: u16,
    /// Colours of the running collection.
    marks: Option<trace::Marks>,
    attention: &'m Attention,
    /// A rebuild of an allocator was interrupted, or put off: it has to be done before it is asked again.
    space_stale: bool,
    ram_stale: bool,
    /// Objects are being chosen for a batch, or written.
    in_batch: bool,
    /// Copies that have left the arena since its allocator was rebuilt, at most 255.
    copies_dropped: u8,
    /// Something in a transaction failed that would fit after a commit.
    commit_awaited: bool,
    /// Where a record stands that may be valid although its write failed; 0: nowhere.
    doubtful: u32,
}

/// Bytes of RAM that the engine takes besides its memory: see the formula in the crate documentation.
pub type EngineError<D> = Error<<D as vnv_storage::embedded_storage::ReadStorage>::Error>;

impl<'m, D, P, R, S> Engine<'m, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// An engine with an empty table.
    pub fn new(
        device: D,
        mut geometry: Geometry,
        (entries, items, types): (&'m mut [Entry], &'m mut [Item], &'m mut [TypeInfo]),
        (arena, attention): (&'m mut [core::mem::MaybeUninit<u64>], &'m Attention),
        (mut ram, mut space, policy): (R, S, P),
    ) -> Self {
        let arena = Arena::new(arena);
        attention.reset(geometry.guards != 0);
        entries.fill(Entry::EMPTY);
        types.fill(TypeInfo::EMPTY);
        ram.reset(arena.words());
        space.reset(geometry.data_units);
        let used = types.len() as u16 + 1;
        let fixed = snapshot_fixed(entries.len() as u16) + Geometry::resume_fixed(geometry.guards);
        geometry.dirty_limit = geometry.dirty_limit.saturating_sub(fixed);
        let entries_len = entries.len();
        Self {
            device: RefCell::new(device),
            geometry,
            whole_extra: geometry.resume_bytes() as i8 - 6,
            // A unit has at most 2^15 bytes, a table less than 2^15 slots.
            shifts: (geometry.unit.trailing_zeros() as u8 & 15) | (changed::shift(entries_len) as u8) << 4,
            entries,
            items,
            types,
            arena,
            ram,
            space,
            policy,
            used,
            free_slots: 0,
            items_len: 0,
            debt: 0,
            dirty: 0,
            root_dirty: 0,
            zombies: 0,
            mark: None,
            changed_groups: 0,
            tag: 1,
            cursor: 0,
            marks: None,
            attention,
            space_stale: false,
            ram_stale: false,
            in_batch: false,
            copies_dropped: 0,
            commit_awaited: false,
            doubtful: 0,
        }
    }

    /// The device.
    pub fn device(&mut self) -> &mut D {
        self.device.get_mut()
    }

    /// Lets the device write what the engine holds.
    ///
    /// # Errors
    ///
    /// The operation's own; [`Error::Reentered`] from inside itself.
    pub fn with_device<T>(
        &self,
        operation: impl FnOnce(&mut D, &Self) -> Result<T, EngineError<D>>,
    ) -> Result<T, EngineError<D>> {
        let mut device = self.device.try_borrow_mut().map_err(|_| Error::Reentered)?;
        operation(&mut device, self)
    }

    /// Gives the device back.
    pub fn into_device(self) -> D {
        self.device.into_inner()
    }

    /// The geometry; its dirty limit is what that leaves for entries, roots and objects.
    pub const fn geometry(&self) -> &Geometry {
        &self.geometry
    }

    /// Slots of the table that were used at some time (indices are below it).
    pub const fn used(&self) -> u16 {
        self.used
    }

    /// The entry in a slot.
    pub fn entry(&self, index: u16) -> Option<&Entry> {
        self.entries.get(usize::from(index)).filter(|_| index < self.used)
    }

    /// Whether the slot holds a live object.
    pub fn is_live(&self, index: u16) -> bool {
        self.entry(index).is_some_and(|entry| entry.type_index() != 0)
            && self.word(index) & (flag::DEAD | flag::FREED_IN_TRANSACTION) == 0
    }

    /// Whether the slot's object is resident.
    pub fn is_resident(&self, index: u16) -> bool {
        self.resident(index).is_some()
    }

    /// Whether the slot's object has changes that are not in storage.
    pub fn is_dirty(&self, index: u16) -> bool {
        self.dirty_copy(index).is_some()
    }

    /// The copy of an object that has changes that are not in storage.
    fn dirty_copy(&self, index: u16) -> Option<Resident> {
        self.resident(index).filter(|resident| resident.state() & state::DIRTY != 0)
    }

    /// The row of a type, 1 to the number of types.
    pub fn type_info(&self, type_index: u8) -> Option<&TypeInfo> {
        self.types.get(usize::from(type_index).checked_sub(1)?).filter(|info| info.is_used())
    }

    /// Sets the row of a type, while an image is being opened. Ignored while an object of the type is resident: its
    /// guards rely on the row.
    pub fn set_type_info(&mut self, type_index: u8, info: TypeInfo) {
        let in_use = |index: u16| self.slot(index).type_index() == type_index && self.is_resident(index);
        if (0..self.used).any(in_use) {
            return;
        }
        if let Some(row) = usize::from(type_index).checked_sub(1).and_then(|row| self.types.get_mut(row)) {
            *row = info;
        }
    }

    /// Number of rows of the type table.
    pub const fn type_rows(&self) -> u8 {
        self.types.len() as u8
    }

    /// Bytes that a snapshot now would write.
    pub const fn dirty_bytes(&self) -> u32 {
        let bytes = self.dirty + self.root_dirty;
        let deaths = if self.zombies == 0 { 0 } else { snapshot_fixed(self.entries.len() as u16) - snapshot_fixed(0) };
        let guards = self.geometry.guards;
        if bytes + deaths == 0 && guards == 0 {
            0
        } else {
            bytes + deaths + snapshot_fixed(0) + Geometry::resume_fixed(guards)
        }
    }

    /// Whether a transaction is running.
    pub const fn in_transaction(&self) -> bool {
        self.mark.is_some()
    }

    /// What a power-fail interrupt may look at.
    pub const fn attention(&self) -> &'m Attention {
        self.attention
    }

    /// Free units of the data area, and the largest free range; the allocator is rebuilt before if it has forgotten some.
    ///
    /// # Errors
    ///
    /// [`Error::Interrupted`].
    pub fn free_space(&mut self) -> Result<(u16, u16), EngineError<D>> {
        if self.space_stale || !self.space.is_complete() {
            self.rebuild_space()?;
        }
        Ok((self.space.free_units(), self.space.largest_free()))
    }

    /// Free words of the arena.
    pub fn free_ram(&self) -> u16 {
        self.ram.free_units()
    }

    /// The tag of the next record.
    pub const fn tag(&self) -> u16 {
        self.tag
    }

    /// Sets the tag of the next record, after opening.
    pub const fn set_tag(&mut self, tag: u16) {
        self.tag = tag % TAG_MASK;
    }

    /// Makes room for a changed root: 16 bytes.
    ///
    /// # Errors
    ///
    /// [`Error::DirtyLimit`].
    pub fn change_root(&mut self, bytes: u32) -> Result<(), EngineError<D>> {
        self.admit(bytes, 0)?;
        self.root_dirty += bytes;
        Ok(())
    }

    /// Takes back the room of changed roots, at a rollback.
    pub const fn set_root_dirty(&mut self, bytes: u32) {
        self.root_dirty = bytes;
    }

    /// Checks a handle against the table, without touching the object.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`].
    pub fn resolve(&self, id: ObjectId, fingerprint: u64) -> Result<u16, EngineError<D>> {
        let entry = self.entry_of(id).ok_or(Error::Stale)?;
        match self.type_info(entry.type_index()) {
            Some(info) if info.has_fingerprint(fingerprint) => Ok(id.index),
            _ => Err(Error::TypeMismatch),
        }
    }

    /// As [`resolve`](Self::resolve), for what the running transaction has not freed.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`].
    pub fn resolve_live(&self, id: ObjectId, fingerprint: u64) -> Result<u16, EngineError<D>> {
        let index = self.resolve(id, fingerprint)?;
        if self.is_live(index) { Ok(index) } else { Err(Error::Stale) }
    }

    /// The entry of an object, unless its slot is free or holds another one by now.
    pub(crate) fn entry_of(&self, id: ObjectId) -> Option<Entry> {
        let entry = self.slot(id.index);
        (entry.type_index() != 0 && entry.generation() == id.generation).then_some(entry)
    }

    /// The id of the live object in a slot.
    pub fn id(&self, index: u16) -> Option<ObjectId> {
        let entry = self.entry(index)?;
        self.is_live(index).then(|| ObjectId { index, generation: entry.generation() })
    }

    fn slot(&self, index: u16) -> Entry {
        self.entries.get(usize::from(index)).copied().unwrap_or(Entry::EMPTY)
    }

    fn change_slot(&mut self, index: u16, change: impl FnOnce(&mut Entry)) {
        if let Some(entry) = self.entries.get_mut(usize::from(index)) {
            change(entry);
        }
    }

    pub(crate) fn resident(&self, index: u16) -> Option<Resident> {
        self.copy_of(self.slot(index))
    }

    #[inline]
    fn copy_of(&self, entry: Entry) -> Option<Resident> {
        let offset = entry.resident_bytes()?;
        // SAFETY: arena invariant 2: the table holds only offsets of resident headers.
        Some(unsafe { self.arena.at_bytes(offset) })
    }

    /// Flags and tag.
    pub fn word(&self, index: u16) -> u16 {
        match self.resident(index) {
            Some(resident) => resident.header().word,
            None => self.slot(index).word(),
        }
    }

    fn set_word(&mut self, index: u16, word: u16) {
        if word & (flag::PENDING | flag::DEAD | flag::FREED_IN_TRANSACTION) != 0 {
            self.mark_changed(index);
        }
        match self.resident(index) {
            Some(resident) => resident.update(|header| {
                header.word = word;
                if word & flag::DEAD != 0 {
                    header.generation = GONE;
                }
            }),
            None => self.change_slot(index, |entry| entry.set_word(word)),
        }
    }

    fn set_flags(&mut self, index: u16, set: u16, clear: u16) {
        let word = self.word(index);
        self.set_word(index, (word & !clear) | set);
    }

    /// No handle on the stack owns the object any more, if it is still there. That holds also for an object that the running
    /// transaction has freed: a rollback brings it back, without an owner.
    pub fn disown(&mut self, id: ObjectId) {
        if self.entry_of(id).is_some() {
            self.set_flags(id.index, 0, flag::OWNED);
        }
    }

    fn identity(&self, index: u16, place: u16) -> Identity {
        let entry = self.slot(index);
        Identity { index, generation: entry.generation(), type_index: entry.type_index(), place }
    }

    /// Snapshot bytes of a dirty object whose block has so many bytes, its entry aside.
    const fn whole_bytes(&self, block_len: usize) -> u32 {
        (block_len as u32).wrapping_add_signed(self.whole_extra as i32)
    }

    const fn unit_shift(&self) -> u8 {
        self.shifts & 15
    }

    fn block_len(&self, index: u16) -> usize {
        usize::from(self.slot(index).units()) << self.unit_shift()
    }

    /// Byte offset of a place.
    pub const fn offset_of(&self, place: u16) -> u32 {
        place as u32 * self.geometry.unit
    }

    /// Bytes of the block of an object of so many bytes (at most 2^16).
    const fn block_for(&self, size: usize) -> usize {
        let unit = self.geometry.unit as usize;
        (HEADER + size + unit - 1) & !(unit - 1)
    }

    fn is_slice(&self, type_index: u8) -> bool {
        type_index != SCHEMA_TYPE && self.type_info(type_index).is_some_and(TypeInfo::is_slice)
    }
}
