//! Power is failing: the entry for interrupts and signal handlers.

use crate::heap::Heap;
use crate::resume::Resume;
use core::cell::UnsafeCell;
use core::fmt::{self, Debug};
use core::ptr::{NonNull, null};
use portable_atomic::{AtomicBool, AtomicU32, Ordering};
use vnv_alloc::OffsetAllocator;
use vnv_core::{Attention, Policy, Server, Workspace};
use vnv_storage::Device;

/// Why a snapshot has to wait. It is taken by the heap's own context as soon as the reason is gone.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Deferred {
    /// The alarm came in the middle of a snapshot, which holds everything: nothing is left to do.
    Snapshot,
    /// An operation is running: its next safe point takes the snapshot.
    Operation,
    /// The minimum interval since the last snapshot has not passed: the first operation after it takes the snapshot.
    TooSoon,
    /// A mutable guard is open, or an object is being filled: its end takes the snapshot.
    Guard,
    /// A transaction is running: its end takes the snapshot.
    Transaction,
}

/// What came of an alarm.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
pub enum Outcome {
    /// Everything is safe.
    Saved,
    /// The snapshot has to wait.
    Deferred(Deferred),
    /// The device failed twice: the last commit or snapshot is what is safe.
    Failed,
}

/// Why a heap cannot be protected.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum ProtectError {
    /// All places of the [`PowerFail`] are taken: raise `HEAPS`.
    Full,
    /// The heap is protected already.
    Protected,
    /// A program that is resumed needs a heap opened with [`Options::guards`](crate::Options::guards) above 0.
    NoGuards,
    /// A program that is resumed has one protected heap: its persist-finished handler is called when that one is safe.
    OneHeap,
}

impl fmt::Display for ProtectError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Full => "all places for protected heaps are taken: raise HEAPS",
            Self::Protected => "the heap is protected already",
            Self::NoGuards => "to be resumed, the heap has to be opened with Options::guards",
            Self::OneHeap => "a program that is resumed has one protected heap, and there is one already",
        })
    }
}

impl core::error::Error for ProtectError {}

/// At least this long between two snapshots: for a comparator that chatters.
#[derive(Clone, Copy)]
struct Interval {
    ticks: u32,
    now: fn() -> u32,
}

/// A heap as the entry sees it.
trait Protected {
    fn attention(&self) -> &Attention;
    /// Takes the snapshot; nothing else runs on the heap.
    fn take_snapshot(&self) -> bool;
    /// Saves everything, and is there again afterwards; nothing else runs on the heap.
    fn persist(&self, resume: &Resume) -> bool;
}

/// A place for a heap. The server comes first: operations of the heap find the whole slot through it.
#[repr(C)]
struct Slot {
    server: Server,
    power_fail: UnsafeCell<Option<NonNull<Context>>>,
    taken: AtomicBool,
    armed: AtomicBool,
    /// Valid while `armed`.
    heap: UnsafeCell<Option<NonNull<dyn Protected>>>,
    last: AtomicU32,
    has_last: AtomicBool,
}

/// What all slots share.
struct Context {
    interval: Option<Interval>,
    handler: Option<fn(Outcome)>,
    resume: Option<Resume>,
}

/// The power-fail entry of up to `HEAPS` heaps: usually a `static`.
///
/// Each heap is saved by itself: if one is in an operation, the others are saved at once. Storages on one bus therefore need frames that an
/// alarm cannot split (`embedded_hal_bus::spi::CriticalSectionDevice`): a bus that is taken is a device that fails.
///
/// ```
/// use vnv_persist::{Heap, Memory, Options, Outcome, PowerFail};
/// use vnv_storage::RamStorage;
///
/// static POWER_FAIL: PowerFail = PowerFail::new();
///
/// /// Called by the comparator's interrupt.
/// fn power_is_failing() {
///     // SAFETY: interrupts run on the core that runs the heap, and preempt it.
///     let outcome = unsafe { POWER_FAIL.enter() };
///     assert_eq!(outcome, Outcome::Saved);
/// }
///
/// let mut memory = Memory::<32, 16, 4, 2, 64>::new();
/// let heap: Heap<_, Memory<32, 16, 4, 2, 64>> =
///     Heap::format(RamStorage::<8192>::new(), &mut memory, Options::new(512))?;
/// POWER_FAIL.protect(&heap, || {
///     let count = heap.allocate(7u32)?.into_link();
///     heap.set_root("count", Some(count))?;
///     power_is_failing(); // nothing was committed, and nothing is lost
///     Ok::<(), vnv_persist::Error<_>>(())
/// })??;
///
/// let device = heap.into_device();
/// let mut memory = Memory::<32, 16, 4, 2, 64>::new();
/// let heap: Heap<_, Memory<32, 16, 4, 2, 64>> = Heap::open(device, &mut memory, Options::new(512))?;
/// assert!(heap.report().snapshot);
/// assert_eq!(*heap.get(heap.root::<u32>("count")?.unwrap())?, 7);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
pub struct PowerFail<const HEAPS: usize = 1> {
    slots: [Slot; HEAPS],
    context: Context,
}

