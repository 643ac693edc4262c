//! Runs the operations of a life, session by session, and the model beside it.

use crate::device::LabDevice;
use crate::journal::Journal;
use crate::life::Life;
use crate::op::Op;
use crate::recording::before;
use crate::shape::Shape;
use crate::state::{Held, State, Unreadable, extract, try_stale};
use crate::steps::Player;
use crate::stopped::{Stopped, is_refusal, stopped};
use crate::types::{LabHeap, Ram};
use core::fmt::Debug;
use vnv_persist::{Error, Heap, OpenError, format};

impl Player<'_, '_> {
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

    /// Runs `ops` from `from` on, until the end or the end of the heap; returns the operation to go on with.
    fn until_reopen<D: LabDevice>(
        &self,
        heap: &LabHeap<'_, D>,
        (ops, from): (&[Op], usize),
        limit: u32,
    ) -> Result<usize, Stopped>
    where
        D::Error: Debug,
    {
        let mut at = from;
        while let Some(op) = ops.get(at) {
            if matches!(op, Op::Reopen | Op::Format(..) | Op::Halt) {
                break;
            }
            self.journal.begin(at);
            match op {
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
            if dirty > limit {
                self.journal.complain(format!("{dirty} bytes are dirty, the limit is {limit}"));
            }
            if let Some(complaint) = self.journal.complaint() {
                return Err(Stopped::Violation(format!("operation {}: {complaint}", at.saturating_sub(1))));
            }
        }
        Ok(at)
    }

    /// Formats the storage; an error is noticed or a violation.
    fn format<D: LabDevice>(&self, device: &mut D, shape: Shape, at: usize) -> Result<(), Stopped>
    where
        D::Error: Debug,
    {
        self.journal.formatting(shape);
        match format(device, &mut Ram::new(), shape.options()) {
            Ok(_) => self.journal.formatted(),
            Err(OpenError::Storage(fault)) => {
                return Err(Stopped::Noticed(format!("operation {at}: formatting: {fault:?}")));
            }
            Err(error) => return Err(Stopped::Violation(format!("operation {at}: formatting: {error:?}"))),
        }
        Ok(())
    }

    /// The operation `format`: explicitly, but what a cut has left of it is gone on with as a program does that starts.
    fn explicit_format<D: LabDevice>(&self, mut device: D, shape: Shape, at: usize, resumed: bool) -> Result<D, Stopped>
    where
        D::Error: Debug,
    {
        self.journal.begin(at);
        if self.journal.is_uncertain() && self.now().shape().is_some() {
            let mut memory = Ram::new();
            let held = self.now().shape().unwrap_or(shape);
            let heap = open(device, &mut memory, held, at)?;
            compare(&heap, held, self.journal, at)?;
            device = heap.into_device();
        }
        let held = self.now().held;
        match held {
            Held::Blank if resumed => self.open_or_format(device, shape, at),
            Held::Heap(held) if resumed && held == shape && *self.now() == State::empty(shape) => Ok(device),
            _ => {
                self.format(&mut device, shape, at)?;
                Ok(device)
            }
        }
    }

    /// Starts as a program does on a storage that is blank or half formatted.
    fn open_or_format<D: LabDevice>(&self, device: D, shape: Shape, at: usize) -> Result<D, Stopped>
    where
        D::Error: Debug,
    {
        self.journal.formatting(shape);
        let mut memory = Ram::new();
        let heap: Result<LabHeap<'_, D>, _> = Heap::open_or_format(device, &mut memory, shape.options());
        match heap {
            Ok(heap) => {
                self.journal.formatted();
                Ok(heap.into_device())
            }
            Err(OpenError::Storage(fault)) => {
                Err(Stopped::Noticed(format!("operation {at}: open_or_format: {fault:?}")))
            }
            Err(error) => Err(Stopped::Violation(format!("operation {at}: open_or_format: {error:?}"))),
        }
    }

    /// Starts as a program does on a storage that it must leave as it is.
    fn refused_start<D: LabDevice>(&self, device: D, shape: Shape, at: usize) -> Result<D, Stopped>
    where
        D::Error: Debug,
    {
        let again = device.again().map_err(Stopped::Violation)?;
        let written = again.written();
        let mut memory = Ram::new();
        let opened: Result<LabHeap<'_, D>, _> = Heap::open_or_format(device, &mut memory, shape.options());
        let what = match opened {
            Ok(_) => "a storage that holds something else was opened or formatted".to_string(),
            Err(error @ (OpenError::Blank | OpenError::Heap(_))) => {
                format!("a storage that holds something else: {error:?}")
            }
            Err(_) if again.written() != written => "a storage was refused, and changed".to_string(),
            Err(_) => return Ok(again),
        };
        Err(Stopped::Violation(format!("operation {at}: {what}")))
    }
}

fn open<D: LabDevice>(device: D, memory: &mut Ram, shape: Shape, at: usize) -> Result<LabHeap<'_, D>, Stopped>
where
    D::Error: Debug,
{
    let heap: LabHeap<'_, D> = Heap::open(device, memory, shape.options())
        .map_err(|error| Stopped::Noticed(format!("open before operation {at}: {error:?}")))?;
    match heap.report().damaged {
        Some(index) => Err(Stopped::Noticed(format!("open before operation {at}: object {index} is damaged"))),
        None => Ok(heap),
    }
}

/// Runs the operations of `life` from `from` on; the storage is in the state of the journal. Then commits, and gives the
/// device back. With `reread`, everything is read back after each reboot.
///
/// # Errors
///
/// [`Stopped`].
pub fn play<D: LabDevice>(
    mut device: D,
    life: &Life,
    from: usize,
    journal: &Journal<'_>,
    reread: bool,
) -> Result<D, Stopped>
where
    D::Error: Debug,
{
    let player = Player { journal };
    let observer = |event| journal.observe(event);
    let mut at = from;
    let mut resumed = journal.resumed.replace(false);
    loop {
        let resumes = std::mem::take(&mut resumed);
        let shape = life.shape_at(at);
        let held = journal.now.borrow().held;
        match life.ops.get(at) {
            Some(Op::Format(..)) => {
                device = player.explicit_format(device, shape, at, resumes)?;
                at += 1;
                continue;
            }
            Some(Op::Reopen) => {
                journal.begin(at);
                if held == Held::Blank {
                    device = player.open_or_format(device, shape, at)?;
                } else if held.is_refused(shape) {
                    device = player.refused_start(device, shape, at)?;
                    at += 1;
                    continue;
                }
                at += 1;
            }
            // Nothing to go on with.
            Some(Op::Halt) => return Ok(device),
            _ if held != Held::Heap(shape) => return Ok(device),
            _ => {}
        }
        let mut memory = Ram::new();
        let heap = open(device, &mut memory, shape, at)?;
        if at != from && (reread || journal.is_uncertain()) {
            compare(&heap, shape, journal, at)?;
        }
        heap.set_observer(Some(&observer));
        let stale = try_stale(&heap, &journal.now.borrow());
        stale.map_err(|error| Stopped::Violation(format!("before operation {at}: {error:?}")))?;
        at = player.until_reopen(&heap, (&life.ops, at), shape.dirty)?;
        if at >= life.ops.len() {
            heap.with_device(LabDevice::disarm).map_err(|error| stopped(error, at))?;
            heap.commit().map_err(|error| stopped(error, at))?;
            return Ok(heap.into_device());
        }
        heap.set_observer(None);
        device = heap.into_device();
        device.disarm();
        journal.armed.set(false);
        reopened(journal);
    }
}

/// Reads everything back after a reboot.
fn compare<D: LabDevice>(heap: &LabHeap<'_, D>, shape: Shape, journal: &Journal<'_>, at: usize) -> Result<(), Stopped>
where
    D::Error: Debug,
{
    let found = extract(heap, shape).map_err(|error| match error {
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
