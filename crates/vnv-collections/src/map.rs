//! A hash map: one table of keys and links; each value is an object of its own.

mod iter;

pub use iter::{MapIter, MapKeys};

use crate::queue::link_of;
use crate::store::{Store, StoreError, check_unborrowed, free, guarded};
use crate::table::{self, Rehash};
use vnv_persist::{Durable, DurableObject, Error, Filled, Link, Named, Owned, Ref, RefMut, Slot};

/// A map from keys of fixed size to values of any size: the durable header, 8 bytes. [`at`](Self::at) opens it.
///
/// Keys are compared by their bytes: types without padding, and without links. Values are sized (`Map<u32, Config>`)
/// or slices of different lengths (`Map<[u8; 12], [u8]>`).
///
/// ```
/// use vnv_collections::Map;
/// # use vnv_persist::{Heap, Memory, Options};
/// # use vnv_storage::RamStorage;
/// # let mut memory = Memory::<32, 16, 6, 2, 128>::new();
/// # let heap: Heap<_, _> = Heap::open_or_format(RamStorage::<8192>::new(), &mut memory, Options::new(512))?;
/// let mut names = Map::<u32, [u8]>::create(&heap)?;
/// heap.set_root("names", Some(names.link()))?;
/// names.insert_slice(1, b"one")?;
/// names.insert_slice(3, b"three")?;
/// names.get_mut(&3)?.expect("it is there")[0] = b'T';
/// heap.commit()?;
///
/// // After a reboot:
/// let mut names = Map::at(&heap, heap.root::<Map<u32, [u8]>>("names")?.expect("it was committed"));
/// assert_eq!(names.get(&3)?.as_deref(), Some(&b"Three"[..]));
/// assert!(names.remove(&1)? && !names.contains_key(&1)?);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Durable)]
#[repr(C)]
pub struct Map<K, V: ?Sized> {
    /// Null while there are no entries.
    table: Link<[MapEntry<K, V>]>,
    len: u16,
    bits: u16,
}

impl<K, V: ?Sized> Clone for Map<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K, V: ?Sized> Copy for Map<K, V> {}

/// A key and the link to its value: an element of the table.
#[derive(Durable)]
#[repr(C)]
pub struct MapEntry<K, V: ?Sized> {
    pub(crate) key: K,
    /// Null: there is no entry.
    pub(crate) value: Link<V>,
}

impl<K: Copy, V: ?Sized> Clone for MapEntry<K, V> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<K: Copy, V: ?Sized> Copy for MapEntry<K, V> {}

impl<K: Durable + Copy, V: ?Sized + DurableObject + Named> Map<K, V> {
    const EMPTY: Self = {
        assert!(!K::HAS_PADDING, "the keys of a map have no padding: their bytes are compared");
        assert!(!K::HAS_LINKS, "the keys of a map hold no links");
        Self { table: Link::NULL, len: 0, bits: 0 }
    };

    /// An empty map in `store`. It is garbage for the next collection until a root or another object links to it.
    ///
    /// Cost: no storage transaction with room.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn create<S: Store>(store: &S) -> Result<OpenMap<'_, K, V, S>, StoreError<S>> {
        let map = store.allocate(Self::EMPTY)?;
        Ok(OpenMap { store, link: map.into_link() })
    }

    /// As [`create`](Self::create); the table that comes with the first entry has room for so many. (It may grow before, if keys
    /// crowd at its end, in small tables now and then.) [`clear`](OpenMap::clear) forgets the size.
    ///
    /// # Errors
    ///
    /// Those of an allocation; [`Error::TooLarge`] beyond 12,288 entries. Whether the table fits into an object turns out with
    /// the first entry.
    pub fn with_capacity<S: Store>(store: &S, entries: usize) -> Result<OpenMap<'_, K, V, S>, StoreError<S>> {
        let bits = (0..=table::MOST_BITS).find(|bits| table::capacity(*bits) >= entries).ok_or(Error::TooLarge)?;
        // The first table has twice the homes of the one that is not there.
        let map = store.allocate(Self { bits: bits.saturating_sub(1), ..Self::EMPTY })?;
        Ok(OpenMap { store, link: map.into_link() })
    }

    /// The map that `link` leads to.
    pub const fn at<S: Store>(store: &S, link: Link<Self>) -> OpenMap<'_, K, V, S> {
        let _ = Self::EMPTY;
        OpenMap { store, link }
    }
}

