//! What a power-fail interrupt may look at: whether the heap is between two operations, and whether an alarm waits.
//!
//! The interrupt preempts the heap's own execution context and returns to it, so that plain loads and stores are atomic
//! enough; compiler fences keep the engine's memory accesses between the stores that announce and end them.

use core::ptr;
use portable_atomic::Ordering::Relaxed;
use portable_atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, Ordering, compiler_fence};

/// Nobody waits.
const NONE: u8 = 0;
/// An alarm waits for the next safe point.
const NOW: u8 = 1;
/// An alarm waits until the minimum interval has passed: it ends no transfer.
const LATER: u8 = 2;

/// How an alarm that had to wait is served.
pub struct Server {
    /// Serves the alarm; called with the pointer that was set.
    pub serve: unsafe fn(*const Server),
}

/// The words that tell an interrupt what the heap is doing. Part of a [`Memory`](crate::Memory).
pub struct Attention {
    busy: AtomicBool,
    serving: AtomicBool,
    transaction: AtomicBool,
    /// Alarms are served inside guards and transactions too.
    anywhere: AtomicBool,
    /// Nothing has begun since the last snapshot.
    unchanged: AtomicBool,
    pending: AtomicU8,
    open: AtomicU16,
    /// Objects on which a guard is open.
    pins: AtomicU16,
    /// Objects that are being filled and do not fit into a snapshot.
    filling: AtomicU8,
    server: AtomicPtr<Server>,
}

impl Default for Attention {
    fn default() -> Self {
        Self::new()
    }
}

