//! A first-in, first-out queue: items are objects of their own, a ring holds the links to them.

use crate::fresh::{first_that_fits, lengths};
use crate::store::{Store, StoreError, check_unborrowed, free, guarded};
use vnv_persist::{Advice, Durable, DurableObject, Error, Filled, Link, Named, ObjectId, Owned, Ref, RefMut, Slot};

/// A first-in, first-out queue of `T`: the durable header, 8 bytes. [`at`](Self::at) opens it.
///
/// Items may be sized values, built in place if they are large, or slices of different lengths (`Queue<[u8]>`).
///
/// ```
/// use vnv_collections::Queue;
/// # use vnv_persist::{Heap, Memory, Options};
/// # use vnv_storage::RamStorage;
/// # let mut memory = Memory::<32, 16, 6, 2, 128>::new();
/// # let heap: Heap<_, _> = Heap::open_or_format(RamStorage::<8192>::new(), &mut memory, Options::new(512))?;
/// let mut jobs = Queue::create(&heap)?;
/// heap.set_root("jobs", Some(jobs.link()))?;
/// jobs.push_back(7u32)?;
/// jobs.push_back(8)?;
/// heap.commit()?;
///
/// // After a reboot:
/// let link = heap.root::<Queue<u32>>("jobs")?.expect("it was committed");
/// let mut jobs = Queue::at(&heap, link);
/// assert_eq!(jobs.pop_front()?, Some(7));
/// assert_eq!(*jobs.front()?.expect("one is left"), 8);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Durable)]
#[repr(C)]
pub struct Queue<T: ?Sized> {
    /// As many links as the queue holds items before it grows. Those of no item are null, so that a collection or
    /// `open` sees exactly the items.
    ring: Link<[Link<T>]>,
    head: u16,
    len: u16,
}

impl<T: ?Sized> Clone for Queue<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T: ?Sized> Copy for Queue<T> {}

impl<T: ?Sized + DurableObject + Named> Queue<T> {
    /// An empty queue in `store`. It is garbage for the next collection until a root or another object links to it.
    ///
    /// Cost: no storage transaction with room.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn create<S: Store>(store: &S) -> Result<OpenQueue<'_, T, S>, StoreError<S>> {
        let queue = store.allocate(Self { ring: Link::NULL, head: 0, len: 0 })?;
        Ok(OpenQueue { store, link: queue.into_link() })
    }

    /// An empty queue with room for so many items before its ring grows.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn with_capacity<S: Store>(store: &S, capacity: usize) -> Result<OpenQueue<'_, T, S>, StoreError<S>> {
        let ring = store.allocate_slice_with(capacity, |_| Link::NULL)?;
        let queue = store.allocate(Self { ring: link_of(&ring), head: 0, len: 0 })?;
        let _ = ring.into_link();
        Ok(OpenQueue { store, link: queue.into_link() })
    }

    /// The queue that `link` leads to.
    pub const fn at<S: Store>(store: &S, link: Link<Self>) -> OpenQueue<'_, T, S> {
        OpenQueue { store, link }
    }

    /// Position in the ring of the item `index` behind the front.
    fn position(&self, index: usize, capacity: usize) -> usize {
        (usize::from(self.head) + index).checked_rem(capacity).unwrap_or(0)
    }
}

/// A link to an object that its handle still owns.
pub(crate) fn link_of<T: ?Sized>(owned: &Owned<'_, T>) -> Link<T> {
    let ObjectId { index, generation } = owned.id();
    Link::from_raw_parts(index, generation)
}

/// A queue in a store; it keeps nothing in RAM but the link.
pub struct OpenQueue<'s, T: ?Sized, S> {
    store: &'s S,
    link: Link<Queue<T>>,
}

impl<'s, T: ?Sized + DurableObject + Named, S: Store> OpenQueue<'s, T, S> {
    /// The link to the queue, for a root or a field.
    #[must_use]
    pub const fn link(&self) -> Link<Queue<T>> {
        self.link
    }

    fn header(&self) -> Result<Queue<T>, StoreError<S>> {
        Ok(*self.store.get(self.link)?)
    }

    /// Number of items.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get`](vnv_persist::Heap::get).
    pub fn len(&self) -> Result<usize, StoreError<S>> {
        Ok(usize::from(self.header()?.len))
    }