// SAFETY: `heap` and `power_fail` of a slot are written under a critical section while the slot is not armed, by the context that
// owns the heap, and read only while it is armed: by that context, and by `enter`, which preempts it (its safety condition).
unsafe impl<const HEAPS: usize> Sync for PowerFail<HEAPS> {}

impl<const HEAPS: usize> Default for PowerFail<HEAPS> {
    fn default() -> Self {
        Self::new()
    }
}

impl<const HEAPS: usize> PowerFail<HEAPS> {
    /// An entry that protects nothing yet.
    #[must_use]
    pub const fn new() -> Self {
        Self { slots: [const { Slot::EMPTY }; HEAPS], context: Context { interval: None, handler: None, resume: None } }
    }

    /// At least `ticks` of the clock `now` between two snapshots of a heap; an alarm that comes earlier waits, and
    /// ends no operation. The clock may wrap: within `ticks` after a whole turn of it since the last snapshot an alarm waits as well.
    /// `now` is called in the interrupt.
    #[must_use]
    pub const fn with_minimum_interval(mut self, ticks: u32, now: fn() -> u32) -> Self {
        self.context.interval = Some(Interval { ticks, now });
        self
    }

    /// `handler` is told the outcome of each alarm for each heap: in the interrupt, and again at the safe point of one that had to
    /// wait. It must not use the heap.
    #[must_use]
    pub const fn with_handler(mut self, handler: fn(Outcome)) -> Self {
        self.context.handler = Some(handler);
        self
    }

    /// The program is resumed after power failures, not rebooted: alarms are served inside guards and transactions too.
    #[must_use]
    pub const fn with_resume(mut self, resume: Resume) -> Self {
        self.context.resume = Some(resume);
        self
    }

