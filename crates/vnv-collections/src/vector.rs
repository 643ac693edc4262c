//! A growable array: elements lie side by side in one slice object, and become dirty one by one.

use crate::fresh::{first_that_fits, lengths};
use crate::queue::link_of;
use crate::store::{Store, StoreError, check_unborrowed, free, guarded};
use core::ops::Range;
use vnv_persist::{Durable, Error, Link, Named, Ref, RefMut};

/// A growable array of `T`: the durable header, 8 bytes. [`at`](Self::at) opens it.
///
/// Elements are small plain values. Large values, and those of mixed sizes, are objects of their own: `Vector<Link<T>>`.
/// The elements beyond the last one hold `T::default()` if they could hold links, so that nothing removed stays alive.
///
/// ```
/// use vnv_collections::Vector;
/// # use vnv_persist::{Heap, Memory, Options};
/// # use vnv_storage::RamStorage;
/// # let mut memory = Memory::<32, 16, 6, 2, 128>::new();
/// # let heap: Heap<_, _> = Heap::open_or_format(RamStorage::<8192>::new(), &mut memory, Options::new(512))?;
/// let mut readings = Vector::create(&heap)?;
/// heap.set_root("readings", Some(readings.link()))?;
/// readings.extend_from_slice(&[3u16, 1, 2])?;
/// *readings.get_mut(1)?.expect("there are three") = 5;
/// heap.commit()?;
///
/// // After a reboot:
/// let readings = Vector::at(&heap, heap.root::<Vector<u16>>("readings")?.expect("it was committed"));
/// assert_eq!(readings.as_slice()?[..], [3, 5, 2]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Durable)]
#[repr(C)]
pub struct Vector<T> {
    items: Link<[T]>,
    len: u32,
}

impl<T> Clone for Vector<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for Vector<T> {}

impl<T: Durable + Named + Copy + Default> Vector<T> {
    /// An empty vector in `store`. It is garbage for the next collection until a root or another object links to it.
    ///
    /// Cost: no storage transaction with room.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn create<S: Store>(store: &S) -> Result<OpenVector<'_, T, S>, StoreError<S>> {
        Self::with_capacity(store, 0)
    }

    /// An empty vector with room for so many elements before it is copied into a larger slice.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn with_capacity<S: Store>(store: &S, capacity: usize) -> Result<OpenVector<'_, T, S>, StoreError<S>> {
        let items = store.allocate_slice_with(capacity, |_| T::default())?;
        let vector = store.allocate(Self { items: link_of(&items), len: 0 })?;
        let _ = items.into_link();
        Ok(OpenVector { store, link: vector.into_link() })
    }

    /// The vector that `link` leads to.
    pub const fn at<S: Store>(store: &S, link: Link<Self>) -> OpenVector<'_, T, S> {
        OpenVector { store, link }
    }
}

/// A vector in a store; it keeps nothing in RAM but the link.
pub struct OpenVector<'s, T, S> {
    store: &'s S,
    link: Link<Vector<T>>,
}

/// The guards of a change.
type Changed<'s, T> = (RefMut<'s, [T]>, RefMut<'s, Vector<T>>);

impl<'s, T: Durable + Named + Copy + Default, S: Store> OpenVector<'s, T, S> {
    /// The link to the vector, for a root or a field.
    #[must_use]
    pub const fn link(&self) -> Link<Vector<T>> {
        self.link
    }

    /// The slice, and how many of its elements are the vector's.
    fn header(&self) -> Result<(Link<[T]>, usize), StoreError<S>> {
        let header = self.store.get(self.link)?;
        Ok((header.items, header.len as usize))
    }

    /// Number of elements.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get`](vnv_persist::Heap::get).
    pub fn len(&self) -> Result<usize, StoreError<S>> {
        Ok(self.header()?.1)
    }

