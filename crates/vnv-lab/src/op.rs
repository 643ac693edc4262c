//! The operations that a life is made of, and their text.

use core::fmt;
use core::str::FromStr;

/// One operation of a life. Each can be run in any state: what it needs and does not find makes it do nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// Frees the chain in a slot and puts a node with the value there.
    New(u8, u32),
    /// Puts a node in front of a chain.
    Push(u8, u32),
    /// Frees the first node of a chain, and checks that its handle is stale.
    Pop(u8),
    /// Changes the value of a chain's first node.
    Set(u8, u32),
    /// Gives a chain's first node a blob of so many bytes (0: none); the blob before is freed.
    Blob(u8, u16),
    /// Forgets a chain: it is garbage for the next collection.
    Drop(u8),
    /// Sets one counter.
    Count(u8, u32),
    /// Sets so many counters from one on.
    Span(u8, u8, u32),
    /// Makes a root lead to a new number; the one before is freed.
    Mark(u32),
    /// Removes that root, and frees the number.
    Unmark,
    /// Makes the root of the settings lead to settings of version 1.
    Settings(u16, u16),
    /// Migrates settings from version 1 to version 2, in a transaction.
    Migrate,
    /// Reads a whole chain and compares it with the model.
    Read(u8),
    /// Evicts the first node of a chain.
    Evict(u8),
    /// Changes a chain's first node under a guard that stays open while other objects are changed.
    Held(u8, u32),
    /// Takes up the storage with blobs until it is full.
    Fill(u16),
    /// A whole collection.
    Collect,
    /// A commit.
    Commit,
    /// A snapshot, as the power-fail path takes it; a false alarm: life goes on.
    Snapshot,
    /// Drops the heap and opens the storage again, or formats it if it is blank or half formatted. What holds something
    /// else, a heap of another layout included, is refused, and nothing is changed.
    Reopen,
    /// Drops the heap and formats the storage, whatever it holds: with this dirty limit and this log, 0: those of the life.
    Format(u32, u32),
    /// Power is off from here on: the life ends without a last commit.
    Halt,
    /// Begins a transaction.
    Begin,
    /// Commits it.
    End,
    /// Rolls it back.
    Rollback,
    /// Lets the write with this number from now fail after so many bytes; 255: when all is stored. A commit or snapshot
    /// that meets it is not tried again, any other operation is.
    Busfail(u8, u8),
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            Self::New(slot, value) => write!(f, "new {slot} {value}"),
            Self::Push(slot, value) => write!(f, "push {slot} {value}"),
            Self::Pop(slot) => write!(f, "pop {slot}"),
            Self::Set(slot, value) => write!(f, "set {slot} {value}"),
            Self::Blob(slot, bytes) => write!(f, "blob {slot} {bytes}"),
            Self::Drop(slot) => write!(f, "drop {slot}"),
            Self::Count(at, value) => write!(f, "count {at} {value}"),
            Self::Span(at, len, value) => write!(f, "span {at} {len} {value}"),
            Self::Mark(value) => write!(f, "mark {value}"),
            Self::Unmark => f.write_str("unmark"),
            Self::Settings(a, b) => write!(f, "settings {a} {b}"),
            Self::Migrate => f.write_str("migrate"),
            Self::Read(slot) => write!(f, "read {slot}"),
            Self::Evict(slot) => write!(f, "evict {slot}"),
            Self::Held(slot, value) => write!(f, "held {slot} {value}"),
            Self::Fill(bytes) => write!(f, "fill {bytes}"),
            Self::Collect => f.write_str("collect"),
            Self::Commit => f.write_str("commit"),
            Self::Snapshot => f.write_str("snapshot"),
            Self::Reopen => f.write_str("reopen"),
            Self::Format(dirty, log) => {
                f.write_str("format")?;
                [("dirty", dirty), ("log", log)]
                    .into_iter()
                    .filter(|(_, bytes)| *bytes != 0)
                    .try_for_each(|(name, bytes)| write!(f, " {name} {bytes}"))
            }
            Self::Halt => f.write_str("halt"),
            Self::Begin => f.write_str("begin"),
            Self::End => f.write_str("end"),
            Self::Rollback => f.write_str("rollback"),
            Self::Busfail(write, bytes) => write!(f, "busfail {write} {bytes}"),
        }
    }
}

