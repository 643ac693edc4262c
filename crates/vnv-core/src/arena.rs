//! The RAM arena: the only module that reads and writes resident copies through raw pointers.
//!
//! # Invariants
//!
//! 1. `base` points to `words` words that belong to the arena alone for `'m`.
//! 2. A [`Resident`] is made only for an offset at which `insert` wrote a resident header, of a block that
//!    lies wholly inside the arena and is not yet returned to the allocator; blocks do not overlap.
//! 3. All bytes from the resident header to the end of the block are initialised, except the object's bytes
//!    while a mutable guard (pins = 255) or an initialiser owns them.
//! 4. A `&mut` to object bytes exists only while pins = 255, made by that guard; the bytes are read or
//!    written here only while pins is not 255. Headers and bitmaps are reached by raw pointer only.
//!
//! Layout of a resident copy, in 8-byte words: resident header (1), block (header 1, object), granule bitmap (slices).

use crate::attention::Attention;
use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Pins of an object that a mutable guard holds.
pub(crate) const MUTABLE: u8 = 255;

/// Bits of the resident state.
pub(crate) mod state {
    /// The copy differs from storage.
    pub const DIRTY: u8 = 1;
    /// Only the granules of the bitmap differ.
    pub const PARTIAL: u8 = 2;
    /// A committed delta has not been applied to the place yet: its granules stand in the bitmap.
    pub const UNAPPLIED: u8 = 4;
    /// Changed by the running transaction.
    pub const TRANSACTION: u8 = 8;
    /// The object is a slice: a granule bitmap follows the block.
    pub const SLICE: u8 = 16;
    /// Chosen for the running batch of writes.
    pub const BATCH: u8 = 32;
}

/// The 8 bytes in front of a resident block.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub(crate) struct ResidentHeader {
    pub index: u16,
    /// Flags and tag, as in the entry of an object that is not resident.
    pub word: u16,
    pub pins: u8,
    pub state: u8,
    /// The policy's own.
    pub hint: u16,
}

/// The arena.
pub(crate) struct Arena<'m> {
    base: NonNull<u64>,
    words: u16,
    _memory: PhantomData<&'m mut [MaybeUninit<u64>]>,
}

// SAFETY: the arena owns its memory exclusively (invariant 1), like a `&mut`.
unsafe impl Send for Arena<'_> {}

impl<'m> Arena<'m> {
    pub fn new(memory: &'m mut [MaybeUninit<u64>]) -> Self {
        let words = memory.len().min(0x8000) as u16;
        // The whole arena starts initialised, so that padding and bitmaps may always be read.
        memory.fill(MaybeUninit::new(0));
        Self { base: NonNull::from(memory).cast(), words, _memory: PhantomData }
    }

    pub const fn words(&self) -> u16 {
        self.words
    }

    /// First byte, and size in bytes.
    pub const fn region(&self) -> (*mut u8, usize) {
        (self.base.as_ptr().cast(), self.words as usize * 8)
    }

    /// The resident copy at `offset`.
    ///
    /// # Safety
    ///
    /// Invariant 2 holds for `offset`, or the caller is about to write its header there.
    pub unsafe fn at(&self, offset: u16) -> Resident {
        // SAFETY: invariants 1 and 2: the offset lies inside the arena.
        Resident { header: unsafe { self.base.add(usize::from(offset)) }.cast() }
    }
}

/// A resident copy. Copyable; valid until the block is returned to the allocator (invariant 2).
#[derive(Clone, Copy, Debug)]
pub(crate) struct Resident {
    header: NonNull<ResidentHeader>,
}

impl Resident {
    pub fn header(self) -> ResidentHeader {
        // SAFETY: invariants 2 and 3: an initialised header stands here.
        unsafe { self.header.read() }
    }

    /// Flags and tag.
    #[inline]
    pub fn word(self) -> u16 {
        // SAFETY: as in `header`.
        unsafe { (&raw const (*self.header.as_ptr()).word).read() }
    }

    #[inline]
    pub fn state(self) -> u8 {
        // SAFETY: as in `header`.
        unsafe { (&raw const (*self.header.as_ptr()).state).read() }
    }

    #[inline]
    pub fn pins(self) -> u8 {
        // SAFETY: as in `header`.
        unsafe { (&raw const (*self.header.as_ptr()).pins).read() }
    }

    #[inline]
    fn set_pins(self, pins: u8) {
        // SAFETY: as in `set_header`.
        unsafe { (&raw mut (*self.header.as_ptr()).pins).write(pins) }
    }

    #[inline]
    pub fn hint(self) -> u16 {
        // SAFETY: as in `header`.
        unsafe { (&raw const (*self.header.as_ptr()).hint).read() }
    }

    #[inline]
    pub fn set_hint(self, hint: u16) {
        // SAFETY: as in `set_header`.
        unsafe { (&raw mut (*self.header.as_ptr()).hint).write(hint) }
    }

