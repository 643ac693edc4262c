//! A doubly linked list: items keep their place, and leave it from anywhere.

use crate::queue::link_of;
use crate::store::{Store, StoreError, check_unborrowed, free, guarded};
use core::ops::{Deref, DerefMut};
use vnv_persist::{Durable, Link, Ref, RefMut};

/// A doubly linked list of `T`: the durable header, 12 bytes. [`at`](Self::at) opens it.
///
/// For items that leave from the middle, or enter there. A change makes the neighbours dirty as a whole: items of more
/// than a few words are better objects of their own, `List<Link<T>>`. What only enters behind and leaves in front is
/// better a [`Queue`](crate::Queue).
///
/// ```
/// use vnv_collections::List;
/// # use vnv_persist::{Heap, Memory, Options};
/// # use vnv_storage::RamStorage;
/// # let mut memory = Memory::<32, 16, 6, 2, 128>::new();
/// # let heap: Heap<_, _> = Heap::open_or_format(RamStorage::<8192>::new(), &mut memory, Options::new(512))?;
/// let mut alarms = List::create(&heap)?;
/// heap.set_root("alarms", Some(alarms.link()))?;
/// for minute in [5u16, 20, 35] {
///     alarms.push_back(minute)?;
/// }
/// let mut cursor = alarms.cursor_front()?;
/// cursor.move_next()?;
/// assert_eq!(cursor.remove_current()?, Some(20));
/// cursor.insert_before(30)?;
/// heap.commit()?;
///
/// // After a reboot:
/// let mut alarms = List::at(&heap, heap.root::<List<u16>>("alarms")?.expect("it was committed"));
/// assert_eq!(alarms.iter()?.map(|alarm| Ok(*alarm?)).collect::<Result<Vec<_>, vnv_persist::Error<_>>>()?, [5, 30, 35]);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Durable)]
#[repr(C)]
pub struct List<T> {
    first: Link<Node<T>>,
    last: Link<Node<T>>,
    len: u32,
}

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        *self
    }
}
impl<T> Copy for List<T> {}

/// An item of a list and the links to its neighbours. It stands for the item.
#[derive(Durable, Clone, Copy)]
#[repr(C)]
pub struct Node<T> {
    previous: Link<Node<T>>,
    next: Link<Node<T>>,
    item: T,
}

impl<T> Deref for Node<T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.item
    }
}

impl<T> DerefMut for Node<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.item
    }
}

impl<T: Durable> List<T> {
    /// An empty list in `store`. It is garbage for the next collection until a root or another object links to it.
    ///
    /// Cost: no storage transaction with room.
    ///
    /// # Errors
    ///
    /// Those of an allocation.
    pub fn create<S: Store>(store: &S) -> Result<OpenList<'_, T, S>, StoreError<S>> {
        let list = store.allocate(Self { first: Link::NULL, last: Link::NULL, len: 0 })?;
        Ok(OpenList { store, link: list.into_link() })
    }

    /// The list that `link` leads to.
    pub const fn at<S: Store>(store: &S, link: Link<Self>) -> OpenList<'_, T, S> {
        OpenList { store, link }
    }
}

/// A list in a store; it keeps nothing in RAM but the link.
pub struct OpenList<'s, T, S> {
    store: &'s S,
    link: Link<List<T>>,
}

/// The guards on the two neighbours of a gap, as far as there are any, and on the header.
struct Around<'s, T: Durable> {
    before: Option<RefMut<'s, Node<T>>>,
    after: Option<RefMut<'s, Node<T>>>,
    header: RefMut<'s, List<T>>,
}

impl<T: Durable> Around<'_, T> {
    fn connect(&mut self, before: Link<Node<T>>, after: Link<Node<T>>) {
        match &mut self.before {
            Some(node) => node.next = after,
            None => self.header.first = after,
        }
        match &mut self.after {
            Some(node) => node.previous = before,
            None => self.header.last = before,
        }
    }
}

impl<'s, T: Durable, S: Store> OpenList<'s, T, S> {
    /// The link to the list, for a root or a field.
    #[must_use]
    pub const fn link(&self) -> Link<List<T>> {
        self.link
    }

    fn header(&self) -> Result<List<T>, StoreError<S>> {
        Ok(*self.store.get(self.link)?)
    }

