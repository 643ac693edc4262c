#![doc = include_str!("../README.md")]
#![cfg_attr(not(any(test, feature = "std")), no_std)]

mod arena;
mod attention;
pub mod block;
pub mod durable;
pub mod engine;
pub mod entry;
mod error;
mod guard;
mod handle;
mod link;
mod maybe;
mod memory;
mod objects;
mod policy;
pub mod schema;

pub use attention::{Attention, Server};
pub use durable::{Durable, DurableObject, Named};
pub use entry::ObjectId;
pub use error::Error;
pub use guard::{Ref, RefMut};
pub use handle::{Handle, HandleMut, Owned, Release};
pub use link::{Link, Weak};
pub use maybe::Maybe;
pub use memory::{Memory, Parts, ROOT_BYTES, TypeInfo, Workspace};
pub use objects::{Admitted, Filled, Objects, Pinned, PinnedMut, Slot, type_key};
pub use policy::{Adaptive, Advice, Clock, FirstFound, Policy, Residents};
#[cfg(feature = "derive")]
pub use vnv_derive::Durable;
