//! The workloads of single operations on a heap: obtaining a reference, allocating, freeing, and a snapshot.

use core::fmt::Debug;
use vnv_core::Parts;
use vnv_persist::{Error, Heap, Link, Owned, Policy, Workspace};
use vnv_storage::Device;

/// Bytes of the arena that objects of one size fill in the workloads of references, allocations and freeing.
pub const BUFFER: usize = 1024;
/// Objects of 8 bytes of which every second one is freed: more holes than a list of 32 remembers.
const HOLES: usize = 96;

/// Tables with only a part of their arena.
pub struct Narrow<W> {
    /// All of them.
    pub tables: W,
    /// Words of the arena that are used.
    pub words: usize,
}

impl<W: Workspace> Workspace for Narrow<W> {
    type Entries = W::Entries;
    type Roots = W::Roots;

    fn record_entries() -> Self::Entries {
        W::record_entries()
    }
    fn record_roots() -> Self::Roots {
        W::record_roots()
    }
    fn parts(&mut self) -> Parts<'_> {
        let parts = self.tables.parts();
        let (arena, _) = parts.arena.split_at_mut(self.words.min(parts.arena.len()));
        Parts { arena, ..parts }
    }
}

/// What is done with objects of a size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Kind {
    /// The object is resident and clean.
    GetMin,
    /// The object is resident, the rest of the arena is full of dirty bytes.
    GetMaxMin,
    /// The object is not resident, there is room.
    GetMinMax,
    /// The arena is full of one dirty object of 1,024 bytes; to change the object.
    GetMax,
    /// The arena is full of dirty objects of 4 bytes; to change the object.
    GetMaxOld,
    /// There is room everywhere.
    AllocateMin,
    /// The arena is full of dirty objects, the storage has more holes than its allocator can remember.
    AllocateMax,
    /// As `AllocateMin`.
    DeallocateMin,
    /// As `AllocateMax`.
    DeallocateMax,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::GetMin,
        Self::GetMaxMin,
        Self::GetMinMax,
        Self::GetMax,
        Self::GetMaxOld,
        Self::AllocateMin,
        Self::AllocateMax,
        Self::DeallocateMin,
        Self::DeallocateMax,
    ];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::GetMin => "get_min",
            Self::GetMaxMin => "get_max_min",
            Self::GetMinMax => "get_min_max",
            Self::GetMax => "get_max",
            Self::GetMaxOld => "get_max_old",
            Self::AllocateMin => "allocate_min",
            Self::AllocateMax => "allocate_max",
            Self::DeallocateMin => "deallocate_min",
            Self::DeallocateMax => "deallocate_max",
        }
    }

    /// Whether a reference is obtained.
    #[must_use]
    pub const fn is_get(self) -> bool {
        matches!(self, Self::GetMin | Self::GetMaxMin | Self::GetMinMax | Self::GetMax | Self::GetMaxOld)
    }
}

/// Words of the arena that an object takes.
#[must_use]
pub const fn words(size: usize, is_slice: bool) -> usize {
    let block = (size + 8).div_ceil(8);
    1 + block + if is_slice { block.div_ceil(64) } else { 0 }
}

/// Bytes of the largest slice that takes at most so many words.
#[must_use]
pub fn largest_slice(room: usize) -> Option<usize> {
    (0..=8 * room).rev().find(|size| words(*size, true) <= room)
}

/// The operation that is measured. It is done once.
pub type Work<'w, E> = &'w mut dyn FnMut() -> Result<(), Error<E>>;

