//! Transactions: several changes that appear together or not at all.

use crate::heap::Heap;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::EngineError;
use vnv_core::{
    Advice, Durable, DurableObject, Error, Filled, Handle, HandleMut, Link, Owned, Policy, Ref, RefMut, Slot, Workspace,
};
use vnv_storage::Device;

/// A running transaction. Dropping it rolls back: the state is as before it began, nothing is written, nothing can fail.
///
/// Guards obtained through it end before it is committed or dropped; the heap's own methods are refused meanwhile.
#[must_use = "dropping a transaction rolls it back"]
pub struct Transaction<'h, 'm, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    heap: &'h Heap<'m, D, W, P, R, S>,
    roots: W::Roots,
    roots_changed: u32,
}

impl<'h, 'm, D, W, P, R, S> Transaction<'h, 'm, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    pub(crate) fn begin(heap: &'h Heap<'m, D, W, P, R, S>) -> Result<Self, EngineError<D>> {
        let mut roots = W::record_roots();
        let roots_changed = heap.with_state(|engine, state| {
            roots.as_mut().iter_mut().zip(state.roots.slots.iter()).for_each(|(to, from)| *to = *from);
            engine.begin();
            Ok(state.roots.changed)
        })?;
        Ok(Self { heap, roots, roots_changed })
    }

    /// Reads an object, as [`Heap::get`].
    ///
    /// # Errors
    ///
    /// As [`Heap::get`].
    pub fn get<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl Handle<T> + 'a,
    ) -> Result<Ref<'a, T>, EngineError<D>> {
        self.heap.get_any(handle.object_id())
    }

    /// Changes an object, as [`Heap::get_mut`]. If it was dirty before the transaction, it is synced first: one write.
    ///
    /// # Errors
    ///
    /// As [`Heap::get_mut`]; [`Error::StorageFull`] if there is no room for the state to return to.
    pub fn get_mut<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl HandleMut<T> + 'a,
    ) -> Result<RefMut<'a, T>, EngineError<D>> {
        self.heap.get_mut_any(handle.object_id())
    }

    /// Changes one element of a slice object, as [`Heap::get_element_mut`].
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut); [`Error::OutOfBounds`].
    pub fn get_element_mut<'a, T: Durable>(
        &'a self,
        handle: impl HandleMut<[T]> + 'a,
        index: usize,
    ) -> Result<RefMut<'a, T>, EngineError<D>> {
        self.heap.get_element_any(handle.object_id(), index)
    }

    /// Changes elements of a slice object, as [`Heap::get_range_mut`].
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut); [`Error::OutOfBounds`].
    pub fn get_range_mut<'a, T: Durable>(
        &'a self,
        handle: impl HandleMut<[T]> + 'a,
        range: core::ops::Range<usize>,
    ) -> Result<RefMut<'a, [T]>, EngineError<D>> {
        self.heap.get_range_any(handle.object_id(), &range)
    }

    /// Allocates an object, as [`Heap::allocate`]. After a rollback the handle is stale.
    ///
    /// # Errors
    ///
    /// As [`Heap::allocate`].
    pub fn allocate<T: Durable>(&self, value: T) -> Result<Owned<'h, T>, EngineError<D>> {
        self.heap.allocate_any(value)
    }

    /// Allocates a slice, as [`Heap::allocate_slice_with`].
    ///
    /// # Errors
    ///
    /// As [`Heap::allocate`].
    pub fn allocate_slice_with<T: Durable>(
        &self,
        len: usize,
        element: impl FnMut(usize) -> T,
    ) -> Result<Owned<'h, [T]>, EngineError<D>> {
        self.heap.allocate_slice_any(len, element)
    }

    /// Allocates an object that `fill` builds in place, as [`Heap::allocate_with`].
    ///
    /// # Errors
    ///
    /// As [`Heap::allocate`].
    pub fn allocate_with<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        self.heap.allocate_with_any(fill)
    }

    /// Whether a guard is open on an object, as [`Heap::is_borrowed`].
    ///
    /// # Errors
    ///
    /// As [`Heap::is_borrowed`].
    pub fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: impl Handle<T>) -> Result<bool, EngineError<D>> {
        self.heap.is_borrowed(handle)
    }

    /// Tells the eviction policy what is known of an object's future, as [`Heap::advise`].
    ///
    /// # Errors
    ///
    /// As [`Heap::advise`].
    pub fn advise<T: ?Sized + DurableObject>(
        &self,
        handle: impl Handle<T>,
        advice: Advice,
    ) -> Result<(), EngineError<D>> {
        self.heap.advise(handle, advice)
    }

    /// Frees an object, as [`Heap::free`]; a rollback brings it back.
    ///
    /// # Errors
    ///
    /// As [`Heap::free`].
    pub fn free<T: ?Sized + DurableObject>(&self, handle: impl HandleMut<T>) -> Result<(), EngineError<D>> {
        self.heap.free_any(handle.object_id(), T::FINGERPRINT)
    }

    /// Sets a root, as [`Heap::set_root`].
    ///
    /// # Errors
    ///
    /// As [`Heap::set_root`].
    pub fn set_root<T: ?Sized + DurableObject>(
        &self,
        name: &str,
        target: Option<Link<T>>,
    ) -> Result<(), EngineError<D>> {
        self.heap.set_root_any(name, target)
    }

    /// The object that a root leads to, as [`Heap::root`].
    ///
    /// # Errors
    ///
    /// As [`Heap::root`].
    pub fn root<T: ?Sized + DurableObject>(&self, name: &str) -> Result<Option<Link<T>>, EngineError<D>> {
        self.heap.root(name)
    }

    /// Makes the changes durable together, with everything changed before. Returns the sequence number.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`] if a guard was forgotten: the transaction is rolled back. The device's: the changes
    /// stand, together, and [`Heap::commit`] makes them durable later.
    pub fn commit(self) -> Result<u64, EngineError<D>> {
        if self.heap.objects.open_guards() != 0 {
            return Err(Error::GuardOpen);
        }
        let heap = self.heap;
        heap.objects.with(|engine| {
            engine.end_transaction();
            Ok(())
        })?;
        drop(self);
        heap.commit_now()
    }
}

impl<D, W, P, R, S> Drop for Transaction<'_, '_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    fn drop(&mut self) {
        if !self.heap.objects.attention().in_transaction() {
            return;
        }
        let Self { heap, roots, roots_changed } = self;
        let root_bytes = roots_changed.count_ones() * vnv_core::ROOT_BYTES as u32;
        let _ = heap.with_state(|engine, state| {
            state.roots.slots.iter_mut().zip(roots.as_mut().iter()).for_each(|(to, from)| *to = *from);
            state.roots.changed = *roots_changed;
            engine.set_root_dirty(root_bytes);
            // SAFETY: an object that the transaction changed was not pinned when it was first changed, and since
            // then could be reached through this handle only; its guards borrow the handle, so none is alive.
            unsafe { engine.rollback() };
            Ok(())
        });
    }
}