    /// Protects `heap` while `run` runs.
    ///
    /// # Errors
    ///
    /// [`ProtectError`]; `run` was not called.
    pub fn protect<T, D, W, P, R, S>(
        &self,
        heap: &Heap<'_, D, W, P, R, S>,
        run: impl FnOnce() -> T,
    ) -> Result<T, ProtectError>
    where
        D: Device,
        D::Error: Debug,
        W: Workspace,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        self.check(heap)?;
        let slot = self.claim()?;
        // Disarms also if `run` unwinds. Nobody else can forget it.
        let _armed = Armed::new(slot, heap, &self.context);
        Ok(run())
    }

    /// Protects `heap` for ever.
    ///
    /// # Errors
    ///
    /// [`ProtectError`].
    pub fn register<D, W, P, R, S>(
        &'static self,
        heap: &'static Heap<'static, D, W, P, R, S>,
    ) -> Result<(), ProtectError>
    where
        D: Device,
        D::Error: Debug,
        W: Workspace,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        self.check(heap)?;
        core::mem::forget(Armed::new(self.claim()?, heap, &self.context));
        Ok(())
    }

    fn check<D, W, P, R, S>(&self, heap: &Heap<'_, D, W, P, R, S>) -> Result<(), ProtectError>
    where
        D: Device,
        D::Error: Debug,
        W: Workspace,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        let guards = heap.objects.seize(|engine| engine.geometry().guards);
        match (&self.context.resume, guards) {
            (_, None) => Err(ProtectError::Protected),
            (Some(_), Some(0)) => Err(ProtectError::NoGuards),
            _ if heap.objects.attention().has_server() => Err(ProtectError::Protected),
            _ => Ok(()),
        }
    }

    fn claim(&self) -> Result<&Slot, ProtectError> {
        critical_section::with(|_| {
            if self.context.resume.is_some() && self.slots.iter().any(|slot| slot.taken.load(Ordering::Relaxed)) {
                return Err(ProtectError::OneHeap);
            }
            let free = self.slots.iter().find(|slot| !slot.taken.load(Ordering::Relaxed)).ok_or(ProtectError::Full)?;
            free.taken.store(true, Ordering::Relaxed);
            Ok(free)
        })
    }

    /// Power is failing. Saves each protected heap at once if it is between two operations and quiescent, and leaves the
    /// request at the heap otherwise. Returns the worst that happened.
    ///
    /// Bounded; does not allocate, log, block or panic. May be called at any instruction, also while it is running.
    ///
    /// # Safety
    ///
    /// It runs on the core (on a hosted system: in the thread) that runs the protected heaps, as an interrupt or signal handler that
    /// preempts them and returns before they go on, or as a call from there.
    pub unsafe fn enter(&self) -> Outcome {
        let mut worst = Outcome::Saved;
        for slot in self.slots.iter().filter(|slot| slot.armed.load(Ordering::Acquire)) {
            // SAFETY: the slot is armed; the caller keeps the heap from running meanwhile.
            worst = worst.max(unsafe { slot.alarm() });
        }
        worst
    }

    /// Asks for a snapshot, from anywhere: the next safe point takes it. Returns at once.
    pub fn request(&self) {
        self.each_attention(Attention::raise);
    }

    /// Power is good again: alarms that wait are withdrawn.
    pub fn power_good(&self) {
        self.each_attention(Attention::withdraw);
    }

    /// May be called from other threads: no heap goes meanwhile, since slots are disarmed under a critical section.
    fn each_attention(&self, change: fn(&Attention)) {
        critical_section::with(|_| {
            for slot in self.slots.iter().filter(|slot| slot.armed.load(Ordering::Acquire)) {
                // SAFETY: the slot is armed, and stays so under this critical section; attention is made of atomics.
                if let Some(heap) = unsafe { slot.heap() } {
                    change(heap.attention());
                }
            }
        });
    }
}

impl Slot {
    #[allow(clippy::declare_interior_mutable_const, reason = "a template for the slots of an array")]
    const EMPTY: Self = Self {
        server: Server { serve },
        power_fail: UnsafeCell::new(None),
        taken: AtomicBool::new(false),
        armed: AtomicBool::new(false),
        heap: UnsafeCell::new(None),
        last: AtomicU32::new(0),
        has_last: AtomicBool::new(false),
    };

    /// # Safety
    ///
    /// The slot is armed.
    unsafe fn heap(&self) -> Option<&dyn Protected> {
        // SAFETY: an armed slot's heap is set, borrowed by who armed it, and not written.
        unsafe { (*self.heap.get()).map(|heap| heap.as_ref()) }
    }

    /// # Safety
    ///
    /// The slot is armed.
    unsafe fn context(&self) -> Option<&Context> {
        // SAFETY: as in `heap`.
        unsafe { (*self.power_fail.get()).map(|context| context.as_ref()) }
    }

    /// # Safety
    ///
    /// The slot is armed, and the heap does not run before this returns.
    unsafe fn alarm(&self) -> Outcome {
        // SAFETY: the caller's word.
        let (heap, context) = unsafe { (self.heap(), self.context()) };
        let (Some(heap), Some(context)) = (heap, context) else { return Outcome::Failed };
        if !heap.attention().is_serving() {
            // One that comes too soon ends no operation.
            if !self.is_too_soon(context) {
                heap.attention().raise();
            } else if !heap.attention().is_raised() {
                heap.attention().postpone();
            }
        }
        let outcome = self.serve(heap, context);
        if let Some(handler) = context.handler {
            handler(outcome);
        }
        outcome
    }

