//! The superblock: what says that a storage holds a heap, of which layout, and of which of its formats. Two copies.

use crate::layout::{Layout, MAX_UNIT, Options, RECORD_HEADER, SUPERBLOCK};
use crate::open_error::{Damage, LayoutField, OpenError};
use crate::record::{read_array, read_chunks};
use core::fmt::Debug;
use core::ops::Range;
use vnv_core::Error;
use vnv_core::block::CRC32;
use vnv_storage::{Device, StorageFault, fault};

/// Version of the on-storage format.
pub const FORMAT_VERSION: u16 = 3;
const MAGIC: [u8; 8] = *b"VNVHEAP\0";
/// Bytes of a marker.
pub(crate) const MARKER: usize = 8;

/// What a marker's checksum begins with; version 2 had this text itself as a marker.
const BEING_FORMATTED: &[u8] = b"vnv: being formatted";

/// What an image is formatted with, and where it stands in a superblock.
const FIELDS: [(LayoutField, usize); 7] = [
    (LayoutField::Capacity, 12),
    (LayoutField::Row, 22),
    (LayoutField::Objects, 16),
    (LayoutField::Types, 18),
    (LayoutField::Roots, 20),
    (LayoutField::DirtyLimit, 36),
    (LayoutField::LogHalf, 24),
];
/// Where the epoch stands.
const EPOCH: usize = 40;

/// A number in a superblock: the capacity and those behind the row have four bytes, the others two.
fn field(bytes: &[u8; SUPERBLOCK], at: usize) -> u32 {
    let mut number = [0; 4];
    let len = if matches!(at, 12 | 24..) { 4 } else { 2 };
    for (to, from) in number.iter_mut().zip(bytes.iter().skip(at).take(len)) {
        *to = *from;
    }
    u32::from_le_bytes(number)
}

/// Stands at the beginning of both copies while a storage is being formatted: the epoch that it will have, and a checksum.
pub(crate) fn marker(epoch: u32) -> [u8; MARKER] {
    let mut digest = CRC32.digest();
    digest.update(BEING_FORMATTED);
    digest.update(&epoch.to_le_bytes());
    let ([e0, e1, e2, e3], [c0, c1, c2, c3]) = (epoch.to_le_bytes(), digest.finalize().to_le_bytes());
    [e0, e1, e2, e3, c0, c1, c2, c3]
}

/// What a copy of the superblock is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Superblock {
    /// Sound, of the program's layout.
    Valid {
        epoch: u32,
    },
    /// Sound, of another layout: what differs, and its value there.
    Other {
        differs: LayoutField,
        image: u32,
        epoch: u32,
    },
    /// Sound, of another version.
    Version(u16),
    /// The storage is being formatted.
    Marker {
        epoch: u32,
    },
    Blank,
    Foreign,
    /// It begins as a superblock does.
    Damaged,
}

/// What bytes look like before they are compared with a layout.
enum Looks {
    Sound,
    Is(Superblock),
}

fn looks_of(bytes: &[u8; SUPERBLOCK]) -> Looks {
    let [e0, e1, e2, e3, ..] = *bytes;
    let epoch = u32::from_le_bytes([e0, e1, e2, e3]);
    if bytes.starts_with(&marker(epoch)) {
        return Looks::Is(Superblock::Marker { epoch });
    }
    if is_blank(bytes) {
        return Looks::Is(Superblock::Blank);
    }
    if bytes.starts_with(BEING_FORMATTED) {
        return Looks::Is(Superblock::Version(2));
    }
    if !bytes.starts_with(&MAGIC) {
        return Looks::Is(Superblock::Foreign);
    }
    let (body, crc) = bytes.split_at(SUPERBLOCK - 4);
    if CRC32.checksum(body).to_le_bytes() != *crc {
        return Looks::Is(Superblock::Damaged);
    }
    match field(bytes, 8) as u16 {
        FORMAT_VERSION => Looks::Sound,
        version => Looks::Is(Superblock::Version(version)),
    }
}

fn is_blank(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| *byte == 0) || bytes.iter().all(|byte| *byte == 0xFF)
}

