//! RAM for a heap whose sizes only its image tells.

use std::mem::MaybeUninit;
use vnv_core::entry::{Entry, Item};
use vnv_core::{Attention, Parts, ROOT_BYTES, TypeInfo};
use vnv_persist::{Layout, Workspace};

/// Largest arena: 256 KiB.
const ARENA_WORDS: usize = 0x8000;

/// Tables as large as a layout says, and the largest arena.
pub struct Tables {
    entries: Vec<Entry>,
    items: Vec<Item>,
    types: Vec<TypeInfo>,
    roots: Vec<[u8; ROOT_BYTES]>,
    attention: Attention,
    arena: Vec<MaybeUninit<u64>>,
}

impl Tables {
    /// Tables for an image.
    pub fn new(layout: &Layout) -> Self {
        let (objects, types, roots) = layout.sizes();
        Self {
            entries: vec![Entry::EMPTY; objects.into()],
            items: vec![Item::EMPTY; usize::from(objects).max(4)],
            types: vec![TypeInfo::EMPTY; types.into()],
            roots: vec![[0; ROOT_BYTES]; roots.into()],
            attention: Attention::new(),
            arena: vec![MaybeUninit::uninit(); ARENA_WORDS],
        }
    }
}

/// A recovery changes at most every object, every type, every root.
const MOST: usize = 0x8000;

impl Workspace for Tables {
    type Entries = Vec<[u8; 8]>;
    type Roots = Vec<[u8; ROOT_BYTES]>;

    fn record_entries() -> Vec<[u8; 8]> {
        vec![[0; 8]; MOST]
    }

    fn record_roots() -> Vec<[u8; ROOT_BYTES]> {
        vec![[0; ROOT_BYTES]; 32]
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
