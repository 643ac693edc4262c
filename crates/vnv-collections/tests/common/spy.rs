//! A store whose every call can be seen, disturbed and made to fail.

use super::Fallible;
use std::ops::Range;
use vnv_collections::Store;
use vnv_persist::{Advice, Durable, DurableObject, Error, Filled, Link, Owned, Ref, RefMut, Slot};
use vnv_sim::TearError;

/// Sees and disturbs every call of a collection.
pub struct Spy<'a, S> {
    store: &'a S,
    /// Before each call; an error is returned instead of it.
    before: &'a dyn Fn() -> Option<Error<TearError>>,
    after: &'a dyn Fn(),
}

impl<'a, S: Store<DeviceError = TearError>> Spy<'a, S> {
    pub fn new(store: &'a S, before: &'a dyn Fn() -> Option<Error<TearError>>, after: &'a dyn Fn()) -> Self {
        Self { store, before, after }
    }
    fn watch<T>(&self, call: impl FnOnce() -> Fallible<T>) -> Fallible<T> {
        if let Some(error) = (self.before)() {
            return Err(error);
        }
        let result = call();
        (self.after)();
        result
    }
}

impl<S: Store<DeviceError = TearError>> Store for Spy<'_, S> {
    type DeviceError = TearError;

    fn get<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<Ref<'_, T>> {
        self.watch(|| self.store.get(handle))
    }
    fn get_mut<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<RefMut<'_, T>> {
        self.watch(|| self.store.get_mut(handle))
    }
    fn get_element_mut<T: Durable>(&self, handle: Link<[T]>, index: usize) -> Fallible<RefMut<'_, T>> {
        self.watch(|| self.store.get_element_mut(handle, index))
    }
    fn get_range_mut<T: Durable>(&self, handle: Link<[T]>, range: Range<usize>) -> Fallible<RefMut<'_, [T]>> {
        self.watch(|| self.store.get_range_mut(handle, range))
    }
    fn allocate<T: Durable>(&self, value: T) -> Fallible<Owned<'_, T>> {
        self.watch(|| self.store.allocate(value))
    }
    fn allocate_with<T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
    ) -> Fallible<Owned<'_, T>> {
        self.watch(|| self.store.allocate_with(fill))
    }
    fn allocate_slice_with<T: Durable>(&self, len: usize, element: impl FnMut(usize) -> T) -> Fallible<Owned<'_, [T]>> {
        self.watch(|| self.store.allocate_slice_with(len, element))
    }
    fn free<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<()> {
        // Infallible by contract: looked at, never made to fail.
        (self.after)();
        let result = self.store.free(handle);
        (self.after)();
        result
    }
    fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: Link<T>) -> Fallible<bool> {
        self.watch(|| self.store.is_borrowed(handle))
    }
    fn advise<T: ?Sized + DurableObject>(&self, handle: Link<T>, advice: Advice) -> Fallible<()> {
        self.watch(|| self.store.advise(handle, advice))
    }
    fn make_room(&self) -> Fallible<bool> {
        self.watch(|| self.store.make_room())
    }
}
