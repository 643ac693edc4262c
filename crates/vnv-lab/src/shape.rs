//! What a heap is formatted with: the sizes of the laboratory's RAM are the same for all of them.

use vnv_persist::Options;

/// What a heap is formatted with. Two heaps whose shapes differ have other layouts.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Shape {
    /// Bytes of the storage that are used.
    pub capacity: u32,
    /// Bytes of a row.
    pub row: u32,
    /// The dirty limit in bytes.
    pub dirty: u32,
    /// Bytes of commit records in a log half.
    pub log: u32,
}

impl Shape {
    /// Dirty limit and log.
    #[must_use]
    pub const fn options(&self) -> Options {
        Options::new(self.dirty).log_bytes(self.log)
    }
}
