//! The hash table of a map: open addressing in a slice, sorted by hash.
//!
//! The home of a key is the leading bits of its hash. Entries stand in the order of their hashes, each at its home or
//! behind it, with no gap between the two. Behind the last home there is room for those that were pushed past it, so
//! that nothing wraps around: whatever an insertion or a removal moves is one contiguous range, which one guard holds.
//! Twice the homes keep the order, so that a larger table is written from front to back in one pass over the old one.

use crate::map::MapEntry;
use core::ops::Range;
use vnv_persist::durable::bytes_of;
use vnv_persist::{Durable, Link};

/// Most leading bits of a hash: 16,384 homes.
pub const MOST_BITS: u16 = 14;

/// Entries of a table with so many homes, as a power of two.
pub fn entries(bits: u16) -> usize {
    let homes = 1usize << bits.min(MOST_BITS);
    homes + (homes / 4).clamp(2, 16)
}

/// Whether a table with so many homes is to grow before it takes one more than `len` entries: above three quarters.
pub fn is_full(bits: u16, len: usize) -> bool {
    len >= capacity(bits)
}

/// Entries before a table with so many homes grows.
pub const fn capacity(bits: u16) -> usize {
    (3 << if bits < MOST_BITS { bits } else { MOST_BITS }) / 4
}

/// FNV-1a over the bytes that storage holds, with its bits mixed: the same on every target, for ever.
pub fn hash<K: Durable>(key: &K) -> u32 {
    let bytes = bytes_of(key).unwrap_or_default();
    let hash = bytes.iter().fold(0x811C_9DC5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let hash = (hash ^ hash >> 16).wrapping_mul(0x85EB_CA6B);
    let hash = (hash ^ hash >> 13).wrapping_mul(0xC2B2_AE35);
    hash ^ hash >> 16
}

fn home(hash: u32, bits: u16) -> usize {
    hash.checked_shr(32 - u32::from(bits.min(MOST_BITS))).unwrap_or(0) as usize
}

/// Where the key's entry stands.
pub fn find<K: Durable, V: ?Sized>(table: &[MapEntry<K, V>], bits: u16, key: &K) -> Option<usize> {
    let home = home(hash(key), bits);
    let candidates = table.get(home..)?.iter().take_while(|entry| !entry.value.is_null());
    let found = candidates.into_iter().position(|entry| bytes_of(&entry.key) == bytes_of(key))?;
    Some(home + found)
}

/// The range that is rotated right by one to make room for a new key in front, or `None` if there is none.
pub fn place<K: Durable, V: ?Sized>(table: &[MapEntry<K, V>], bits: u16, key: &K) -> Option<Range<usize>> {
    let new = hash(key);
    let mut at = home(new, bits);
    while table.get(at).is_some_and(|entry| !entry.value.is_null() && hash(&entry.key) <= new) {
        at += 1;
    }
    let free = table.get(at..)?.iter().position(|entry| entry.value.is_null())?;
    Some(at..at + free + 1)
}

/// The range that is rotated left by one to close the gap of the entry at `at`, which comes to stand last.
pub fn gap<K: Durable, V: ?Sized>(table: &[MapEntry<K, V>], bits: u16, at: usize) -> Range<usize> {
    let mut end = at + 1;
    while table.get(end).is_some_and(|entry| !entry.value.is_null() && home(hash(&entry.key), bits) < end) {
        end += 1;
    }
    at..end
}

/// The entries of a table and a new one, in the order of a table with `bits`, from front to back.
pub struct Rehash<'t, K, V: ?Sized> {
    old: &'t [MapEntry<K, V>],
    new: Option<MapEntry<K, V>>,
    bits: u16,
}

impl<'t, K: Durable + Copy, V: ?Sized> Rehash<'t, K, V> {
    /// Of `old` and `new`, for a table with so many homes.
    pub const fn new(old: &'t [MapEntry<K, V>], new: MapEntry<K, V>, bits: u16) -> Self {
        Self { old, new: Some(new), bits }
    }

    /// Whether the entries fit.
    pub fn fits(mut self) -> bool {
        let mut end = 0;
        while let Some((hash, _)) = self.peek() {
            end = home(hash, self.bits).max(end) + 1;
            self.skip();
        }
        end <= entries(self.bits)
    }