    /// Whether there are no elements.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError<S>> {
        Ok(self.len()? == 0)
    }

    /// Number of elements before the vector is copied into a larger slice.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn capacity(&self) -> Result<usize, StoreError<S>> {
        Ok(self.store.get(self.header()?.0)?.len())
    }

    /// An element. Cost: nothing if the slice is resident; one read of it otherwise, and what evicting costs.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn get(&self, index: usize) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        Ok(Ref::filter_map(self.as_slice()?, |slice| slice.get(index)).ok())
    }

    /// Changes an element: only it counts as dirty, in steps of 8 bytes.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_element_mut`](vnv_persist::Heap::get_element_mut).
    pub fn get_mut(&mut self, index: usize) -> Result<Option<RefMut<'_, T>>, StoreError<S>> {
        let (items, len) = self.header()?;
        if index >= len {
            return Ok(None);
        }
        self.store.get_element_mut(items, index).map(Some)
    }

    /// Changes a range of elements: only they count as dirty.
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut); [`Error::OutOfBounds`].
    pub fn range_mut(&mut self, range: Range<usize>) -> Result<RefMut<'_, [T]>, StoreError<S>> {
        let (items, len) = self.header()?;
        if range.end > len {
            return Err(Error::OutOfBounds);
        }
        self.store.get_range_mut(items, range)
    }

    /// The elements as a slice. While its guard is open, this handle cannot change the vector. Another handle to it cannot change the elements or move
    /// them (`AlreadyBorrowed`), but may make the vector shorter: the slice stays as long as it was.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn as_slice(&self) -> Result<Ref<'_, [T]>, StoreError<S>> {
        let (items, len) = self.header()?;
        let all = self.store.get(items)?;
        Ref::filter_map(all, |all| all.get(..len)).map_err(|_| Error::Damaged { index: self.link.index() })
    }

    /// The elements, one after the other, by value. The slice is borrowed meanwhile.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn iter(&self) -> Result<VectorIter<'_, T>, StoreError<S>> {
        let slice = self.as_slice()?;
        Ok(VectorIter { left: 0..slice.len(), slice })
    }

    /// Appends an element.
    ///
    /// Cost: no storage transaction with room; header and element become dirty. When the slice is full, it is copied
    /// into one of twice its size.
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut), and those of an allocation if the slice grows.
    pub fn push(&mut self, element: T) -> Result<(), StoreError<S>> {
        self.insert_at(None, &[element])
    }

    /// Appends elements, all or none. Cost: as [`push`](Self::push) of them all.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push).
    pub fn extend_from_slice(&mut self, elements: &[T]) -> Result<(), StoreError<S>> {
        self.insert_at(None, elements)
    }

    /// Inserts an element before the one at `index`. Cost: as [`push`](Self::push); the elements from there on become dirty.
    ///
    /// # Errors
    ///
    /// As [`push`](Self::push); [`Error::OutOfBounds`]; [`Error::TooLargeToChange`] if more than the dirty limit moves.
    pub fn insert(&mut self, index: usize, element: T) -> Result<(), StoreError<S>> {
        self.insert_at(Some(index), &[element])
    }

    fn insert_at(&mut self, index: Option<usize>, new: &[T]) -> Result<(), StoreError<S>> {
        let (items, len) = self.header()?;
        let index = index.unwrap_or(len);
        if index > len {
            return Err(Error::OutOfBounds);
        }
        let grown_len = len.saturating_add(new.len());
        let capacity = self.store.get(items)?.len();
        if grown_len > capacity {
            return self.replace(lengths(capacity, grown_len), grown_len, |at, old| match at.checked_sub(index) {
                None => old.get(at).copied(),
                Some(from) => new.get(from).or_else(|| old.get(at - new.len())).copied(),
            });
        }
        let (mut moved, mut header) = self.change(items, index..grown_len)?;
        moved.rotate_right(new.len());
        moved.iter_mut().zip(new).for_each(|(to, from)| *to = *from);
        header.len = grown_len as u32;
        // Elements behind the last one are nobody's: they are closed first.
        drop(moved);
        Ok(())
    }

    /// Removes and returns the last element. Cost: the header becomes dirty.
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut).
    pub fn pop(&mut self) -> Result<Option<T>, StoreError<S>> {
        let Some(last) = self.len()?.checked_sub(1) else { return Ok(None) };
        let element = self.get(last)?.map(|element| *element);
        self.truncate(last)?;
        Ok(element)
    }

    /// Removes and returns an element; those behind it move up and become dirty.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn remove(&mut self, index: usize) -> Result<T, StoreError<S>> {
        let (items, len) = self.header()?;
        let (mut moved, mut header) = self.change_inside(items, index, len)?;
        let removed = moved.first().copied().ok_or(Error::OutOfBounds)?;
        moved.rotate_left(1);
        Self::clear_last(&mut moved);
        header.len = header.len.saturating_sub(1);
        drop(header);
        drop(moved);
        Ok(removed)
    }

    /// Removes and returns an element; the last one takes its place. Only these two become dirty, unless elements hold
    /// links: then those between them count too.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn swap_remove(&mut self, index: usize) -> Result<T, StoreError<S>> {
        let (items, len) = self.header()?;
        let last = self.last()?.map(|last| *last).filter(|_| index < len).ok_or(Error::OutOfBounds)?;
        let end = if T::HAS_LINKS { len } else { index + 1 };
        let (mut moved, mut header) = self.change_inside(items, index, end)?;
        let removed = moved.first().copied().ok_or(Error::OutOfBounds)?;
        if let Some(first) = moved.first_mut() {
            *first = last;
        }
        if T::HAS_LINKS {
            Self::clear_last(&mut moved);
        }
        header.len = header.len.saturating_sub(1);
        drop(header);
        drop(moved);
        Ok(removed)
    }

    /// The last element.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn last(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        Ok(Ref::filter_map(self.as_slice()?, |slice| slice.last()).ok())
    }

    /// Removes the elements behind the first `len`. The slice keeps its size.
    ///
    /// Cost: the header becomes dirty, and the removed elements if they could hold links.
    ///
    /// # Errors
    ///
    /// As [`insert`](Self::insert).
    pub fn truncate(&mut self, len: usize) -> Result<(), StoreError<S>> {
        let (items, now) = self.header()?;
        if len >= now {
            return Ok(());
        }
        if T::HAS_LINKS {
            let (mut removed, mut header) = self.change(items, len..now)?;
            removed.fill(T::default());
            header.len = len as u32;
            drop(header);
            drop(removed);
        } else {
            guarded(self.store, || self.store.get_mut(self.link))?.len = len as u32;
        }
        Ok(())
    }

    /// Removes all elements. The slice keeps its size.
    ///
    /// # Errors
    ///
    /// As [`truncate`](Self::truncate).
    pub fn clear(&mut self) -> Result<(), StoreError<S>> {
        self.truncate(0)
    }

    /// Makes room for so many more elements.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn reserve(&mut self, additional: usize) -> Result<(), StoreError<S>> {
        let (items, len) = self.header()?;
        let (capacity, needed) = (self.store.get(items)?.len(), len.saturating_add(additional));
        if needed <= capacity {
            return Ok(());
        }
        self.replace(lengths(capacity, needed), len, |at, old| old.get(at).copied())
    }

    /// Gives back the room that no element needs: the elements are copied into a slice of their number.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn shrink_to_fit(&mut self) -> Result<(), StoreError<S>> {
        let (items, len) = self.header()?;
        if self.store.get(items)?.len() == len {
            return Ok(());
        }
        self.replace([len; 3], len, |at, old| old.get(at).copied())
    }

    /// Frees the slice and the vector itself, which nothing links to any more. What its elements link to is not freed.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyBorrowed`], and those of [`Heap::get`](vnv_persist::Heap::get); then all is still there.
    pub fn destroy(self) -> Result<(), StoreError<S>> {
        let (items, _) = self.header()?;
        check_unborrowed(self.store, items)?;
        check_unborrowed(self.store, self.link)?;
        free(self.store, items);
        free(self.store, self.link);
        Ok(())
    }

    fn change(&self, items: Link<[T]>, range: Range<usize>) -> Result<Changed<'s, T>, StoreError<S>> {
        guarded(self.store, || {
            let moved = self.store.get_range_mut(items, range.clone())?;
            Ok((moved, self.store.get_mut(self.link)?))
        })
    }

    fn change_inside(&self, items: Link<[T]>, index: usize, end: usize) -> Result<Changed<'s, T>, StoreError<S>> {
        if index >= end {
            return Err(Error::OutOfBounds);
        }
        self.change(items, index..end)
    }

    fn clear_last(moved: &mut [T]) {
        if let Some(last) = moved.last_mut().filter(|_| T::HAS_LINKS) {
            *last = T::default();
        }
    }

    /// Puts a fresh slice in the place of the present one, all at once: only the header changes.
    fn replace(
        &mut self,
        lengths: [usize; 3],
        len: usize,
        element: impl Fn(usize, &[T]) -> Option<T>,
    ) -> Result<(), StoreError<S>> {
        let (items, _) = self.header()?;
        let fresh = {
            let old = self.store.get(items)?;
            first_that_fits(self.store, lengths, |at| {
                if at < len { element(at, &old).unwrap_or_default() } else { T::default() }
            })?
        };
        check_unborrowed(self.store, items)?;
        let mut header = guarded(self.store, || self.store.get_mut(self.link))?;
        *header = Vector { items: fresh.into_link(), len: len as u32 };
        drop(header);
        free(self.store, items);
        Ok(())
    }
}

/// The elements of a vector; see [`OpenVector::iter`].
pub struct VectorIter<'v, T> {
    slice: Ref<'v, [T]>,
    left: Range<usize>,
}

impl<T: Copy> Iterator for VectorIter<'_, T> {
    type Item = T;

    fn next(&mut self) -> Option<T> {
        self.left.next().and_then(|at| self.slice.get(at).copied())
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        self.left.size_hint()
    }
}

impl<T: Copy> DoubleEndedIterator for VectorIter<'_, T> {
    fn next_back(&mut self) -> Option<T> {
        self.left.next_back().and_then(|at| self.slice.get(at).copied())
    }
}

impl<T: Copy> ExactSizeIterator for VectorIter<'_, T> {}
