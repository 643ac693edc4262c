//! The engine behind shared references: typed access, guards, owned handles.

use crate::arena::{Pin, Resident};
use crate::attention::Attention;
use crate::block::BlockHeader;
use crate::durable::{Durable, DurableObject};
use crate::engine::{Engine, EngineError, TypeKey};
use crate::entry::ObjectId;
use crate::error::Error;
use crate::guard::{Opened, Ref, RefMut};
use crate::handle::{Handle, HandleMut, Owned, Release};
use crate::policy::Policy;
use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::mem::MaybeUninit;
use core::ptr::NonNull;
use vnv_alloc::OffsetAllocator;
use vnv_storage::Device;

/// An [`Engine`] that hands out guards and handles while it can still be used through `&self`.
///
/// The engine is borrowed for the length of one operation only, never while the application's code runs.
pub struct Objects<'m, D, P, R, S> {
    engine: UnsafeCell<Engine<'m, D, P, R, S>>,
    attention: &'m Attention,
}

/// The key of `T`.
#[must_use]
pub const fn type_key<T: ?Sized + DurableObject>() -> TypeKey {
    TypeKey {
        fingerprint: T::FINGERPRINT,
        schema: T::SCHEMA,
        has_links: T::HAS_LINKS,
        is_slice: T::IS_SLICE,
        is_valid: T::is_valid,
    }
}

/// The engine is borrowed for as long as this lives.
struct Busy<'b>(&'b Attention);

impl Drop for Busy<'_> {
    fn drop(&mut self) {
        self.0.end();
    }
}

/// An object that is larger than the dirty limit is being filled: no snapshot can hold it.
struct Filling<'b>(&'b Attention);

impl<'b> Filling<'b> {
    fn new(attention: &'b Attention) -> Self {
        attention.fill(true);
        Self(attention)
    }
}

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.fill(false);
    }
}