    pub fn set_header(self, header: ResidentHeader) {
        // SAFETY: invariants 1, 2 and 4: inside the arena, reached by raw pointer only.
        unsafe { self.header.write(header) }
    }

    pub fn update(self, change: impl FnOnce(&mut ResidentHeader)) {
        let mut header = self.header();
        change(&mut header);
        self.set_header(header);
    }

    /// First byte of the block (its header).
    pub fn block(self) -> NonNull<u8> {
        // SAFETY: invariant 2: the block follows its header.
        unsafe { self.header.add(1) }.cast()
    }

    /// First byte of the object.
    pub fn object(self) -> NonNull<u8> {
        // SAFETY: invariant 2: the object follows the block header.
        unsafe { self.block().add(crate::block::HEADER) }
    }

    /// The block's bytes.
    ///
    /// # Safety
    ///
    /// `len` is at most the block's length and no mutable guard is open on it while the slice lives (invariant 4).
    pub unsafe fn block_bytes<'a>(self, len: usize) -> &'a [u8] {
        // SAFETY: invariants 2 and 3, and the caller's word.
        unsafe { core::slice::from_raw_parts(self.block().as_ptr(), len) }
    }

    /// The block's bytes, writable.
    ///
    /// # Safety
    ///
    /// As [`block_bytes`](Self::block_bytes), and no other reference to the bytes lives.
    pub unsafe fn block_bytes_mut<'a>(self, len: usize) -> &'a mut [u8] {
        // SAFETY: invariants 2 and 3, and the caller's word.
        unsafe { core::slice::from_raw_parts_mut(self.block().as_ptr(), len) }
    }

    /// The granule bitmap of a slice object whose block has `block_len` bytes.
    ///
    /// # Safety
    ///
    /// The object is a slice with exactly this block length.
    pub unsafe fn bitmap(self, block_len: usize) -> Bits {
        // SAFETY: invariant 2: the bitmap follows the block of a slice.
        Bits { first: unsafe { self.block().add(block_len) }, len: bitmap_bytes(block_len) }
    }

    /// The first `len` bytes behind the resident header as bits.
    ///
    /// # Safety
    ///
    /// The range was allocated for bits, with `len` bytes after a header word.
    pub unsafe fn bits(self, len: usize) -> Bits {
        Bits { first: self.block(), len }
    }
}

/// A bitmap in the arena, reached by raw pointer only (invariant 4). Valid as long as its block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Bits {
    first: NonNull<u8>,
    len: usize,
}

impl Bits {
    /// Number of bits.
    pub const fn bits(self) -> usize {
        self.len * 8
    }

    /// Whether a bit is set; beyond the end: no.
    pub fn get(self, at: usize) -> bool {
        // SAFETY: invariants 2 and 3: the byte lies inside the bitmap and is initialised.
        at < self.bits() && unsafe { self.first.add(at / 8).read() } & 1 << (at % 8) != 0
    }

    /// Sets or clears a bit; beyond the end: nothing.
    pub fn set(self, at: usize, value: bool) {
        if at < self.bits() {
            // SAFETY: as in `get`.
            unsafe {
                let byte = self.first.add(at / 8);
                let bit = 1 << (at % 8);
                byte.write(if value { byte.read() | bit } else { byte.read() & !bit });
            }
        }
    }

    /// Clears all bits.
    pub fn clear(self) {
        // SAFETY: as in `get`.
        unsafe { self.first.write_bytes(0, self.len) };
    }
}

/// Bytes of the granule bitmap of a block, whole words.
pub(crate) const fn bitmap_bytes(block_len: usize) -> usize {
    (block_len / 8).div_ceil(64) * 8
}

/// A pin that guards drop: a raw pointer to the resident header, valid while the pin is held.
pub(crate) struct Pin<'h>(Resident, &'h Attention);

impl<'h> Pin<'h> {
    #[inline]
    pub fn shared(resident: Resident, attention: &'h Attention) -> Option<Self> {
        let pins = resident.pins();
        if pins >= MUTABLE - 1 {
            return None;
        }
        if pins == 0 {
            attention.pinned();
        }
        resident.set_pins(pins + 1);
        Some(Self(resident, attention))
    }

    #[inline]
    pub fn mutable(resident: Resident, attention: &'h Attention) -> Option<Self> {
        if resident.pins() != 0 {
            return None;
        }
        attention.pinned();
        resident.set_pins(MUTABLE);
        Some(Self(resident, attention))
    }
}

impl Drop for Pin<'_> {
    #[inline]
    fn drop(&mut self) {
        let pins = self.0.pins();
        let left = if pins == MUTABLE { 0 } else { pins.saturating_sub(1) };
        self.0.set_pins(left);
        if left == 0 {
            self.1.unpinned();
        }
    }
}