/// Measures an operation.
pub type Timed<'t, E> = &'t mut dyn FnMut(Work<'_, E>) -> Result<(), Error<E>>;

/// Brings a fresh heap with an arena of so many words into the state before the operation, and measures it.
///
/// # Errors
///
/// The heap's; [`Error::StorageFull`] if the storage is too small.
pub fn single<D: Device<Error: Debug>, W: Workspace, P: Policy>(
    heap: &Heap<'_, D, W, P>,
    (kind, size): (Kind, usize),
    arena: usize,
    timed: Timed<'_, D::Error>,
) -> Result<(), Error<D::Error>> {
    enter_types(heap, arena)?;
    if matches!(kind, Kind::AllocateMax | Kind::DeallocateMax) {
        make_holes(heap)?;
    }
    let mut target: Link<[u8]> = Link::NULL;
    let new = || heap.allocate_slice_with(size, |at| at as u8);
    if kind.is_get() {
        target = kept(new()?);
        heap.commit()?;
    }
    if matches!(kind, Kind::GetMinMax | Kind::GetMax | Kind::GetMaxOld) {
        heap.evict(target)?;
    }
    let taken = match kind {
        Kind::GetMaxMin => arena.saturating_sub(words(size, true)),
        Kind::GetMax | Kind::GetMaxOld | Kind::AllocateMax => arena,
        Kind::DeallocateMax => arena.saturating_sub(words(size, true)),
        _ => 0,
    };
    let mut freed = matches!(kind, Kind::DeallocateMin | Kind::DeallocateMax).then(new).transpose()?;
    if matches!(kind, Kind::GetMax | Kind::GetMaxMin) {
        if let Some(size) = largest_slice(taken) {
            kept(heap.allocate_slice_with(size, |_| 1u8)?);
        }
    } else {
        fill_small(heap, taken, &mut |_, _| Ok(()))?;
    }
    timed(&mut || match kind {
        Kind::GetMin | Kind::GetMinMax | Kind::GetMaxMin => heap.get(target).map(drop),
        Kind::GetMax | Kind::GetMaxOld => heap.get_mut(target).map(drop),
        Kind::AllocateMin | Kind::AllocateMax => new().map(|object| _ = object.into_link()),
        Kind::DeallocateMin | Kind::DeallocateMax => {
            drop(freed.take());
            Ok(())
        }
    })
}

/// An object that is owned until the next reboot: nothing links to it, and an allocation that finds no room collects what is not owned.
fn kept<T: ?Sized>(object: Owned<'_, T>) -> Link<T> {
    let id = object.id();
    core::mem::forget(object);
    Link::from_raw_parts(id.index, id.generation)
}

/// Leaves holes of 16 bytes in the storage.
fn make_holes<D: Device<Error: Debug>, W: Workspace, P: Policy>(
    heap: &Heap<'_, D, W, P>,
) -> Result<(), Error<D::Error>> {
    let mut freed = [Link::NULL; HOLES / 2];
    for number in 0..HOLES {
        let link = kept(heap.allocate(number as u32)?);
        if number % 2 == 0
            && let Some(hole) = freed.get_mut(number / 2)
        {
            *hole = link;
        }
    }
    heap.commit()?;
    for link in freed {
        heap.free(link)?;
    }
    heap.commit()?;
    Ok(())
}

/// Enters the types into the image and lets their schemas leave the arena, so that all of it is free.
fn enter_types<D: Device<Error: Debug>, W: Workspace, P: Policy>(
    heap: &Heap<'_, D, W, P>,
    arena: usize,
) -> Result<(), Error<D::Error>> {
    drop(heap.allocate(0u32)?);
    drop(heap.allocate_slice_with(8, |_| 0u8)?);
    heap.commit()?;
    // An object as large as the arena drives them out.
    let all = largest_slice(arena).ok_or(Error::RamFull)?;
    drop(heap.allocate_slice_with(all, |_| 0u8)?);
    heap.commit()?;
    Ok(())
}

/// Fills so many words of the arena with dirty objects of 4 bytes; `each` is given their numbers.
fn fill_small<D: Device<Error: Debug>, W: Workspace, P: Policy>(
    heap: &Heap<'_, D, W, P>,
    room: usize,
    each: &mut dyn FnMut(usize, Link<u32>) -> Result<(), Error<D::Error>>,
) -> Result<(), Error<D::Error>> {
    for number in 0..room / words(4, false) {
        each(number, kept(heap.allocate(number as u32)?))?;
    }
    Ok(())
}

/// What the arena is full of when power fails.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fill {
    /// Objects of 4 bytes, as many of them dirty as the limit admits.
    MaxObjects,
    /// One dirty object as large as the limit admits.
    MaxDirty,
    /// Objects of 4 bytes, all clean but one.
    Clean,
}

impl Fill {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::MaxObjects, Self::MaxDirty, Self::Clean];

    /// Its name.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::MaxObjects => "max_objects",
            Self::MaxDirty => "max_dirty",
            Self::Clean => "max_objects;dirty=1",
        }
    }
}

/// Most objects of 4 bytes in an arena.
pub const MOST: usize = 192;
/// Snapshot bytes of a dirty object of 4 bytes that was committed: block of 16 bytes, without 6 of its header, and an entry.
const SMALL: u32 = 16 - 6 + 4;

/// Fills the arena, of so many words, of a fresh heap on whose snapshots objects have `room` bytes.
///
/// # Errors
///
/// The heap's; [`Error::StorageFull`] if the storage is too small.
pub fn fill<D: Device<Error: Debug>, W: Workspace, P: Policy>(
    heap: &Heap<'_, D, W, P>,
    fill: Fill,
    arena: usize,
    room: u32,
) -> Result<(), Error<D::Error>> {
    enter_types(heap, arena)?;
    if fill == Fill::MaxDirty {
        let fits = largest_slice(arena).unwrap_or(0);
        let admitted = (room as usize).saturating_sub(10) / 8 * 8;
        kept(heap.allocate_slice_with(fits.min(admitted), |_| 1u8)?);
        return Ok(());
    }
    let mut links = [Link::NULL; MOST];
    let mut all = 0;
    fill_small(heap, arena.min(MOST * words(4, false)), &mut |number, link| {
        if let Some(place) = links.get_mut(number) {
            *place = link;
            all = number + 1;
        }
        Ok(())
    })?;
    heap.commit()?;
    let dirty = if fill == Fill::Clean { 1 } else { room / SMALL };
    for link in links.iter().take(all.min(dirty as usize)) {
        *heap.get_mut(*link)? += 1;
    }
    Ok(())
}
