//! Images of vnv heaps, read without the program that wrote them.

mod contents;
mod diff;
mod image;
mod stat;
mod value;
mod verify;
mod workspace;

pub use contents::{Contents, Object};
pub use diff::diff;
pub use image::Image;
pub use stat::stat;
pub use verify::{Verdict, verify};
