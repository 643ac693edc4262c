//! New objects: their values are moved or built in place, between their admission and their first guard.

use super::{Admitted, Filling, Objects, Opened, is_key_of, type_key};
use crate::arena::{PinMut, Resident, move_words};
use crate::durable::{Durable, DurableObject};
use crate::engine::{EngineError, TypeKey};
use crate::entry::ObjectId;
use crate::error::Error;
use crate::handle::{Owned, Release};
use crate::policy::Policy;
use core::fmt::Debug;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

impl<D, P, R, S> Objects<'_, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Fills an admitted object: `fill` initialises its bytes in place. `heap` frees it when the handle is dropped.
    ///
    /// # Errors
    ///
    /// [`Error::TypeMismatch`] if it was not admitted by this heap, as a `T` of `size` bytes; then it stays a mutable guard. The
    /// device's, for one that is written through.
    ///
    /// # Safety
    ///
    /// `fill` makes the `size` bytes behind its argument a valid `T`.
    #[inline]
    unsafe fn fill_raw<'h, T: ?Sized + DurableObject>(
        &'h self,
        admitted: Admitted<'h>,
        size: usize,
        fill: impl FnOnce(NonNull<u8>),
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        let Admitted { resident, id, key, attention } = admitted;
        if !core::ptr::eq(attention, &raw const self.attention) || !is_key_of::<T>(key) || size != resident.size() {
            return Err(Error::TypeMismatch);
        }
        // SAFETY: it is this heap's, and was admitted as this; the caller's word.
        unsafe { self.fill_unchecked(resident, id, size, fill, heap) }
    }

    /// # Safety
    ///
    /// As [`fill_raw`](Self::fill_raw); the object was admitted by this heap for a `T` of `size` bytes, and is still to be filled.
    #[inline]
    unsafe fn fill_unchecked<'h, T: ?Sized + DurableObject>(
        &'h self,
        resident: Resident,
        id: ObjectId,
        size: usize,
        fill: impl FnOnce(NonNull<u8>),
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        // If `fill` unwinds, the object is freed, never read.
        let owned = Owned::new(id, heap);
        let pin = PinMut::new(resident, &self.attention);
        // Admitted to be written through: no snapshot meanwhile, also if `fill` unwinds.
        let filling = (!resident.is_dirty()).then(|| Filling(self.attention));
        fill(resident.object());
        // SAFETY: the value is valid now, and the mutable pin is ours.
        unsafe { T::initialise_padding(T::from_raw(resident.object(), size).as_ptr()) };
        if let Some(filling) = filling {
            self.write_through(id, pin, filling)?;
        }
        Ok(owned)
    }

    /// Writes a new object that is larger than the dirty limit to its place. Until then it counts as a mutable guard.
    #[cold]
    fn write_through(&self, id: ObjectId, pin: PinMut<'_>, filling: Filling<'_>) -> Result<(), EngineError<D>> {
        let _open = Opened::new(self.attention);
        let _filling = filling;
        drop(pin);
        self.with(|engine| engine.write_through(id.index))
    }

    /// Allocates an object with this value. `admit` is asked to [`admit`](Self::admit) it if that takes more than a look.
    ///
    /// # Errors
    ///
    /// Those of `admit`; [`Error::TypeMismatch`] if it has admitted something else, or to another heap; the device's, for an object
    /// that is larger than the dirty limit.
    #[inline]
    pub fn allocate<'h, T: Durable>(
        &'h self,
        value: T,
        heap: &'h dyn Release,
        admit: impl FnOnce(usize, &'static TypeKey) -> Result<Admitted<'h>, EngineError<D>>,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        let (size, key) = (size_of::<T>(), type_key::<T>());
        let from = &raw const value;
        let fill = |to: NonNull<u8>| {
            if align_of::<T>() < 4 || size < 64 {
                // SAFETY: the object has room for a T; durable types are plain data, for which a copy is a move.
                unsafe { to.cast::<T>().write(from.read()) }
            } else {
                // SAFETY: as above, and both are aligned as a T.
                unsafe { move_words(from.cast(), to, size) }
            }
        };
        match self.admit_quickly(size, key) {
            Some((index, resident)) => {
                let id = ObjectId { index, generation: resident.generation() as u16 };
                // SAFETY: it was just admitted; the closure writes a T.
                unsafe { self.fill_unchecked(resident, id, size, fill, heap) }
            }
            // SAFETY: the closure writes a T.
            None => unsafe { self.fill_raw(admit(size, key)?, size, fill, heap) },
        }
    }

    /// Makes the `len` elements of an admitted slice in place.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn fill_slice_with<'h, T: Durable>(
        &'h self,
        admitted: Admitted<'h>,
        len: usize,
        mut element: impl FnMut(usize) -> T,
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, [T]>, EngineError<D>> {
        let size = len.checked_mul(size_of::<T>()).ok_or(Error::TooLarge)?;
        let fill = |to: NonNull<u8>| {
            for index in 0..len {
                // SAFETY: the object has room for `len` elements.
                unsafe { to.cast::<T>().add(index).write(element(index)) };
            }
        };
        // SAFETY: the closure writes `len` elements.
        unsafe { self.fill_raw(admitted, size, fill, heap) }
    }

    /// Lets `fill` build an admitted object in place, without a copy on the stack. Its memory is zeroed before.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn fill_with<'h, T: Durable>(
        &'h self,
        admitted: Admitted<'h>,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        let fill = |to: NonNull<u8>| {
            // SAFETY: the object's bytes are ours alone until `fill` returns.
            let memory = unsafe {
                to.write_bytes(0, size_of::<T>());
                to.cast::<MaybeUninit<T>>().as_mut()
            };
            let _filled = fill(Slot(memory, core::marker::PhantomData));
        };
        // SAFETY: `fill` cannot return without a `Filled` of its own slot (its lifetime is invariant and its own),
        // which is made only once the slot is initialised.
        unsafe { self.fill_raw(admitted, size_of::<T>(), fill, heap) }
    }
}

