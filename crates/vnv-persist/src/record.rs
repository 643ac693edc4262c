//! Records: the unit of atomicity. One checksum, one sequence number, one last byte that makes it valid.

use crate::layout::{Layout, RECORD_HEADER};
use core::fmt::Debug;
use crc::{CRC_16_IBM_3740, Crc, NoTable, Table};
use vnv_core::Error;
use vnv_core::block::{CRC32, seed};
use vnv_core::engine::zeros;
use vnv_storage::{Device, fault};

static CRC16: Crc<u16, NoTable> = Crc::<u16, NoTable>::new(&CRC_16_IBM_3740);

/// Of CRC-32.
const REFLECTED_POLYNOMIAL: u32 = 0xEDB8_8320;

/// Set in the number of a snapshot's roots if the bitmap of freed slots follows.
const DEATHS: u8 = 0x80;

/// Kind of a record.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Base = 1,
    Commit = 2,
    Snapshot = 3,
    /// For the program that wrote it only: `open` ignores it.
    Resume = 4,
}

/// The header of a record, checksums aside.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct RecordHeader {
    pub kind: Kind,
    pub roots: u8,
    /// A snapshot's bitmap of freed slots follows.
    pub deaths: bool,
    pub sequence: u64,
    /// Bytes of the record, padding excluded.
    pub length: u32,
    /// Words of 4 bytes of all entries.
    pub entry_words: u16,
    pub tag: u16,
}

/// What the checksums of a record begin with: bytes of another life of the storage, of another place or of an earlier use of a log half do
/// not pass (rule 8 of the format).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Seed {
    /// Epoch of the format.
    pub epoch: u32,
    /// Where the record stands, in bytes from the start of storage.
    pub at: u32,
    /// Sequence of the base of the half, for a commit; `None`: the record's own.
    pub base: Option<u64>,
}

impl Seed {
    fn epoch_for(self, kind: Kind) -> u32 {
        let forgotten = match kind {
            Kind::Base | Kind::Commit => fault!(BelieveOldRecord),
            Kind::Snapshot | Kind::Resume => fault!(BelieveOldReserve),
        };
        if forgotten { 0 } else { self.epoch }
    }

    /// What the CRC-32 of a record differs by from that of the bytes alone, and with its upper half the CRC-16 of its header. For two epochs the
    /// former is never the same at one place, nor at two places in one epoch.
    fn value(self, kind: Kind) -> u32 {
        seed(self.epoch_for(kind) ^ self.at)
    }

    /// The eight bytes in front of those of a record with this sequence, unless a deliberate fault forgets them.
    fn salt(self, kind: Kind, sequence: u64) -> [u8; 8] {
        let salt = self.base.unwrap_or(sequence);
        let forgotten = kind == Kind::Commit && fault!(AcceptOldRecord);
        if forgotten { [0; 8] } else { salt.to_le_bytes() }
    }
}

/// No heap comes so far, and what counts on from below it does not overflow.
const END_OF_SEQUENCE: u64 = 1 << 63;

impl RecordHeader {
    /// Offset of the roots inside the record.
    pub const fn roots_at(&self) -> u32 {
        RECORD_HEADER + 4 * self.entry_words as u32
    }

    /// Offset of the payload inside the record.
    pub const fn payload_at(&self) -> u32 {
        self.roots_at() + 16 * self.roots as u32
    }

    /// All of its bytes but the two checksums.
    fn to_bytes(self) -> [u8; RECORD_HEADER as usize] {
        let [s0, s1, s2, s3, s4, s5, s6, s7] = self.sequence.to_le_bytes();
        let [l0, l1, l2, l3] = self.length.to_le_bytes();
        let [e0, e1] = self.entry_words.to_le_bytes();
        let [t0, t1] = self.tag.to_le_bytes();
        let roots = self.roots | if self.deaths { DEATHS } else { 0 };
        let kind = self.kind as u8;
        [0, 0, 0, 0, 0, 0, kind, roots, s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3, e0, e1, t0, t1]
    }