    /// The entry at `at`, if one stands there: asked from 0 on, one by one.
    pub fn entry(&mut self, at: usize) -> Option<MapEntry<K, V>> {
        let (hash, entry) = self.peek()?;
        if home(hash, self.bits) > at {
            return None;
        }
        self.skip();
        Some(entry)
    }

    fn peek(&mut self) -> Option<(u32, MapEntry<K, V>)> {
        while self.old.first().is_some_and(|entry| entry.value.is_null()) {
            self.old = self.old.get(1..).unwrap_or_default();
        }
        let old = self.old.first().map(|entry| (hash(&entry.key), *entry));
        let new = self.new.map(|entry| (hash(&entry.key), entry));
        match (old, new) {
            (Some(old), Some(new)) if old.0 <= new.0 => Some(old),
            (old, None) => old,
            (_, new) => new,
        }
    }

    /// Goes on behind what `peek` has shown.
    fn skip(&mut self) {
        let old = self.old.first().map(|entry| hash(&entry.key));
        match (old, self.new.map(|entry| hash(&entry.key))) {
            (Some(old), new) if new.is_none_or(|new| old <= new) => self.old = self.old.get(1..).unwrap_or_default(),
            _ => self.new = None,
        }
    }
}

/// An entry without a value.
pub const fn vacant<K, V: ?Sized>(key: K) -> MapEntry<K, V> {
    MapEntry { key, value: Link::NULL }
}

#[cfg(test)]
mod tests {
    extern crate std;
    use super::*;
    use std::vec;
    use std::vec::Vec;

    type Entry = MapEntry<u32, u8>;

    fn entry(key: u32) -> Entry {
        MapEntry { key, value: Link::from_raw_parts(key as u16 | 1, 0) }
    }

    /// Sorted by hash, each at its home or behind it, no gap between.
    fn check(table: &[Entry], bits: u16) {
        let mut last = 0;
        for (at, entry) in table.iter().enumerate().filter(|(_, entry)| !entry.value.is_null()) {
            let hash = hash(&entry.key);
            assert!(hash >= last && home(hash, bits) <= at);
            last = hash;
            assert!(table[home(hash, bits)..at].iter().all(|entry| !entry.value.is_null()));
        }
    }

    #[test]
    fn a_table_stays_sorted_and_finds_everything() {
        let mut bits = 2;
        let mut table = vec![vacant(0); entries(bits)];
        let mut keys: Vec<u32> = Vec::new();
        let mut random = 1u32;
        for step in 0..if cfg!(miri) { 30 } else { 4000 } {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let key = random >> 24;
            match find(&table, bits, &key) {
                Some(at) if step % 3 != 0 => {
                    let range = gap(&table, bits, at);
                    let last = range.end - 1;
                    table[range].rotate_left(1);
                    table[last].value = Link::NULL;
                    keys.retain(|other| *other != key);
                }
                Some(_) => {}
                None => {
                    match place(&table, bits, &key).filter(|_| !is_full(bits, keys.len())) {
                        Some(range) => {
                            table[range.clone()].rotate_right(1);
                            table[range.start] = entry(key);
                        }
                        None => {
                            bits += 1;
                            while !Rehash::new(&table, entry(key), bits).fits() {
                                bits += 1;
                            }
                            let mut rehash = Rehash::new(&table, entry(key), bits);
                            table = (0..entries(bits)).map(|at| rehash.entry(at).unwrap_or(vacant(0))).collect();
                        }
                    }
                    keys.push(key);
                }
            }
            check(&table, bits);
            assert_eq!(table.iter().filter(|entry| !entry.value.is_null()).count(), keys.len());
            assert!(keys.iter().all(|key| find(&table, bits, key).is_some_and(|at| table[at].key == *key)));
        }
        assert!(cfg!(miri) || bits >= 8);
    }

    #[test]
    fn hashes_are_part_of_the_format() {
        assert_eq!((hash(&0u8), hash(&1u32), hash(&[1u8, 2, 3])), (91_794_203, 1_647_799_542, 1_315_153_499));
    }
}