impl Attention {
    /// Of an idle heap, without alarms.
    #[must_use]
    pub const fn new() -> Self {
        Self {
            busy: AtomicBool::new(false),
            serving: AtomicBool::new(false),
            transaction: AtomicBool::new(false),
            anywhere: AtomicBool::new(false),
            unchanged: AtomicBool::new(false),
            pending: AtomicU8::new(NONE),
            open: AtomicU16::new(0),
            pins: AtomicU16::new(0),
            filling: AtomicU8::new(0),
            server: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// As new: whatever used the memory before is gone.
    pub(crate) fn reset(&self) {
        let flags = [&self.busy, &self.serving, &self.transaction, &self.anywhere, &self.unchanged];
        flags.into_iter().for_each(|flag| flag.store(false, Relaxed));
        self.pending.store(NONE, Relaxed);
        self.open.store(0, Relaxed);
        self.pins.store(0, Relaxed);
        self.filling.store(0, Relaxed);
        self.server.store(ptr::null_mut(), Relaxed);
    }

    /// An operation begins; `false`: another one is running.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        if self.busy.load(Relaxed) {
            return false;
        }
        self.busy.store(true, Relaxed);
        if !self.serving.load(Relaxed) {
            self.unchanged.store(false, Relaxed);
        }
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The operation is over.
    #[inline]
    pub(crate) fn end(&self) {
        compiler_fence(Ordering::SeqCst);
        self.busy.store(false, Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether an operation is running.
    pub fn is_busy(&self) -> bool {
        self.busy.load(Relaxed)
    }

    /// A mutable guard was opened. Called inside an operation.
    #[inline]
    pub(crate) fn opened(&self) {
        self.open.store(self.open.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// A mutable guard has given back its pin.
    #[inline]
    pub(crate) fn closed(&self) {
        compiler_fence(Ordering::SeqCst);
        self.open.store(self.open.load(Relaxed).saturating_sub(1), Relaxed);
        compiler_fence(Ordering::SeqCst);
        if self.is_raised() {
            self.settle();
        }
    }

    /// Mutable guards that are open, forgotten ones and objects that are being filled included.
    pub fn open_guards(&self) -> u16 {
        self.open.load(Relaxed)
    }

    /// A guard is open on one more object.
    #[inline]
    pub(crate) fn pinned(&self) {
        self.pins.store(self.pins.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// No guard is open on the object any more.
    #[inline]
    pub(crate) fn unpinned(&self) {
        self.pins.store(self.pins.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Objects on which a guard is open.
    pub fn pins(&self) -> u16 {
        self.pins.load(Relaxed)
    }

    /// An object that is larger than the dirty limit is being filled (or has been).
    pub(crate) fn fill(&self, begins: bool) {
        let now = self.filling.load(Relaxed);
        self.filling.store(if begins { now.saturating_add(1) } else { now.saturating_sub(1) }, Relaxed);
    }

    /// Whether an object that is larger than the dirty limit is being filled.
    pub fn is_filling(&self) -> bool {
        self.filling.load(Relaxed) != 0
    }

    /// A transaction has begun or ended. Called inside an operation.
    pub(crate) fn set_transaction(&self, running: bool) {
        self.transaction.store(running, Relaxed);
    }

    /// Whether a transaction is running.
    #[inline]
    pub fn in_transaction(&self) -> bool {
        self.transaction.load(Relaxed)
    }

    /// Lets alarms be served inside guards and transactions too (resume mode).
    pub fn serve_anywhere(&self, anywhere: bool) {
        self.anywhere.store(anywhere, Relaxed);
    }

    /// Whether alarms may be served now, running operations aside.
    fn may_serve(&self) -> bool {
        let quiescent = self.open.load(Relaxed) == 0 && !self.transaction.load(Relaxed);
        let anywhere = self.anywhere.load(Relaxed) && self.filling.load(Relaxed) == 0;
        !self.serving.load(Relaxed) && (quiescent || anywhere)
    }

    /// Whether the running operation is to end at this safe point: an alarm waits and can be served.
    pub fn interrupts(&self) -> bool {
        self.pending.load(Relaxed) == NOW && self.may_serve()
    }

    /// Notes an alarm.
    pub fn raise(&self) {
        self.pending.store(NOW, Relaxed);
    }

    /// The alarm has to wait for the minimum interval.
    pub fn postpone(&self) {
        self.pending.store(LATER, Relaxed);
    }

    /// Withdraws an alarm that waits.
    pub fn withdraw(&self) {
        self.pending.store(NONE, Relaxed);
    }

    /// Whether an alarm waits.
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.pending.load(Relaxed) != NONE
    }

    /// The snapshot begins; `false`: one is being taken already.
    pub fn begin_serving(&self) -> bool {
        if self.serving.load(Relaxed) {
            return false;
        }
        self.serving.store(true, Relaxed);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The snapshot is over.
    pub fn end_serving(&self) {
        compiler_fence(Ordering::SeqCst);
        self.serving.store(false, Relaxed);
    }

    /// A snapshot holds everything, until the next operation begins.
    pub fn set_unchanged(&self) {
        self.unchanged.store(true, Relaxed);
    }

    /// Whether the snapshot is being taken.
    pub fn is_serving(&self) -> bool {
        self.serving.load(Relaxed)
    }

    /// Whether alarms are served inside guards and transactions too.
    pub fn serves_anywhere(&self) -> bool {
        self.anywhere.load(Relaxed)
    }

    /// Whether no operation has begun since the last snapshot.
    pub fn is_unchanged(&self) -> bool {
        self.unchanged.load(Relaxed) && self.open.load(Relaxed) == 0
    }

    /// Who serves alarms that had to wait, from now on.
    ///
    /// # Safety
    ///
    /// The server stays valid until another one, or null, is set.
    pub unsafe fn set_server(&self, server: *const Server) {
        self.server.store(server.cast_mut(), Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// Whether somebody serves alarms.
    pub fn has_server(&self) -> bool {
        !self.server.load(Relaxed).is_null()
    }

    /// Serves an alarm that had to wait, if it may be served now.
    pub(crate) fn settle(&self) {
        if self.pending.load(Relaxed) == NONE || self.busy.load(Relaxed) || !self.may_serve() {
            return;
        }
        let server = self.server.load(Relaxed).cast_const();
        if server.is_null() {
            self.withdraw();
        } else {
            // SAFETY: `set_server`'s caller keeps it valid while it is set.
            unsafe { ((*server).serve)(server) };
        }
    }
}
