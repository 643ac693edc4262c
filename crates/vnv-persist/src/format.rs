//! Writing an empty heap.

use crate::layout::{Layout, Options, RECORD_HEADER};
use crate::open_error::OpenError;
use crate::record::{Kind, RecordHeader, read_array, read_record};
use crate::superblock::{Copies, MARKER, capacity_of, erase_elsewhere, marker, survey, write, write_superblock};
use core::fmt::Debug;
use core::ops::ControlFlow;
use vnv_core::{Error, Workspace, engine::zeros};
use vnv_storage::{Device, Sink, StorageFault, fault};

/// Epoch of the first format of a blank storage.
const FIRST_EPOCH: u32 = 1;

/// Writes an empty heap over whatever the storage holds. Of `memory` only the sizes matter.
///
/// A cut leaves what the storage held before, or a storage to be formatted, which opening it tells as [`OpenError::Blank`], or an
/// empty heap. If it held neither a heap nor nothing, a cut in the very first write leaves it [`OpenError::Foreign`] or damaged, as it was.
///
/// Cost: eight writes and syncs, of 152 bytes and a base record (24 bytes, and 8 for each type and one more); up to 36 reads of 64 bytes and one
/// of 8 bytes for each power of two below the capacity, and if no superblock tells the epoch, the whole storage once.
///
/// # Errors
///
/// [`OpenError::Layout`]; [`OpenError::Storage`] if the part does not keep what is written to it, or is smaller than described; the
/// device's.
pub fn format<W: Workspace, D: Device>(
    device: &mut D,
    memory: &mut W,
    options: Options,
) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let layout = layout_for(device, memory.parts().sizes(), options)?;
    let copies = Copies::read(device, &layout)?;
    let epoch = match copies.next_epoch(device, &layout)? {
        Some(epoch) => epoch,
        None => {
            let found = survey(device, layout.first_marker())?;
            if found.is_blank { FIRST_EPOCH } else { found.checksum }
        }
    };
    write_empty(device, Layout { epoch, ..layout }, copies)
}

/// As [`format()`], for a storage that is blank: `copies` are its superblocks.
pub(crate) fn format_blank<D: Device>(
    device: &mut D,
    layout: Layout,
    copies: Copies,
) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    write_empty(device, Layout { epoch: FIRST_EPOCH, ..layout }, copies)
}

/// The layout of a program on a device, without an epoch.
pub(crate) fn layout_for<D: Device>(
    device: &D,
    sizes: (u16, u8, u8),
    options: Options,
) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    let row = if fault!(IgnoreRows) { 8 } else { device.row_size() };
    Layout::new(capacity_of(device), row, sizes, options).map_err(OpenError::Layout)
}

/// Markers, an empty base, superblocks: what is there at a cut is told by rule 10 of the format.
fn write_empty<D: Device>(device: &mut D, layout: Layout, copies: Copies) -> Result<Layout, OpenError<D::Error>>
where
    D::Error: Debug,
{
    if let Some(fault) = device.diagnose().map_err(Error::Device)? {
        return Err(OpenError::Storage(fault));
    }
    let marker = marker(layout.epoch);
    let order = copies.order(device, &layout)?;
    let (mut is_marked, mut erased) = (order.first_is_marker, false);
    for copy in order.copies {
        // Without its first copy no heap of another layout is whole: none may seem so when our second copy goes over it.
        if is_marked && !order.second_holds && !erased {
            erase_elsewhere(device, &layout, &marker)?;
            erased = true;
        }
        let bytes = if fault!(SuperblockFirst) { &layout.to_superblock()[..] } else { &marker };
        write_kept(device, layout.superblock(copy), bytes)?;
        is_marked |= copy == 0;
    }
    if !erased {
        erase_elsewhere(device, &layout, &marker)?;
    }
    // From here on everything may be overwritten.
    is_whole(device, &layout, &marker)?;
    write_base(device, &layout)?;
    for copy in [0, 1] {
        if !write_superblock(device, &layout, copy)? {
            return Err(OpenError::Storage(StorageFault::NotKept { offset: layout.superblock(copy) }));
        }
    }
    if Copies::read(device, &layout)?.are_both_of(layout.epoch) {
        Ok(layout)
    } else {
        Err(OpenError::Storage(StorageFault::NotKept { offset: 0 }))
    }
}

/// Whether the storage is as large as described, and keeps its last unit. The marker stands at its beginning.
fn is_whole<D: Device>(device: &mut D, layout: &Layout, marker: &[u8; MARKER]) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
    let mut power = 2 * layout.superblock(1);
    while power + MARKER as u32 <= layout.capacity() && !fault!(BelieveCapacity) {
        if read_array(device, power)? == *marker {
            return Err(OpenError::Storage(StorageFault::Smaller { capacity: power }));
        }
        power = power.saturating_mul(2);
    }
    // Not a marker, for which it could be taken later.
    write_kept(device, layout.last_unit(), &marker.map(|byte| !byte))
}

/// One write and a sync, and whether the beginning of what was written is what is read.
fn write_kept<D: Device>(device: &mut D, at: u32, bytes: &[u8]) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
    write(device, at, bytes)?;
    let found: [u8; MARKER] = read_array(device, at)?;
    if bytes.starts_with(&found) { Ok(()) } else { Err(OpenError::Storage(StorageFault::NotKept { offset: at })) }
}

/// The base of an empty table, in the first half. What else stands in the halves and reserves has another epoch.
fn write_base<D: Device>(device: &mut D, layout: &Layout) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
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
    let seed = layout.seed(layout.half(0), None);
    let mut seal = header.seal(seed);
    (0..entries).for_each(|_| seal.update(&[0; 8]));
    let head = seal.finish();
    let padded = layout.padded(length);
    let whole = &mut |sink: Sink<'_>| {
        sink(&head)?;
        let mut left = padded - RECORD_HEADER;
        while left > 0 {
            let now = zeros(left);
            sink(now)?;
            left -= now.len() as u32;
        }
        ControlFlow::Continue(())
    };
    device.write_stream(seed.at, padded, whole).map_err(Error::Device)?;
    device.sync().map_err(Error::Device)?;
    match read_record(device, seed, layout.log_half)? {
        Some(found) if found == header => Ok(()),
        _ => Err(OpenError::Storage(StorageFault::NotKept { offset: seed.at })),
    }
}
