//! Why a storage cannot be opened, and what was found if it can.

use crate::layout::LayoutError;
use crate::superblock::FORMAT_VERSION;
use core::fmt;
use core::fmt::Debug;
use vnv_core::Error;
use vnv_storage::StorageFault;

/// Why a storage cannot be opened. Nothing was changed but for what recovery writes, which is what the log or a live snapshot holds, and damage that the
/// format's redundancy repairs. Before anything is written, superblocks, records and reserves were found to be sound.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum OpenError<E> {
    /// All of the storage is blank (00 or FF), or formatting it was begun and cut: format it.
    Blank,
    /// The storage holds something else, or a heap that has lost both superblocks: format it if that may be lost.
    Foreign,
    /// The image was made by another version of the format.
    Version(u16),
    /// The image was formatted with other sizes or options. The first one that differs:
    OtherLayout {
        /// Which one.
        differs: LayoutField,
        /// Its value in the image.
        image: u32,
    },
    /// No sound state can be recovered.
    Damaged(Damage),
    /// Objects lie behind the part of the storage that the allocator manages: it was another one when they were placed.
    AllocatorTooSmall,
    /// The layout is not possible.
    Layout(LayoutError),
    /// The storage does not keep what is written to it.
    Storage(StorageFault),
    /// The heap failed: the device, or too little RAM.
    Heap(Error<E>),
}

/// A size or option that an image is formatted with.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum LayoutField {
    /// Bytes of the storage.
    Capacity,
    /// Bytes that the part writes at once.
    Row,
    /// Slots of the object table.
    Objects,
    /// Rows of the type table.
    Types,
    /// Named roots.
    Roots,
    /// [`Options::dirty_limit`](crate::Options::dirty_limit).
    DirtyLimit,
    /// Bytes of a log half: the table, and [`Options::log_bytes`](crate::Options::log_bytes).
    LogHalf,
}

impl fmt::Display for LayoutField {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Capacity => "capacity",
            Self::Row => "row size",
            Self::Objects => "number of objects",
            Self::Types => "number of types",
            Self::Roots => "number of roots",
            Self::DirtyLimit => "dirty limit",
            Self::LogHalf => "size of a log half",
        })
    }
}

/// What is damaged.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Damage {
    /// Both superblocks.
    Superblock,
    /// No log half has a sound base record.
    Base,
    /// A record in the middle of the log: a later one is there.
    Record,
    /// A record is sound but says what cannot be.
    Content,
    /// Two objects share storage, or one lies outside of the data area.
    Overlap,
    /// A schema.
    Schema,
}

impl<E: Debug> fmt::Display for OpenError<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Blank => f.write_str("the storage is blank; format it"),
            Self::Foreign => f.write_str(
                "the storage holds something else, or a heap without its superblocks; format it if that may be lost",
            ),
            Self::Version(version) => {
                write!(f, "the image has format version {version}; this is version {FORMAT_VERSION}")
            }
            Self::OtherLayout { differs: LayoutField::Capacity, image } => write!(
                f,
                "the heap was formatted for {image} bytes, the storage has another size: open one of exactly that size, or a copy of that length"
            ),
            Self::OtherLayout { differs, image } => write!(
                f,
                "the image was formatted with another {differs} ({image}); use the same sizes and options, which `vnv stat` shows, or format"
            ),
            Self::Damaged(damage) => write!(f, "the image is damaged ({damage:?}); nothing was changed"),
            Self::AllocatorTooSmall => {
                f.write_str("the storage allocator is too small for this image: use a larger one, for instance a `Buddy` of more words")
            }
            Self::Layout(error) => fmt::Display::fmt(error, f),
            Self::Storage(fault) => fmt::Display::fmt(fault, f),
            Self::Heap(error) => fmt::Display::fmt(error, f),
        }
    }
}

impl<E: Debug> core::error::Error for OpenError<E> {}

impl<E> From<Error<E>> for OpenError<E> {
    fn from(error: Error<E>) -> Self {
        Self::Heap(error)
    }
}

/// What `open` found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub struct Report {
    /// Sequence number of the commit or snapshot whose state this is.
    pub sequence: u64,
    /// Whether the state comes from a snapshot (emptied meanwhile).
    pub snapshot: bool,
    /// Objects alive.
    pub objects: u16,
    /// Objects that nothing led to, freed.
    pub reclaimed: u16,
    /// Deltas applied.
    pub deltas: u16,
    /// The first damaged object met while tracing; nothing was reclaimed then.
    pub damaged: Option<u16>,
    /// A superblock copy was repaired.
    pub repaired: bool,
}
