//! Handles: how a program names objects.

use crate::durable::DurableObject;
use crate::entry::ObjectId;
use crate::link::{Link, Weak};
use core::fmt;
use core::marker::PhantomData;

/// What frees an object when its `Owned` handle is dropped.
pub trait Release {
    /// Frees the object, if it is still there: infallible, without bus traffic.
    fn release(&self, id: ObjectId);
    /// The handle gives its object up to the links that lead to it.
    fn disown(&self, id: ObjectId);
}

/// A handle on the stack that owns its object as a `Box` does: dropping it frees the object, without bus traffic.
///
/// It is not a root: after a reboot the object is there only if a root or a link led to it
/// (see [`into_link`](Owned::into_link)).
#[must_use = "dropping the handle frees the object"]
pub struct Owned<'h, T: ?Sized> {
    id: ObjectId,
    heap: &'h dyn Release,
    _type: PhantomData<fn() -> *const T>,
}

impl<'h, T: ?Sized> Owned<'h, T> {
    pub(crate) const fn new(id: ObjectId, heap: &'h dyn Release) -> Self {
        Self { id, heap, _type: PhantomData }
    }

    /// The object's id.
    #[must_use]
    pub const fn id(&self) -> ObjectId {
        self.id
    }

    /// A weak handle to the object.
    #[must_use]
    pub const fn downgrade(&self) -> Weak<T> {
        Weak::from_raw_parts(self.id.index, self.id.generation)
    }

    /// Gives the object up to the object graph: it lives as long as a root or a link leads to it, and is
    /// garbage for the next collection otherwise, also for the one of an allocation that finds no room. So link it before you allocate again.
    #[must_use = "an object that nothing links to is garbage"]
    pub fn into_link(self) -> Link<T> {
        self.heap.disown(self.id);
        let link = Link::from_raw_parts(self.id.index, self.id.generation);
        core::mem::forget(self);
        link
    }
}

impl<T: ?Sized> Drop for Owned<'_, T> {
    fn drop(&mut self) {
        self.heap.release(self.id);
    }
}

impl<T: ?Sized> fmt::Debug for Owned<'_, T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Owned").field(&self.id).finish()
    }
}

/// A handle that can be read through.
pub trait Handle<T: ?Sized + DurableObject> {
    /// The object's id.
    fn object_id(&self) -> ObjectId;
}

/// A handle that can be written through: `&mut Owned` (checked by the compiler), links and weak handles (checked by pins).
pub trait HandleMut<T: ?Sized + DurableObject>: Handle<T> {}

impl<T: ?Sized + DurableObject> Handle<T> for &Owned<'_, T> {
    fn object_id(&self) -> ObjectId {
        self.id
    }
}

impl<T: ?Sized + DurableObject> Handle<T> for &mut Owned<'_, T> {
    fn object_id(&self) -> ObjectId {
        self.id
    }
}

impl<T: ?Sized + DurableObject> HandleMut<T> for &mut Owned<'_, T> {}

macro_rules! plain {
    ($($handle:ident)+) => {$(
        impl<T: ?Sized + DurableObject> Handle<T> for $handle<T> {
            fn object_id(&self) -> ObjectId {
                ObjectId { index: self.index(), generation: self.generation() }
            }
        }
        impl<T: ?Sized + DurableObject> HandleMut<T> for $handle<T> {}
    )+};
}
plain!(Link Weak);
