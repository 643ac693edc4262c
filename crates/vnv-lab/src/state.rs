//! The state that can be read back through the roots, and the reading.

use crate::shape::Shape;
use crate::types::{CHAINS, LabHeap, Node, SettingsV1, SettingsV2};
use std::fmt::Debug;
use std::hash::{DefaultHasher, Hash, Hasher};
use vnv_persist::{Error, Link};
use vnv_storage::Device;

/// A node as the model has it: value and blob.
pub type ModelNode = (u32, Vec<u8>);

/// What the settings are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum ModelSettings {
    /// There are none.
    #[default]
    None,
    /// Of version 1.
    Old(SettingsV1),
    /// Of version 2.
    New(SettingsV2),
}

/// What a storage is taken for.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub enum Held {
    /// Blank, or half formatted: to be formatted.
    #[default]
    Blank,
    /// Something else, which is left as it is until it is formatted explicitly.
    Foreign,
    /// A heap.
    Heap(Shape),
}

/// What a program sees of the storage.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// What the storage is taken for.
    pub held: Held,
    /// The chains, each from its first node on.
    pub chains: Vec<Vec<ModelNode>>,
    /// The counters.
    pub counters: Vec<u32>,
    /// What the root `mark` leads to.
    pub mark: Option<u32>,
    /// What the root `settings` leads to.
    pub settings: ModelSettings,
    /// Handles that are stale in this state: the newest few. Not read back, but tried.
    pub stale: Vec<Link<Node>>,
}

impl PartialEq for State {
    fn eq(&self, other: &Self) -> bool {
        let Self { held, chains, counters, mark, settings, stale: _ } = self;
        *held == other.held
            && *chains == other.chains
            && *counters == other.counters
            && *mark == other.mark
            && *settings == other.settings
    }
}

impl State {
    /// A formatted heap without anything in it.
    #[must_use]
    pub fn empty(shape: Shape) -> Self {
        Self { held: Held::Heap(shape), ..Self::default() }
    }

    /// A storage that holds something else.
    #[must_use]
    pub fn foreign() -> Self {
        Self { held: Held::Foreign, ..Self::default() }
    }

    /// The shape of the heap, if there is one.
    #[must_use]
    pub const fn shape(&self) -> Option<Shape> {
        match self.held {
            Held::Heap(shape) => Some(shape),
            Held::Blank | Held::Foreign => None,
        }
    }

    /// Notes a handle that is stale from now on.
    pub fn add_stale(&mut self, link: Link<Node>) {
        if self.stale.len() == 6 {
            self.stale.remove(0);
        }
        self.stale.push(link);
    }

    /// All of it in one number, the stale handles too: they are tried.
    #[must_use]
    pub fn fingerprint(&self) -> u64 {
        let Self { held, chains, counters, mark, settings, stale } = self;
        let mut hasher = DefaultHasher::new();
        (held, chains, counters, mark, settings, stale).hash(&mut hasher);
        hasher.finish()
    }

    /// Bytes of the objects.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let nodes = self.chains.iter().flatten().map(|(_, blob)| size_of::<Node>() + blob.len()).sum::<usize>();
        nodes + 4 * self.chains.len() + 4 * self.counters.len()
    }
}

/// Why a heap could not be read back.
#[derive(Clone, Debug)]
pub enum Unreadable {
    /// A typed error: something was noticed.
    Error(String),
    /// Data that no state ever had.
    Wrong(String),
}

fn text<E: Debug>(error: Error<E>) -> Unreadable {
    Unreadable::Error(format!("{error:?}"))
}

/// Reads everything back through the roots; the heap was opened with that shape.
///
/// # Errors
///
/// [`Unreadable`].
pub fn extract<D: Device>(heap: &LabHeap<'_, D>, shape: Shape) -> Result<State, Unreadable>
where
    D::Error: Debug,
{
    let mut state = State::empty(shape);
    if let Some(table) = heap.root::<[Link<Node>]>("table").map_err(text)? {
        let links: Vec<Link<Node>> = heap.get(table).map_err(text)?.to_vec();
        if links.len() != CHAINS {
            return Err(Unreadable::Wrong(format!("the table has {} slots", links.len())));
        }
        for first in links {
            let mut chain = Vec::new();
            let mut next = first;
            while !next.is_null() {
                let node = *heap.get(next).map_err(text)?;
                if !node.is_whole() || chain.len() > 1000 {
                    return Err(Unreadable::Wrong(format!("a mixture of two states: {node:?}")));
                }
                let blob = if node.blob.is_null() { Vec::new() } else { heap.get(node.blob).map_err(text)?.to_vec() };
                chain.push((node.value, blob));
                next = node.next;
            }
            state.chains.push(chain);
        }
    }
    if let Some(counters) = heap.root::<[u32]>("counters").map_err(text)? {
        state.counters = heap.get(counters).map_err(text)?.to_vec();
    }
    if let Some(mark) = heap.root::<u32>("mark").map_err(text)? {
        state.mark = Some(*heap.get(mark).map_err(text)?);
    }
    state.settings = match heap.root::<SettingsV1>("settings") {
        Ok(None) => ModelSettings::None,
        Ok(Some(old)) => ModelSettings::Old(*heap.get(old).map_err(text)?),
        Err(Error::TypeMismatch) => match heap.root::<SettingsV2>("settings").map_err(text)? {
            Some(new) => ModelSettings::New(*heap.get(new).map_err(text)?),
            None => ModelSettings::None,
        },
        Err(error) => return Err(text(error)),
    };
    Ok(state)
}

/// Tries the handles that must be stale.
///
/// # Errors
///
/// [`Unreadable::Wrong`] if one is followed.
pub fn try_stale<D: Device>(heap: &LabHeap<'_, D>, state: &State) -> Result<(), Unreadable>
where
    D::Error: Debug,
{
    for link in &state.stale {
        match heap.get(*link).map(|node| *node) {
            Err(Error::Stale) => {}
            other => return Err(Unreadable::Wrong(format!("the stale handle {link:?} gives {other:?}"))),
        }
    }
    Ok(())
}
