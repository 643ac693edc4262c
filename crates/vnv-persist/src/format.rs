//! Writing an empty heap, and recognising one.

use crate::layout::{FORMATTING, Layout, Options, RECORD_HEADER, Superblock};
use crate::open_error::{Damage, OpenError};
use crate::record::{Kind, RecordHeader, read_array};
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_core::{Error, Workspace, engine::zeros};
use vnv_storage::{Device, Sink, fault};

/// Writes an empty heap over whatever the storage holds. Of `memory` only the sizes matter.
///
/// A cut leaves a storage that was blank, or held a heap, as it was, or to be formatted again, which opening it tells as
/// [`OpenError::Blank`], or formatted. What was neither may stay [`OpenError::Foreign`] until it is formatted again.
///
/// # Errors
///
/// [`OpenError::Layout`], the device's.
pub fn format<W: Workspace, D: Device>(
    device: &mut D,
    memory: &mut W,
    options: Options,
) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let capacity = device.capacity().min(u32::MAX as usize) as u32;
    let sizes = memory.parts().sizes();
    let layout = Layout::new(capacity, row_of(device), sizes, options).map_err(OpenError::Layout)?;
    let fail = |error| OpenError::Heap(Error::Device(error));
    let first = if fault!(SuperblockFirst) { layout.to_superblock() } else { FORMATTING };
    // The second one first: while it is torn, the first is as it was; from then on one of them always tells.
    for copy in [1, 0] {
        device.write_gather(layout.superblock(copy), &[&first]).map_err(fail)?;
        device.sync().map_err(fail)?;
    }
    let row = zeros(layout.unit());
    for region in [layout.half(1), layout.reserve_at(0), layout.reserve_at(1)] {
        device.write_gather(region, &[row]).map_err(fail)?;
    }
    let entries = u16::from(layout.types) + 1;
    let length = RECORD_HEADER + 8 * u32::from(entries);
    let header = RecordHeader {
        kind: Kind::Base,
        roots: 0,
        deaths: false,
        sequence: 1,
        length,
        entry_words: 2 * entries,
        tag: 0,
    };
    let mut seal = header.seal(1);
    (0..entries).for_each(|_| seal.update(&[0; 8]));
    let head = seal.finish();
    // To the end of the half: a log that stood there may go on where the new base ends, with the salt of a first base like it.
    let whole = &mut |sink: Sink<'_>| {
        sink(&head)?;
        let mut left = layout.log_half - RECORD_HEADER;
        while left > 0 {
            let now = zeros(left);
            sink(now)?;
            left -= now.len() as u32;
        }
        ControlFlow::Continue(())
    };
    device.write_stream(layout.half(0), layout.log_half, whole).map_err(fail)?;
    device.sync().map_err(fail)?;
    for copy in [0, 1] {
        device.write_gather(layout.superblock(copy), &[&layout.to_superblock()]).map_err(fail)?;
        device.sync().map_err(fail)?;
    }
    Ok(layout)
}

/// The part's rows, unless a deliberate fault forgets them.
fn row_of<D: Device>(device: &D) -> u32
where
    D::Error: Debug,
{
    if fault!(IgnoreRows) { 8 } else { device.row_size() }
}

/// Checks the superblocks; returns the layout and the copy that has to be repaired.
pub(crate) fn superblock<D: Device>(
    device: &mut D,
    sizes: (u16, u8, u8),
    options: Options,
) -> Result<(Layout, Option<u32>), OpenError<D::Error>>
where
    D::Error: Debug,
{
    let capacity = device.capacity().min(u32::MAX as usize) as u32;
    let layout = Layout::new(capacity, row_of(device), sizes, options).map_err(OpenError::Layout)?;
    let first = Superblock::read(&read_array(device, layout.superblock(0))?, &layout);
    let second = Superblock::read(&read_array(device, layout.superblock(1))?, &layout);
    match (first, second) {
        (Superblock::Valid, Superblock::Valid) => Ok((layout, None)),
        (Superblock::Valid, _) => Ok((layout, Some(1))),
        (_, Superblock::Valid) => Ok((layout, Some(0))),
        (Superblock::Formatting, _) | (_, Superblock::Formatting) => Err(OpenError::Blank),
        (Superblock::Version(version), _) | (_, Superblock::Version(version)) => Err(OpenError::Version(version)),
        (Superblock::Other(differs, image), _) | (_, Superblock::Other(differs, image)) => {
            Err(OpenError::OtherLayout { differs, image })
        }
        (Superblock::Damaged, _) | (_, Superblock::Damaged) => Err(OpenError::Damaged(Damage::Superblock)),
        (Superblock::Blank, _) => Err(OpenError::Blank),
        (Superblock::Foreign, _) => Err(OpenError::Foreign),
    }
}
