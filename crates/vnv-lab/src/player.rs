//! Runs the operations of a life on a heap, and the model beside it.

use crate::access::Access;
use crate::device::LabDevice;
use crate::journal::Journal;
use crate::op::Op;
use crate::recording::before;
use crate::state::{ModelSettings, State, Unreadable, extract, try_stale};
use crate::types::{CHAINS, COUNTERS, LabHeap, Node, Ram, SettingsV1, SettingsV2};
use core::fmt::Debug;
use vnv_persist::{Error, Heap, Link, Options};

/// How a player went wrong: what the heap did that it must not, or what it noticed.
#[derive(Clone, Debug)]
pub enum Stopped {
    /// A typed error that says that storage is damaged: what T4 and T5 have to end in.
    Noticed(String),
    /// After a reboot a whole older state came back: legal only where the last record was destroyed (T4, T5).
    Older(String),
    /// Anything else.
    Violation(String),
}

impl Stopped {
    /// What happened.
    #[must_use]
    pub fn what(self) -> String {
        match self {
            Self::Noticed(what) | Self::Older(what) | Self::Violation(what) => what,
        }
    }
}

fn stopped<E: Debug>(error: Error<E>, op: usize) -> Stopped {
    match error {
        Error::Damaged { .. } => Stopped::Noticed(format!("operation {op}: {error:?}")),
        error => Stopped::Violation(format!("operation {op}: {error:?}")),
    }
}

/// Errors that leave everything as it was, and that a program meets in a small heap.
fn is_refusal<E>(error: &Error<E>) -> bool {
    matches!(
        error,
        Error::StorageFull
            | Error::ObjectsFull
            | Error::RamFull
            | Error::DirtyLimit
            | Error::PendingFull
            | Error::TooLarge
            | Error::TooLargeToChange
    )
}

type Step<A> = Result<(), Error<<A as Access>::Fault>>;

/// A life at work: the model is that of `journal`.
pub struct Player<'p, 'j> {
    journal: &'p Journal<'j>,
    dirty_limit: u32,
}

