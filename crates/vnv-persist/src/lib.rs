#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

mod bound;
mod commit;
mod delta;
mod energy;
mod entries;
mod format;
mod heap;
mod inspect;
mod layout;
mod log;
mod open;
mod open_error;
mod power_fail;
mod record;
mod replay;
mod reserve;
mod resume;
mod roots;
mod source;
mod superblock;
mod transaction;
mod verify;

pub use bound::{Bound, BusCost};
pub use energy::{BudgetError, EnergyBudget, SupplyLimits};
pub use format::format;
pub use heap::{Event, Heap};
pub use inspect::Seen;
pub use layout::{Layout, LayoutError, Options};
pub use open_error::{Damage, LayoutField, OpenError, Report};
pub use power_fail::{Deferred, Outcome, PowerFail, ProtectError};
pub use resume::{Arena, Resume, ResumeError};
pub use roots::ROOT_NAME;
#[cfg(all(feature = "std", unix))]
pub use source::signal;
pub use source::{Comparator, PowerFailSource, Software, Timer};
pub use superblock::FORMAT_VERSION;
pub use transaction::Transaction;
pub use verify::{Examined, Finding, Region, RegionKind, Verified, examine, verify};

pub use vnv_alloc::OffsetAllocator;
pub use vnv_core::{
    Adaptive, Advice, Clock, Durable, DurableObject, Error, Filled, FirstFound, Handle, HandleMut, Link, Maybe, Memory,
    Named, ObjectId, Owned, Policy, Ref, RefMut, Residents, Slot, Weak, Workspace,
};
pub use vnv_core::{durable, schema};
pub use vnv_storage::{Device, StorageFault};

/// Compiles and runs the example in the workspace's README.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct WorkspaceReadme;
