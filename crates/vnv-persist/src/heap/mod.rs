//! The heap: objects over a storage that survives power.

mod access;

use crate::commit::commit;
use crate::format::{format, format_blank, layout_for};
use crate::layout::Options;
use crate::log::Log;
use crate::open::recover;
use crate::open_error::{OpenError, Report};
use crate::record::Kind;
use crate::reserve::write_snapshot;
use crate::roots::Roots;
use crate::superblock::{Copies, Found, find_heap};
use crate::transaction::Transaction;
use core::cell::{Cell, RefCell};
use core::fmt::Debug;
use vnv_alloc::{OffsetAllocator, SortedArray};
use vnv_core::engine::{Collected, Engine, EngineError};
use vnv_core::{Adaptive, Advice, DurableObject, Error, Handle, Link, ObjectId, Objects, Policy, Release, Workspace};
use vnv_storage::{Device, fault};

/// Log and roots: what the heap has besides the engine.
pub(crate) struct State<'m> {
    pub log: Log,
    pub roots: Roots<'m>,
}

/// What the heap did on its own; see [`Heap::set_observer`].
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[non_exhaustive]
pub enum Event {
    /// A commit is about to write its first byte.
    Committing,
    /// A commit is complete; its sequence number.
    Committed(u64),
}

/// What was done already to make room for an operation.
struct RoomMade {
    commits: u8,
    /// A collection may be tried.
    may_collect: bool,
}

/// A virtually non-volatile heap.
///
/// `D` is the storage, `W` the RAM ([`Memory`](vnv_core::Memory)), `P` the eviction policy, `R` and `S` the
/// allocators of the arena and of storage space.
pub struct Heap<'m, D, W, P = Adaptive, R = SortedArray<24>, S = SortedArray<32>> {
    pub(crate) objects: Objects<'m, D, P, R, S>,
    pub(crate) state: RefCell<State<'m>>,
    observer: Cell<Option<&'m dyn Fn(Event)>>,
    report: Report,
    _sizes: core::marker::PhantomData<fn() -> W>,
}

impl<'m, D, W, P, R, S> Heap<'m, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy + Default,
    R: OffsetAllocator + Default,
    S: OffsetAllocator + Default,
{
    /// Opens the heap that `device` holds, in `memory`, which is overwritten.
    ///
    /// Cost: reads of at most twice the capacity; writes only after a cut: deltas, a snapshot to be emptied.
    ///
    /// # Errors
    ///
    /// [`OpenError`]: blank, foreign, damaged or differently laid out storage; a failing device.
    pub fn open(mut device: D, memory: &'m mut W, options: Options) -> Result<Self, OpenError<D::Error>> {
        let parts = memory.parts();
        let layout = layout_for(&device, parts.sizes(), options)?;
        let (layout, repair) = find_heap(&mut device, &layout)?;
        let mut engine = Engine::new(
            device,
            layout.geometry(),
            (parts.entries, parts.items, parts.types),
            (parts.arena, parts.attention),
            (R::default(), S::default(), P::default()),
        );
        parts.roots.fill([0; vnv_core::ROOT_BYTES]);
        let mut roots = Roots { slots: parts.roots, changed: 0 };
        let (log, report) = recover::<W, _, _, _, _>(&mut engine, &mut roots, layout, repair)?;
        Ok(Self {
            objects: Objects::new(engine),
            state: RefCell::new(State { log, roots }),
            observer: Cell::new(None),
            report,
            _sizes: core::marker::PhantomData,
        })
    }

    /// Formats `device` and opens the empty heap: whatever it held is lost.
    ///
    /// # Errors
    ///
    /// As [`format`](crate::format()) and [`open`](Self::open).
    pub fn format(mut device: D, memory: &'m mut W, options: Options) -> Result<Self, OpenError<D::Error>> {
        format(&mut device, memory, options)?;
        Self::open(device, memory, options)
    }

    /// Opens the heap, or formats a blank storage. Anything else that cannot be opened stays an error.
    ///
    /// # Errors
    ///
    /// As [`open`](Self::open).
    pub fn open_or_format(mut device: D, memory: &'m mut W, options: Options) -> Result<Self, OpenError<D::Error>> {
        let layout = layout_for(&device, memory.parts().sizes(), options)?;
        let copies = Copies::read(&mut device, &layout)?;
        match copies.judge(&mut device, &layout)? {
            Found::Blank => format_blank(&mut device, layout, copies)?,
            // What was there before the format that was cut is there still: no epoch of it may come again.
            Found::Begun => format(&mut device, memory, options)?,
            Found::Heap(..) => layout,
        };
        Self::open(device, memory, options)
    }
}

