//! Iterators over a map.

use super::{MapEntry, OpenMap};
use crate::store::{Store, StoreError};
use vnv_persist::{Durable, DurableObject, Error, Link, Named, Ref};

/// Keys and values of a map; see [`OpenMap::iter`].
pub struct MapIter<'m, K, V: ?Sized, S> {
    pub(super) map: &'m OpenMap<'m, K, V, S>,
    pub(super) table: Link<[MapEntry<K, V>]>,
    pub(super) next: usize,
    pub(super) left: usize,
}

impl<'m, K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> Iterator for MapIter<'m, K, V, S> {
    type Item = Result<(K, Ref<'m, V>), StoreError<S>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.left = self.left.checked_sub(1)?;
        Some(self.step())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<'m, K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> MapIter<'m, K, V, S> {
    /// The next entry, if there is one.
    pub(super) fn next_entry(&mut self) -> Result<Option<MapEntry<K, V>>, StoreError<S>> {
        if self.table.is_null() {
            return Ok(None);
        }
        let entries = self.map.store.get(self.table)?;
        let mut rest = entries.iter().enumerate().skip(self.next);
        let found = rest.find(|(_, entry)| !entry.value.is_null());
        Ok(found.map(|(at, entry)| {
            self.next = at + 1;
            *entry
        }))
    }

    /// The next entry, which must be there.
    fn entry(&mut self) -> Result<MapEntry<K, V>, StoreError<S>> {
        self.next_entry()?.ok_or(Error::Damaged { index: self.table.index() })
    }

    fn step(&mut self) -> Result<(K, Ref<'m, V>), StoreError<S>> {
        let entry = self.entry()?;
        Ok((entry.key, self.map.store.get(entry.value)?))
    }
}

impl<K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> ExactSizeIterator for MapIter<'_, K, V, S> {}

/// Keys of a map; see [`OpenMap::keys`].
pub struct MapKeys<'m, K, V: ?Sized, S>(pub(super) MapIter<'m, K, V, S>);

impl<K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> Iterator for MapKeys<'_, K, V, S> {
    type Item = Result<K, StoreError<S>>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.left = self.0.left.checked_sub(1)?;
        Some(self.0.entry().map(|entry| entry.key))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.0.size_hint()
    }
}

impl<K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> ExactSizeIterator for MapKeys<'_, K, V, S> {}
