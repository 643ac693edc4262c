#![doc = include_str!("../README.md")]
#![no_std]

mod fresh;
mod list;
mod map;
mod queue;
mod store;
mod table;
mod vector;

pub use list::{Cursor, List, ListIter, Node, OpenList};
pub use map::{Map, MapEntry, MapIter, MapKeys, OpenMap};
pub use queue::{OpenQueue, Queue, QueueIter};
pub use store::{Store, StoreError};
pub use vector::{OpenVector, Vector, VectorIter};
