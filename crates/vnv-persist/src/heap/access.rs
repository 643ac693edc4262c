//! Objects: guards on them, allocating and freeing them.

use super::Heap;
use core::fmt::Debug;
use core::ops::Range;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::{EngineError, TypeKey};
use vnv_core::{
    Admitted, Durable, DurableObject, Error, Filled, Handle, HandleMut, Link, ObjectId, Owned, Pinned, PinnedMut,
    Policy, Ref, RefMut, Slot, Workspace, type_key,
};
use vnv_storage::Device;

impl<D, W, P, R, S> Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Reads an object. A hit costs no bus traffic, a miss one read, and a write if a dirty object has to leave.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`], [`Error::AlreadyBorrowed`], [`Error::RamFull`], [`Error::Damaged`],
    /// [`Error::TransactionRunning`], the device's. A miss may have to evict something dirty while a guard is open:
    /// [`Error::StorageFull`], [`Error::PendingFull`].
    #[inline]
    pub fn get<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl Handle<T> + 'a,
    ) -> Result<Ref<'a, T>, EngineError<D>> {
        let id = handle.object_id();
        match self.objects.get_resident(Link::<T>::from_id(id)) {
            Some(object) => Ok(object),
            None => self.get_missed(id),
        }
    }

    /// [`get`](Self::get), if the object is not resident, or cannot be borrowed.
    #[cold]
    #[inline(never)]
    fn get_missed<T: ?Sized + DurableObject>(&self, id: ObjectId) -> Result<Ref<'_, T>, EngineError<D>> {
        self.outside()?;
        self.get_any(id)
    }

    pub(crate) fn get_any<T: ?Sized + DurableObject>(&self, id: ObjectId) -> Result<Ref<'_, T>, EngineError<D>> {
        self.pin(id, type_key::<T>())?.read().ok_or(Error::TypeMismatch)
    }

    /// Once, whatever the types.
    fn pin(&self, id: ObjectId, key: &'static TypeKey) -> Result<Pinned<'_>, EngineError<D>> {
        self.with_room(|| self.objects.pin(id, key))
    }

    /// Changes an object; all of it counts as dirty from here on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::DirtyLimit`], [`Error::PendingFull`], [`Error::TooLargeToChange`].
    #[inline]
    pub fn get_mut<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl HandleMut<T> + 'a,
    ) -> Result<RefMut<'a, T>, EngineError<D>> {
        let id = handle.object_id();
        match self.objects.get_dirty_mut(Link::<T>::from_id(id)) {
            Some(object) => Ok(object),
            None => self.get_mut_missed(id),
        }
    }

    /// [`get_mut`](Self::get_mut), if the object is not resident and dirty, or cannot be borrowed.
    #[cold]
    #[inline(never)]
    fn get_mut_missed<T: ?Sized + DurableObject>(&self, id: ObjectId) -> Result<RefMut<'_, T>, EngineError<D>> {
        self.outside()?;
        self.get_mut_any(id)
    }

    pub(crate) fn get_mut_any<T: ?Sized + DurableObject>(&self, id: ObjectId) -> Result<RefMut<'_, T>, EngineError<D>> {
        self.pin_mut(id, type_key::<T>())?.change().ok_or(Error::TypeMismatch)
    }

    /// Once, whatever the types.
    fn pin_mut(&self, id: ObjectId, key: &'static TypeKey) -> Result<PinnedMut<'_>, EngineError<D>> {
        self.with_room(|| self.objects.pin_mut(id, key))
    }

    /// Once, whatever the types.
    fn pin_range(
        &self,
        id: ObjectId,
        key: &'static TypeKey,
        element: usize,
        range: &Range<usize>,
    ) -> Result<PinnedMut<'_>, EngineError<D>> {
        self.with_room(|| self.objects.pin_range(id, key, element, range))
    }

    pub(crate) fn get_range_any<T: Durable>(
        &self,
        id: ObjectId,
        range: &Range<usize>,
    ) -> Result<RefMut<'_, [T]>, EngineError<D>> {
        let pinned = self.pin_range(id, type_key::<[T]>(), size_of::<T>(), range)?;
        pinned.change_elements().ok_or(Error::TypeMismatch)
    }

    pub(crate) fn get_element_any<T: Durable>(
        &self,
        id: ObjectId,
        index: usize,
    ) -> Result<RefMut<'_, T>, EngineError<D>> {
        let range = index..index.checked_add(1).ok_or(Error::OutOfBounds)?;
        let pinned = self.pin_range(id, type_key::<[T]>(), size_of::<T>(), &range)?;
        pinned.change_element().ok_or(Error::TypeMismatch)
    }

    /// Changes elements of a slice object; only they count as dirty.
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut); [`Error::OutOfBounds`].
    pub fn get_range_mut<'a, T: Durable>(
        &'a self,
        handle: impl HandleMut<[T]> + 'a,
        range: Range<usize>,
    ) -> Result<RefMut<'a, [T]>, EngineError<D>> {
        self.outside()?;
        self.get_range_any(handle.object_id(), &range)
    }

    /// Changes one element of a slice object.
    ///
    /// # Errors
    ///
    /// As [`get_range_mut`](Self::get_range_mut).
    pub fn get_element_mut<'a, T: Durable>(
        &'a self,
        handle: impl HandleMut<[T]> + 'a,
        index: usize,
    ) -> Result<RefMut<'a, T>, EngineError<D>> {
        self.outside()?;
        self.get_element_any(handle.object_id(), index)
    }

    /// Allocates an object. With room: no bus traffic. Without a free slot, place or row of the type table the heap commits, and if that is not
    /// enough collects once, unless a transaction runs or a mutable guard is open.
    ///
    /// # Errors
    ///
    /// [`Error::StorageFull`], [`Error::RamFull`], [`Error::ObjectsFull`], [`Error::TypesFull`], [`Error::DirtyLimit`],
    /// [`Error::PendingFull`], [`Error::TooLarge`], [`Error::TransactionRunning`], the device's; from inside an
    /// initialiser also [`Error::GuardOpen`].
    pub fn allocate<T: Durable>(&self, value: T) -> Result<Owned<'_, T>, EngineError<D>> {
        self.objects.allocate(value, self, |size, key| {
            self.outside()?;
            self.admit(size, key)
        })
    }

    pub(crate) fn allocate_any<T: Durable>(&self, value: T) -> Result<Owned<'_, T>, EngineError<D>> {
        self.objects.allocate(value, self, |size, key| self.admit(size, key))
    }

    /// Once, whatever the types.
    fn admit(&self, size: usize, key: &'static TypeKey) -> Result<Admitted<'_>, EngineError<D>> {
        self.with_room_or_garbage(true, || self.objects.admit(size, key))
    }

    /// Allocates a slice of `len` elements, each made in place by `element`.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn allocate_slice_with<T: Durable>(
        &self,
        len: usize,
        element: impl FnMut(usize) -> T,
    ) -> Result<Owned<'_, [T]>, EngineError<D>> {
        self.outside()?;
        self.allocate_slice_any(len, element)
    }

    pub(crate) fn allocate_slice_any<T: Durable>(
        &self,
        len: usize,
        element: impl FnMut(usize) -> T,
    ) -> Result<Owned<'_, [T]>, EngineError<D>> {
        let size = len.checked_mul(size_of::<T>()).ok_or(Error::TooLarge)?;
        let admitted = self.admit(size, type_key::<[T]>())?;
        self.objects.fill_slice_with(admitted, len, element, self)
    }

    /// Allocates an object that `fill` builds in place, without a copy on the stack.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn allocate_with<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Result<Owned<'_, T>, EngineError<D>> {
        self.outside()?;
        self.allocate_with_any(fill)
    }

    pub(crate) fn allocate_with_any<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Result<Owned<'_, T>, EngineError<D>> {
        let admitted = self.admit(size_of::<T>(), type_key::<T>())?;
        self.objects.fill_with(admitted, fill, self)
    }

    /// Frees an object that a link or a weak handle names. Never touches the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`], [`Error::AlreadyBorrowed`], [`Error::TransactionRunning`].
    pub fn free<T: ?Sized + DurableObject>(&self, handle: impl HandleMut<T>) -> Result<(), EngineError<D>> {
        self.outside()?;
        self.free_any(handle.object_id(), T::FINGERPRINT)
    }

    pub(crate) fn free_any(&self, id: ObjectId, fingerprint: u64) -> Result<(), EngineError<D>> {
        self.objects.with(|engine| engine.free_object(id, fingerprint))
    }
}