impl Superblock {
    fn read(bytes: &[u8; SUPERBLOCK], layout: &Layout) -> Self {
        if let Looks::Is(other) = looks_of(bytes) {
            return other;
        }
        let epoch = field(bytes, EPOCH);
        let program = Layout { epoch, ..*layout }.to_superblock();
        if *bytes == program {
            return Self::Valid { epoch };
        }
        for (differs, at) in FIELDS {
            let image = field(bytes, at);
            if image != field(&program, at) {
                return Self::Other { differs, image, epoch };
            }
        }
        // All else follows from these.
        Self::Damaged
    }

    /// The epoch of one of this version, or of a marker.
    const fn epoch(self) -> Option<u32> {
        match self {
            Self::Valid { epoch } | Self::Other { epoch, .. } | Self::Marker { epoch } => Some(epoch),
            _ => None,
        }
    }

    /// Nothing of it is torn.
    const fn is_whole(self) -> bool {
        matches!(self, Self::Valid { .. } | Self::Other { .. } | Self::Marker { .. } | Self::Version(_))
    }
}

/// Both copies, at the places that they have in a layout.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copies {
    first: Superblock,
    second: Superblock,
}

/// What two copies of the superblock come to.
pub(crate) enum Found {
    /// A heap of the program's layout, and the copy that has to be repaired.
    Heap(Layout, Option<u32>),
    /// Formatting was begun.
    Begun,
    /// Nothing at all, anywhere.
    Blank,
}

impl Copies {
    /// Reads both: 128 bytes in two reads.
    pub fn read<D: Device>(device: &mut D, layout: &Layout) -> Result<Self, Error<D::Error>>
    where
        D::Error: Debug,
    {
        Ok(Self {
            first: Superblock::read(&read_array(device, layout.superblock(0))?, layout),
            second: Superblock::read(&read_array(device, layout.superblock(1))?, layout),
        })
    }

    /// What they come to (rule 10 of the format). If neither is whole, second copies of other layouts are looked for, and if there is none, the
    /// whole storage is read.
    pub fn judge<D: Device>(self, device: &mut D, layout: &Layout) -> Result<Found, OpenError<D::Error>>
    where
        D::Error: Debug,
    {
        use Superblock::{Blank, Damaged, Marker, Other, Valid, Version};
        let heap = |epoch, repair| Ok(Found::Heap(Layout { epoch, ..*layout }, repair));
        match (self.first, self.second) {
            (Valid { epoch }, Version(_)) if fault!(RepairOtherVersion) => heap(epoch, Some(1)),
            (Version(_), Valid { epoch }) if fault!(RepairOtherVersion) => heap(epoch, Some(0)),
            (Marker { .. }, Version(_)) | (Version(_), Marker { .. }) => Ok(Found::Begun),
            (Version(one), Version(other)) => Err(OpenError::Version(one.max(other))),
            (Version(version), _) | (_, Version(version)) => Err(OpenError::Version(version)),
            (Valid { epoch }, Valid { epoch: other }) if epoch == other => heap(epoch, None),
            (Valid { .. }, Valid { .. }) => Err(OpenError::Damaged(Damage::Superblock)),
            (Valid { .. }, Other { differs, image, .. }) | (Other { differs, image, .. }, Valid { .. }) => {
                Err(OpenError::OtherLayout { differs, image })
            }
            (Valid { epoch }, _) => heap(epoch, Some(1)),
            (_, Valid { epoch }) => heap(epoch, Some(0)),
            (Marker { .. }, _) | (_, Marker { .. }) => Ok(Found::Begun),
            (Other { differs, image, .. }, _) | (_, Other { differs, image, .. }) => {
                Err(OpenError::OtherLayout { differs, image })
            }
            (Blank, Blank) if fault!(BlankBySuperblock) => Ok(Found::Blank),
            (first, second) => match elsewhere(device, layout, 0)? {
                Some(Other { differs, image, .. }) => Err(OpenError::OtherLayout { differs, image }),
                Some(Version(version)) => Err(OpenError::Version(version)),
                Some(Marker { .. }) => Ok(Found::Begun),
                _ if survey(device, layout.first_marker())?.is_blank => Ok(Found::Blank),
                _ if matches!((first, second), (Damaged, _) | (_, Damaged)) => {
                    Err(OpenError::Damaged(Damage::Superblock))
                }
                _ => Err(OpenError::Foreign),
            },
        }
    }

