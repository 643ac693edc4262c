//! What a collection needs of a heap: the same operations on [`Heap`] and on a running [`Transaction`].

use core::fmt::Debug;
use core::ops::Range;
use vnv_persist::{
    Advice, Device, Durable, DurableObject, Error, Filled, Heap, Link, OffsetAllocator, Owned, Policy, Ref, RefMut,
    Slot, Transaction, Workspace,
};

/// Why an operation of a collection in the store `S` failed. The collection is as it was before.
pub type StoreError<S> = Error<<S as Store>::DeviceError>;

/// A heap, or a transaction that is running on it.
///
/// In a [`Heap`] every operation of a collection is atomic by itself; in a [`Transaction`] it appears with the
/// transaction's commit, or not at all. Each method is the one of the same name there, with its errors.
#[allow(clippy::missing_errors_doc, reason = "those of the methods of the same name")]
pub trait Store {
    /// The device's error.
    type DeviceError: Debug;

    /// Reads an object.
    fn get<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<Ref<'_, T>, StoreError<Self>>;

    /// Changes an object.
    fn get_mut<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<RefMut<'_, T>, StoreError<Self>>;

    /// Changes one element of a slice object.
    fn get_element_mut<T: Durable>(&self, handle: Link<[T]>, index: usize) -> Result<RefMut<'_, T>, StoreError<Self>>;

    /// Changes elements of a slice object.
    fn get_range_mut<T: Durable>(
        &self,
        handle: Link<[T]>,
        range: Range<usize>,
    ) -> Result<RefMut<'_, [T]>, StoreError<Self>>;

    /// Allocates an object.
    fn allocate<T: Durable>(&self, value: T) -> Result<Owned<'_, T>, StoreError<Self>>;

    /// Allocates an object that `fill` builds in place.
    fn allocate_with<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Result<Owned<'_, T>, StoreError<Self>>;

    /// Allocates a slice, each element made in place.
    fn allocate_slice_with<T: Durable>(
        &self,
        len: usize,
        element: impl FnMut(usize) -> T,
    ) -> Result<Owned<'_, [T]>, StoreError<Self>>;

    /// Frees an object.
    fn free<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<(), StoreError<Self>>;

    /// Whether a guard is open on an object.
    fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<bool, StoreError<Self>>;

    /// Tells the eviction policy what is known of an object's future.
    fn advise<T: ?Sized + DurableObject>(&self, handle: Link<T>, advice: Advice) -> Result<(), StoreError<Self>>;

    /// Makes room by a commit where one is allowed; `false`: here it is not (a transaction is running, or one of the
    /// program's mutable guards is open).
    fn make_room(&self) -> Result<bool, StoreError<Self>>;
}

/// Opens the guards of an operation. If a commit may make room for them, none is open any more when it is made, and
/// they are opened once more. Until this returns `Ok`, nothing has changed.
pub(crate) fn guarded<S: Store, G>(
    store: &S,
    mut open: impl FnMut() -> Result<G, StoreError<S>>,
) -> Result<G, StoreError<S>> {
    match open() {
        Err(error) if error.commit_may_help() => {
            if store.make_room()? {
                open()
            } else {
                Err(error)
            }
        }
        result => result,
    }
}

/// [`Error::AlreadyBorrowed`] if the object could not be freed now.
pub(crate) fn check_unborrowed<S: Store, T: ?Sized + DurableObject>(
    store: &S,
    object: Link<T>,
) -> Result<(), StoreError<S>> {
    if store.is_borrowed(object)? { Err(Error::AlreadyBorrowed) } else { Ok(()) }
}

/// Frees an object that was live and not borrowed a moment ago: it cannot fail, and if it did, the object would be
/// garbage for the next collection.
pub(crate) fn free<S: Store, T: ?Sized + DurableObject>(store: &S, object: Link<T>) {
    let freed = store.free(object);
    debug_assert!(freed.is_ok(), "an object was lent out between check and free");
}

macro_rules! forward {
    () => {
        fn get<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<Ref<'_, T>, StoreError<Self>> {
            self.get(handle)
        }

        fn get_mut<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<RefMut<'_, T>, StoreError<Self>> {
            self.get_mut(handle)
        }

        fn get_element_mut<T: Durable>(
            &self,
            handle: Link<[T]>,
            index: usize,
        ) -> Result<RefMut<'_, T>, StoreError<Self>> {
            self.get_element_mut(handle, index)
        }

        fn get_range_mut<T: Durable>(
            &self,
            handle: Link<[T]>,
            range: Range<usize>,
        ) -> Result<RefMut<'_, [T]>, StoreError<Self>> {
            self.get_range_mut(handle, range)
        }

        fn allocate<T: Durable>(&self, value: T) -> Result<Owned<'_, T>, StoreError<Self>> {
            self.allocate(value)
        }

        fn allocate_with<T: Durable>(
            &self,
            fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
        ) -> Result<Owned<'_, T>, StoreError<Self>> {
            self.allocate_with(fill)
        }

        fn allocate_slice_with<T: Durable>(
            &self,
            len: usize,
            element: impl FnMut(usize) -> T,
        ) -> Result<Owned<'_, [T]>, StoreError<Self>> {
            self.allocate_slice_with(len, element)
        }

        fn free<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<(), StoreError<Self>> {
            self.free(handle)
        }

        fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Result<bool, StoreError<Self>> {
            self.is_borrowed(handle)
        }

        fn advise<T: ?Sized + DurableObject>(&self, handle: Link<T>, advice: Advice) -> Result<(), StoreError<Self>> {
            self.advise(handle, advice)
        }
    };
}

impl<D, W, P, R, S> Store for Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    type DeviceError = D::Error;

    forward!();

    fn make_room(&self) -> Result<bool, StoreError<Self>> {
        match self.commit() {
            Ok(_) => Ok(true),
            Err(Error::GuardOpen | Error::TransactionRunning) => Ok(false),
            Err(error) => Err(error),
        }
    }
}

impl<D, W, P, R, S> Store for Transaction<'_, '_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    type DeviceError = D::Error;

    forward!();

    fn make_room(&self) -> Result<bool, StoreError<Self>> {
        Ok(false)
    }
}
