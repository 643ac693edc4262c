//! Why an operation on the heap failed.

use core::fmt;

/// Why an operation failed. The heap is as it was before; nothing is lost. The exception is a commit, also that of a transaction, that the
/// device fails: the changes stand in RAM, together, and the next commit makes them durable. Do not make them again.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum Error<E> {
    /// The device failed; the operation can be tried again. Behind the commit of a transaction it is the heap's `commit` that is: its
    /// changes stand.
    Device(E),
    /// The handle names an object that was freed.
    Stale,
    /// The object is of another type, or of another version or layout of the type.
    TypeMismatch,
    /// Another guard on the object is open.
    AlreadyBorrowed,
    /// The arena has no room: fewer guards at a time, or a larger arena.
    RamFull,
    /// The storage has no room for the object, also not after a commit and a collection, unless a mutable guard or a transaction kept the
    /// heap from them: drop the one or end the other, free objects, or a larger part.
    StorageFull,
    /// All slots of the object table are used, or worn out after 4,095 objects each, also after a commit and a collection, unless a mutable
    /// guard or a transaction kept the heap from them: drop the one or end the other, free objects, or a larger `OBJECTS`.
    ObjectsFull,
    /// All rows of the type table are used, also after a collection of the types that have no objects any more, unless a mutable guard or a
    /// transaction kept the heap from it: drop the one or end the other, or a larger `TYPES`.
    TypesFull,
    /// All roots are used: remove one, or a larger `ROOTS`.
    RootsFull,
    /// The dirty limit does not admit the change now: drop mutable guards, make the transaction smaller, or raise the limit.
    DirtyLimit,
    /// Too many changes in the transaction, or while mutable guards were open, which keep the heap from committing: make the transaction
    /// smaller, drop the guards, or raise `PENDING`. What was changed before a transaction began does not count.
    PendingFull,
    /// The object is larger than a block can be (4,094 units with its header of 8 bytes, and 32,767 bytes), or its type is nested more than 16 deep or has a
    /// schema of more than 1,024 bytes.
    TooLarge,
    /// The object is larger than the dirty limit: it can be read and freed, and a slice's elements can be changed.
    TooLargeToChange,
    /// The object's bytes in storage are damaged (checksum, size or value).
    Damaged {
        /// Slot of the object.
        index: u16,
    },
    /// A mutable guard is open (or was forgotten): the state is not a quiescent point.
    GuardOpen,
    /// As many objects are borrowed at once as [`guards`](crate::engine::Geometry::guards) allows: drop some, or raise it.
    TooManyGuards,
    /// A transaction is running: use its handle.
    TransactionRunning,
    /// An element index is out of bounds.
    OutOfBounds,
    /// A root name has more than 11 bytes, or none, or a zero byte.
    BadName,
    /// The heap is called from inside one of its own operations.
    Reentered,
    /// A power-fail alarm ended the operation at a safe point. The heap takes the snapshot and runs it again: this
    /// error never leaves it.
    Interrupted,
}

impl<E: fmt::Debug> fmt::Display for Error<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = match self {
            Self::Device(error) => {
                return write!(
                    f,
                    "the storage device failed: {error:?}; try again (after a transaction's commit: commit the heap, its changes stand)"
                );
            }
            Self::Damaged { index } => {
                return write!(
                    f,
                    "object {index} is damaged in storage; free it: as long as it is there, no garbage is collected"
                );
            }
            Self::Stale => {
                "the handle names an object that was freed; follow a root or link to the one that is there now"
            }
            Self::TypeMismatch => "the object is of another type or layout; see the chapter on migration",
            Self::AlreadyBorrowed => "another guard on the object is open; drop it",
            Self::RamFull => "no room in the arena; drop guards or enlarge the arena",
            Self::StorageFull => {
                "no room in the storage; drop mutable guards or end the transaction, so that the heap can commit and collect, or free objects, or use a larger part"
            }
            Self::ObjectsFull => {
                "no slot of the object table is free (each serves 4,095 objects); drop mutable guards or end the transaction, so that the heap can commit and collect, or free objects, or raise OBJECTS"
            }
            Self::TypesFull => {
                "all rows of the type table are used; drop mutable guards or end the transaction, so that the heap can collect types without objects, or raise TYPES"
            }
            Self::RootsFull => "all roots are used; remove one or raise ROOTS",
            Self::DirtyLimit => {
                "the dirty limit does not admit the change; drop mutable guards, make the transaction smaller, or raise the limit"
            }
            Self::PendingFull => {
                "too many changes between two commits; make the transaction smaller, drop mutable guards, or raise PENDING"
            }
            Self::TooLarge => {
                "the object is larger than a block can be, or its type too deep or its schema too long; make several objects of it"
            }
            Self::TooLargeToChange => {
                "the object is larger than the dirty limit; change elements of a slice, replace the object, or raise the limit"
            }
            Self::GuardOpen => {
                "a mutable guard is open; drop it (one that was forgotten stays open until the heap is opened again)"
            }
            Self::TooManyGuards => "too many objects are borrowed at once; drop guards or raise Options::guards",
            Self::TransactionRunning => "a transaction is running; use its handle, or end it",
            Self::OutOfBounds => "the element index is out of bounds",
            Self::BadName => "a root name has 1 to 11 bytes and no zero byte",
            Self::Interrupted => "a power-fail alarm came; the operation is run again",
            Self::Reentered => "the heap is called from inside one of its own operations",
        };
        f.write_str(text)
    }
}

impl<E: fmt::Debug> core::error::Error for Error<E> {}

impl<E> Error<E> {
    /// Whether a commit can make room for the operation.
    #[must_use]
    pub const fn commit_may_help(&self) -> bool {
        matches!(self, Self::StorageFull | Self::ObjectsFull | Self::DirtyLimit | Self::PendingFull)
    }
}