impl<'p, 'j> Player<'p, 'j> {
    fn now(&self) -> core::cell::RefMut<'p, State> {
        self.journal.now.borrow_mut()
    }

    fn table<A: Access>(&self, heap: &A) -> Result<Link<[Link<Node>]>, Error<A::Fault>> {
        if let Some(table) = heap.root::<[Link<Node>]>("table")? {
            return Ok(table);
        }
        let table = heap.allocate_slice(CHAINS, |_| Link::NULL)?;
        heap.set_root("table", Some(table))?;
        self.now().chains = vec![Vec::new(); CHAINS];
        Ok(table)
    }

    fn counters<A: Access>(&self, heap: &A) -> Result<Link<[u32]>, Error<A::Fault>> {
        if let Some(counters) = heap.root::<[u32]>("counters")? {
            return Ok(counters);
        }
        let counters = heap.allocate_slice(COUNTERS, |_| 0u32)?;
        heap.set_root("counters", Some(counters))?;
        self.now().counters = vec![0; COUNTERS];
        Ok(counters)
    }

    fn first<A: Access>(&self, heap: &A, slot: usize) -> Result<Link<Node>, Error<A::Fault>> {
        let table = self.table(heap)?;
        Ok(heap.read_all(table)?.get(slot).copied().unwrap_or(Link::NULL))
    }

    /// Makes a slot lead to another chain.
    fn relink<A: Access>(
        &self,
        heap: &A,
        slot: usize,
        link: Link<Node>,
        change: impl FnOnce(&mut Vec<(u32, Vec<u8>)>),
    ) -> Step<A> {
        let table = self.table(heap)?;
        heap.element(table, slot, link)?;
        self.now().chains.get_mut(slot).map(change);
        Ok(())
    }

    /// Frees the first node of a chain and its blob.
    fn pop<A: Access>(&self, heap: &A, slot: usize) -> Step<A> {
        let first = self.first(heap, slot)?;
        if first.is_null() {
            return Ok(());
        }
        let node = heap.read(first)?;
        self.relink(heap, slot, node.next, |chain| {
            chain.remove(0);
        })?;
        if !node.blob.is_null() {
            heap.free(node.blob)?;
        }
        heap.free(first)?;
        self.now().add_stale(first);
        Ok(())
    }

    fn push<A: Access>(&self, heap: &A, slot: usize, value: u32) -> Step<A> {
        let first = self.first(heap, slot)?;
        let new = heap.allocate(Node::new(value, Link::NULL, first))?;
        let linked = self.relink(heap, slot, new, |chain| chain.insert(0, (value, Vec::new())));
        if linked.is_err() {
            heap.free(new)?;
        }
        linked
    }

    fn set_value<A: Access>(&self, heap: &A, slot: usize, value: u32) -> Step<A> {
        let first = self.first(heap, slot)?;
        if first.is_null() {
            return Ok(());
        }
        heap.change(first, |node| *node = Node::new(value, node.blob, node.next))?;
        if let Some(node) = self.now().chains.get_mut(slot).and_then(|chain| chain.first_mut()) {
            node.0 = value;
        }
        Ok(())
    }

    fn blob<A: Access>(&self, heap: &A, slot: usize, len: u16) -> Step<A> {
        let first = self.first(heap, slot)?;
        if first.is_null() {
            return Ok(());
        }
        let old = heap.read(first)?.blob;
        let bytes: Vec<u8> = (0..len).map(|at| (at as u8).wrapping_mul(31) ^ len as u8).collect();
        let new = if len == 0 { Link::NULL } else { heap.allocate_slice(len.into(), |at| bytes[at])? };
        if let Err(error) = heap.change(first, |node| node.blob = new) {
            if !new.is_null() {
                heap.free(new)?;
            }
            return Err(error);
        }
        if let Some(node) = self.now().chains.get_mut(slot).and_then(|chain| chain.first_mut()) {
            node.1 = bytes;
        }
        if old.is_null() { Ok(()) } else { heap.free(old) }
    }

    fn settings<A: Access>(&self, heap: &A, a: u16, b: u16) -> Step<A> {
        let value = SettingsV1 { a, b };
        match heap.root::<SettingsV1>("settings") {
            Err(Error::TypeMismatch) => return Ok(()),
            Err(error) => return Err(error),
            Ok(Some(link)) => heap.change(link, |settings| *settings = value)?,
            Ok(None) => {
                let link = heap.allocate(value)?;
                heap.set_root("settings", Some(link))?;
            }
        }
        self.now().settings = ModelSettings::Old(value);
        Ok(())
    }

    /// The documented migration: read the old, build the new, swap the root, free the old.
    fn migrate<A: Access>(&self, heap: &A) -> Step<A> {
        let old = match heap.root::<SettingsV1>("settings") {
            Ok(Some(old)) => old,
            Ok(None) | Err(Error::TypeMismatch) => return Ok(()),
            Err(error) => return Err(error),
        };
        let SettingsV1 { a, b } = heap.read(old)?;
        let new = SettingsV2 { a: a.into(), b: b.into(), sum: u32::from(a) + u32::from(b) };
        let link = heap.allocate(new)?;
        heap.set_root("settings", Some(link))?;
        self.now().settings = ModelSettings::New(new);
        heap.free(old)
    }

    fn mark<A: Access>(&self, heap: &A, value: Option<u32>) -> Step<A> {
        let old = heap.root::<u32>("mark")?;
        let new = value.map(|value| heap.allocate(value)).transpose()?;
        heap.set_root("mark", new)?;
        self.now().mark = value;
        if let Some(old) = old { heap.free(old) } else { Ok(()) }
    }

    /// Reads a chain; what differs from the model is a violation.
    fn read<A: Access>(&self, heap: &A, slot: usize) -> Step<A> {
        let mut next = self.first(heap, slot)?;
        let mut chain = Vec::new();
        while !next.is_null() {
            let node = heap.read(next)?;
            let blob = if node.blob.is_null() { Vec::new() } else { heap.read_all(node.blob)? };
            if !node.is_whole() {
                self.journal.complain(format!("a mixture of two states: {node:?}"));
            }
            chain.push((node.value, blob));
            next = node.next;
        }
        if self.now().chains.get(slot).is_some_and(|expected| *expected != chain) {
            self.journal.complain(format!("slot {slot} reads {chain:?}"));
        }
        Ok(())
    }

    /// What can be done in a transaction as well as outside.
    fn common<A: Access>(&self, heap: &A, op: Op) -> Step<A> {
        let slot_of = |slot: u8| usize::from(slot) % CHAINS;
        match op {
            Op::New(slot, value) => {
                while !self.first(heap, slot_of(slot))?.is_null() {
                    self.pop(heap, slot_of(slot))?;
                }
                self.push(heap, slot_of(slot), value)
            }
            Op::Push(slot, value) => self.push(heap, slot_of(slot), value),
            Op::Pop(slot) => self.pop(heap, slot_of(slot)),
            Op::Set(slot, value) => self.set_value(heap, slot_of(slot), value),
            Op::Blob(slot, len) => self.blob(heap, slot_of(slot), len),
            Op::Drop(slot) => {
                // The table may have to be made first.
                self.first(heap, slot_of(slot))?;
                self.relink(heap, slot_of(slot), Link::NULL, Vec::clear)
            }
            Op::Count(at, value) => {
                let (counters, at) = (self.counters(heap)?, usize::from(at) % COUNTERS);
                heap.element(counters, at, value)?;
                self.now().counters[at] = value;
                Ok(())
            }
            Op::Span(at, len, value) => {
                let (counters, at) = (self.counters(heap)?, usize::from(at) % COUNTERS);
                let range = at..(at + usize::from(len)).min(COUNTERS);
                heap.fill(counters, range.clone(), value)?;
                self.now().counters[range].fill(value);
                Ok(())
            }
            Op::Mark(value) => self.mark(heap, Some(value)),
            Op::Unmark => self.mark(heap, None),
            Op::Settings(a, b) => self.settings(heap, a, b),
            Op::Read(slot) => self.read(heap, slot_of(slot)),
            _ => Ok(()),
        }
    }

    /// What can be done outside of transactions.
    fn outside<D: LabDevice>(&self, heap: &LabHeap<'_, D>, op: Op) -> Result<(), Error<D::Error>>
    where
        D::Error: Debug,
    {
        match op {
            Op::Commit => heap.commit().map(|_| ()),
            Op::Snapshot => self.snapshot(heap),
            Op::Collect => heap.collect().map(|_| ()),
            Op::Evict(slot) => {
                let first = self.first(heap, usize::from(slot) % CHAINS)?;
                if first.is_null() { Ok(()) } else { heap.evict(first) }
            }
            Op::Held(slot, value) => self.held(heap, usize::from(slot) % CHAINS, value),
            Op::Fill(bytes) => {
                for _ in 0..200 {
                    self.push(heap, CHAINS - 1, u32::from(bytes))?;
                    self.blob(heap, CHAINS - 1, bytes)?;
                }
                Ok(())
            }
            Op::Busfail(write, bytes) => {
                self.journal.armed.set(true);
                heap.with_device(|device| device.arm(write, bytes))
            }
            op => self.common(heap, op),
        }
    }

    /// Takes a snapshot: it writes no more than the accounting has announced.
    fn snapshot<D: LabDevice>(&self, heap: &LabHeap<'_, D>) -> Result<(), Error<D::Error>>
    where
        D::Error: Debug,
    {
        let announced = heap.dirty_bytes()?;
        let before = heap.with_device(|device| device.written())?;
        let result = heap.snapshot();
        let (after, row) = heap.with_device(|device| (device.written(), device.row_size()))?;
        // An empty one is a header and the bitmap of freed slots; two failed records may have to be erased first.
        let most = announced.max(26) + 2 * row.max(8);
        if after - before > u64::from(most) {
            self.journal.complain(format!("a snapshot of {} bytes, {announced} were announced", after - before));
        }
        result.map(|_| ())
    }

    /// Changes a node under a guard, and others while it is open: the heap may sync meanwhile, but not commit.
    fn held<D: LabDevice>(&self, heap: &LabHeap<'_, D>, slot: usize, value: u32) -> Result<(), Error<D::Error>>
    where
        D::Error: Debug,
    {
        let first = self.first(heap, slot)?;
        let counters = self.counters(heap)?;
        if first.is_null() {
            return Ok(());
        }
        let mut guard = heap.get_mut(first)?;
        let (blob, next) = (guard.blob, guard.next);
        guard.value = value;
        self.journal.in_transaction.set(true);
        let inner = (|| {
            for at in 0..COUNTERS {
                heap.element(counters, at, value)?;
                self.now().counters[at] = value;
            }
            for other in (0..CHAINS).filter(|other| *other != slot) {
                self.read(heap, other)?;
            }
            if !matches!(heap.commit(), Err(Error::GuardOpen)) {
                self.journal.complain("a commit under an open guard");
            }
            Ok(())
        })();
        *guard = Node::new(value, blob, next);
        if let Some(node) = self.now().chains.get_mut(slot).and_then(|chain| chain.first_mut()) {
            node.0 = value;
        }
        drop(guard);
        self.journal.in_transaction.set(false);
        inner
    }

    /// Runs one operation; what a full heap refuses is given up, what a failing bus spoils is tried again,
    /// commits and snapshots aside: there the life itself says what comes next.
    fn attempt<E: Debug>(
        &self,
        (at, op): (usize, Op),
        mut operation: impl FnMut() -> Result<(), Error<E>>,
        collect: impl Fn() -> Result<(), Error<E>>,
    ) -> Result<(), Stopped> {
        let mut result = operation();
        for _ in 0..2 {
            if matches!(result, Err(Error::Device(_))) && self.journal.armed.replace(false) {
                if matches!(op, Op::Commit | Op::Snapshot) {
                    return Ok(());
                }
                result = operation();
            }
        }
        match result {
            Ok(()) => Ok(()),
            Err(Error::StorageFull | Error::ObjectsFull) => match self.refused(collect()) {
                Err(Error::Device(_)) if self.journal.armed.replace(false) => Ok(()),
                Err(error) if !is_refusal(&error) => Err(stopped(error, at)),
                _ => Ok(()),
            },
            Err(error) if is_refusal(&error) => {
                self.journal.refusals.set(self.journal.refusals.get() + 1);
                Ok(())
            }
            Err(error) => Err(stopped(error, at)),
        }
    }

    fn refused<T>(&self, then: T) -> T {
        self.journal.refusals.set(self.journal.refusals.get() + 1);
        then
    }

    /// A transaction from its `begin` at `from` on; returns the operation behind its end.
    ///
    /// `within`: the operation of the life that all of it belongs to, if it is only one.
    fn transaction<D: LabDevice>(
        &self,
        heap: &LabHeap<'_, D>,
        ops: &[Op],
        from: usize,
        within: Option<usize>,
    ) -> Result<usize, Stopped>
    where
        D::Error: Debug,
    {
        let before = self.now().clone();
        // It may begin with a commit, which a failing bus may spoil, and a full heap refuse.
        let begun = match heap.transaction() {
            Err(Error::Device(_)) if self.journal.armed.replace(false) => heap.transaction(),
            begun => begun,
        };
        let transaction = match begun {
            Ok(transaction) => transaction,
            Err(error) if is_refusal(&error) => {
                let rest = ops.iter().skip(from).position(|op| matches!(op, Op::End | Op::Rollback));
                return self.refused(Ok(rest.map_or(ops.len(), |end| from + end + 1)));
            }
            Err(error) => return Err(stopped(error, from)),
        };
        self.journal.in_transaction.set(true);
        let mut at = from + 1;
        let mut rolled_back = false;
        while let Some(op) = ops.get(at) {
            self.journal.begin(within.unwrap_or(at));
            match op {
                Op::End => break,
                Op::Rollback => {
                    rolled_back = true;
                    break;
                }
                Op::Migrate => self.attempt((at, *op), || self.migrate(&transaction), || Ok(()))?,
                Op::Commit => {
                    if !matches!(heap.commit(), Err(Error::TransactionRunning)) {
                        self.journal.complain("a commit in a transaction");
                    }
                }
                op => self.attempt((at, *op), || self.common(&transaction, *op), || Ok(()))?,
            }
            at += 1;
        }
        self.journal.in_transaction.set(false);
        if rolled_back || at == ops.len() {
            *self.now() = before;
            drop(transaction);
        } else {
            match transaction.commit() {
                Ok(_) => {}
                Err(Error::Device(_)) if self.journal.armed.replace(false) => {
                    heap.commit().map_err(|error| stopped(error, at))?;
                }
                Err(error) => return Err(stopped(error, at)),
            }
        }
        Ok((at + 1).min(ops.len()))
    }

    /// Runs `ops` from `from` on, until the end or a `reopen`; returns the operation to go on with.
    fn until_reopen<D: LabDevice>(&self, heap: &LabHeap<'_, D>, ops: &[Op], from: usize) -> Result<usize, Stopped>
    where
        D::Error: Debug,
    {
        let mut at = from;
        while let Some(op) = ops.get(at) {
            self.journal.begin(at);
            match op {
                Op::Reopen => break,
                Op::Begin => at = self.transaction(heap, ops, at, None)?,
                Op::Migrate => {
                    self.transaction(heap, &[Op::Begin, Op::Migrate, Op::End], 0, Some(at))?;
                    at += 1;
                }
                // Ends of transactions whose begin a power cut has swallowed.
                Op::End | Op::Rollback => at += 1,
                op => {
                    let collect = || heap.collect().map(|_| ());
                    self.attempt((at, *op), || self.outside(heap, *op), collect)?;
                    at += 1;
                }
            }
            let dirty = heap.dirty_bytes().map_err(|error| stopped(error, at))?;
            let limit = self.dirty_limit;
            if dirty > limit {
                self.journal.complain(format!("{dirty} bytes are dirty, the limit is {limit}"));
            }
            if let Some(complaint) = self.journal.complaint() {
                return Err(Stopped::Violation(format!("operation {}: {complaint}", at.saturating_sub(1))));
            }
        }
        Ok(at)
    }
}

/// Runs `ops` from `from` on, on an open heap whose state is the journal's; then commits, and gives the device back.
/// With `reread`, everything is read back after each reboot.
///
/// # Errors
///
/// [`Stopped`].
pub fn play<D: LabDevice>(
    mut device: D,
    options: Options,
    ops: &[Op],
    from: usize,
    journal: &Journal<'_>,
    reread: bool,
) -> Result<D, Stopped>
where
    D::Error: Debug,
{
    let player = Player { journal, dirty_limit: options.dirty_limit };
    let observer = |event| journal.observe(event);
    let mut at = from;
    loop {
        let mut memory = Ram::new();
        let heap: LabHeap<'_, D> = Heap::open(device, &mut memory, options)
            .map_err(|error| Stopped::Noticed(format!("open before operation {at}: {error:?}")))?;
        if let Some(index) = heap.report().damaged {
            return Err(Stopped::Noticed(format!("open before operation {at}: object {index} is damaged")));
        }
        if at != from && (reread || journal.is_uncertain()) {
            compare(&heap, journal, at)?;
        }
        heap.set_observer(Some(&observer));
        let stale = try_stale(&heap, &journal.now.borrow());
        stale.map_err(|error| Stopped::Violation(format!("before operation {at}: {error:?}")))?;
        at = player.until_reopen(&heap, ops, at)?;
        let last = at >= ops.len();
        heap.set_observer(None);
        if last {
            heap.set_observer(Some(&observer));
            heap.with_device(LabDevice::disarm).map_err(|error| stopped(error, at))?;
            heap.commit().map_err(|error| stopped(error, at))?;
            return Ok(heap.into_device());
        }
        device = heap.into_device();
        device.disarm();
        journal.armed.set(false);
        at += 1;
        reopened(journal);
    }
}

/// Reads everything back after a reboot.
fn compare<D: LabDevice>(heap: &LabHeap<'_, D>, journal: &Journal<'_>, at: usize) -> Result<(), Stopped>
where
    D::Error: Debug,
{
    let found = extract(heap).map_err(|error| match error {
        Unreadable::Error(what) => Stopped::Noticed(format!("before operation {at}: {what}")),
        Unreadable::Wrong(what) => Stopped::Violation(format!("before operation {at}: {what}")),
    })?;
    if journal.resolve(&found) {
        return Ok(());
    }
    let what = format!("before operation {at}: {found:?} instead of {:?}", journal.now.borrow());
    // The last record of before the reboot may have been destroyed, none before it.
    let states = journal.states.borrow();
    let moments = journal.moments();
    let last = moments.last().map(|moment| moment.legal.acknowledged).unwrap_or_default();
    Err(if before(&states, &moments, last).contains(&found) { Stopped::Older(what) } else { Stopped::Violation(what) })
}

/// What is not committed is gone after a reboot.
fn reopened(journal: &Journal<'_>) {
    let states = journal.states.borrow();
    let legal = journal.moments().last().map(|moment| moment.legal.acknowledged).unwrap_or_default();
    if let Some(state) = states.get(legal) {
        *journal.now.borrow_mut() = state.clone();
    }
}
