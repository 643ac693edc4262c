//! What a power-fail interrupt may look at: whether the heap is between two operations, and whether an alarm waits.
//!
//! The interrupt preempts the heap's own execution context and returns to it, so that plain loads and stores are atomic
//! enough; compiler fences keep the engine's memory accesses between the stores that announce and end them.

use core::ptr;
// Loads and stores only, which every target has; those of `core` are single instructions.
use core::sync::atomic::Ordering::Relaxed;
use core::sync::atomic::{AtomicBool, AtomicPtr, AtomicU8, AtomicU16, Ordering, compiler_fence};

/// Bits of the gate: why a hit may not be served at once. Changed by the heap's own context, and by an interrupt that puts
/// back what it found.
mod gate {
    /// An operation is running.
    pub const BUSY: u8 = 1;
    /// A snapshot is being taken.
    pub const SERVING: u8 = 2;
    pub const TRANSACTION: u8 = 4;
    /// A collection wants to know of changes.
    pub const COLLECTION: u8 = 8;
    /// Pinned objects are counted, against a limit.
    pub const COUNTED: u8 = 16;
}

/// Bits of what the end of a mutable guard looks at.
mod pending {
    /// An alarm waits for the next safe point.
    pub const NOW: u8 = 1;
    /// An alarm waits until the minimum interval has passed: it ends no transfer.
    pub const LATER: u8 = 2;
    /// Pinned objects are counted. Not changed while anybody may raise an alarm.
    pub const COUNTED: u8 = 4;
}

/// How an alarm that had to wait is served.
pub struct Server {
    /// Serves the alarm; called with the pointer that was set.
    pub serve: unsafe fn(*const Server),
}