impl<'m, D, P, R, S> Objects<'m, D, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// Wraps an engine.
    pub const fn new(engine: Engine<'m, D, P, R, S>) -> Self {
        let attention = engine.attention();
        Self { engine: UnsafeCell::new(engine), attention }
    }

    /// Gives the engine back.
    pub fn into_engine(self) -> Engine<'m, D, P, R, S> {
        self.engine.into_inner()
    }

    /// What a power-fail interrupt may look at.
    pub const fn attention(&self) -> &'m Attention {
        self.attention
    }

    /// Mutable guards that are open, forgotten ones included.
    pub fn open_guards(&self) -> u16 {
        self.attention.open_guards()
    }

    /// Runs `operation` on the engine. If a power-fail alarm ends it at a safe point, or waits when it is over, the alarm is
    /// served; an operation that it ended is run again, from its start.
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`] from inside another operation; the operation's own.
    pub fn with<T>(
        &self,
        mut operation: impl FnMut(&mut Engine<'m, D, P, R, S>) -> Result<T, EngineError<D>>,
    ) -> Result<T, EngineError<D>> {
        loop {
            let result = self.seize(&mut operation).unwrap_or(Err(Error::Reentered));
            if self.attention.is_raised() {
                self.attention.settle();
            }
            match result {
                Err(Error::Interrupted) => {}
                result => return result,
            }
        }
    }

    /// Runs `operation` on the engine, once; `None` from inside another operation. Alarms are not served.
    #[inline]
    pub fn seize<T>(&self, operation: impl FnOnce(&mut Engine<'m, D, P, R, S>) -> T) -> Option<T> {
        if !self.attention.begin() {
            return None;
        }
        let _busy = Busy(self.attention);
        // SAFETY: the engine was not busy, so no other reference to it exists; it is busy until this one has ended. An interrupt
        // looks at that first. Objects' bytes lie in the arena, outside of the engine (arena invariant 1).
        Some(operation(unsafe { &mut *self.engine.get() }))
    }

    /// Runs a hit on the engine; an alarm that waits when it is over is served.
    #[inline]
    fn quickly<T>(&self, hit: impl FnOnce(&mut Engine<'m, D, P, R, S>) -> Option<T>) -> Option<T> {
        let found = self.seize(hit).flatten();
        if self.attention.is_raised() {
            self.attention.settle();
        }
        found
    }

    /// Once, whatever the types.
    #[inline(never)]
    fn hit_shared(&self, id: ObjectId, fingerprint: u64) -> Option<(Pin<'m>, Resident)> {
        self.quickly(|engine| engine.hit_shared(id, fingerprint))
    }

    /// Once, whatever the types.
    #[inline(never)]
    fn hit_mutable(&self, id: ObjectId, fingerprint: u64) -> Option<(Pin<'m>, Resident, Opened<'m>)> {
        self.quickly(|engine| {
            let (pin, resident) = engine.hit_mutable(id, fingerprint)?;
            Some((pin, resident, Opened::new(self.attention)))
        })
    }

    /// Reads an object that is resident; `None`: [`get`](Self::get) knows more.
    #[inline]
    pub fn get_resident<'a, T: ?Sized + DurableObject>(&'a self, handle: impl Handle<T> + 'a) -> Option<Ref<'a, T>> {
        let (pin, resident) = self.hit_shared(handle.object_id(), T::FINGERPRINT)?;
        // SAFETY: as in `get`.
        Some(unsafe { Ref::new(value::<T>(resident), pin) })
    }

    /// Changes an object that is resident and dirty; `None`: [`get_mut`](Self::get_mut) knows more.
    #[inline]
    pub fn get_dirty_mut<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl HandleMut<T> + 'a,
    ) -> Option<RefMut<'a, T>> {
        let (pin, resident, open) = self.hit_mutable(handle.object_id(), T::FINGERPRINT)?;
        // SAFETY: as in `get`; the pin is mutable.
        Some(unsafe { RefMut::new(value::<T>(resident), pin, open) })
    }

    /// Reads an object. A hit costs no list walk and no bus traffic, a miss one read and what evicting others costs.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`], [`Error::AlreadyBorrowed`], [`Error::RamFull`], [`Error::Damaged`], the device's.
    pub fn get<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl Handle<T> + 'a,
    ) -> Result<Ref<'a, T>, EngineError<D>> {
        let (pin, resident) = self.with(|engine| engine.obtain_shared(handle.object_id(), &type_key::<T>()))?;
        // SAFETY: the fingerprint is T's and a load has checked the value; the pin keeps it.
        Ok(unsafe { Ref::new(value::<T>(resident), pin) })
    }

    /// Changes an object: all of it counts as dirty from here on.
    ///
    /// # Errors
    ///
    /// As [`get`](Self::get); [`Error::DirtyLimit`], [`Error::PendingFull`], [`Error::TooLargeToChange`].
    pub fn get_mut<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl HandleMut<T> + 'a,
    ) -> Result<RefMut<'a, T>, EngineError<D>> {
        let (pin, resident, open) = self.with(|engine| {
            let (pin, resident) = engine.obtain_mutable(handle.object_id(), &type_key::<T>())?;
            Ok((pin, resident, Opened::new(self.attention)))
        })?;
        // SAFETY: as in `get`; the pin is mutable.
        Ok(unsafe { RefMut::new(value::<T>(resident), pin, open) })
    }

    /// Changes the elements `range` of a slice object: only they count as dirty, in steps of 8 bytes.
    ///
    /// # Errors
    ///
    /// As [`get_mut`](Self::get_mut); [`Error::OutOfBounds`].
    pub fn get_range_mut<'a, T: Durable>(
        &'a self,
        handle: impl HandleMut<[T]> + 'a,
        range: core::ops::Range<usize>,
    ) -> Result<RefMut<'a, [T]>, EngineError<D>> {
        let key = type_key::<[T]>();
        let id = handle.object_id();
        let (pin, resident, open) = self.with(|engine| {
            let resident = engine.obtain(id, &key)?;
            let len = object_size(resident) / size_of::<T>();
            if range.start > range.end || range.end > len {
                return Err(Error::OutOfBounds);
            }
            let bytes = (range.start * size_of::<T>(), range.end * size_of::<T>());
            let (pin, resident) = engine.obtain_range(id, &key, bytes)?;
            Ok((pin, resident, Opened::new(self.attention)))
        })?;
        // SAFETY: the range lies inside the slice, which is valid; the pin is mutable.
        unsafe {
            let first = resident.object().cast::<T>().add(range.start);
            let elements = NonNull::slice_from_raw_parts(first, range.end - range.start);
            Ok(RefMut::new(elements, pin, open))
        }
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
        let key = type_key::<[T]>();
        let id = handle.object_id();
        let from = index.checked_mul(size_of::<T>()).ok_or(Error::OutOfBounds)?;
        let (pin, resident, open) = self.with(|engine| {
            let resident = engine.obtain(id, &key)?;
            if index >= object_size(resident) / size_of::<T>() {
                return Err(Error::OutOfBounds);
            }
            let (pin, resident) = engine.obtain_range(id, &key, (from, from + size_of::<T>()))?;
            Ok((pin, resident, Opened::new(self.attention)))
        })?;
        // SAFETY: the element lies inside the slice, which is valid; the pin is mutable.
        unsafe { Ok(RefMut::new(resident.object().cast::<T>().add(index), pin, open)) }
    }

    /// Admits an object whose bytes `fill` initialises in place. `heap` frees it when the handle is dropped.
    ///
    /// # Safety
    ///
    /// `fill` makes the `size` bytes behind its argument a valid `T` (they are zeroed before); `size` is a size that
    /// `T` can have.
    unsafe fn allocate_raw<'h, T: ?Sized + DurableObject>(
        &self,
        size: usize,
        fill: impl FnOnce(NonNull<u8>),
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        // An object that is being filled is no state to commit: it counts as a mutable guard, from here to the end.
        let (id, pin, resident, _open, _filling) = self.with(|engine| {
            let (id, pin, resident) = engine.admit_object(size, &type_key::<T>())?;
            let filling = (!engine.is_dirty(id.index)).then(|| Filling::new(self.attention));
            Ok((id, pin, resident, Opened::new(self.attention), filling))
        })?;
        // If `fill` unwinds, the object is freed, never read.
        let owned = Owned::new(id, heap);
        fill(resident.object());
        // SAFETY: the value is valid now, and the mutable pin is ours.
        unsafe { T::initialise_padding(value::<T>(resident).as_ptr()) };
        drop(pin);
        match self.with(|engine| engine.write_through(id.index)) {
            Ok(()) => Ok(owned),
            Err(error) => Err(error),
        }
    }

    /// Allocates an object. With room: no bus traffic; larger than the dirty limit: one write.
    ///
    /// # Errors
    ///
    /// [`Error::StorageFull`], [`Error::RamFull`], [`Error::ObjectsFull`], [`Error::TypesFull`], [`Error::DirtyLimit`],
    /// [`Error::PendingFull`], [`Error::TooLarge`], the device's.
    pub fn allocate<'h, T: Durable>(&self, value: T, heap: &'h dyn Release) -> Result<Owned<'h, T>, EngineError<D>> {
        // SAFETY: the closure writes a T.
        unsafe { self.allocate_raw(size_of::<T>(), |to| to.cast::<T>().write(value), heap) }
    }

    /// Allocates a slice of `len` elements, each made in place by `element`.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn allocate_slice_with<'h, T: Durable>(
        &self,
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
        unsafe { self.allocate_raw(size, fill, heap) }
    }

    /// Allocates an object that `fill` builds in place, without a copy on the stack. The memory is zeroed before.
    ///
    /// # Errors
    ///
    /// As [`allocate`](Self::allocate).
    pub fn allocate_with<'h, T: Durable>(
        &self,
        fill: impl for<'s> FnOnce(Slot<'s, T>) -> Filled<'s, T>,
        heap: &'h dyn Release,
    ) -> Result<Owned<'h, T>, EngineError<D>> {
        let fill = |to: NonNull<u8>| {
            // SAFETY: the object's bytes are ours alone until `fill` returns.
            let slot = Slot(unsafe { to.cast::<MaybeUninit<T>>().as_mut() }, core::marker::PhantomData);
            let _filled = fill(slot);
        };
        // SAFETY: `fill` cannot return without a `Filled` of its own slot (its lifetime is invariant and its own),
        // which is made only once the slot is initialised.
        unsafe { self.allocate_raw(size_of::<T>(), fill, heap) }
    }
}

/// A place for a new object, see [`Objects::allocate_with`].
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
        // SAFETY: the slot's memory was zeroed when it was admitted, so all its bytes are initialised.
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

fn object_size(resident: Resident) -> usize {
    // SAFETY: the header is never lent to guards; it is read for the length of this call only.
    usize::from(BlockHeader::from_bytes(unsafe { resident.block_bytes(crate::block::HEADER) }).size)
}

#[inline]
fn value<T: ?Sized + DurableObject>(resident: Resident) -> NonNull<T> {
    T::from_raw(resident.object(), object_size(resident))
}
