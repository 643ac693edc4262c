//! Lives: sequences of operations with the storage they run on, as text.

use crate::op::{Op, ParseError};
use core::fmt;
use vnv_persist::Options;
use vnv_storage::{AddressWidth, Part};

/// A life.
#[derive(Clone, Debug)]
pub struct Life {
    /// Its name.
    pub name: String,
    /// Bytes of the storage.
    pub capacity: u32,
    /// Bytes of a row: 4, 8, 16 or 32.
    pub row: u32,
    /// Dirty limit and log.
    pub options: Options,
    /// Cut again during every n-th recovery that writes; 0: never.
    pub nested: usize,
    /// Cut again between every n-th recovery and the end of the first commit after it; 0: never.
    pub second: usize,
    /// The operations.
    pub ops: Vec<Op>,
}

/// The written lives.
const WRITTEN: [(&str, &str); 23] = [
    ("format", include_str!("../lives/format.life")),
    ("counter", include_str!("../lives/counter.life")),
    ("pair", include_str!("../lives/pair.life")),
    ("rows", include_str!("../lives/rows.life")),
    ("delta", include_str!("../lives/delta.life")),
    ("reserves", include_str!("../lives/reserves.life")),
    ("transactions", include_str!("../lives/transactions.life")),
    ("large-transaction", include_str!("../lives/large-transaction.life")),
    ("compaction", include_str!("../lives/compaction.life")),
    ("largest-record", include_str!("../lives/largest-record.life")),
    ("full", include_str!("../lives/full.life")),
    ("graph", include_str!("../lives/graph.life")),
    ("collect", include_str!("../lives/collect.life")),
    ("migration", include_str!("../lives/migration.life")),
    ("dropped", include_str!("../lives/dropped.life")),
    ("reuse", include_str!("../lives/reuse.life")),
    ("overridden", include_str!("../lives/overridden.life")),
    ("doubtful", include_str!("../lives/doubtful.life")),
    ("pending", include_str!("../lives/pending.life")),
    ("unapplied", include_str!("../lives/unapplied.life")),
    ("guards", include_str!("../lives/guards.life")),
    ("retire", include_str!("../lives/retire.life")),
    ("bus-errors", include_str!("../lives/bus-errors.life")),
];

impl Life {
    /// A life of the operations on 4 KiB in rows of 8 bytes.
    #[must_use]
    pub fn new(name: &str, ops: Vec<Op>) -> Self {
        let options = Options::new(320).log_bytes(160);
        Self { name: name.to_string(), capacity: 4096, row: 8, options, nested: 1, second: 0, ops }
    }

    /// Reads a life: settings, one a line (`capacity`, `row`, `dirty`, `log`, `nested`, `second`), and operations,
    /// separated by line ends or semicolons. `#` begins a comment.
    ///
    /// # Errors
    ///
    /// What is no operation and no setting.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        let mut life = Self::new(name, Vec::new());
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        for part in lines.flat_map(|line| line.split(';')).map(str::trim).filter(|part| !part.is_empty()) {
            let number = |text: &str| text.trim().parse::<u32>().ok();
            let setting = part.split_once(' ').and_then(|(key, value)| Some((key, number(value)?)));
            match setting {
                Some(("capacity", bytes)) => life.capacity = bytes,
                Some(("row", bytes)) => life.row = bytes,
                Some(("dirty", bytes)) => life.options.dirty_limit = bytes,
                Some(("log", bytes)) => life.options.log_bytes = bytes,
                Some(("nested", every)) => life.nested = every as usize,
                Some(("second", every)) => life.second = every as usize,
                _ => life.ops.push(part.parse()?),
            }
        }
        Ok(life)
    }

    /// The written lives, the shortest first.
    ///
    /// # Errors
    ///
    /// An error in one of them.
    pub fn written() -> Result<Vec<Self>, ParseError> {
        WRITTEN.iter().map(|(name, text)| Self::parse(name, text)).collect()
    }

    /// The part of the life.
    #[must_use]
    pub const fn part(&self) -> Part {
        let part = Part::new("laboratory", self.capacity, AddressWidth::Two);
        match self.row {
            // As the MB85RS2MTA and 4MT: WEL survives a write.
            4 => part.with_row_size::<4>().with_write_enable_surviving(),
            16 => part.with_row_size::<16>(),
            32 => part.with_row_size::<32>(),
            _ => part,
        }
    }
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { dirty_limit, log_bytes, .. } = self.options;
        write!(f, "capacity {}; row {}; dirty {dirty_limit}; log {log_bytes}", self.capacity, self.row)?;
        self.ops.iter().try_for_each(|op| write!(f, "; {op}"))
    }
}