    /// Begins the checksum of the record, whose other bytes follow.
    pub fn seal(&self, seed: Seed) -> Seal {
        let salt = seed.salt(self.kind, self.sequence);
        let mut head = self.to_bytes();
        let check = header_check(seed.value(self.kind), &salt, &head);
        if let Some(bytes) = head.get_mut(4..6) {
            bytes.copy_from_slice(&check.to_le_bytes());
        }
        let mut digest = CRC32.digest();
        digest.update(&salt);
        digest.update(head.get(4..).unwrap_or_default());
        Seal { digest, seed: seed.value(self.kind), head }
    }

    /// Reads a header whose own check holds. Returns the header and the record's checksum.
    pub fn from_bytes(bytes: &[u8; RECORD_HEADER as usize], seed: Seed) -> Option<(Self, u32)> {
        let [c0, c1, c2, c3, h0, h1, kind, roots, s0, s1, s2, s3, s4, s5, s6, s7, l0, l1, l2, l3, e0, e1, t0, t1] =
            *bytes;
        let kind = match kind {
            1 => Kind::Base,
            2 => Kind::Commit,
            3 => Kind::Snapshot,
            4 => Kind::Resume,
            _ => return None,
        };
        let header = Self {
            kind,
            roots: roots & !DEATHS,
            deaths: roots & DEATHS != 0,
            sequence: u64::from_le_bytes([s0, s1, s2, s3, s4, s5, s6, s7]),
            length: u32::from_le_bytes([l0, l1, l2, l3]),
            entry_words: u16::from_le_bytes([e0, e1]),
            tag: u16::from_le_bytes([t0, t1]),
        };
        // The check last: it takes longest.
        let check = |header: &Self| header_check(seed.value(kind), &seed.salt(kind, header.sequence), bytes);
        let sound = header.length >= header.payload_at()
            && header.tag < vnv_core::entry::TAG_MASK
            && header.sequence < END_OF_SEQUENCE
            && check(&header) == u16::from_le_bytes([h0, h1]);
        sound.then_some((header, u32::from_le_bytes([c0, c1, c2, c3])))
    }
}

/// The header's own check, of all that is behind it.
fn header_check(seed: u32, salt: &[u8; 8], head: &[u8; RECORD_HEADER as usize]) -> u16 {
    let mut digest = CRC16.digest();
    digest.update(salt);
    digest.update(head.get(6..).unwrap_or_default());
    digest.finalize() ^ (seed >> 16) as u16
}

/// A record whose header is known, and whose checksum is on its way.
pub(crate) struct Seal {
    digest: crc::Digest<'static, u32, Table<1>>,
    seed: u32,
    head: [u8; RECORD_HEADER as usize],
}

impl Seal {
    /// The next bytes behind the header.
    pub fn update(&mut self, bytes: &[u8]) {
        self.digest.update(bytes);
    }

    /// The checksum of all of it.
    pub fn checksum(self) -> u32 {
        self.digest.finalize() ^ self.seed
    }

    /// The header's bytes.
    pub fn finish(self) -> [u8; RECORD_HEADER as usize] {
        let mut head = self.head;
        if let Some(bytes) = head.first_chunk_mut() {
            *bytes = (self.digest.finalize() ^ self.seed).to_le_bytes();
        }
        head
    }
}

/// Reads and checks the record at `seed.at`, which may be up to `room` bytes long. `Ok(None)`: there is no valid one.
///
/// Cost: its header, and its body in reads of 64 bytes; the body of one that is not valid twice.
pub(crate) fn read_record<D: Device>(
    device: &mut D,
    seed: Seed,
    room: u32,
) -> Result<Option<RecordHeader>, Error<D::Error>>
where
    D::Error: Debug,
{
    if room < RECORD_HEADER {
        return Ok(None);
    }
    let Some(found) = RecordHeader::from_bytes(&read_array(device, seed.at)?, seed) else { return Ok(None) };
    let mut difference = difference_of(device, seed, room, found)?;
    if difference.is_some_and(|difference| difference != 0) {
        // What is taken for torn will be overwritten: perhaps a bit was lost on the way.
        difference = difference_of(device, seed, room, found)?;
    }
    Ok(difference.filter(|difference| *difference == 0 || fault!(SkipRecordChecksum)).map(|_| found.0))
}

