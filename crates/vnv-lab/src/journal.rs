//! What the model knows at each instant: the state, the commits, and what a reopening may find.

use crate::shape::Shape;
use crate::state::State;
use std::cell::{Cell, RefCell};
use vnv_persist::Event;

/// What a reopening may find: the last acknowledged commit or one that was running. Indices of states.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Legal {
    /// The last commit that was acknowledged.
    pub acknowledged: usize,
    /// Commits that began since and were not acknowledged: more than one only after a bus error.
    pub running: Vec<usize>,
}

impl Legal {
    /// Only this state.
    #[must_use]
    pub fn only(state: usize) -> Self {
        Self { acknowledged: state, running: Vec::new() }
    }

    /// Every legal state.
    pub fn all(&self) -> impl Iterator<Item = usize> + '_ {
        core::iter::once(self.acknowledged).chain(self.running.iter().copied())
    }
}

/// A change of what is legal, or of the operation that runs, at a position of the recorded traffic.
#[derive(Clone, Debug)]
pub struct Moment {
    /// Traffic from this position on.
    pub position: usize,
    /// What a reopening may find.
    pub legal: Legal,
    /// The operation that runs.
    pub op: usize,
    /// What a program of the layout before the last formatting may find.
    pub former: Option<Former>,
}

/// What a program of a former layout may find.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Former {
    /// What it formatted the storage with.
    pub shape: Shape,
    /// The only state that it may find, if it may find any.
    pub state: Option<usize>,
}

/// A formatting in the recorded traffic.
#[derive(Clone, Copy, Debug)]
pub struct Formatting {
    /// It begins at this position.
    pub from: usize,
    /// It is over at this one.
    pub to: usize,
    /// Number of the moment of its beginning.
    pub moment: usize,
    /// The state before.
    pub old: usize,
    /// The state while there is none: to be formatted.
    pub blank: usize,
    /// The state behind it.
    pub new: usize,
}

/// The model of a running life.
pub struct Journal<'p> {
    /// What the program sees now.
    pub now: RefCell<State>,
    /// Every state that a commit was to make durable.
    pub states: RefCell<Vec<State>>,
    moments: RefCell<Vec<Moment>>,
    legal: RefCell<Legal>,
    op: Cell<usize>,
    former: Cell<Option<Former>>,
    formats: RefCell<Vec<Formatting>>,
    /// Whether a life goes on here that was cut, in the operation with which it goes on.
    pub resumed: Cell<bool>,
    /// Inside a transaction nothing may be committed.
    pub in_transaction: Cell<bool>,
    /// Whether a bus fault may be on its way.
    pub armed: Cell<bool>,
    /// Commits and snapshots acknowledged.
    pub commits: Cell<usize>,
    /// The sequence number of each of them, and its state; 0: of a formatting.
    pub sequences: RefCell<Vec<(u64, usize)>>,
    /// Operations that a full heap refused.
    pub refusals: Cell<usize>,
    complaint: RefCell<Option<String>>,
    position: &'p dyn Fn() -> usize,
}

impl<'p> Journal<'p> {
    /// A journal that begins at `state`, which is durable; `position` tells how far the recorded traffic is.
    pub fn new(state: State, op: usize, position: &'p dyn Fn() -> usize) -> Self {
        let journal = Self {
            now: RefCell::new(state.clone()),
            states: RefCell::new(vec![state]),
            moments: RefCell::default(),
            legal: RefCell::default(),
            op: Cell::new(op),
            former: Cell::default(),
            formats: RefCell::default(),
            resumed: Cell::new(false),
            in_transaction: Cell::new(false),
            armed: Cell::new(false),
            commits: Cell::new(0),
            sequences: RefCell::default(),
            refusals: Cell::new(0),
            complaint: RefCell::default(),
            position,
        };
        journal.note();
        journal
    }

    fn note(&self) {
        let (position, legal, op) = ((self.position)(), self.legal.borrow().clone(), self.op.get());
        self.moments.borrow_mut().push(Moment { position, legal, op, former: self.former.get() });
    }

    /// An operation begins.
    pub fn begin(&self, op: usize) {
        self.op.set(op);
        self.note();
    }