    /// Whether they are those of the format with this epoch, and nobody has begun another one.
    pub fn are_of(self, epoch: u32) -> bool {
        let is_ours = |copy| copy == Superblock::Valid { epoch };
        (is_ours(self.first) || is_ours(self.second))
            && [self.first, self.second].into_iter().all(|copy| is_ours(copy) || !copy.is_whole())
    }

    /// Whether both are.
    pub fn are_both_of(self, epoch: u32) -> bool {
        self.first == Superblock::Valid { epoch } && self.second == self.first
    }

    /// The epoch of the next format: above that of every format before. `None`: no superblock tells.
    pub fn next_epoch<D: Device>(self, device: &mut D, layout: &Layout) -> Result<Option<u32>, Error<D::Error>>
    where
        D::Error: Debug,
    {
        let mut newest = self.first.epoch().max(self.second.epoch());
        for at in second_copies(layout.capacity()) {
            newest = newest.max(Superblock::read(&read_array(device, at)?, layout).epoch());
        }
        Ok(if fault!(KeepEpoch) { newest } else { newest.and_then(|newest| newest.checked_add(1)) })
    }

    /// How markers go over them: last over what, torn, would leave nothing that is whole; a marker is worth more than a superblock, since what has
    /// one is formatted in any case, and one of another version more than one of this, which would be opened again.
    pub fn order<D: Device>(self, device: &mut D, layout: &Layout) -> Result<Order, Error<D::Error>>
    where
        D::Error: Debug,
    {
        const MARKED: u8 = 3;
        let worth = |copy: Superblock| match copy {
            Superblock::Marker { .. } => MARKED,
            Superblock::Version(_) => 2,
            copy => u8::from(copy.is_whole()),
        };
        let (first, second) = (worth(self.first), worth(self.second));
        // A heap of another layout, whose second copy stands elsewhere, is whole without the first one, and not with our second one inside.
        let first_goes =
            first < second || first < MARKED && second == 0 && elsewhere(device, layout, layout.row())?.is_some();
        let copies = if first_goes != fault!(SpoilSoundCopy) { [0, 1] } else { [1, 0] };
        Ok(Order { copies, first_is_marker: first == MARKED, second_holds: second != 0 })
    }
}

/// How formatting begins.
pub(crate) struct Order {
    /// The copies, the one that is overwritten first in front.
    pub copies: [u32; 2],
    /// The first copy is a marker already.
    pub first_is_marker: bool,
    /// A heap of the program's layout may be whole as long as the second copy is.
    pub second_holds: bool,
}

/// The first whole superblock or marker where a second copy of another layout stands, from `from` on.
fn elsewhere<D: Device>(device: &mut D, layout: &Layout, from: u32) -> Result<Option<Superblock>, Error<D::Error>>
where
    D::Error: Debug,
{
    for at in second_copies(layout.capacity()).filter(|at| *at != layout.superblock(1) && *at >= from) {
        let copy = Superblock::read(&read_array(device, at)?, layout);
        if copy.is_whole() {
            return Ok(Some(copy));
        }
    }
    Ok(None)
}

/// Overwrites the beginning of whatever could be taken for a second copy of another layout. `marker` stands in our first one.
///
/// # Errors
///
/// [`StorageFault::Smaller`] if it stands there too: no earlier format had its epoch, so what is read there is the first copy again.
pub(crate) fn erase_elsewhere<D: Device>(
    device: &mut D,
    layout: &Layout,
    marker: &[u8; MARKER],
) -> Result<(), OpenError<D::Error>>
where
    D::Error: Debug,
{
    for at in second_copies(layout.capacity()).filter(|at| *at != layout.superblock(1)) {
        let bytes: [u8; SUPERBLOCK] = read_array(device, at)?;
        if bytes.starts_with(marker) && !fault!(BelieveCapacity) {
            return Err(OpenError::Storage(StorageFault::Smaller { capacity: at }));
        }
        if bytes.starts_with(&MAGIC) || matches!(looks_of(&bytes), Looks::Is(Superblock::Marker { .. })) {
            write(device, at, &[0; MARKER])?;
        }
    }
    Ok(())
}