/// The words that tell an interrupt what the heap is doing. Part of a [`Memory`](crate::Memory).
pub struct Attention {
    /// Why a hit may not be served at once.
    gate: AtomicU8,
    /// Alarms that wait.
    pending: AtomicU8,
    /// Mutable guards.
    open: AtomicU16,
    /// Objects on which a guard is open, if they are counted.
    pins: AtomicU16,
    /// Nothing has changed since the last snapshot.
    unchanged: AtomicBool,
    /// Alarms are served inside guards and transactions too.
    anywhere: AtomicBool,
    /// Objects that are being filled and do not fit into a snapshot.
    filling: AtomicU8,
    /// A snapshot was written since the last commit: the places that it names may not be reused.
    retained: AtomicBool,
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
            gate: AtomicU8::new(0),
            pending: AtomicU8::new(0),
            open: AtomicU16::new(0),
            pins: AtomicU16::new(0),
            unchanged: AtomicBool::new(false),
            anywhere: AtomicBool::new(false),
            filling: AtomicU8::new(0),
            retained: AtomicBool::new(false),
            server: AtomicPtr::new(ptr::null_mut()),
        }
    }

    /// As new: whatever used the memory before is gone. `counted`: pinned objects are counted.
    pub(crate) fn reset(&self, counted: bool) {
        self.gate.store(if counted { gate::COUNTED } else { 0 }, Relaxed);
        self.pending.store(if counted { pending::COUNTED } else { 0 }, Relaxed);
        self.open.store(0, Relaxed);
        self.pins.store(0, Relaxed);
        self.unchanged.store(false, Relaxed);
        self.anywhere.store(false, Relaxed);
        self.filling.store(0, Relaxed);
        self.retained.store(false, Relaxed);
        self.server.store(ptr::null_mut(), Relaxed);
    }

    /// A snapshot names places, or, after a commit, none does.
    pub(crate) fn retain(&self, retained: bool) {
        self.retained.store(retained, Relaxed);
    }

    /// Whether a snapshot was written since the last commit.
    pub(crate) fn retains(&self) -> bool {
        self.retained.load(Relaxed)
    }

    #[inline]
    fn has(&self, bits: u8) -> bool {
        self.gate.load(Relaxed) & bits != 0
    }

    fn set(&self, bits: u8, on: bool) {
        let gate = self.gate.load(Relaxed);
        self.gate.store(if on { gate | bits } else { gate & !bits }, Relaxed);
    }

    /// An operation begins; `false`: another one is running.
    #[inline]
    pub(crate) fn begin(&self) -> bool {
        let gate = self.gate.load(Relaxed);
        if gate & gate::BUSY != 0 {
            return false;
        }
        self.gate.store(gate | gate::BUSY, Relaxed);
        if gate & gate::SERVING == 0 {
            self.unchanged.store(false, Relaxed);
        }
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The operation is over.
    #[inline]
    pub(crate) fn end(&self) {
        compiler_fence(Ordering::SeqCst);
        self.gate.store(self.gate.load(Relaxed) & !gate::BUSY, Relaxed);
        compiler_fence(Ordering::SeqCst);
    }

    /// A hit begins, an operation that changes nothing that a snapshot holds; `false`: what is going on needs more care.
    #[inline]
    pub(crate) fn begin_hit(&self) -> bool {
        if self.gate.load(Relaxed) != 0 {
            return false;
        }
        self.gate.store(gate::BUSY, Relaxed);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The hit is over. Whether alarms wait, or pins are counted.
    #[inline]
    pub(crate) fn end_hit(&self) -> bool {
        compiler_fence(Ordering::SeqCst);
        // Nothing else began meanwhile, and what an interrupt changed it has put back.
        self.gate.store(0, Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.pending.load(Relaxed) != 0
    }

    /// Whether an operation is running.
    pub fn is_busy(&self) -> bool {
        self.has(gate::BUSY)
    }

    /// A mutable guard was opened, and what it refers to may change. Called inside an operation.
    #[inline]
    pub(crate) fn opened(&self) {
        self.unchanged.store(false, Relaxed);
        // Each pins an object of its own, of at most 32,767.
        self.open.store(self.open.load(Relaxed).wrapping_add(1), Relaxed);
    }

    /// A mutable guard has given back its pin. Whether alarms wait, or pins are counted.
    #[inline]
    pub(crate) fn closed(&self) -> bool {
        compiler_fence(Ordering::SeqCst);
        self.open.store(self.open.load(Relaxed).wrapping_sub(1), Relaxed);
        compiler_fence(Ordering::SeqCst);
        self.pending.load(Relaxed) != 0
    }

    /// A transaction is undone. It did not begin while a mutable guard was open: those that count by now were forgotten in it.
    pub(crate) fn forget_open(&self) {
        self.open.store(0, Relaxed);
    }

    /// Mutable guards that are open, forgotten ones and objects that are being filled included.
    pub fn open_guards(&self) -> u16 {
        self.open.load(Relaxed)
    }

    /// Whether pinned objects are counted.
    pub(crate) fn counts_pins(&self) -> bool {
        self.has(gate::COUNTED)
    }

    /// A guard is open on one more object. Only where they are counted.
    pub(crate) fn pinned(&self) {
        self.pins.store(self.pins.load(Relaxed).saturating_add(1), Relaxed);
    }

    /// No guard is open on the object any more. Only where they are counted.
    pub(crate) fn unpinned(&self) {
        self.pins.store(self.pins.load(Relaxed).saturating_sub(1), Relaxed);
    }

    /// Objects on which a guard is open, where they are counted.
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
        self.set(gate::TRANSACTION, running);
    }

    /// A collection has begun or ended. Called inside an operation.
    pub(crate) fn set_collection(&self, running: bool) {
        self.set(gate::COLLECTION, running);
    }

    /// Whether a transaction is running.
    #[inline]
    pub fn in_transaction(&self) -> bool {
        self.has(gate::TRANSACTION)
    }

    /// Lets alarms be served inside guards and transactions too (resume mode).
    pub fn serve_anywhere(&self, anywhere: bool) {
        self.anywhere.store(anywhere, Relaxed);
    }

    /// Whether alarms may be served now, running operations aside.
    fn may_serve(&self) -> bool {
        let quiescent = self.open.load(Relaxed) == 0 && !self.in_transaction();
        let anywhere = self.anywhere.load(Relaxed) && self.filling.load(Relaxed) == 0;
        !self.is_serving() && (quiescent || anywhere)
    }

    /// Whether the running operation is to end at this safe point: an alarm waits and can be served.
    pub fn interrupts(&self) -> bool {
        self.pending.load(Relaxed) & pending::NOW != 0 && self.may_serve()
    }

    fn set_pending(&self, alarm: u8) {
        self.pending.store((self.pending.load(Relaxed) & pending::COUNTED) | alarm, Relaxed);
    }

    /// Notes an alarm.
    pub fn raise(&self) {
        self.set_pending(pending::NOW);
    }

    /// The alarm has to wait for the minimum interval.
    pub fn postpone(&self) {
        self.set_pending(pending::LATER);
    }

    /// Withdraws an alarm that waits.
    pub fn withdraw(&self) {
        self.set_pending(0);
    }

    /// Whether an alarm waits.
    #[inline]
    pub fn is_raised(&self) -> bool {
        self.pending.load(Relaxed) & (pending::NOW | pending::LATER) != 0
    }

    /// The snapshot begins; `false`: one is being taken already.
    pub fn begin_serving(&self) -> bool {
        if self.is_serving() {
            return false;
        }
        self.set(gate::SERVING, true);
        compiler_fence(Ordering::SeqCst);
        true
    }

    /// The snapshot is over.
    pub fn end_serving(&self) {
        compiler_fence(Ordering::SeqCst);
        self.set(gate::SERVING, false);
    }

    /// A snapshot holds everything, until the next operation begins.
    pub fn set_unchanged(&self) {
        self.unchanged.store(true, Relaxed);
    }

    /// Whether the snapshot is being taken.
    pub fn is_serving(&self) -> bool {
        self.has(gate::SERVING)
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
    #[inline]
    pub(crate) fn settle(&self) {
        if self.is_raised() {
            self.serve();
        }
    }

    #[cold]
    #[inline(never)]
    fn serve(&self) {
        if self.is_busy() || !self.may_serve() {
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