    /// The storage is about to be formatted: until [`formatted`](Self::formatted), what was there, nothing and an empty heap
    /// are legal.
    pub fn formatting(&self, shape: Shape) {
        let old = self.legal.borrow().acknowledged;
        let mut states = self.states.borrow_mut();
        let held = states.get(old).and_then(State::shape);
        let former = match (held, self.former.get()) {
            (Some(held), _) if held != shape => Some(Former { shape: held, state: Some(old) }),
            (Some(_), Some(former)) if former.shape != shape => Some(Former { state: None, ..former }),
            // Half formatted: it may still be found until nothing of it stands any more.
            (None, Some(former)) if former.shape != shape => Some(former),
            _ => None,
        };
        self.former.set(former);
        *self.now.borrow_mut() = State::empty(shape);
        let (blank, new) = (states.len(), states.len() + 1);
        states.extend([State::default(), State::empty(shape)]);
        drop(states);
        self.legal.borrow_mut().running = vec![blank, new];
        let (from, moment) = ((self.position)(), self.moments.borrow().len());
        self.formats.borrow_mut().push(Formatting { from, to: usize::MAX, moment, old, blank, new });
        self.note();
    }

    /// The storage is formatted.
    pub fn formatted(&self) {
        if let Some(format) = self.formats.borrow_mut().last_mut() {
            format.to = (self.position)();
        }
        self.former.set(self.former.get().map(|former| Former { state: None, ..former }));
        self.observe(Event::Committed(0));
    }

    /// A program of this layout finds this state at most, nothing once the storage is formatted.
    pub fn set_former(&self, shape: Shape, state: Option<&State>) {
        let state = state.map(|state| {
            let mut states = self.states.borrow_mut();
            states.push(state.clone());
            states.len() - 1
        });
        self.former.set(Some(Former { shape, state }));
    }

    /// The formattings, in order.
    pub fn formats(&self) -> Vec<Formatting> {
        self.formats.borrow().clone()
    }

    /// What the heap reports.
    pub fn observe(&self, event: Event) {
        match event {
            Event::Committing => {
                if self.in_transaction.get() {
                    self.complain("the heap commits in the middle of a transaction");
                }
                let mut states = self.states.borrow_mut();
                states.push(self.now.borrow().clone());
                self.legal.borrow_mut().running.push(states.len() - 1);
            }
            Event::Committed(sequence) => {
                let mut legal = self.legal.borrow_mut();
                if let Some(last) = legal.running.last().copied() {
                    *legal = Legal::only(last);
                }
                self.sequences.borrow_mut().push((sequence, legal.acknowledged));
                self.commits.set(self.commits.get() + 1);
            }
            _ => {}
        }
        self.note();
    }

    /// Whether a commit failed, so that a reboot may find it or not.
    pub fn is_uncertain(&self) -> bool {
        !self.legal.borrow().running.is_empty()
    }

    /// A reboot has found a state: if it is a legal one, it is the acknowledged one from here on.
    pub fn resolve(&self, found: &State) -> bool {
        let states = self.states.borrow();
        let which = self.legal.borrow().all().find(|number| states.get(*number) == Some(found));
        if let Some(state) = which.and_then(|number| states.get(number)) {
            *self.now.borrow_mut() = state.clone();
        }
        if let Some(number) = which {
            *self.legal.borrow_mut() = Legal::only(number);
            drop(states);
            self.note();
        }
        which.is_some()
    }

    /// Notes what is wrong, the first thing only.
    pub fn complain(&self, what: impl Into<String>) {
        self.complaint.borrow_mut().get_or_insert_with(|| what.into());
    }

    /// What was wrong.
    pub fn complaint(&self) -> Option<String> {
        self.complaint.borrow().clone()
    }

    /// What was legal when, in order of position.
    pub fn moments(&self) -> Vec<Moment> {
        self.moments.borrow().clone()
    }
}

/// What was legal while the traffic at `position` ran: `moments` in order of position.
#[must_use]
pub fn at(moments: &[Moment], position: usize) -> Moment {
    let end = moments.partition_point(|moment| moment.position <= position);
    let last = end.checked_sub(1).and_then(|last| moments.get(last)).cloned();
    last.unwrap_or(Moment { position: 0, legal: Legal::default(), op: 0, former: None })
}