    fn serve(&self, heap: &dyn Protected, context: &Context) -> Outcome {
        let attention = heap.attention();
        if attention.is_serving() {
            return Outcome::Deferred(Deferred::Snapshot);
        }
        if attention.is_busy() {
            let too_soon = self.is_too_soon(context);
            return Outcome::Deferred(if too_soon { Deferred::TooSoon } else { Deferred::Operation });
        }
        if attention.is_unchanged() && context.resume.is_none() {
            attention.withdraw();
            return Outcome::Saved;
        }
        if self.is_too_soon(context) {
            attention.postpone();
            return Outcome::Deferred(Deferred::TooSoon);
        }
        let anywhere = attention.serves_anywhere();
        if attention.is_filling() || attention.open_guards() != 0 && !anywhere {
            return Outcome::Deferred(Deferred::Guard);
        }
        if attention.in_transaction() && !anywhere {
            return Outcome::Deferred(Deferred::Transaction);
        }
        if !attention.begin_serving() {
            return Outcome::Deferred(Deferred::Snapshot);
        }
        let saved = match &context.resume {
            Some(resume) => heap.persist(resume),
            None => heap.take_snapshot() || heap.take_snapshot(),
        };
        attention.end_serving();
        // Also after a failure: the next alarm tries again, not the next safe point.
        attention.withdraw();
        if saved && let Some(interval) = context.interval {
            self.last.store((interval.now)(), Ordering::Relaxed);
            self.has_last.store(true, Ordering::Relaxed);
        }
        if saved { Outcome::Saved } else { Outcome::Failed }
    }

    fn is_too_soon(&self, context: &Context) -> bool {
        let since = |interval: Interval| (interval.now)().wrapping_sub(self.last.load(Ordering::Relaxed));
        let passed = context.interval.is_none_or(|interval| since(interval) >= interval.ticks);
        self.has_last.load(Ordering::Relaxed) && !passed
    }
}

/// Serves an alarm that had to wait.
///
/// # Safety
///
/// `server` is the first field of an armed slot, with the provenance of the slot; called by the heap's own context.
unsafe fn serve(server: *const Server) {
    // SAFETY: the caller's word; a slot begins with its server.
    let slot = unsafe { &*server.cast::<Slot>() };
    // SAFETY: the slot is armed while its heap knows it.
    let (heap, context) = unsafe { (slot.heap(), slot.context()) };
    if let (Some(heap), Some(context)) = (heap, context) {
        let outcome = slot.serve(heap, context);
        if let Some(handler) = context.handler {
            handler(outcome);
        }
    }
}

/// A slot that is armed until this is dropped.
struct Armed<'a> {
    slot: &'a Slot,
    attention: &'a Attention,
}

impl<'a> Armed<'a> {
    fn new<D, W, P, R, S>(slot: &'a Slot, heap: &'a Heap<'_, D, W, P, R, S>, context: &'a Context) -> Self
    where
        D: Device,
        D::Error: Debug,
        W: Workspace,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        let attention = heap.objects.attention();
        let heap: NonNull<dyn Protected + '_> = NonNull::from(heap as &dyn Protected);
        // SAFETY: only the lifetime changes; the slot is disarmed before it ends.
        let heap = unsafe { core::mem::transmute::<NonNull<dyn Protected + '_>, NonNull<dyn Protected>>(heap) };
        critical_section::with(|_| {
            // SAFETY: the slot is ours, and not armed.
            unsafe {
                *slot.heap.get() = Some(heap);
                *slot.power_fail.get() = Some(NonNull::from(context));
            }
        });
        slot.has_last.store(false, Ordering::Relaxed);
        attention.serve_anywhere(context.resume.is_some());
        // SAFETY: the slot outlives this, which takes it back.
        unsafe { attention.set_server(core::ptr::from_ref(slot).cast()) };
        // From here on the interrupt sees it.
        slot.armed.store(true, Ordering::Release);
        Self { slot, attention }
    }
}

impl Drop for Armed<'_> {
    fn drop(&mut self) {
        critical_section::with(|_| {
            self.attention.withdraw();
            // SAFETY: null.
            unsafe { self.attention.set_server(null()) };
            self.slot.armed.store(false, Ordering::Release);
            self.slot.taken.store(false, Ordering::Release);
        });
    }
}

impl<D, W, P, R, S> Protected for Heap<'_, D, W, P, R, S>
where
    D: Device,
    D::Error: Debug,
    W: Workspace,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    fn attention(&self) -> &Attention {
        self.objects.attention()
    }

    fn take_snapshot(&self) -> bool {
        let saved = self.objects.seize(|engine| match self.state.try_borrow_mut() {
            Ok(mut state) if engine.dirty_bytes() != 0 => self.save(engine, &mut state).is_ok(),
            Ok(_) => true,
            Err(_) => false,
        });
        saved.unwrap_or(false)
    }

    fn persist(&self, resume: &Resume) -> bool {
        Heap::persist(self, resume)
    }
}