impl<'m, D, W, P, R, S> Heap<'m, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    /// What `open` found.
    pub const fn report(&self) -> &Report {
        &self.report
    }

    /// Sequence number of the last commit or snapshot: durable, and rising by one with each.
    pub fn sequence(&self) -> u64 {
        self.with_state(|_, state| Ok(state.log.last)).unwrap_or(0)
    }

    /// Bytes that a snapshot now would write; never more than the dirty limit.
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`].
    pub fn dirty_bytes(&self) -> Result<u32, EngineError<D>> {
        self.objects.with(|engine| Ok(engine.dirty_bytes()))
    }

    /// Free units of storage and the largest free range, in units of [`Layout::unit`](crate::Layout::unit) bytes. Places that a commit would
    /// set free do not count. The allocator, which remembers only so many ranges, may have to forget some: at least so much is free.
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`].
    pub fn free_space(&self) -> Result<(u16, u16), EngineError<D>> {
        self.objects.with(Engine::free_space)
    }

    /// Compactions of the log since the heap was opened.
    pub fn compactions(&self) -> u32 {
        self.with_state(|_, state| Ok(state.log.compactions)).unwrap_or(0)
    }

    /// Lets `observer` see every commit, also those the heap makes itself. It must not call the heap.
    pub fn set_observer(&self, observer: Option<&'m dyn Fn(Event)>) {
        // Inside an operation: an interrupt calls it too.
        let _ = self.objects.with(|_| {
            self.observer.set(observer);
            Ok(())
        });
    }

    /// Runs `operation` on the device, for its statistics or to fail it in tests. It must not call the heap: an `Owned` that is dropped in
    /// there is not freed, and a transaction that is dropped there does not end, before the next reboot.
    ///
    /// # Errors
    ///
    /// [`Error::Reentered`].
    pub fn with_device<T>(&self, operation: impl FnOnce(&mut D) -> T) -> Result<T, EngineError<D>> {
        self.objects.seize(|engine| operation(engine.device())).ok_or(Error::Reentered)
    }

    /// Gives the device back; what is not committed is lost.
    pub fn into_device(self) -> D {
        self.objects.into_engine().into_device()
    }

    /// Runs `operation` on engine, log and roots: the only way to the last two, so that no interrupt sees them change.
    pub(crate) fn with_state<T>(
        &self,
        mut operation: impl FnMut(&mut Engine<'m, D, P, R, S>, &mut State<'m>) -> Result<T, EngineError<D>>,
    ) -> Result<T, EngineError<D>> {
        self.objects.with(|engine| {
            let mut state = self.state.try_borrow_mut().map_err(|_| Error::Reentered)?;
            operation(engine, &mut state)
        })
    }

    pub(crate) fn notify(&self, event: Event) {
        if let Some(observer) = self.observer.get() {
            observer(event);
        }
    }

    #[inline]
    fn outside(&self) -> Result<(), EngineError<D>> {
        if self.objects.attention().in_transaction() { Err(Error::TransactionRunning) } else { Ok(()) }
    }

    /// Makes the state durable, atomically. Returns its sequence number; with nothing changed, nothing is written.
    ///
    /// Cost: the changed objects in one write if their fresh places adjoin (else up to one each), and one record of
    /// 24 bytes, 8 per new object, 4 per other one that was changed or freed, 16 per changed root; or, when the log half is full, the whole table.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`], [`Error::TransactionRunning`], the device's (try again).
    pub fn commit(&self) -> Result<u64, EngineError<D>> {
        self.outside()?;
        self.commit_now()
    }

    pub(crate) fn commit_now(&self) -> Result<u64, EngineError<D>> {
        if self.objects.open_guards() != 0 {
            return Err(Error::GuardOpen);
        }
        self.with_state(|engine, State { log, roots }| {
            self.notify(Event::Committing);
            if commit::<W, _, _, _, _>(engine, log, roots)? {
                self.notify(Event::Committed(log.last));
            }
            Ok(log.last)
        })
    }

    /// Saves the uncommitted state into an emergency reserve: the program may go on, the next commit supersedes it.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`], [`Error::TransactionRunning`], the device's.
    pub fn snapshot(&self) -> Result<u64, EngineError<D>> {
        self.outside()?;
        if self.objects.open_guards() != 0 {
            return Err(Error::GuardOpen);
        }
        self.with_state(|engine, state| {
            engine.safe_point()?;
            self.save(engine, state)
        })?;
        Ok(self.sequence())
    }

    /// A snapshot at a quiescent point.
    pub(crate) fn save(
        &self,
        engine: &mut Engine<'m, D, P, R, S>,
        State { log, roots }: &mut State<'m>,
    ) -> Result<(), EngineError<D>> {
        self.notify(Event::Committing);
        log.settle(engine)?;
        engine.device().sync().map_err(Error::Device)?;
        write_snapshot(engine, log, roots, (Kind::Snapshot, false))?;
        self.notify(Event::Committed(log.last));
        Ok(())
    }

    /// Runs an operation. If there is no room for it below the dirty limit, syncs what the policy picks and runs it again; if
    /// that does not help, but a commit can, and the state is quiescent, commits.
    pub(crate) fn with_room<T>(
        &self,
        operation: impl FnMut() -> Result<T, EngineError<D>>,
    ) -> Result<T, EngineError<D>> {
        self.with_room_or_garbage(false, operation)
    }

    /// [`with_room`](Self::with_room); if there is still no slot, row of the type table or place and it `may_collect`, a collection looks for
    /// garbage.
    pub(crate) fn with_room_or_garbage<T>(
        &self,
        may_collect: bool,
        mut operation: impl FnMut() -> Result<T, EngineError<D>>,
    ) -> Result<T, EngineError<D>> {
        let mut made = RoomMade { commits: 0, may_collect };
        loop {
            match operation() {
                Err(error) => self.make_room(error, &mut made)?,
                result => return result,
            }
        }
    }

    /// Makes room for an operation that failed with `error`, which is returned if there is none to be made.
    #[cold]
    #[inline(never)]
    fn make_room(&self, error: EngineError<D>, made: &mut RoomMade) -> Result<(), EngineError<D>> {
        let is_for_garbage = matches!(error, Error::ObjectsFull | Error::StorageFull | Error::TypesFull);
        if !error.commit_may_help() && !is_for_garbage {
            // The colours of a collection may stand in the way of an object that would fit without them.
            let is_in_the_way =
                matches!(error, Error::RamFull) && self.objects.with(|engine| Ok(engine.abandon_collection()))?;
            return if is_in_the_way { Ok(()) } else { Err(error) };
        }
        let is_quiet = !self.objects.attention().in_transaction() || fault!(CommitInTransaction);
        let may_commit = is_quiet && self.objects.open_guards() == 0;
        let full = matches!(error, Error::DirtyLimit);
        if full && !(may_commit && self.objects.with(|engine| Ok(engine.prefers_commit()))?) {
            match self.objects.with(Engine::write_back) {
                Ok(true) => return Ok(()),
                Err(error) if !(may_commit && error.commit_may_help()) => return Err(self.refuse(error)),
                _ => {}
            }
        }
        // After a commit nothing is dirty but what the operation itself has entered, a type that it uses for the first time: the
        // object may need another one.
        let helps = made.commits == 0 || made.commits == 1 && self.objects.with(|engine| Ok(engine.has_changes()))?;
        if may_commit && helps && error.commit_may_help() {
            self.commit_now()?;
            made.commits += 1;
            return Ok(());
        }
        // In a fault's transaction nothing may be freed.
        let is_outside = !self.objects.attention().in_transaction();
        if may_commit
            && is_outside
            && is_for_garbage
            && core::mem::take(&mut made.may_collect)
            && self.collect_garbage()?
        {
            return Ok(());
        }
        Err(self.refuse(error))
    }

    /// A whole collection, and a commit, for slots and places are free after that; `Ok(false)`: it found nothing, or could not be completed.
    ///
    /// # Errors
    ///
    /// Those of the commit.
    fn collect_garbage(&self) -> Result<bool, EngineError<D>> {
        // What became garbage during a cycle that is running stays until the next one.
        self.objects.with(|engine| {
            engine.abandon_collection();
            Ok(())
        })?;
        // The colours, and what is loaded to be traced, may find no room beside open guards; an object may be damaged: then nothing is freed.
        if self.collect().is_err() || !self.objects.with(|engine| Ok(engine.has_changes()))? {
            return Ok(false);
        }
        self.commit_now()?;
        Ok(true)
    }

    /// In a transaction, for want of a commit: the next transaction begins with one.
    #[cold]
    fn refuse(&self, error: EngineError<D>) -> EngineError<D> {
        if error.commit_may_help() && self.objects.attention().in_transaction() {
            let _ = self.objects.with(|engine| {
                engine.await_commit();
                Ok(())
            });
        }
        error
    }

    /// The object that the root `name` leads to.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`]; [`Error::TypeMismatch`] if it is not a `T`; [`Error::Stale`] if it was freed.
    pub fn root<T: ?Sized + DurableObject>(&self, name: &str) -> Result<Option<Link<T>>, EngineError<D>> {
        self.with_state(|engine, state| {
            let Some(id) = state.roots.get(name)? else { return Ok(None) };
            engine.resolve_live(id, T::FINGERPRINT).map(|_| Some(Link::from_id(id)))
        })
    }

    /// Makes the root `name` lead to an object, or to nothing. It is durable with the next commit.
    ///
    /// # Errors
    ///
    /// [`Error::BadName`], [`Error::RootsFull`], [`Error::Stale`], [`Error::TypeMismatch`], [`Error::DirtyLimit`],
    /// [`Error::TransactionRunning`].
    pub fn set_root<T: ?Sized + DurableObject>(
        &self,
        name: &str,
        target: Option<Link<T>>,
    ) -> Result<(), EngineError<D>> {
        self.outside()?;
        self.set_root_any(name, target)
    }

    pub(crate) fn set_root_any<T: ?Sized + DurableObject>(
        &self,
        name: &str,
        target: Option<Link<T>>,
    ) -> Result<(), EngineError<D>> {
        let id = target.filter(|link| !link.is_null()).map(|link| link.object_id());
        if let Some(id) = id {
            self.objects.with(|engine| engine.resolve_live(id, T::FINGERPRINT))?;
        }
        if self.with_state(|_, state| state.roots.get(name))? == id {
            return Ok(());
        }
        self.with_room(|| {
            self.with_state(|engine, state| {
                let (at, new) = state.roots.slot_for(name)?;
                engine.change_root(if new { vnv_core::ROOT_BYTES as u32 } else { 0 })?;
                if let Some(id) = id {
                    engine.mark_grey(id.index);
                }
                state.roots.set(at, name, id)
            })
        })
    }

    /// Evicts an object that is not pinned; it is synced if it was dirty.
    ///
    /// # Errors
    ///
    /// [`Error::AlreadyBorrowed`], [`Error::Stale`], [`Error::TransactionRunning`], errors of a sync.
    pub fn evict<T: ?Sized + DurableObject>(&self, handle: impl Handle<T>) -> Result<(), EngineError<D>> {
        self.outside()?;
        let id = handle.object_id();
        self.with_room(|| {
            self.objects.with(|engine| engine.resolve(id, T::FINGERPRINT).and_then(|at| engine.evict(at)))
        })
    }

    /// Evicts everything that no guard is open on, so that what is used next lies together in the arena, without holes.
    ///
    /// Cost: what is dirty in one write, if fresh places adjoin.
    ///
    /// # Errors
    ///
    /// [`Error::TransactionRunning`], errors of a sync.
    pub fn evict_all(&self) -> Result<(), EngineError<D>> {
        self.outside()?;
        self.with_room(|| self.objects.with(Engine::evict_all))
    }

    /// Tells the eviction policy what is known of an object's future. Costs nothing on the bus.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`].
    pub fn advise<T: ?Sized + DurableObject>(
        &self,
        handle: impl Handle<T>,
        advice: Advice,
    ) -> Result<(), EngineError<D>> {
        let id = handle.object_id();
        self.objects.with(|engine| {
            let index = engine.resolve_live(id, T::FINGERPRINT)?;
            engine.advise(index, advice);
            Ok(())
        })
    }

    /// Whether a guard is open on an object, so that it cannot be freed or evicted.
    ///
    /// # Errors
    ///
    /// [`Error::Stale`], [`Error::TypeMismatch`].
    pub fn is_borrowed<T: ?Sized + DurableObject>(&self, handle: impl Handle<T>) -> Result<bool, EngineError<D>> {
        let id = handle.object_id();
        self.objects.with(|engine| engine.resolve_live(id, T::FINGERPRINT).map(|index| engine.is_pinned(index)))
    }

    /// One bounded step of a collection: frees objects that no root, link or `Owned` handle leads to any more.
    /// The program may go on between the steps; if an object finds no room in the arena beside the colours, the cycle is given up, and the
    /// next step begins a new one.
    ///
    /// # Errors
    ///
    /// [`Error::Damaged`] (nothing is freed), [`Error::AlreadyBorrowed`] (an object to be traced is being changed: later),
    /// [`Error::TransactionRunning`], [`Error::RamFull`], the device's.
    pub fn collect_step(&self) -> Result<Collected, EngineError<D>> {
        self.outside()?;
        self.with_room(|| self.with_state(|engine, state| engine.collect_step(&mut state.roots.targets())))
    }

    /// A whole collection; returns how many objects it freed.
    ///
    /// # Errors
    ///
    /// As [`collect_step`](Self::collect_step).
    pub fn collect(&self) -> Result<u16, EngineError<D>> {
        loop {
            if let Collected::Done(freed) = self.collect_step()? {
                return Ok(freed);
            }
        }
    }

    /// Begins a transaction: what is changed through its handle appears together, with its commit, or not at all.
    ///
    /// Cost: nothing right behind a commit. If anything was allocated, changed or freed since the last one: a commit, so that the
    /// transaction has all of the pending list for itself, and no change made before it counts against it.
    ///
    /// # Errors
    ///
    /// [`Error::GuardOpen`], [`Error::TransactionRunning`]; those of that commit.
    pub fn transaction(&self) -> Result<Transaction<'_, 'm, D, W, P, R, S>, EngineError<D>> {
        self.outside()?;
        if self.objects.open_guards() != 0 {
            return Err(Error::GuardOpen);
        }
        // A rollback leaves behind the places that were written meanwhile.
        if self.objects.with(|engine| Ok(engine.is_commit_awaited() || engine.has_releasable()))? {
            self.commit_now()?;
        }
        Transaction::begin(self)
    }
}

impl<D, W, P, R, S> Release for Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    fn release(&self, id: ObjectId) {
        self.objects.release(id);
    }

    fn disown(&self, id: ObjectId) {
        let _ = self.objects.with(|engine| {
            engine.disown(id);
            Ok(())
        });
    }
}
