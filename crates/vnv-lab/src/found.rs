//! What a program finds on a storage when it starts.

use crate::device::LabDevice;
use crate::shape::Shape;
use crate::state::{State, Unreadable, extract};
use crate::types::{LabHeap, Ram};
use core::fmt::Debug;
use vnv_persist::{Damage, Heap, OpenError};

/// What a program finds on a storage when it starts.
#[derive(Clone, Debug)]
pub enum Found {
    /// A state, whole; or nothing that is a heap of ours, by a typed error that says so.
    State(State),
    /// A heap of another layout.
    OtherLayout,
    /// Damage that was noticed, or data that no state ever had.
    Unreadable(Unreadable),
}

/// Opens a storage with a shape and reads everything.
pub fn found<D: LabDevice>(device: D, shape: Shape) -> Found
where
    D::Error: Debug,
{
    let mut memory = Ram::new();
    let opened: Result<LabHeap<'_, D>, _> = Heap::open(device, &mut memory, shape.options());
    let heap = match opened {
        Ok(heap) => heap,
        Err(OpenError::Blank) => return Found::State(State::default()),
        Err(OpenError::Foreign | OpenError::Version(_) | OpenError::Damaged(Damage::Superblock)) => {
            return Found::State(State::foreign());
        }
        Err(OpenError::OtherLayout { .. }) => return Found::OtherLayout,
        Err(error) => return Found::Unreadable(Unreadable::Error(format!("open: {error:?}"))),
    };
    if let Some(index) = heap.report().damaged {
        return Found::Unreadable(Unreadable::Error(format!("object {index} is damaged")));
    }
    match extract(&heap, shape) {
        Ok(state) => Found::State(state),
        Err(unreadable) => Found::Unreadable(unreadable),
    }
}
