//! The durable types of the lives, and the heap that holds them.

use vnv_persist::{Adaptive, Durable, Heap, Link, Memory};

/// RAM of a laboratory heap: 40 slots, 12 pending places, 8 types, 4 roots, 64 words (512 bytes) of arena.
pub type Ram = Memory<40, 12, 8, 4, 64>;

/// A laboratory heap.
pub type LabHeap<'m, D> = Heap<'m, D, Ram, Adaptive>;

/// Slots of the table of chains.
pub const CHAINS: usize = 8;
/// Elements of the array of counters.
pub const COUNTERS: usize = 48;

/// Part of a [`Node`]: an enum whose variants leave different bytes unused.
#[derive(Durable, Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// No payload.
    Plain,
    /// A payload of four bytes, aligned.
    Numbered(u32),
    /// A payload with a hole.
    Pair {
        /// First.
        low: u8,
        /// Second.
        high: u16,
    },
}

impl Kind {
    /// The kind that goes with a value.
    #[must_use]
    pub const fn of(value: u32) -> Self {
        match value % 3 {
            0 => Self::Plain,
            1 => Self::Numbered(value),
            _ => Self::Pair { low: value as u8, high: value as u16 },
        }
    }
}

/// A link of a chain. `check` and `kind` follow from `value`, so that a mixture of two states shows.
#[derive(Durable, Clone, Copy, Debug, PartialEq)]
#[repr(C)]
pub struct Node {
    /// What the node says.
    pub value: u32,
    /// The inverse of `value`.
    pub check: u32,
    /// Follows from `value`.
    pub kind: Kind,
    /// Bytes of its own, or null.
    pub blob: Link<[u8]>,
    /// The rest of the chain, or null.
    pub next: Link<Node>,
}

impl Node {
    /// A node without a blob.
    #[must_use]
    pub const fn new(value: u32, blob: Link<[u8]>, next: Link<Self>) -> Self {
        Self { value, check: !value, kind: Kind::of(value), blob, next }
    }

    /// Whether all of the node is of one state.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.check == !self.value && self.kind == Kind::of(self.value)
    }
}

/// Settings, as an old firmware has them.
#[derive(Durable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
#[durable(name = "Settings", version = 1)]
pub struct SettingsV1 {
    /// First.
    pub a: u16,
    /// Second.
    pub b: u16,
}

/// Settings, as a new firmware has them.
#[derive(Durable, Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(C)]
#[durable(name = "Settings", version = 2)]
pub struct SettingsV2 {
    /// First, wider.
    pub a: u32,
    /// Second, wider.
    pub b: u32,
    /// New: their sum.
    pub sum: u32,
}
