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

mod pin;

pub(crate) use pin::{Pin, PinMut};

use core::marker::PhantomData;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

/// Pins of an object that a mutable guard holds.
pub(crate) const MUTABLE: u8 = 255;
/// Shared guards where pinned objects are counted: this and their number. Elsewhere their number alone, at most this.
const COUNTED: u8 = 128;
/// Generation of a copy whose object was freed: that of no handle.
pub(crate) const GONE: i16 = -1;

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
    /// That of the entry, or [`GONE`].
    pub generation: i16,
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

    /// The resident copy at an offset in bytes.
    ///
    /// # Safety
    ///
    /// As [`at`](Self::at).
    #[inline]
    pub unsafe fn at_bytes(&self, offset: usize) -> Resident {
        // SAFETY: as in `at`.
        Resident { header: unsafe { self.base.byte_add(offset) }.cast() }
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

    /// Generation, as in the header.
    #[inline]
    pub fn generation(self) -> i16 {
        // SAFETY: as in `header`.
        unsafe { (&raw const (*self.header.as_ptr()).generation).read() }
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
    pub fn is_dirty(self) -> bool {
        self.state() & state::DIRTY != 0
    }

    #[inline]
    pub(crate) fn set_pins(self, pins: u8) {
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

    /// Size of the object in bytes, as the block header has it.
    #[inline]
    pub fn size(self) -> usize {
        // SAFETY: invariants 2 to 4: the block header is initialised, aligned, and never lent to guards.
        usize::from(u16::from_le(unsafe { self.block().cast::<u16>().add(2).read() }))
    }

    /// Writes the block header of a new object, and zeros behind its bytes up to the end of the block: those that its value will
    /// not cover, and some that it will.
    ///
    /// # Safety
    ///
    /// The block was just allocated with `block_len` bytes, a multiple of 8 that has room for header and object.
    pub unsafe fn begin_block(self, size: u16, block_len: usize) {
        let block = self.block();
        let (mut at, end) = (block_len, crate::block::HEADER + usize::from(size));
        // SAFETY: invariants 1 and 2, and the caller's word: all of it lies inside the block, which is aligned.
        unsafe {
            block.cast::<[u32; 2]>().write([0, u32::from(size).to_le()]);
            if at > end {
                at -= 8;
                block.add(at).cast::<[u32; 2]>().write([0; 2]);
            }
            // More than that only where units are large.
            if at > end {
                block.add(end).write_bytes(0, at - end);
            }
        }
    }

    /// Replaces the block header.
    ///
    /// # Safety
    ///
    /// No slice of the block lives that holds it.
    pub unsafe fn set_block_header(self, header: [u8; crate::block::HEADER]) {
        // SAFETY: invariant 2: the block begins with it.
        unsafe { self.block().cast::<[u8; crate::block::HEADER]>().write(header) };
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

/// Words that the copy of an object takes: its header, its block, and the bitmap of a slice. Those of a resident copy fit into 16 bits.
pub(crate) const fn arena_words(block_len: usize, is_slice: bool) -> usize {
    1 + (block_len + if is_slice { bitmap_bytes(block_len) } else { 0 }) / 8
}

/// Moves a value of `len` bytes to its object: four words at a time, as few compilers' own routine does on small cores.
///
/// # Safety
///
/// `from` and `to` are aligned to 4 bytes, do not overlap, and `len` bytes may be read and written there.
#[inline(never)]
pub(crate) unsafe fn move_words(from: *const u8, to: NonNull<u8>, len: usize) {
    type Word = MaybeUninit<u32>;
    let (mut from, mut to) = (from.cast::<Word>(), to.cast::<Word>().as_ptr());
    // SAFETY: the caller's word; the ends are not passed by more than nothing.
    unsafe {
        let end = to.byte_add(len & !15);
        while to != end {
            let (a, b, c, d) = (from.read(), from.add(1).read(), from.add(2).read(), from.add(3).read());
            to.write(a);
            to.add(1).write(b);
            to.add(2).write(c);
            to.add(3).write(d);
            (from, to) = (from.add(4), to.add(4));
        }
        core::ptr::copy_nonoverlapping(from.cast::<u8>(), to.cast::<u8>(), len & 15);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_moved_whole_and_nothing_else() {
        for len in 0..=100 {
            let from: [u32; 25] = core::array::from_fn(|at| 0x0101_0101 * (at as u32 + 1));
            let mut to = [0u32; 26];
            // SAFETY: both are aligned, and have room.
            unsafe { move_words(from.as_ptr().cast(), NonNull::from(&mut to).cast(), len) };
            for at in 0..104 {
                let moved = to[at / 4].to_le_bytes()[at % 4];
                assert_eq!(moved, if at < len { from[at / 4].to_le_bytes()[at % 4] } else { 0 });
            }
        }
    }
}