    /// Whether there are no items.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError<S>> {
        Ok(self.len()? == 0)
    }

    /// Number of items before the ring grows.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn capacity(&self) -> Result<usize, StoreError<S>> {
        self.capacity_of(&self.header()?)
    }

    fn capacity_of(&self, header: &Queue<T>) -> Result<usize, StoreError<S>> {
        if header.ring.is_null() { Ok(0) } else { Ok(self.store.get(header.ring)?.len()) }
    }

    /// The link to the item `index` behind the front. What is done with the item through it counts as done by the
    /// queue's user: it must not be freed.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn item(&self, index: usize) -> Result<Option<Link<T>>, StoreError<S>> {
        self.item_of(&self.header()?, index)
    }

    fn item_of(&self, header: &Queue<T>, index: usize) -> Result<Option<Link<T>>, StoreError<S>> {
        if index >= usize::from(header.len) {
            return Ok(None);
        }
        let ring = self.store.get(header.ring)?;
        let item = ring.get(header.position(index, ring.len())).copied();
        item.filter(|item| !item.is_null()).map(Some).ok_or(Error::Damaged { index: self.link.index() })
    }

    /// The item `index` behind the front. Cost: nothing if it is resident; one read otherwise, and what evicting costs.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn get(&self, index: usize) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        self.item(index)?.map(|item| self.store.get(item)).transpose()
    }

    /// Changes the item `index` behind the front. Cost: as [`get`](Self::get); the item is dirty afterwards.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn get_mut(&mut self, index: usize) -> Result<Option<RefMut<'_, T>>, StoreError<S>> {
        self.item(index)?.map(|item| self.store.get_mut(item)).transpose()
    }

    /// The item that [`pop_front`](Self::pop_front) will remove.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn front(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        self.get(0)
    }

    /// The item that was appended last.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn back(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        match self.len()?.checked_sub(1) {
            Some(last) => self.get(last),
            None => Ok(None),
        }
    }

    /// The items, from the front. Each is loaded when it is reached, and may be evicted when its guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn iter(&self) -> Result<QueueIter<'_, T, S>, StoreError<S>> {
        let header = self.header()?;
        Ok(QueueIter { queue: self, header, next: 0 })
    }

    /// Appends an object that was allocated by the caller in the same store: its handle gives it up to the queue. The
    /// item is not touched, nor is any other.
    ///
    /// Cost: no storage transaction with room; header and 8 bytes of the ring become dirty. When the ring is full, it
    /// is copied into one of twice its size.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_mut`](vnv_persist::Heap::get_mut), and of an allocation if the ring grows. The object is
    /// freed.
    pub fn push_owned(&mut self, item: Owned<'_, T>) -> Result<(), StoreError<S>> {
        let header = self.header()?;
        let (capacity, len) = (self.capacity_of(&header)?, usize::from(header.len));
        let link = link_of(&item);
        if len < capacity {
            let (mut place, mut header) = guarded(self.store, || {
                let place = self.store.get_element_mut(header.ring, header.position(len, capacity))?;
                Ok((place, self.store.get_mut(self.link)?))
            })?;
            *place = item.into_link();
            header.len += 1;
            // Resumed or not, a link behind the last item is harmless: it is closed first.
            drop(place);
        } else {
            let ring = {
                let old = if capacity == 0 { None } else { Some(self.store.get(header.ring)?) };
                let old = old.as_deref().unwrap_or_default();
                first_that_fits(self.store, lengths(capacity, len + 1), |index| match index {
                    _ if index < len => old.get(header.position(index, capacity)).copied().unwrap_or_default(),
                    _ if index == len => link,
                    _ => Link::NULL,
                })?
            };
            let mut changed = guarded(self.store, || self.store.get_mut(self.link))?;
            let _ = item.into_link();
            *changed = Queue { ring: ring.into_link(), head: 0, len: header.len + 1 };
            drop(changed);
            if capacity != 0 {
                free(self.store, header.ring);
            }
        }
        // It will be used after all the others.
        let _ = self.store.advise(link, Advice::WontNeed);
        Ok(())
    }

    /// Removes the front item without loading it; `false` if there is none.
    ///
    /// Cost: no storage transaction with room; header and 8 bytes of the ring become dirty.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyBorrowed`] if a guard on the item is open; those of
    /// [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn remove_front(&mut self) -> Result<bool, StoreError<S>> {
        let header = self.header()?;
        let Some(front) = self.item_of(&header, 0)? else { return Ok(false) };
        self.remove(&header, front)?;
        Ok(true)
    }

    /// Removes the front item after `look` has seen it, in place.
    ///
    /// Cost: as [`get`](Self::get) and [`remove_front`](Self::remove_front).
    ///
    /// # Errors
    ///
    /// As [`remove_front`](Self::remove_front); then `look` has run, and the item is still there.
    pub fn pop_front_with<O>(&mut self, look: impl FnOnce(&T) -> O) -> Result<Option<O>, StoreError<S>> {
        let header = self.header()?;
        let Some(front) = self.item_of(&header, 0)? else { return Ok(None) };
        let seen = look(&*self.store.get(front)?);
        // `look` may have pushed through another handle; the front it could not take away.
        let header = self.header()?;
        self.remove(&header, front)?;
        Ok(Some(seen))
    }

    fn remove(&mut self, header: &Queue<T>, front: Link<T>) -> Result<(), StoreError<S>> {
        check_unborrowed(self.store, front)?;
        let capacity = self.capacity_of(header)?;
        let (mut place, mut changed) = guarded(self.store, || {
            let place = self.store.get_element_mut(header.ring, header.position(0, capacity))?;
            Ok((place, self.store.get_mut(self.link)?))
        })?;
        *place = Link::NULL;
        changed.head = header.position(1, capacity) as u16;
        changed.len = header.len - 1;
        // The header first: a link in front of the first item is harmless.
        drop(changed);
        drop(place);
        free(self.store, front);
        if let Ok(Some(next)) = self.item(0) {
            let _ = self.store.advise(next, Advice::WillNeed);
        }
        Ok(())
    }

    /// Removes all items, and the ring. Items need not be resident.
    ///
    /// Cost: no storage transaction once the ring is resident; the header becomes dirty.
    ///
    /// # Errors
    ///
    /// As [`remove_front`](Self::remove_front).
    pub fn clear(&mut self) -> Result<(), StoreError<S>> {
        self.empty(|queue| {
            let mut header = guarded(queue.store, || queue.store.get_mut(queue.link))?;
            *header = Queue { ring: Link::NULL, head: 0, len: 0 };
            Ok(())
        })
    }

    /// Frees the items, the ring and the queue itself, which nothing links to any more.
    ///
    /// # Errors
    ///
    /// As [`remove_front`](Self::remove_front); then all is still there.
    pub fn destroy(mut self) -> Result<(), StoreError<S>> {
        self.empty(|queue| check_unborrowed(queue.store, queue.link))?;
        free(self.store, self.link);
        Ok(())
    }

    /// Frees items and ring once `unlink` has unlinked them.
    fn empty(&mut self, unlink: impl FnOnce(&mut Self) -> Result<(), StoreError<S>>) -> Result<(), StoreError<S>> {
        let header = self.header()?;
        if header.ring.is_null() {
            return unlink(self);
        }
        // Held until all its items are freed, so that nothing can fail once they are unlinked.
        let ring = self.store.get(header.ring)?;
        let items = || ring.iter().copied().filter(|item| !item.is_null());
        items().try_for_each(|item| check_unborrowed(self.store, item))?;
        unlink(self)?;
        items().for_each(|item| free(self.store, item));
        drop(ring);
        free(self.store, header.ring);
        Ok(())
    }
}