/// A larger table, and its homes as a power of two.
type Grown<'s, K, V> = (Owned<'s, [MapEntry<K, V>]>, u16);

/// A map in a store; it keeps nothing in RAM but the link.
pub struct OpenMap<'s, K, V: ?Sized, S> {
    store: &'s S,
    link: Link<Map<K, V>>,
}

impl<'s, K: Durable + Copy, V: ?Sized + DurableObject + Named, S: Store> OpenMap<'s, K, V, S> {
    /// The link to the map, for a root or a field.
    #[must_use]
    pub const fn link(&self) -> Link<Map<K, V>> {
        self.link
    }

    fn header(&self) -> Result<Map<K, V>, StoreError<S>> {
        Ok(*self.store.get(self.link)?)
    }

    /// Number of entries.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get`](vnv_persist::Heap::get).
    pub fn len(&self) -> Result<usize, StoreError<S>> {
        Ok(usize::from(self.header()?.len))
    }

    /// Whether there are no entries.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError<S>> {
        Ok(self.len()? == 0)
    }

    /// Entries that the table takes before it grows: 0 while there is none.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn capacity(&self) -> Result<usize, StoreError<S>> {
        let header = self.header()?;
        Ok(if header.table.is_null() { 0 } else { table::capacity(header.bits) })
    }

    /// Where the key stands, and the link to its value.
    fn find(&self, header: &Map<K, V>, key: &K) -> Result<Option<(usize, Link<V>)>, StoreError<S>> {
        if header.table.is_null() {
            return Ok(None);
        }
        let entries = self.store.get(header.table)?;
        let found = table::find(&entries, header.bits, key);
        Ok(found.and_then(|at| Some((at, entries.get(at)?.value))))
    }

    /// The link to the value of a key, for changes of single elements of a slice. The value must not be freed.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn value(&self, key: &K) -> Result<Option<Link<V>>, StoreError<S>> {
        Ok(self.find(&self.header()?, key)?.map(|(_, value)| value))
    }

    /// Whether there is an entry for the key. Its value is not loaded.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn contains_key(&self, key: &K) -> Result<bool, StoreError<S>> {
        Ok(self.value(key)?.is_some())
    }

    /// The value of a key.
    ///
    /// Cost: nothing if table and value are resident; one read for each that is not, and what evicting costs.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn get(&self, key: &K) -> Result<Option<Ref<'_, V>>, StoreError<S>> {
        self.value(key)?.map(|value| self.store.get(value)).transpose()
    }

    /// Changes the value of a key: all of it counts as dirty. Cost: as [`get`](Self::get).
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn get_mut(&mut self, key: &K) -> Result<Option<RefMut<'_, V>>, StoreError<S>> {
        self.value(key)?.map(|value| self.store.get_mut(value)).transpose()
    }

    /// Keys and values, in the order of the keys' hashes. Each value is loaded when it is reached, and may be evicted when
    /// its guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn iter(&self) -> Result<MapIter<'_, K, V, S>, StoreError<S>> {
        let header = self.header()?;
        Ok(MapIter { map: self, table: header.table, next: 0, left: usize::from(header.len) })
    }

    /// The keys, in the order of their hashes. No value is loaded.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn keys(&self) -> Result<MapKeys<'_, K, V, S>, StoreError<S>> {
        Ok(MapKeys(self.iter()?))
    }

    /// Removes the entries for which `keep` is false, each by itself. Every value is loaded once.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get) and [`remove`](Self::remove); then the entries before are done, and the others still there.
    pub fn retain(&mut self, mut keep: impl FnMut(&K, &V) -> bool) -> Result<(), StoreError<S>> {
        let mut at = 0;
        loop {
            let header = self.header()?;
            let mut rest = MapIter { map: self, table: header.table, next: at, left: 0 };
            let Some(entry) = rest.next_entry()? else { return Ok(()) };
            at = rest.next;
            if !keep(&entry.key, &*self.store.get(entry.value)?) {
                self.remove(&entry.key)?;
                // The entry behind may stand there now.
                at -= 1;
            }
        }
    }

    /// Gives a key a value that was allocated by the caller in the same store: its handle gives it up to the map. `true`:
    /// an older value was replaced, and is freed.
    ///
    /// Cost: no storage transaction with room. The header and the entries from the new one to the next gap become dirty,
    /// with an older value only its entry. At three quarters of its size the table is copied into one of twice the size.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_mut`](vnv_persist::Heap::get_mut), and of an allocation if the table grows;
    /// [`Error::AlreadyBorrowed`] if a guard on the older value is open. The new value is freed.
    pub fn insert_owned(&mut self, key: K, value: Owned<'_, V>) -> Result<bool, StoreError<S>> {
        let header = self.header()?;
        if let Some((at, old)) = self.find(&header, &key)? {
            check_unborrowed(self.store, old)?;
            let mut entry = guarded(self.store, || self.store.get_element_mut(header.table, at))?;
            entry.value = value.into_link();
            drop(entry);
            free(self.store, old);
            return Ok(true);
        }
        let new = MapEntry { key, value: link_of(&value) };
        let full = header.table.is_null() || table::is_full(header.bits, usize::from(header.len));
        let range = if full { None } else { table::place(&self.store.get(header.table)?, header.bits, &key) };
        match range {
            Some(range) => {
                let (mut moved, mut changed) = guarded(self.store, || {
                    let moved = self.store.get_range_mut(header.table, range.clone())?;
                    Ok((moved, self.store.get_mut(self.link)?))
                })?;
                let _ = value.into_link();
                moved.rotate_right(1);
                if let Some(first) = moved.first_mut() {
                    *first = new;
                }
                changed.len += 1;
            }
            None => {
                let (fresh, bits) = self.grown(&header, new)?;
                let mut changed = guarded(self.store, || self.store.get_mut(self.link))?;
                let _ = value.into_link();
                *changed = Map { table: fresh.into_link(), len: header.len + 1, bits };
                drop(changed);
                if !header.table.is_null() {
                    free(self.store, header.table);
                }
            }
        }
        Ok(false)
    }

    /// A larger table with one more entry.
    fn grown(&self, header: &Map<K, V>, new: MapEntry<K, V>) -> Result<Grown<'s, K, V>, StoreError<S>> {
        let old = if header.table.is_null() { None } else { Some(self.store.get(header.table)?) };
        let old = old.as_deref().unwrap_or_default();
        let mut bits = (header.bits + 1).max(3);
        while bits < table::MOST_BITS && !Rehash::new(old, new, bits).fits() {
            bits += 1;
        }
        if bits > table::MOST_BITS || !Rehash::new(old, new, bits).fits() {
            return Err(Error::TooLarge);
        }
        let mut rehash = Rehash::new(old, new, bits);
        let element = |at| rehash.entry(at).unwrap_or(table::vacant(new.key));
        Ok((self.store.allocate_slice_with(table::entries(bits), element)?, bits))
    }

    /// Removes the entry of a key, without loading its value; `false` if there is none.
    ///
    /// Cost: no storage transaction once the table is resident. The header and the entries that close the gap become
    /// dirty.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyBorrowed`] if a guard on the value is open; those of
    /// [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn remove(&mut self, key: &K) -> Result<bool, StoreError<S>> {
        let header = self.header()?;
        let Some((at, value)) = self.find(&header, key)? else { return Ok(false) };
        check_unborrowed(self.store, value)?;
        let range = table::gap(&self.store.get(header.table)?, header.bits, at);
        let (mut moved, mut changed) = guarded(self.store, || {
            let moved = self.store.get_range_mut(header.table, range.clone())?;
            Ok((moved, self.store.get_mut(self.link)?))
        })?;
        moved.rotate_left(1);
        if let Some(last) = moved.last_mut() {
            last.value = Link::NULL;
        }
        changed.len = header.len.saturating_sub(1);
        drop(changed);
        drop(moved);
        free(self.store, value);
        Ok(true)
    }

    /// Removes all entries, and the table. Values need not be resident.
    ///
    /// Cost: no storage transaction once the table is resident; the header becomes dirty.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub fn clear(&mut self) -> Result<(), StoreError<S>> {
        self.empty(|map| {
            *guarded(map.store, || map.store.get_mut(map.link))? = Map::EMPTY;
            Ok(())
        })
    }

    /// Frees the values, the table and the map itself, which nothing links to any more.
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove); then all is still there.
    pub fn destroy(mut self) -> Result<(), StoreError<S>> {
        self.empty(|map| check_unborrowed(map.store, map.link))?;
        free(self.store, self.link);
        Ok(())
    }

    /// Frees values and table once `unlink` has unlinked them.
    fn empty(&mut self, unlink: impl FnOnce(&mut Self) -> Result<(), StoreError<S>>) -> Result<(), StoreError<S>> {
        let header = self.header()?;
        if header.table.is_null() {
            return unlink(self);
        }
        // Held until all its values are freed, so that nothing can fail once they are unlinked.
        let entries = self.store.get(header.table)?;
        let values = || entries.iter().map(|entry| entry.value).filter(|value| !value.is_null());
        values().try_for_each(|value| check_unborrowed(self.store, value))?;
        unlink(self)?;
        values().for_each(|value| free(self.store, value));
        drop(entries);
        free(self.store, header.table);
        Ok(())
    }
}

