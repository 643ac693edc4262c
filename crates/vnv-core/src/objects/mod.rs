//! The engine behind shared references: typed access, guards, owned handles.

mod fill;

pub use fill::{Filled, Slot};

use crate::arena::{Pin, PinMut, Resident};
use crate::attention::Attention;
use crate::durable::{Durable, DurableObject};
use crate::engine::{Engine, EngineError, TypeKey};
use crate::entry::ObjectId;
use crate::error::Error;
use crate::guard::{Ref, RefMut};
use crate::handle::{Handle, HandleMut};
use crate::policy::Policy;
use core::cell::UnsafeCell;
use core::fmt::Debug;
use core::ops::Range;
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
pub const fn type_key<T: ?Sized + DurableObject>() -> &'static TypeKey {
    const {
        &TypeKey {
            fingerprint: T::FINGERPRINT,
            schema: T::SCHEMA,
            has_links: T::HAS_LINKS,
            is_slice: T::IS_SLICE,
            is_valid: T::is_valid,
        }
    }
}

/// Whether `key` is that of `T`.
fn is_key_of<T: ?Sized + DurableObject>(key: &'static TypeKey) -> bool {
    core::ptr::eq(key, type_key::<T>()) || key.fingerprint == T::FINGERPRINT
}

/// An object that was pinned for reading, for the guard that [`read`](Self::read) makes of it.
#[must_use]
pub struct Pinned<'a> {
    pin: Pin<'a>,
    key: &'static TypeKey,
}

impl<'a> Pinned<'a> {
    /// The guard; `None`: `T` is not the type that it was pinned as.
    #[inline]
    pub fn read<T: ?Sized + DurableObject>(self) -> Option<Ref<'a, T>> {
        if !is_key_of::<T>(self.key) {
            return None;
        }
        // SAFETY: the fingerprint is T's and a load has checked the value; the pin keeps it.
        Some(unsafe { Ref::new(value::<T>(self.pin.resident()), self.pin) })
    }
}

/// An object that was pinned for changing it, for the guard that is made of it.
#[must_use]
pub struct PinnedMut<'a> {
    pin: PinMut<'a>,
    key: &'static TypeKey,
    /// The bytes of it that may be changed.
    from: u16,
    to: u16,
}

impl<'a> PinnedMut<'a> {
    /// The guard of the whole object; `None`: `T` is not the type that it was pinned as, or not all of it was.
    #[inline]
    pub fn change<T: ?Sized + DurableObject>(self) -> Option<RefMut<'a, T>> {
        let resident = self.pin.resident();
        if !is_key_of::<T>(self.key) || self.from != 0 || usize::from(self.to) != resident.size() {
            return None;
        }
        // SAFETY: as in `Pinned::read`; the pin is mutable.
        Some(unsafe { RefMut::new(value::<T>(resident), self.pin) })
    }

    /// The guard of the elements that were asked for; `None`: it was not pinned as a slice of `T`.
    pub fn change_elements<T: Durable>(self) -> Option<RefMut<'a, [T]>> {
        if !is_key_of::<[T]>(self.key) {
            return None;
        }
        // SAFETY: the range was checked to lie inside the slice, which is valid, and is one of elements; the pin is mutable.
        unsafe {
            let first = self.pin.resident().object().add(self.from.into()).cast::<T>();
            let elements = NonNull::slice_from_raw_parts(first, usize::from(self.to - self.from) / size_of::<T>());
            Some(RefMut::new(elements, self.pin))
        }
    }

    /// The guard of the first element that was asked for; `None`: it was not pinned as a slice of `T`.
    pub fn change_element<T: Durable>(self) -> Option<RefMut<'a, T>> {
        if !is_key_of::<[T]>(self.key) || self.from >= self.to {
            return None;
        }
        // SAFETY: as in `change_elements`; the range is not empty.
        unsafe {
            let first = self.pin.resident().object().add(self.from.into()).cast::<T>();
            Some(RefMut::new(first, self.pin))
        }
    }
}