    fn node(&self, node: Link<Node<T>>) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        if node.is_null() {
            return Ok(None);
        }
        Ok(Some(Ref::map(self.store.get(node)?, |node| &node.item)))
    }

    /// Number of items.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get`](vnv_persist::Heap::get).
    pub fn len(&self) -> Result<usize, StoreError<S>> {
        Ok(self.header()?.len as usize)
    }

    /// Whether there are no items.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn is_empty(&self) -> Result<bool, StoreError<S>> {
        Ok(self.len()? == 0)
    }

    /// The first item. Cost: nothing if it is resident; one read otherwise, and what evicting costs.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn front(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        self.node(self.header()?.first)
    }

    /// The last item. Cost: as [`front`](Self::front).
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn back(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        self.node(self.header()?.last)
    }

    /// The items, from the front. Each is loaded when it is reached, and may be evicted when its guard is dropped.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn iter(&self) -> Result<ListIter<'_, T, S>, StoreError<S>> {
        let header = self.header()?;
        Ok(ListIter { list: self, next: header.first, left: header.len as usize })
    }

    /// A cursor at the first item.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn cursor_front(&mut self) -> Result<Cursor<'_, 's, T, S>, StoreError<S>> {
        let current = self.header()?.first;
        Ok(Cursor { list: self, current })
    }

    /// A cursor at the last item.
    ///
    /// # Errors
    ///
    /// As [`len`](Self::len).
    pub fn cursor_back(&mut self) -> Result<Cursor<'_, 's, T, S>, StoreError<S>> {
        let current = self.header()?.last;
        Ok(Cursor { list: self, current })
    }

    /// Inserts an item in front.
    ///
    /// Cost: no storage transaction if its neighbour is resident, and with room; header and neighbour become dirty.
    ///
    /// # Errors
    ///
    /// Those of an allocation and of [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn push_front(&mut self, item: T) -> Result<(), StoreError<S>> {
        let after = self.header()?.first;
        self.insert(Link::NULL, after, item).map(|_| ())
    }

    /// Inserts an item behind the last one. Cost: as [`push_front`](Self::push_front).
    ///
    /// # Errors
    ///
    /// As [`push_front`](Self::push_front).
    pub fn push_back(&mut self, item: T) -> Result<(), StoreError<S>> {
        let before = self.header()?.last;
        self.insert(before, Link::NULL, item).map(|_| ())
    }

    /// Removes and returns the first item.
    ///
    /// Cost: no storage transaction if it and its neighbours are resident; header and neighbours become dirty.
    ///
    /// # Errors
    ///
    /// [`AlreadyBorrowed`](vnv_persist::Error::AlreadyBorrowed) if a guard on the item or a neighbour is open; those of
    /// [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn pop_front(&mut self) -> Result<Option<T>, StoreError<S>>
    where
        T: Copy,
    {
        let first = self.header()?.first;
        Ok(self.remove(first)?.map(|node| node.item))
    }

    /// Removes and returns the last item. Cost: as [`pop_front`](Self::pop_front).
    ///
    /// # Errors
    ///
    /// As [`pop_front`](Self::pop_front).
    pub fn pop_back(&mut self) -> Result<Option<T>, StoreError<S>>
    where
        T: Copy,
    {
        let last = self.header()?.last;
        Ok(self.remove(last)?.map(|node| node.item))
    }

    /// Removes the items for which `keep` is false, each by itself.
    ///
    /// # Errors
    ///
    /// As [`pop_front`](Self::pop_front); then the items before are done, and the others still there.
    pub fn retain(&mut self, mut keep: impl FnMut(&T) -> bool) -> Result<(), StoreError<S>>
    where
        T: Copy,
    {
        let mut cursor = self.cursor_front()?;
        loop {
            let kept = match cursor.current()? {
                Some(item) => keep(&item),
                None => return Ok(()),
            };
            if kept {
                cursor.move_next()?;
            } else {
                cursor.remove_current()?;
            }
        }
    }

    /// Removes all items, one after the other: each removal is atomic, all of them together only in a transaction.
    ///
    /// # Errors
    ///
    /// As [`pop_front`](Self::pop_front); then some items may be left.
    pub fn clear(&mut self) -> Result<(), StoreError<S>>
    where
        T: Copy,
    {
        while self.pop_front()?.is_some() {}
        Ok(())
    }

    /// Frees the items and the list itself, which nothing links to any more.
    ///
    /// # Errors
    ///
    /// As [`clear`](Self::clear).
    pub fn destroy(mut self) -> Result<(), StoreError<S>>
    where
        T: Copy,
    {
        self.clear()?;
        check_unborrowed(self.store, self.link)?;
        free(self.store, self.link);
        Ok(())
    }

    fn around(&self, before: Link<Node<T>>, after: Link<Node<T>>) -> Result<Around<'s, T>, StoreError<S>> {
        let store = self.store;
        let node = |link: Link<Node<T>>| if link.is_null() { Ok(None) } else { store.get_mut(link).map(Some) };
        guarded(store, || Ok(Around { before: node(before)?, after: node(after)?, header: store.get_mut(self.link)? }))
    }

    fn insert(&mut self, before: Link<Node<T>>, after: Link<Node<T>>, item: T) -> Result<Link<Node<T>>, StoreError<S>> {
        let node = self.store.allocate(Node { previous: before, next: after, item })?;
        let link = link_of(&node);
        let mut around = self.around(before, after)?;
        let _ = node.into_link();
        around.connect(link, link);
        around.header.len = around.header.len.saturating_add(1);
        Ok(link)
    }

    fn remove(&mut self, link: Link<Node<T>>) -> Result<Option<Node<T>>, StoreError<S>>
    where
        T: Copy,
    {
        if link.is_null() {
            return Ok(None);
        }
        let node = *self.store.get(link)?;
        check_unborrowed(self.store, link)?;
        let mut around = self.around(node.previous, node.next)?;
        around.connect(node.previous, node.next);
        around.header.len = around.header.len.saturating_sub(1);
        drop(around);
        free(self.store, link);
        Ok(Some(node))
    }
}

