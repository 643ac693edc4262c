//! Lives: sequences of operations with the storage they run on, as text.

use crate::op::{Op, ParseError};
use crate::shape::Shape;
use crate::start::{Origin, Start};
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
    /// What the storage holds before it.
    pub start: Start,
    /// Bytes that the part really has, if it is smaller than described: formatting must say so, and the life ends there.
    pub chip: Option<u32>,
    /// Cut again during every n-th recovery that writes; 0: never.
    pub nested: usize,
    /// Cut again between every n-th recovery and the end of the first commit after it; 0: never.
    pub second: usize,
    /// Cut a third time, where a second cut was made, after every n-th of those; 0: never.
    pub third: usize,
    /// Try pairs of damaged records, superblocks and snapshots on what the life leaves, all of them, and every n-th triple;
    /// 0: none.
    pub damaged: usize,
    /// The operations; the first one formats or opens the storage.
    pub ops: Vec<Op>,
}

/// The written lives.
const WRITTEN: [(&str, &str); 46] = [
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
    ("stale", include_str!("../lives/stale.life")),
    ("same-places", include_str!("../lives/same-places.life")),
    ("old-snapshot", include_str!("../lives/old-snapshot.life")),
    ("again", include_str!("../lives/again.life")),
    ("other-layout", include_str!("../lives/other-layout.life")),
    ("to-and-fro", include_str!("../lives/to-and-fro.life")),
    ("half-formatted", include_str!("../lives/half-formatted.life")),
    ("half-formatted-twice", include_str!("../lives/half-formatted-twice.life")),
    ("zeros", include_str!("../lives/zeros.life")),
    ("noise", include_str!("../lives/noise.life")),
    ("wiped", include_str!("../lives/wiped.life")),
    ("wiped-more", include_str!("../lives/wiped-more.life")),
    ("newer-second", include_str!("../lives/newer-second.life")),
    ("newer-first", include_str!("../lives/newer-first.life")),
    ("lived-in", include_str!("../lives/lived-in.life")),
    ("lived-in-snapshot", include_str!("../lives/lived-in-snapshot.life")),
    ("other-rows", include_str!("../lives/other-rows.life")),
    ("other-capacity", include_str!("../lives/other-capacity.life")),
    ("spoilt", include_str!("../lives/spoilt.life")),
    ("damaged", include_str!("../lives/damaged.life")),
    ("damaged-snapshot", include_str!("../lives/damaged-snapshot.life")),
    ("small-part", include_str!("../lives/small-part.life")),
    ("small-part-used", include_str!("../lives/small-part-used.life")),
];

impl Life {
    /// A life of the operations on 4 KiB in rows of 8 bytes, on a blank storage, which it formats first.
    #[must_use]
    pub fn new(name: &str, ops: Vec<Op>) -> Self {
        let options = Options::new(320).log_bytes(160);
        let mut life = Self {
            name: name.to_string(),
            capacity: 4096,
            row: 8,
            options,
            start: Start::BLANK,
            chip: None,
            nested: 1,
            second: 0,
            third: 0,
            damaged: 0,
            ops,
        };
        life.begin();
        life
    }

    /// Puts a formatting in front of everything if the life does not begin with one, or by opening the storage.
    fn begin(&mut self) {
        if !matches!(self.ops.first(), Some(Op::Format(..) | Op::Reopen)) {
            self.ops.insert(0, Op::Format(0, 0));
        }
    }

    /// Reads a life: settings, one a line (`capacity`, `row`, `dirty`, `log`, `start`, `chip`, `nested`, `second`, `third`,
    /// `damaged`), and operations, separated by line ends or semicolons. `#` begins a comment. What stands before the
    /// life, behind `start`, may be another life in braces; its settings are those above it, unless it has its own.
    ///
    /// # Errors
    ///
    /// What is no operation and no setting.
    pub fn parse(name: &str, text: &str) -> Result<Self, ParseError> {
        let mut life = Self::new(name, Vec::new());
        life.ops.clear();
        life.read(text)
    }

    /// Reads settings and operations in addition to those that there are.
    pub(crate) fn read(mut self, text: &str) -> Result<Self, ParseError> {
        let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
        let text = lines.collect::<Vec<_>>().join(";");
        for part in parts(&text) {
            if let Some(start) = part.strip_prefix("start ") {
                self.start = Start::parse(start, &self)?;
                continue;
            }
            let number = |text: &str| text.trim().parse::<u32>().ok();
            let setting = part.split_once(' ').and_then(|(key, value)| Some((key, number(value)?)));
            match setting {
                Some(("capacity", bytes)) => self.capacity = bytes,
                Some(("row", bytes)) => self.row = bytes,
                Some(("dirty", bytes)) => self.options.dirty_limit = bytes,
                Some(("log", bytes)) => self.options.log_bytes = bytes,
                Some(("chip", bytes)) => self.chip = Some(bytes),
                Some(("nested", every)) => self.nested = every as usize,
                Some(("second", every)) => self.second = every as usize,
                Some(("third", every)) => self.third = every as usize,
                Some(("damaged", every)) => self.damaged = every as usize,
                _ => self.ops.push(part.parse()?),
            }
        }
        self.begin();
        Ok(self)
    }

