//! Collection: which objects a root or a handle still leads to. Two colour bitmaps in the arena, no recursion,
//! no work list.

use super::{Engine, EngineError, TypeKey};
use crate::arena::{Bits, Resident, arena_words, state};
use crate::block::{BlockHeader, HEADER};
use crate::entry::{ObjectId, SCHEMA_TYPE, flag};
use crate::error::Error;
use crate::memory::TypeInfo;
use crate::policy::Policy;
use crate::schema::{Schema, SchemaError};
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// The colours of a running collection: white (not reached), grey (reached), black (reached and traced).
#[derive(Debug)]
pub(super) struct Marks {
    offset: u16,
    words: u16,
    next: u16,
    /// They were put where nothing else was resident: it cannot get better.
    packed: bool,
}

impl Marks {
    /// The arena range of the bitmaps.
    pub fn range(&self) -> (u16, u16) {
        (self.offset, self.words)
    }
}

/// Looks at an object with its schema.
pub type Look<'l, E> = &'l mut dyn FnMut(&E, &Schema<'_>, &[u8]) -> Result<(), SchemaError>;

/// What a step of a collection came to.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Collected {
    /// There is more to do.
    Running,
    /// The cycle is complete; so many objects were freed.
    Done(u16),
}

impl<D, P, R, S> Engine<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    fn colours(&self) -> Option<Bits> {
        let marks = self.marks.as_ref()?;
        // SAFETY: the range was allocated for the bitmaps when the cycle began, with one header word in front,
        // and is given back only at its end.
        Some(unsafe { self.arena.at(marks.offset).bits((usize::from(marks.words) - 1) * 8) })
    }

    fn colour(&self, index: u16, black: bool) -> bool {
        self.colours().is_some_and(|bits| bits.get(usize::from(index) * 2 + usize::from(black)))
    }

    fn set_colour(&self, index: u16, black: bool, set: bool) {
        if let Some(bits) = self.colours() {
            bits.set(usize::from(index) * 2 + usize::from(black), set);
        }
    }

    /// An object was reached, or changed: it has to be traced (again).
    pub fn mark_grey(&self, index: u16) {
        if self.marks.is_some() {
            self.set_colour(index, false, true);
            self.set_colour(index, true, false);
        }
    }

    /// Ends a cycle without freeing anything.
    pub fn end_marks(&mut self) {
        if let Some(marks) = self.marks.take() {
            self.attention.set_collection(false);
            self.ram_free(marks.offset, marks.words);
        }
    }

    /// Gives up the cycle that is running, if there is one, for the room that its colours take; the next step begins a new one.
    pub fn abandon_collection(&mut self) -> bool {
        let runs = self.marks.is_some();
        self.end_marks();
        runs
    }

    /// Begins a cycle if none is running: 1 + slots / 32 words of arena until its end.
    ///
    /// # Errors
    ///
    /// [`Error::RamFull`] and errors of evicting.
    pub fn begin_marks(&mut self) -> Result<(), EngineError<D>> {
        if self.marks.is_some() {
            return Ok(());
        }
        let words = arena_words(self.colour_bytes(), false);
        let offset = self.ram_allocate(words)?;
        self.attention.set_collection(true);
        self.marks = Some(Marks { offset, words: words as u16, next: 0, packed: false });
        if let Some(bits) = self.colours() {
            bits.clear();
        }
        Ok(())
    }

    /// Reaches `target` if it is a live object that was white.
    fn reach(&self, target: ObjectId) {
        if self.id(target.index) == Some(target) && !self.colour(target.index, false) {
            self.mark_grey(target.index);
        }
    }

    /// Traces one grey object, or sweeps if there is none. At most one object and its schema are loaded.
    ///
    /// `roots` names the objects that roots lead to. Must not be called in a transaction.
    ///
    /// # Errors
    ///
    /// As a load; a damaged object ends the cycle, and nothing is freed.
    pub fn collect_step(&mut self, roots: &mut dyn Iterator<Item = ObjectId>) -> Result<Collected, EngineError<D>> {
        self.begin_marks()?;
        for root in roots {
            self.reach(root);
        }
        for index in 0..self.used {
            // A program that is resumed goes on with its guards: what they refer to stays.
            let guarded = self.geometry.guards != 0 && self.is_pinned(index);
            if (guarded || self.word(index) & flag::OWNED != 0)
                && let Some(id) = self.id(index)
            {
                self.reach(id);
            }
        }
        let first = self.marks.as_ref().map_or(0, |marks| marks.next);
        let grey = (first..self.used)
            .chain(0..first)
            .find(|&index| self.colour(index, false) && !self.colour(index, true) && self.is_live(index));
        let Some(index) = grey else { return Ok(Collected::Done(self.sweep())) };
        if let Some(marks) = &mut self.marks {
            marks.next = index;
        }
        match self.trace(index) {
            Ok(()) => Ok(Collected::Running),
            // It is being changed right now, or power is failing: it stays grey for the next step.
            Err(error @ (Error::AlreadyBorrowed | Error::Interrupted)) => Err(error),
            // The colours may lie in the middle of what is free: the cycle starts again, with them at the edge.
            Err(Error::RamFull) if self.marks.as_ref().is_some_and(|marks| !marks.packed) => {
                self.end_marks();
                self.evict_all()?;
                self.begin_marks()?;
                if let Some(marks) = &mut self.marks {
                    marks.packed = true;
                }
                Ok(Collected::Running)
            }
            Err(error) => {
                self.end_marks();
                Err(error)
            }
        }
    }

    fn trace(&mut self, index: u16) -> Result<(), EngineError<D>> {
        let type_index = self.slot(index).type_index();
        if type_index != SCHEMA_TYPE {
            let info = self.type_info(type_index).copied().ok_or(Error::Damaged { index })?;
            self.set_colour(u16::from(type_index), false, true);
            if info.has_links() {
                self.trace_links(index, u16::from(type_index), &mut |engine, _, target| engine.reach(target))?;
            }
        }
        // Only now: the policy may panic in a load.
        self.set_colour(index, true, true);
        Ok(())
    }

    /// Visits the links in a live object (offset, target), which is loaded and checked on the way.
    ///
    /// # Errors
    ///
    /// As a load; [`Error::Damaged`].
    pub fn visit_links(
        &mut self,
        index: u16,
        visit: &mut dyn FnMut(&Self, u32, ObjectId),
    ) -> Result<(), EngineError<D>> {
        let type_index = self.slot(index).type_index();
        if type_index == SCHEMA_TYPE || !self.type_info(type_index).is_some_and(TypeInfo::has_links) {
            return self.object_bytes(index).map(|_| ());
        }
        self.trace_links(index, u16::from(type_index), visit)
    }

    fn trace_links(
        &mut self,
        index: u16,
        schema: u16,
        visit: &mut dyn FnMut(&Self, u32, ObjectId),
    ) -> Result<(), EngineError<D>> {
        self.view(index, schema, &mut |engine, schema, object| {
            schema.links(object, &mut |site| {
                visit(engine, site.offset, ObjectId { index: site.index, generation: site.generation });
            })
        })
    }

    /// Shows a live object and the schema of its type. It is loaded on the way, and checked as far as `look` checks it.
    ///
    /// # Errors
    ///
    /// As a load; [`Error::Damaged`], also if `look` finds that the bytes do not fit the schema.
    pub fn view(&mut self, index: u16, schema: u16, look: Look<'_, Self>) -> Result<(), EngineError<D>> {
        match self.load_with_schema(index, schema) {
            // Both fit, but not around what is resident: all else leaves, and they lie next to each other.
            Err(Error::RamFull) => {
                self.evict_all()?;
                self.load_with_schema(index, schema)?;
            }
            loaded => loaded?,
        }
        let (Some(object), Some(schema)) = (self.resident(index), self.resident(schema)) else {
            return Err(Error::Damaged { index });
        };
        let (object, schema) = (object_of(object), object_of(schema));
        let schema = Schema::parse(schema).map_err(|_| Error::Damaged { index })?;
        let walked = look(self, &schema, object);
        if walked.is_err() {
            // It was loaded without a type: `get` must not find it resident, and unchecked.
            self.discard(index);
        }
        walked.map_err(|_| Error::Damaged { index })
    }

    fn load_with_schema(&mut self, index: u16, schema: u16) -> Result<(), EngineError<D>> {
        self.object_bytes(schema)?;
        let pinned = self.pin(schema);
        let loaded = self.object_bytes(index).map(|_| ());
        if pinned {
            self.unpin(schema);
        }
        loaded
    }

    /// Whether an object with links, of so many bytes (at most 2^16), could be traced: the colours, its schema, and the object are resident
    /// together.
    ///
    /// # Errors
    ///
    /// [`Error::RamFull`]
    pub(super) fn check_traceable(&self, size: usize, key: &TypeKey) -> Result<(), EngineError<D>> {
        // An allocator that takes more than it is asked for does so here.
        let taken = |words: usize| u16::try_from(words).map_or(usize::MAX, |words| self.ram.rounded(words).into());
        let words = taken(arena_words(self.block_for(size), key.is_slice))
            .saturating_add(taken(arena_words(self.block_for(key.schema.len()), false)))
            .saturating_add(taken(arena_words(self.colour_bytes(), false)));
        if words > usize::from(self.arena.words()) { Err(Error::RamFull) } else { Ok(()) }
    }

    /// Bytes of the bitmaps.
    const fn colour_bytes(&self) -> usize {
        (self.entries.len() * 2).div_ceil(64) * 8
    }

    /// Drops a clean copy that nobody has borrowed.
    fn discard(&mut self, index: u16) {
        let changed = state::DIRTY | state::UNAPPLIED;
        let unchanged = |copy: Resident| copy.header().pins == 0 && copy.header().state & changed == 0;
        if self.resident(index).is_some_and(unchanged) {
            self.drop_copy(index);
        }
    }

    /// Frees what is white, schemas of types without objects included.
    fn sweep(&mut self) -> u16 {
        let mut freed = 0;
        for index in 1..self.used {
            if self.is_live(index) && !self.colour(index, false) {
                let row = usize::from(index) - 1;
                if let Some(info) = self.types.get_mut(row) {
                    *info = TypeInfo::EMPTY;
                } else {
                    freed += 1;
                }
                self.free(index);
            }
        }
        self.end_marks();
        freed
    }
}

fn object_of<'a>(resident: Resident) -> &'a [u8] {
    // SAFETY: both objects were loaded a moment ago and no mutable guard is open on them (`object_bytes` has
    // checked); visitors only set colours or look at the table: nothing is evicted meanwhile.
    unsafe {
        let size = usize::from(BlockHeader::from_bytes(resident.block_bytes(HEADER)).size);
        resident.block_bytes(HEADER + size).get(HEADER..).unwrap_or_default()
    }
}