/// A place in a list: at an item, or behind the last one.
pub struct Cursor<'l, 's, T, S> {
    list: &'l mut OpenList<'s, T, S>,
    current: Link<Node<T>>,
}

impl<T: Durable, S: Store> Cursor<'_, '_, T, S> {
    /// The item, or `None` behind the last one. Cost: as [`OpenList::front`].
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get`](vnv_persist::Heap::get).
    pub fn current(&self) -> Result<Option<Ref<'_, T>>, StoreError<S>> {
        self.list.node(self.current)
    }

    /// Changes the item.
    ///
    /// # Errors
    ///
    /// Those of [`Heap::get_mut`](vnv_persist::Heap::get_mut).
    pub fn current_mut(&mut self) -> Result<Option<RefMut<'_, Node<T>>>, StoreError<S>> {
        if self.current.is_null() { Ok(None) } else { self.list.store.get_mut(self.current).map(Some) }
    }

    /// Goes on to the next item; from behind the last one, to the first.
    ///
    /// # Errors
    ///
    /// As [`current`](Self::current).
    pub fn move_next(&mut self) -> Result<(), StoreError<S>> {
        self.current =
            if self.current.is_null() { self.list.header()?.first } else { self.list.store.get(self.current)?.next };
        Ok(())
    }

    /// Goes back to the previous item; from the first, behind the last one.
    ///
    /// # Errors
    ///
    /// As [`current`](Self::current).
    pub fn move_previous(&mut self) -> Result<(), StoreError<S>> {
        self.current = self.previous()?;
        Ok(())
    }

    fn previous(&self) -> Result<Link<Node<T>>, StoreError<S>> {
        if self.current.is_null() {
            Ok(self.list.header()?.last)
        } else {
            Ok(self.list.store.get(self.current)?.previous)
        }
    }

    /// Removes and returns the item; the cursor is at the next one then. Cost: as [`OpenList::pop_front`].
    ///
    /// # Errors
    ///
    /// As [`OpenList::pop_front`].
    pub fn remove_current(&mut self) -> Result<Option<T>, StoreError<S>>
    where
        T: Copy,
    {
        let removed = self.list.remove(self.current)?;
        if let Some(node) = &removed {
            self.current = node.next;
        }
        Ok(removed.map(|node| node.item))
    }

    /// Inserts an item before the current one; behind the last one if the cursor is there. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// As [`OpenList::push_front`].
    pub fn insert_before(&mut self, item: T) -> Result<(), StoreError<S>> {
        let before = self.previous()?;
        self.list.insert(before, self.current, item).map(|_| ())
    }

    /// Inserts an item behind the current one; in front if the cursor is behind the last one. The cursor stays where it is.
    ///
    /// # Errors
    ///
    /// As [`OpenList::push_front`].
    pub fn insert_after(&mut self, item: T) -> Result<(), StoreError<S>> {
        let after =
            if self.current.is_null() { self.list.header()?.first } else { self.list.store.get(self.current)?.next };
        self.list.insert(self.current, after, item).map(|_| ())
    }
}

/// The items of a list; see [`OpenList::iter`].
pub struct ListIter<'l, T, S> {
    list: &'l OpenList<'l, T, S>,
    next: Link<Node<T>>,
    left: usize,
}

impl<'l, T: Durable, S: Store> Iterator for ListIter<'l, T, S> {
    type Item = Result<Ref<'l, T>, StoreError<S>>;

    fn next(&mut self) -> Option<Self::Item> {
        // Bounded, whatever the links say.
        self.left = self.left.checked_sub(1)?;
        let node = match self.list.store.get(self.next) {
            Ok(node) => node,
            Err(error) => {
                self.left = 0;
                return Some(Err(error));
            }
        };
        self.next = node.next;
        Some(Ok(Ref::map(node, |node| &node.item)))
    }

    fn size_hint(&self) -> (usize, Option<usize>) {
        (self.left, Some(self.left))
    }
}

impl<T: Durable, S: Store> ExactSizeIterator for ListIter<'_, T, S> {}