/// An object that was admitted and waits for its value: a mutable guard until it is filled.
#[must_use = "an object that is not filled stays a mutable guard"]
pub struct Admitted<'a> {
    resident: Resident,
    id: ObjectId,
    key: &'static TypeKey,
    attention: &'a &'a Attention,
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

impl Drop for Filling<'_> {
    fn drop(&mut self) {
        self.0.fill(false);
    }
}

/// Counts as a mutable guard, and nothing else.
struct Opened<'b>(&'b Attention);

impl<'b> Opened<'b> {
    fn new(attention: &'b Attention) -> Self {
        attention.opened();
        Self(attention)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        if self.0.closed() {
            self.0.settle();
        }
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
            if !self.attention.begin() {
                return Err(Error::Reentered);
            }
            let busy = Busy(self.attention);
            // SAFETY: as in `seize`.
            let result = operation(unsafe { &mut *self.engine.get() });
            drop(busy);
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
        let busy = Busy(self.attention);
        // SAFETY: the engine was not busy, so no other reference to it exists; it is busy until this one has ended. An interrupt
        // looks at that first. Objects' bytes lie in the arena, outside of the engine (arena invariant 1).
        let result = operation(unsafe { &mut *self.engine.get() });
        drop(busy);
        // An alarm that came meanwhile; not while one is being served.
        self.attention.settle();
        Some(result)
    }