/// Why a text is no operation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ParseError(pub String);

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not an operation: `{}`", self.0)
    }
}

impl core::error::Error for ParseError {}

impl FromStr for Op {
    type Err = ParseError;

    fn from_str(text: &str) -> Result<Self, ParseError> {
        let mut words = text.split_whitespace();
        let name = words.next().unwrap_or_default();
        if name == "format" {
            let format = format_of(words);
            return format.ok_or_else(|| ParseError(text.trim().to_string()));
        }
        let numbers: Option<Vec<u32>> = words.map(|word| word.parse().ok()).collect();
        let byte = |number: u32| u8::try_from(number).ok();
        let half = |number: u32| u16::try_from(number).ok();
        let parsed = match (name, numbers.as_deref()) {
            ("new", Some(&[slot, value])) => byte(slot).map(|slot| Self::New(slot, value)),
            ("push", Some(&[slot, value])) => byte(slot).map(|slot| Self::Push(slot, value)),
            ("pop", Some(&[slot])) => byte(slot).map(Self::Pop),
            ("set", Some(&[slot, value])) => byte(slot).map(|slot| Self::Set(slot, value)),
            ("blob", Some(&[slot, bytes])) => byte(slot).zip(half(bytes)).map(|(slot, bytes)| Self::Blob(slot, bytes)),
            ("drop", Some(&[slot])) => byte(slot).map(Self::Drop),
            ("count", Some(&[at, value])) => byte(at).map(|at| Self::Count(at, value)),
            ("span", Some(&[at, len, value])) => byte(at).zip(byte(len)).map(|(at, len)| Self::Span(at, len, value)),
            ("mark", Some(&[value])) => Some(Self::Mark(value)),
            ("unmark", Some([])) => Some(Self::Unmark),
            ("settings", Some(&[a, b])) => half(a).zip(half(b)).map(|(a, b)| Self::Settings(a, b)),
            ("migrate", Some([])) => Some(Self::Migrate),
            ("read", Some(&[slot])) => byte(slot).map(Self::Read),
            ("evict", Some(&[slot])) => byte(slot).map(Self::Evict),
            ("held", Some(&[slot, value])) => byte(slot).map(|slot| Self::Held(slot, value)),
            ("fill", Some(&[bytes])) => half(bytes).map(Self::Fill),
            ("collect", Some([])) => Some(Self::Collect),
            ("commit", Some([])) => Some(Self::Commit),
            ("snapshot", Some([])) => Some(Self::Snapshot),
            ("reopen", Some([])) => Some(Self::Reopen),
            ("halt", Some([])) => Some(Self::Halt),
            ("begin", Some([])) => Some(Self::Begin),
            ("end", Some([])) => Some(Self::End),
            ("rollback", Some([])) => Some(Self::Rollback),
            ("busfail", Some(&[write, bytes])) => byte(write).zip(byte(bytes)).map(|(w, b)| Self::Busfail(w, b)),
            _ => None,
        };
        parsed.ok_or_else(|| ParseError(text.trim().to_string()))
    }
}

/// What follows `format`: `dirty 400`, `log 256`, both, or nothing.
fn format_of<'t>(mut words: impl Iterator<Item = &'t str>) -> Option<Op> {
    let (mut dirty, mut log) = (0, 0);
    while let Some(word) = words.next() {
        let bytes = words.next()?.parse().ok()?;
        match word {
            "dirty" => dirty = bytes,
            "log" => log = bytes,
            _ => return None,
        }
    }
    Some(Op::Format(dirty, log))
}
