//! The RAM that a heap works in, sized by the application.

use crate::attention::Attention;
use crate::engine::TypeKey;
use crate::entry::{Entry, Item};
use core::mem::MaybeUninit;

/// What the heap knows of a type of the image.
#[derive(Clone, Copy, Debug, Default)]
pub struct TypeInfo {
    low: u32,
    /// The upper bits of the fingerprint but for three, which are flags: whether the row is used, whether objects of the type may
    /// hold links, and whether it is a slice type.
    high: u32,
    /// The program's key of this type, once it has used it: the same key is the same type, without a look at fingerprints.
    key: Option<&'static TypeKey>,
}

impl TypeInfo {
    /// An unused row of the type table.
    pub const EMPTY: Self = Self { low: 0, high: 0, key: None };
    const USED: u32 = 1;
    const LINKS: u32 = 2;
    const SLICE: u32 = 4;

    /// A row for the type with this fingerprint.
    #[must_use]
    pub const fn new(fingerprint: u64, has_links: bool, is_slice: bool) -> Self {
        let flags = Self::USED | if has_links { Self::LINKS } else { 0 } | if is_slice { Self::SLICE } else { 0 };
        Self { low: fingerprint as u32, high: (fingerprint >> 32) as u32 & !7 | flags, key: None }
    }

    /// The row of a type that the program uses.
    pub(crate) const fn of(key: &'static TypeKey) -> Self {
        let mut info = Self::new(key.fingerprint, key.has_links, key.is_slice);
        info.key = Some(key);
        info
    }

    /// Whether `key` is known to be this type's.
    #[inline]
    pub(crate) fn has_key(&self, key: &'static TypeKey) -> bool {
        self.key.is_some_and(|known| core::ptr::eq(known, key))
    }

    /// Whether `key` is this type's: then it will be known.
    pub(crate) fn learns_key(&mut self, key: &'static TypeKey) -> bool {
        let same = self.has_fingerprint(key.fingerprint);
        if same {
            self.key = Some(key);
        }
        same
    }

    /// Whether the row names a type.
    #[must_use]
    pub const fn is_used(&self) -> bool {
        self.high & Self::USED != 0
    }

    /// Whether the row names the type with this CRC-64 of its schema: 61 bits of it are known.
    #[must_use]
    pub const fn has_fingerprint(&self, fingerprint: u64) -> bool {
        self.is_used() && self.low == fingerprint as u32 && (self.high ^ (fingerprint >> 32) as u32) & !7 == 0
    }

    /// Whether objects of the type may hold links.
    #[must_use]
    pub const fn has_links(&self) -> bool {
        self.high & Self::LINKS != 0
    }

    /// Whether the type is a slice, with dirtiness by element.
    #[must_use]
    pub const fn is_slice(&self) -> bool {
        self.high & Self::SLICE != 0
    }
}

/// Bytes of a root on storage and in RAM.
pub const ROOT_BYTES: usize = 16;

/// All RAM of a heap besides its handle: tables and the arena that holds resident objects.
///
/// | parameter | meaning | bytes of RAM each |
/// |---|---|---|
/// | `OBJECTS` | slots of the object table (slot 0 and one per type are the heap's own) | 8 |
/// | `PENDING` | places that may be left between two commits; also the most objects changed by one commit | 4 |
/// | `TYPES` | types in the image | 12, or 16 with pointers of 8 |
/// | `ROOTS` | named roots, at most 32 | 16 |
/// | `ARENA_WORDS` | words of the arena; a resident object takes 16 bytes and its own, slices 1/64 more | 8 |
pub struct Memory<
    const OBJECTS: usize,
    const PENDING: usize,
    const TYPES: usize,
    const ROOTS: usize,
    const ARENA_WORDS: usize,
> {
    entries: [Entry; OBJECTS],
    items: [Item; PENDING],
    types: [TypeInfo; TYPES],
    roots: [[u8; ROOT_BYTES]; ROOTS],
    attention: Attention,
    arena: [MaybeUninit<u64>; ARENA_WORDS],
}

/// The parts of a [`Memory`], borrowed.
pub struct Parts<'m> {
    /// The object table.
    pub entries: &'m mut [Entry],
    /// The pending list.
    pub items: &'m mut [Item],
    /// The type table.
    pub types: &'m mut [TypeInfo],
    /// The roots.
    pub roots: &'m mut [[u8; ROOT_BYTES]],
    /// What a power-fail interrupt looks at.
    pub attention: &'m Attention,
    /// The arena.
    pub arena: &'m mut [MaybeUninit<u64>],
}

impl Parts<'_> {
    /// Slots of the object table, rows of the type table, roots.
    #[must_use]
    pub const fn sizes(&self) -> (u16, u8, u8) {
        (self.entries.len() as u16, self.types.len() as u8, self.roots.len() as u8)
    }
}

impl<const O: usize, const P: usize, const T: usize, const R: usize, const A: usize> Memory<O, P, T, R, A> {
    /// Fresh memory, usable in a `static`.
    ///
    /// # Panics
    ///
    /// At compile time, when evaluated in a `const`: more than 32,767 objects or pending places, 32 roots,
    /// 254 types, or 32,768 arena words, or no room for the heap's own slots.
    #[must_use]
    pub const fn new() -> Self {
        const {
            assert!(O <= 0x7FFF && P <= 0x7FFF, "at most 32,767 objects and pending places");
            assert!(O > T + 1, "slot 0 and one slot per type are the heap's own: more objects are needed");
            assert!(P >= 4, "at least 4 pending places are needed");
            assert!(T >= 1 && T <= 254, "1 to 254 types");
            assert!(R <= 32, "at most 32 roots");
            assert!(A <= 0x8000, "at most 32,768 words of arena (256 KiB)");
        }
        Self {
            entries: [Entry::EMPTY; O],
            items: [Item::EMPTY; P],
            types: [TypeInfo::EMPTY; T],
            roots: [[0; ROOT_BYTES]; R],
            attention: Attention::new(),
            arena: [const { MaybeUninit::uninit() }; A],
        }
    }
}

impl<const O: usize, const P: usize, const T: usize, const R: usize, const A: usize> Default for Memory<O, P, T, R, A> {
    fn default() -> Self {
        Self::new()
    }
}

/// RAM for a heap; it also sizes the short-lived buffers of a commit on the stack.
///
/// Implemented by [`Memory`], and by host tools for images of any size: at most 32,767 entries and items, 254 types, 32 roots, 32,768
/// words of arena.
pub trait Workspace {
    /// Entries of one record.
    type Entries: AsMut<[[u8; 8]]>;
    /// Roots of one record.
    type Roots: AsMut<[[u8; ROOT_BYTES]]>;

    /// An empty list of entries.
    fn record_entries() -> Self::Entries;
    /// An empty list of roots.
    fn record_roots() -> Self::Roots;
    /// Borrows the parts.
    fn parts(&mut self) -> Parts<'_>;
}

impl<const O: usize, const P: usize, const T: usize, const R: usize, const A: usize> Workspace
    for Memory<O, P, T, R, A>
{
    type Entries = [[u8; 8]; P];
    type Roots = [[u8; ROOT_BYTES]; R];

    fn record_entries() -> Self::Entries {
        [[0; 8]; P]
    }

    fn record_roots() -> Self::Roots {
        [[0; ROOT_BYTES]; R]
    }

    fn parts(&mut self) -> Parts<'_> {
        Parts {
            entries: &mut self.entries,
            items: &mut self.items,
            types: &mut self.types,
            roots: &mut self.roots,
            attention: &self.attention,
            arena: &mut self.arena,
        }
    }
}