/// A place for a new object, see [`Objects::fill_with`].
pub struct Slot<'s, T>(&'s mut MaybeUninit<T>, core::marker::PhantomData<fn(&'s ()) -> &'s ()>);

/// The proof that a [`Slot`] was filled.
pub struct Filled<'s, T>(core::marker::PhantomData<fn(&'s T) -> &'s T>);

impl<'s, T: Durable> Slot<'s, T> {
    /// Fills the slot with a value.
    pub fn write(self, value: T) -> Filled<'s, T> {
        self.0.write(value);
        Filled(core::marker::PhantomData)
    }

    /// Takes the zeroed memory as the value if zeros are a valid one, lets `change` work on it, and returns
    /// `Err(self)` otherwise.
    ///
    /// # Errors
    ///
    /// The slot, if all-zero bytes are not a valid `T`.
    pub fn zeroed(self, change: impl FnOnce(&mut T)) -> Result<Filled<'s, T>, Self> {
        // SAFETY: `fill_with` has zeroed the slot's memory, so all its bytes are initialised.
        let bytes = unsafe { core::slice::from_raw_parts(self.0.as_ptr().cast::<u8>(), size_of::<T>()) };
        if !T::is_valid(bytes) {
            return Err(self);
        }
        // SAFETY: `is_valid` accepts only valid values.
        change(unsafe { self.0.assume_init_mut() });
        Ok(Filled(core::marker::PhantomData))
    }

    /// Fills the slot through a pointer to its zeroed memory.
    ///
    /// # Safety
    ///
    /// `fill` leaves a valid value behind the pointer.
    pub unsafe fn write_with(self, fill: impl FnOnce(*mut T)) -> Filled<'s, T> {
        fill(self.0.as_mut_ptr());
        Filled(core::marker::PhantomData)
    }
}