    /// Runs a hit on the engine. If an alarm waits when it is over, `undo` takes it back, and there was none: who then asks again
    /// with more care serves the alarm.
    #[inline]
    fn quickly(
        &self,
        hit: impl FnOnce(&mut Engine<'m, D, P, R, S>) -> Option<Resident>,
        undo: impl FnOnce(&Attention, Resident),
    ) -> Option<Resident> {
        let attention = self.attention;
        if !attention.begin_hit() {
            return None;
        }
        let busy = Busy(attention);
        // SAFETY: as in `seize`: nothing was going on, so that the engine was not busy.
        let found = hit(unsafe { &mut *self.engine.get() });
        core::mem::forget(busy);
        if attention.end_hit() {
            undo(attention, found?);
            return None;
        }
        found
    }

    /// Once, whatever the types.
    #[inline(never)]
    fn hit_shared(&self, index: usize, generation: i32, key: &'static TypeKey) -> Option<Resident> {
        self.quickly(|engine| engine.hit_shared(index, generation, key), |_, resident| resident.unpin_quickly())
    }

    /// Once, whatever the types.
    #[inline(never)]
    fn hit_mutable(&self, index: usize, generation: i32, key: &'static TypeKey) -> Option<Resident> {
        let undo = |attention: &Attention, resident: Resident| {
            resident.unpin_mutable_quickly();
            attention.closed();
        };
        self.quickly(|engine| engine.hit_mutable(index, generation, key), undo)
    }

    /// Reads an object that is resident, outside of transactions; `None`: [`pin`](Self::pin) knows more.
    #[inline]
    pub fn get_resident<'a, T: ?Sized + DurableObject>(&'a self, handle: impl Handle<T> + 'a) -> Option<Ref<'a, T>> {
        let id = handle.object_id();
        let resident = self.hit_shared(id.index.into(), id.generation.into(), type_key::<T>())?;
        // SAFETY: as in `Pinned::read`.
        Some(unsafe { Ref::new(value::<T>(resident), Pin::new(resident, &self.attention)) })
    }

    /// Changes an object that is resident and dirty, outside of transactions; `None`: [`pin_mut`](Self::pin_mut) knows more.
    #[inline]
    pub fn get_dirty_mut<'a, T: ?Sized + DurableObject>(
        &'a self,
        handle: impl HandleMut<T> + 'a,
    ) -> Option<RefMut<'a, T>> {
        let id = handle.object_id();
        let resident = self.hit_mutable(id.index.into(), id.generation.into(), type_key::<T>())?;
        // SAFETY: as in `PinnedMut::change`.
        Some(unsafe { RefMut::new(value::<T>(resident), PinMut::new(resident, &self.attention)) })
    }

    /// Pins an object to read it. A hit costs no list walk and no bus traffic, a miss one read and what evicting others costs.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`], [`Error::AlreadyBorrowed`], [`Error::RamFull`], [`Error::Damaged`], the device's.
    pub fn pin(&self, id: ObjectId, key: &'static TypeKey) -> Result<Pinned<'_>, EngineError<D>> {
        let resident = self.with(|engine| engine.obtain_shared(id, key))?;
        Ok(Pinned { pin: Pin::new(resident, &self.attention), key })
    }

    /// Pins an object to change it: all of it counts as dirty from here on.
    ///
    /// # Errors
    ///
    /// As [`pin`](Self::pin); [`Error::DirtyLimit`], [`Error::PendingFull`], [`Error::TooLargeToChange`].
    pub fn pin_mut(&self, id: ObjectId, key: &'static TypeKey) -> Result<PinnedMut<'_>, EngineError<D>> {
        self.pin_any(id, key, None)
    }

    /// Pins a slice object, whose elements have `element` bytes, to change the elements `range`: only they count as dirty, in steps
    /// of 8 bytes.
    ///
    /// # Errors
    ///
    /// As [`pin_mut`](Self::pin_mut); [`Error::OutOfBounds`].
    pub fn pin_range(
        &self,
        id: ObjectId,
        key: &'static TypeKey,
        element: usize,
        range: &Range<usize>,
    ) -> Result<PinnedMut<'_>, EngineError<D>> {
        // Beyond the address space is beyond the object.
        let bytes = (range.start.saturating_mul(element), range.end.saturating_mul(element));
        self.pin_any(id, key, Some(bytes))
    }

    fn pin_any(
        &self,
        id: ObjectId,
        key: &'static TypeKey,
        range: Option<(usize, usize)>,
    ) -> Result<PinnedMut<'_>, EngineError<D>> {
        let resident = self.with(|engine| engine.obtain_mutable(id, key, range))?;
        // No object has more bytes than that.
        let (from, to) = range.map_or((0, resident.size() as u16), |(from, to)| (from as u16, to as u16));
        Ok(PinnedMut { pin: PinMut::new(resident, &self.attention), key, from, to })
    }

    /// Admits an object of `size` bytes, which must be a size that the type can have. With room: no bus traffic.
    ///
    /// # Errors
    ///
    /// [`Error::StorageFull`], [`Error::RamFull`], [`Error::ObjectsFull`], [`Error::TypesFull`], [`Error::DirtyLimit`],
    /// [`Error::PendingFull`], [`Error::TooLarge`], the device's.
    #[inline(never)]
    pub fn admit(&self, size: usize, key: &'static TypeKey) -> Result<Admitted<'_>, EngineError<D>> {
        let (index, resident) = self.with(|engine| engine.admit_object(size, key))?;
        let id = ObjectId { index, generation: resident.generation() as u16 };
        Ok(Admitted { resident, id, key, attention: &self.attention })
    }

    /// Admits an object if nothing that needs more care is going on, and there is room: `None`, then [`admit`](Self::admit) knows
    /// more. Once, whatever the types.
    #[inline(never)]
    fn admit_quickly(&self, size: usize, key: &'static TypeKey) -> Option<(u16, Resident)> {
        let attention = self.attention;
        if !attention.begin_hit() {
            return None;
        }
        let busy = Busy(attention);
        // SAFETY: as in `seize`: nothing was going on, so that the engine was not busy.
        let admitted = unsafe { &mut *self.engine.get() }.admit_known(size, key);
        core::mem::forget(busy);
        // An alarm that waits is served when the object has been filled: it counts as a mutable guard.
        attention.end_hit();
        admitted
    }

    /// Frees the object with this id, if it is still there: infallible, without bus traffic.
    pub fn release(&self, id: ObjectId) {
        if self.attention.begin() {
            let busy = Busy(self.attention);
            // SAFETY: as in `seize`.
            unsafe { &mut *self.engine.get() }.free_id(id);
            drop(busy);
            self.attention.settle();
        }
    }
}

#[inline]
fn value<T: ?Sized + DurableObject>(resident: Resident) -> NonNull<T> {
    T::from_raw(resident.object(), resident.size())
}