/// What the checksum of the record with this header differs by from the one it should have; nothing if it is longer than `room`.
fn difference_of<D: Device>(
    device: &mut D,
    seed: Seed,
    room: u32,
    (header, crc): (RecordHeader, u32),
) -> Result<Option<u32>, Error<D::Error>>
where
    D::Error: Debug,
{
    if header.length > room {
        return Ok(None);
    }
    let mut seal = header.seal(seed);
    let body = (seed.at + RECORD_HEADER, header.length - RECORD_HEADER);
    read_chunks(device, body.0, body.1, &mut |chunk| seal.update(chunk))?;
    Ok(Some(seal.checksum() ^ crc))
}

/// The header that the record at `seed.at` would have if one bit of the record were another one; nothing if it is valid as it is.
pub(crate) fn one_bit_away<D: Device>(
    device: &mut D,
    seed: Seed,
    room: u32,
) -> Result<Option<RecordHeader>, Error<D::Error>>
where
    D::Error: Debug,
{
    if room < RECORD_HEADER {
        return Ok(None);
    }
    let bytes: [u8; RECORD_HEADER as usize] = read_array(device, seed.at)?;
    let Some(sound) = RecordHeader::from_bytes(&bytes, seed) else {
        // The header's own check covers all but the first four bytes.
        for bit in 32..8 * bytes.len() {
            let mut bytes = bytes;
            if let Some(byte) = bytes.get_mut(bit / 8) {
                *byte ^= 1 << (bit % 8);
            }
            if let Some(candidate) = RecordHeader::from_bytes(&bytes, seed)
                && difference_of(device, seed, room, candidate)? == Some(0)
            {
                return Ok(Some(candidate.0));
            }
        }
        return Ok(None);
    };
    let (header, _) = sound;
    let Some(difference) = difference_of(device, seed, room, sound)? else { return Ok(None) };
    if difference == 0 {
        return Ok(None);
    }
    // A bit of the checksum itself, or a bit of the body: by how much it would change the checksum, from the last bit on.
    let mut found = difference.count_ones() == 1;
    let mut change = REFLECTED_POLYNOMIAL;
    for _ in 0..8 * (header.length - RECORD_HEADER) {
        found |= change == difference;
        change = change >> 1 ^ if change & 1 == 1 { REFLECTED_POLYNOMIAL } else { 0 };
    }
    Ok(found.then_some(header))
}

/// Reads `length` bytes in chunks of 64.
pub(crate) fn read_chunks<D: Device>(
    device: &mut D,
    mut at: u32,
    length: u32,
    sink: &mut dyn FnMut(&[u8]),
) -> Result<(), Error<D::Error>>
where
    D::Error: Debug,
{
    let mut buffer = [0; 64];
    let mut left = length;
    while left > 0 {
        let take = left.min(64);
        let chunk = buffer.get_mut(..take as usize).unwrap_or_default();
        device.read(at, chunk).map_err(Error::Device)?;
        sink(chunk);
        at += take;
        left -= take;
    }
    Ok(())
}

/// Reads exactly `N` bytes.
pub(crate) fn read_array<D: Device, const N: usize>(device: &mut D, at: u32) -> Result<[u8; N], Error<D::Error>>
where
    D::Error: Debug,
{
    let mut bytes = [0; N];
    device.read(at, &mut bytes).map_err(Error::Device)?;
    Ok(bytes)
}

/// Zeros that pad `length` to whole units.
pub(crate) fn padding(layout: &Layout, length: u32) -> &'static [u8] {
    zeros(layout.padded(length) - length)
}
