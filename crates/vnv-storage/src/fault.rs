//! Deliberate faults, for the crash laboratory that must find every one of them.
//!
//! Without the private feature `mutants` nothing of this is left in a program: `fault!` is the constant `false`.

macro_rules! faults {
    ($($name:ident: $rule:literal,)*) => {
        /// A deliberate fault.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        #[allow(missing_docs)]
        pub enum Fault {
            $($name,)*
        }

        impl Fault {
            /// Every fault, with the rule that it breaks.
            pub const ALL: &'static [(Self, &'static str)] = &[$((Self::$name, $rule),)*];
        }
    };
}

faults! {
    WriteWithoutEnable: "WREN comes before each WRITE",
    SkipRecordChecksum: "a record counts only if its checksum holds",
    AcceptOldRecord: "a record counts only with the salt of its half and a rising sequence",
    AcceptOldSnapshot: "a snapshot counts only behind the last record: by sequence and tag",
    PickOlderBase: "of two bases the newer one counts",
    SkipTailCheck: "a record behind a destroyed one is noticed",
    SkipBlockChecksum: "an object counts only if its checksum holds",
    AcceptOldBlock: "an object counts only with the tag of its entry",
    RecordBeforeBlocks: "ordering rule 1: blocks before the record that names them",
    ReusePlaceEarly: "ordering rule 2: a place is reused only after a record that does not name it",
    ReuseFreedPlaceEarly: "ordering rule 2, for freed objects",
    WriteInPlace: "ordering rule 2: changed objects go to fresh places (what the prior research heap does)",
    RetireFirst: "ordering rule 3: the new base before the former half is overwritten",
    DeltaBeforeRecord: "ordering rule 4: the record before its deltas are applied",
    DeltaWithoutHeader: "ordering rule 4: the block header is written with the delta",
    ApplyOldDelta: "a delta counts only if it is the last word on its object",
    CompactWithoutDeltas: "ordering rule 4: deltas are applied before their half is left",
    EvictWithoutDelta: "ordering rule 4: deltas are applied before their copy in RAM goes",
    LastResortWithoutSnapshot: "ordering rule 5: over its own place only while a live snapshot holds the object",
    KeepFailedRecord: "ordering rule 6: a failed record is made invalid first",
    OverwriteLiveReserve: "ordering rule 7: a snapshot goes to the reserve that is not live",
    SnapshotSequenceKept: "each snapshot has a sequence of its own",
    SnapshotWithoutRoots: "a snapshot holds the changed roots",
    SnapshotWithoutSynced: "a snapshot holds the entries of objects that were synced since the last commit",
    RecoverWithoutBase: "a snapshot that was emptied is followed by a base",
    IgnoreRows: "nothing that two commits must tell apart shares a row",
    SavePartsOfRows: "what a torn row may destroy is in the snapshot",
    ForgetRoots: "a commit holds the changed roots",
    KeepGeneration: "freeing raises the generation",
    RollbackKeepsCopy: "a rollback drops copies loaded from undone places",
    CommitInTransaction: "nothing is committed inside a transaction",
    IgnoreDirtyLimit: "dirty bytes never exceed the limit",
    ForgetEntryBytes: "the accounting knows the metadata",
    KeepEpoch: "each format has an epoch that no earlier one had",
    BelieveOldRecord: "a record counts only with the epoch of its format",
    BelieveOldReserve: "a snapshot counts only with the epoch of its format",
    BelieveOldBlock: "an object counts only with the epoch of its format",
    ShortTailScan: "the whole rest of the log half is searched for records",
    SpoilSoundCopy: "formatting begins with the superblock copy that is not the last sound one",
    RepairOtherVersion: "a superblock of another version is not overwritten by a repair",
    BlankBySuperblock: "a storage is blank only if all of it is",
    BelieveCapacity: "formatting notices a part that is smaller than described",
    SuperblockFirst: "the superblock is written when everything else stands",
    KeepLargeSchema: "a schema larger than the dirty limit is written through",
}

#[cfg(feature = "mutants")]
mod chosen {
    use super::Fault;
    use core::sync::atomic::{AtomicU32, Ordering};

    static ACTIVE: AtomicU32 = AtomicU32::new(u32::MAX);

    /// Chooses a fault for the whole program, or none.
    pub fn choose(fault: Option<Fault>) {
        ACTIVE.store(fault.map_or(u32::MAX, |fault| fault as u32), Ordering::SeqCst);
    }

    /// Whether a fault is chosen.
    #[must_use]
    pub fn is_active(fault: Fault) -> bool {
        ACTIVE.load(Ordering::Relaxed) == fault as u32
    }
}

#[cfg(feature = "mutants")]
pub use chosen::{choose, is_active};

/// Whether a fault is chosen: never.
#[cfg(not(feature = "mutants"))]
#[must_use]
pub const fn is_active(_: Fault) -> bool {
    false
}

/// Whether a deliberate fault is chosen; `false` without the private feature `mutants`.
#[doc(hidden)]
#[macro_export]
macro_rules! fault {
    ($name:ident) => {
        $crate::fault::is_active($crate::fault::Fault::$name)
    };
}