impl<K: Durable + Copy, V: Durable + Named, S: Store> OpenMap<'_, K, V, S> {
    /// Gives a key a value. `true`: an older one was replaced, and is freed. Cost: as
    /// [`insert_owned`](Self::insert_owned), and the value is dirty.
    ///
    /// # Errors
    ///
    /// Those of an allocation and of [`insert_owned`](Self::insert_owned).
    pub fn insert(&mut self, key: K, value: V) -> Result<bool, StoreError<S>> {
        self.insert_owned(key, self.store.allocate(value)?)
    }

    /// Gives a key a value that `fill` builds in place, without a copy on the stack. As [`insert`](Self::insert).
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn insert_with(
        &mut self,
        key: K,
        fill: impl for<'f> FnOnce(Slot<'f, V>) -> Filled<'f, V>,
    ) -> Result<bool, StoreError<S>> {
        self.insert_owned(key, self.store.allocate_with(fill)?)
    }

    /// Removes the entry of a key and returns its value.
    ///
    /// Cost: as [`get`](Self::get) and [`remove`](Self::remove).
    ///
    /// # Errors
    ///
    /// As [`remove`](Self::remove).
    pub fn take(&mut self, key: &K) -> Result<Option<V>, StoreError<S>>
    where
        V: Copy,
    {
        let Some(value) = self.get(key)?.map(|value| *value) else { return Ok(None) };
        self.remove(key)?;
        Ok(Some(value))
    }
}

impl<K: Durable + Copy, E: Durable + Named, S: Store> OpenMap<'_, K, [E], S> {
    /// Gives a key a copy of a slice as its value. `true`: an older one was replaced, and is freed. Cost: as
    /// [`insert_owned`](Self::insert_owned), and the value is dirty.
    ///
    /// # Errors
    ///
    /// Those of an allocation and of [`insert_owned`](Self::insert_owned).
    pub fn insert_slice(&mut self, key: K, value: &[E]) -> Result<bool, StoreError<S>>
    where
        E: Copy,
    {
        // An index is below the length that was asked for.
        self.insert_slice_with(key, value.len(), |index| value[index])
    }

    /// Gives a key a slice of `len` elements, each made in place by `element`. As [`insert_slice`](Self::insert_slice).
    ///
    /// # Errors
    ///
    /// As [`insert_slice`](Self::insert_slice).
    pub fn insert_slice_with(
        &mut self,
        key: K,
        len: usize,
        element: impl FnMut(usize) -> E,
    ) -> Result<bool, StoreError<S>> {
        self.insert_owned(key, self.store.allocate_slice_with(len, element)?)
    }
}