/// One write and a sync.
pub(crate) fn write<D: Device>(device: &mut D, at: u32, bytes: &[u8]) -> Result<(), Error<D::Error>>
where
    D::Error: Debug,
{
    device.write_gather(at, &[bytes]).map_err(Error::Device)?;
    device.sync().map_err(Error::Device)
}

/// Writes a copy: its magic last. Until then it is what its first bytes say, a marker or nothing, whatever stands behind them: of an older superblock
/// of this layout only the epoch and the checksum differ, and a cut between them would bring it back. So would a part that drops the first of the two
/// writes: it is read back, and `Ok(false)` says that it was not kept, and that the magic was not written.
pub(crate) fn write_superblock<D: Device>(device: &mut D, layout: &Layout, copy: u32) -> Result<bool, Error<D::Error>>
where
    D::Error: Debug,
{
    let (at, bytes) = (layout.superblock(copy), layout.to_superblock());
    let (magic, rest) = bytes.split_at(MAGIC.len());
    write(device, at + MAGIC.len() as u32, rest)?;
    let found: [u8; SUPERBLOCK] = read_array(device, at)?;
    if !found.ends_with(rest) {
        return Ok(false);
    }
    write(device, at, magic)?;
    Ok(true)
}

/// The layout of the heap on a device, with its epoch, and the copy of the superblock that has to be repaired.
///
/// # Errors
///
/// [`OpenError::Blank`] if there is none and nothing else; the others of [`Copies::judge`].
pub(crate) fn find_heap<D: Device>(
    device: &mut D,
    layout: &Layout,
) -> Result<(Layout, Option<u32>), OpenError<D::Error>>
where
    D::Error: Debug,
{
    match Copies::read(device, layout)?.judge(device, layout)? {
        Found::Heap(layout, repair) => Ok((layout, repair)),
        Found::Begun | Found::Blank => Err(OpenError::Blank),
    }
}

/// What all of a storage comes to.
pub(crate) struct Survey {
    /// All bytes are 00, or all are FF.
    pub is_blank: bool,
    /// CRC-32 of all of it.
    pub checksum: u32,
}

/// Reads the whole storage, in reads of 64 bytes. Whether it is blank: what stands in `but`, where a cut may have torn the first marker, does
/// not count.
pub(crate) fn survey<D: Device>(device: &mut D, but: Range<u32>) -> Result<Survey, Error<D::Error>>
where
    D::Error: Debug,
{
    let mut digest = CRC32.digest();
    let (mut all, mut any) = (0xFF, 0);
    let mut at = 0;
    let capacity = capacity_of(device);
    read_chunks(device, 0, capacity, &mut |chunk| {
        digest.update(chunk);
        for byte in chunk {
            if !but.contains(&at) {
                all &= byte;
                any |= byte;
            }
            at += 1;
        }
    })?;
    Ok(Survey { is_blank: any == 0 || all == 0xFF, checksum: digest.finalize() })
}

/// Bytes of the device that a layout can use.
pub(crate) fn capacity_of<D: Device>(device: &D) -> u32
where
    D::Error: Debug,
{
    device.capacity().min(u32::MAX as usize) as u32
}

/// Where a second copy may stand, whatever the layout: behind the first one, in whole units, which are powers of two.
fn second_copies(capacity: u32) -> impl Iterator<Item = u32> {
    let all = (0..).map(|shift| (SUPERBLOCK as u32) << shift);
    all.take_while(move |at| *at <= MAX_UNIT && at + SUPERBLOCK as u32 <= capacity)
}

