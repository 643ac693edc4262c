//! The operations of a life on a heap, each with what it does to the model.

use crate::access::Access;
use crate::device::LabDevice;
use crate::journal::Journal;
use crate::op::Op;
use crate::state::{ModelSettings, State};
use crate::types::{CHAINS, COUNTERS, LabHeap, Node, SettingsV1, SettingsV2};
use core::fmt::Debug;
use vnv_persist::{Error, Link};

type Step<A> = Result<(), Error<<A as Access>::Fault>>;

/// A life at work: the model is that of `journal`.
pub struct Player<'p, 'j> {
    pub(crate) journal: &'p Journal<'j>,
}

impl<'p, 'j> Player<'p, 'j> {
    pub(crate) fn now(&self) -> core::cell::RefMut<'p, State> {
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
    pub(crate) fn migrate<A: Access>(&self, heap: &A) -> Step<A> {
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
    pub(crate) fn common<A: Access>(&self, heap: &A, op: Op) -> Step<A> {
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
    pub(crate) fn outside<D: LabDevice>(&self, heap: &LabHeap<'_, D>, op: Op) -> Result<(), Error<D::Error>>
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
}