    /// What the life formats the storage with first.
    #[must_use]
    pub const fn shape(&self) -> Shape {
        let Options { dirty_limit, log_bytes, .. } = self.options;
        Shape { capacity: self.capacity, row: self.row, dirty: dirty_limit, log: self.whole_units(log_bytes) }
    }

    /// Bytes of a log as a layout has them: two that come to the same are of one layout.
    const fn whole_units(&self, log: u32) -> u32 {
        log.next_multiple_of(if self.row < 8 { 8 } else { self.row })
    }

    /// The shape of the program that runs the operation with this number.
    #[must_use]
    pub fn shape_at(&self, op: usize) -> Shape {
        let ran = self.ops.get(..=op).unwrap_or(&self.ops);
        let last = ran.iter().rev().find_map(|op| match op {
            Op::Format(dirty, log) => Some((*dirty, *log)),
            _ => None,
        });
        last.map_or(self.shape(), |(dirty, log)| self.shape_with(dirty, log))
    }

    /// The shape with another dirty limit and log; 0: as it is.
    #[must_use]
    pub const fn shape_with(&self, dirty: u32, log: u32) -> Shape {
        let shape = self.shape();
        Shape {
            dirty: if dirty == 0 { shape.dirty } else { dirty },
            log: if log == 0 { shape.log } else { self.whole_units(log) },
            ..shape
        }
    }

    /// The written life of this name.
    pub(crate) fn named(name: &str) -> Option<Result<Self, ParseError>> {
        WRITTEN.iter().find(|(known, _)| *known == name).map(|(name, text)| Self::parse(name, text))
    }

    /// The written lives, the shortest first.
    ///
    /// # Errors
    ///
    /// An error in one of them.
    pub fn written() -> Result<Vec<Self>, ParseError> {
        WRITTEN.iter().map(|(name, text)| Self::parse(name, text)).collect()
    }

    /// The part of the life, as its driver describes it.
    #[must_use]
    pub const fn part(&self) -> Part {
        self.part_of(self.capacity)
    }

    /// The part as it is: smaller than described if the life says so.
    #[must_use]
    pub fn real_part(&self) -> Part {
        self.part_of(self.chip.unwrap_or(self.capacity))
    }

    const fn part_of(&self, capacity: u32) -> Part {
        let part = Part::new("laboratory", capacity, AddressWidth::Two);
        match self.row {
            // As the MB85RS2MTA and 4MT: WEL survives a write.
            4 => part.with_row_size::<4>().with_write_enable_surviving(),
            16 => part.with_row_size::<16>(),
            32 => part.with_row_size::<32>(),
            _ => part,
        }
    }
}

/// The parts of a text between semicolons; those in braces belong together.
fn parts(text: &str) -> Vec<&str> {
    let (mut parts, mut depth, mut from) = (Vec::new(), 0usize, 0);
    for (at, letter) in text.char_indices() {
        match letter {
            '{' => depth += 1,
            '}' => depth = depth.saturating_sub(1),
            ';' if depth == 0 => {
                parts.push(text.get(from..at).unwrap_or_default());
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(text.get(from..).unwrap_or_default());
    parts.into_iter().map(str::trim).filter(|part| !part.is_empty()).collect()
}

impl fmt::Display for Life {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Options { dirty_limit, log_bytes, .. } = self.options;
        write!(f, "capacity {}; row {}; dirty {dirty_limit}; log {log_bytes}", self.capacity, self.row)?;
        if let Some(chip) = self.chip {
            write!(f, "; chip {chip}")?;
        }
        let settings = [
            ("nested", self.nested, 1),
            ("second", self.second, 0),
            ("third", self.third, 0),
            ("damaged", self.damaged, 0),
        ];
        for (name, every, _) in settings.into_iter().filter(|(_, every, usual)| every != usual) {
            write!(f, "; {name} {every}")?;
        }
        if !matches!((&self.start.origin, &*self.start.mishaps), (Origin::Filled(0xFF), [])) {
            write!(f, "; start {}", self.start)?;
        }
        self.ops.iter().try_for_each(|op| write!(f, "; {op}"))
    }
}
