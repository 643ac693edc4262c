//! Guards: references to resident objects. While one is open, its object stays where it is.

use crate::arena::{Pin, PinMut};
use crate::durable::DurableObject;
use core::fmt;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

/// A shared reference to an object; the object is not evicted while it is open.
pub struct Ref<'h, T: ?Sized> {
    value: NonNull<T>,
    _pin: Pin<'h>,
    _heap: PhantomData<&'h T>,
}

impl<'h, T: ?Sized> Ref<'h, T> {
    /// # Safety
    ///
    /// `value` points to a valid value inside the object that `pin` pins (arena invariant 2).
    pub(crate) const unsafe fn new(value: NonNull<T>, pin: Pin<'h>) -> Self {
        Self { value, _pin: pin, _heap: PhantomData }
    }

    /// A reference to a part of the object, which stays pinned as a whole.
    pub fn map<U: ?Sized>(this: Self, part: impl FnOnce(&T) -> &U) -> Ref<'h, U> {
        let value = NonNull::from(part(&this));
        let this = ManuallyDrop::new(this);
        // SAFETY: `this` is neither used nor dropped any more: the pin has one owner.
        let pin = unsafe { core::ptr::read(&raw const this._pin) };
        Ref { value, _pin: pin, _heap: PhantomData }
    }

    /// As [`map`](Self::map), for a part that may not be there.
    ///
    /// # Errors
    ///
    /// The reference as it was, if the part is not there.
    pub fn filter_map<U: ?Sized>(this: Self, part: impl FnOnce(&T) -> Option<&U>) -> Result<Ref<'h, U>, Self> {
        let Some(value) = part(&this).map(NonNull::from) else { return Err(this) };
        let this = ManuallyDrop::new(this);
        // SAFETY: as in `map`.
        let pin = unsafe { core::ptr::read(&raw const this._pin) };
        Ok(Ref { value, _pin: pin, _heap: PhantomData })
    }
}

impl<T: ?Sized> Deref for Ref<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: arena invariants 2 to 4: the pin keeps the copy in place, and mutable guards away.
        unsafe { self.value.as_ref() }
    }
}

/// Empty, but it keeps the heap or transaction borrowed until the pin is dropped.
impl<T: ?Sized> Drop for Ref<'_, T> {
    fn drop(&mut self) {}
}

impl<T: ?Sized + fmt::Debug> fmt::Debug for Ref<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

/// A mutable reference to an object, or to elements of one. While one is open the heap is not quiescent.
pub struct RefMut<'h, T: ?Sized + DurableObject> {
    value: NonNull<T>,
    _pin: PinMut<'h>,
    _heap: PhantomData<&'h mut T>,
}

impl<'h, T: ?Sized + DurableObject> RefMut<'h, T> {
    /// # Safety
    ///
    /// `value` points to a valid value inside the object that `pin` pins mutably (arena invariant 4).
    pub(crate) const unsafe fn new(value: NonNull<T>, pin: PinMut<'h>) -> Self {
        Self { value, _pin: pin, _heap: PhantomData }
    }
}

impl<T: ?Sized + DurableObject> Deref for RefMut<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        // SAFETY: arena invariant 4: this guard alone refers to the value.
        unsafe { self.value.as_ref() }
    }
}

impl<T: ?Sized + DurableObject> DerefMut for RefMut<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: arena invariant 4: this guard alone refers to the value.
        unsafe { self.value.as_mut() }
    }
}

impl<T: ?Sized + DurableObject> Drop for RefMut<'_, T> {
    fn drop(&mut self) {
        if T::HAS_PADDING {
            // SAFETY: the value is valid and this guard's alone; afterwards all its bytes are initialised
            // again (arena invariant 3).
            unsafe { T::initialise_padding(self.value.as_ptr()) };
        }
    }
}

impl<T: ?Sized + DurableObject + fmt::Debug> fmt::Debug for RefMut<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}