impl Layout {
    pub(crate) fn to_superblock(self) -> [u8; SUPERBLOCK] {
        let mut bytes = [0; SUPERBLOCK];
        let mut at = 0;
        let mut put = |field: &[u8]| {
            if let Some(to) = bytes.get_mut(at..at + field.len()) {
                to.copy_from_slice(field);
            }
            at += field.len();
        };
        put(&MAGIC);
        put(&FORMAT_VERSION.to_le_bytes());
        put(&(self.unit as u16).to_le_bytes());
        put(&self.capacity.to_le_bytes());
        put(&self.objects.to_le_bytes());
        put(&u16::from(self.types).to_le_bytes());
        put(&u16::from(self.roots).to_le_bytes());
        put(&(self.row as u16).to_le_bytes());
        put(&self.log_half.to_le_bytes());
        put(&self.reserve.to_le_bytes());
        put(&self.data_start.to_le_bytes());
        put(&self.dirty_limit.to_le_bytes());
        put(&self.epoch.to_le_bytes());
        let crc = CRC32.checksum(bytes.get(..SUPERBLOCK - 4).unwrap_or_default());
        if let Some(to) = bytes.last_chunk_mut() {
            *to = crc.to_le_bytes();
        }
        bytes
    }

    /// What a cut may tear while nothing else of a first format is there: the row of the first marker.
    pub(crate) fn first_marker(&self) -> Range<u32> {
        let at = self.superblock(1);
        at..at + self.row.max(MARKER as u32)
    }

    /// The layout that an image was formatted with, from either copy of its superblock. The image may be followed by anything.
    ///
    /// Cost: two reads of 64 bytes; if the first copy is damaged, up to twelve; if there is none at all, the whole storage is read.
    ///
    /// # Errors
    ///
    /// [`OpenError::Blank`], [`OpenError::Foreign`], [`OpenError::Version`], [`OpenError::Damaged`]; the device's.
    pub fn read<D: Device>(device: &mut D) -> Result<Self, OpenError<D::Error>>
    where
        D::Error: Debug,
    {
        let capacity = capacity_of(device);
        if (capacity as usize) < SUPERBLOCK {
            return Err(OpenError::Foreign);
        }
        let first = Self::from_superblock(&read_array(device, 0)?);
        let mut is_begun = false;
        for at in second_copies(capacity) {
            if first.as_ref().is_ok_and(|layout| layout.superblock(1) != at) {
                continue;
            }
            match Self::from_superblock(&read_array(device, at)?) {
                Err(Superblock::Version(version)) => return Err(OpenError::Version(version)),
                Err(Superblock::Marker { .. }) => is_begun = true,
                Ok(layout) if first.is_err() && layout.superblock(1) == at => return Ok(layout),
                _ => {}
            }
        }
        match first {
            Ok(layout) => Ok(layout),
            Err(Superblock::Version(version)) => Err(OpenError::Version(version)),
            Err(Superblock::Marker { .. }) => Err(OpenError::Blank),
            Err(_) if is_begun => Err(OpenError::Blank),
            Err(Superblock::Damaged) => Err(OpenError::Damaged(Damage::Superblock)),
            Err(_) => {
                let row = device.row_size().max(MARKER as u32);
                let second = row.max(SUPERBLOCK as u32);
                let is_blank = survey(device, second..second + row)?.is_blank;
                Err(if is_blank { OpenError::Blank } else { OpenError::Foreign })
            }
        }
    }

    fn from_superblock(bytes: &[u8; SUPERBLOCK]) -> Result<Self, Superblock> {
        if let Looks::Is(other) = looks_of(bytes) {
            return Err(other);
        }
        let sizes = (field(bytes, 16) as u16, field(bytes, 18) as u8, field(bytes, 20) as u8);
        let row = field(bytes, 22);
        let base = RECORD_HEADER + 8 * u32::from(sizes.0) + 16 * u32::from(sizes.2);
        let unit = field(bytes, 10).max(1);
        let log_bytes = field(bytes, 24).saturating_sub(base.saturating_add(unit - 1) / unit * unit);
        let options = Options { dirty_limit: field(bytes, 36), log_bytes, guards: 0 };
        let layout = Self::new(field(bytes, 12), row, sizes, options);
        match layout.map(|layout| Self { epoch: field(bytes, EPOCH), ..layout }) {
            Ok(layout) if layout.to_superblock() == *bytes => Ok(layout),
            _ => Err(Superblock::Damaged),
        }
    }
}