impl<T: Durable + Named, S: Store> OpenQueue<'_, T, S> {
    /// Appends an item. Cost: as [`push_owned`](Self::push_owned), and the item is dirty.
    ///
    /// # Errors
    ///
    /// Those of an allocation and of [`push_owned`](Self::push_owned).
    pub fn push_back(&mut self, item: T) -> Result<(), StoreError<S>> {
        self.push_owned(self.store.allocate(item)?)
    }

    /// Appends an item that `fill` builds in place, without a copy on the stack. Cost: as
    /// [`push_back`](Self::push_back).
    ///
    /// # Errors
    ///
    /// As [`push_back`](Self::push_back).
    pub fn push_back_with(
        &mut self,
        fill: impl for<'f> FnOnce(Slot<'f, T>) -> Filled<'f, T>,
    ) -> Result<(), StoreError<S>> {
        self.push_owned(self.store.allocate_with(fill)?)
    }

    /// Removes and returns the front item. Large items: [`pop_front_with`](Self::pop_front_with).
    ///
    /// Cost: as [`pop_front_with`](Self::pop_front_with).
    ///
    /// # Errors
    ///
    /// As [`remove_front`](Self::remove_front).
    pub fn pop_front(&mut self) -> Result<Option<T>, StoreError<S>>
    where
        T: Copy,
    {
        self.pop_front_with(|item| *item)
    }
}

impl<T: Durable + Named, S: Store> OpenQueue<'_, [T], S> {
    /// Appends a slice of `len` elements, each made in place by `element`. Cost: as
    /// [`push_owned`](Self::push_owned), and the slice is dirty.
    ///
    /// # Errors
    ///
    /// Those of an allocation and of [`push_owned`](Self::push_owned).
    pub fn push_back_slice_with(&mut self, len: usize, element: impl FnMut(usize) -> T) -> Result<(), StoreError<S>> {
        self.push_owned(self.store.allocate_slice_with(len, element)?)
    }
}

/// The items of a queue; see [`OpenQueue::iter`].
pub struct QueueIter<'q, T: ?Sized, S> {
    queue: &'q OpenQueue<'q, T, S>,
    header: Queue<T>,
    next: usize,
}

impl<'q, T: ?Sized + DurableObject + Named, S: Store> Iterator for QueueIter<'q, T, S> {
    type Item = Result<Ref<'q, T>, StoreError<S>>;

    fn next(&mut self) -> Option<Self::Item> {
        let item = self.queue.item_of(&self.header, self.next).transpose()?;
        self.next += 1;
        Some(item.and_then(|item| self.queue.store.get(item)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        let left = usize::from(self.header.len).saturating_sub(self.next);
        (left, Some(left))
    }
}

impl<T: ?Sized + DurableObject + Named, S: Store> ExactSizeIterator for QueueIter<'_, T, S> {}
