//! The record log: appending commits, compacting into the other half.

use crate::layout::{Layout, RECORD_HEADER};
use crate::record::{Kind, RecordHeader, padding};
use crate::roots::Roots;
use core::fmt::Debug;
use vnv_alloc::OffsetAllocator;
use vnv_core::engine::{DELTA_BYTES, Engine};
use vnv_core::entry::TAG_MASK;
use vnv_core::{Error, Policy, Workspace};
use vnv_storage::{Device, fault};

/// Where the log stands.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Log {
    pub layout: Layout,
    /// The half that holds the newest base.
    pub half: u8,
    /// End of the last valid record, from the start of storage.
    pub end: u32,
    /// Nothing is appended to the half any more: behind its end stands what could be taken for a record.
    pub is_closed: bool,
    /// Sequence of the active half's base: the salt of its records.
    pub base_sequence: u64,
    /// Sequence of the last record of the log.
    pub sequence: u64,
    /// Sequence of the last commit or snapshot.
    pub last: u64,
    /// The reserve that the next snapshot goes to.
    pub next_reserve: u8,
    /// The other half's base is still there and has to be made invalid.
    pub retire: bool,
    /// Compactions since the heap was opened.
    pub compactions: u32,
}

impl Log {
    /// Makes an unacknowledged record invalid, and finishes retiring the other half. Called before records and snapshots are written;
    /// [`Engine::write`] does the first before anything else is.
    pub fn settle<D, P, R, S>(&mut self, engine: &mut Engine<'_, D, P, R, S>) -> Result<(), Error<D::Error>>
    where
        D: Device,
        D::Error: Debug,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        engine.settle_doubt()?;
        if self.retire {
            engine.erase(self.layout.half(1 - self.half))?;
            self.retire = false;
        }
        Ok(())
    }

    /// Appends a commit record if it fits; `Ok(false)`: the half is full.
    pub fn append<W: Workspace, D, P, R, S>(
        &mut self,
        engine: &mut Engine<'_, D, P, R, S>,
        roots: &Roots<'_>,
    ) -> Result<bool, Error<D::Error>>
    where
        D: Device,
        D::Error: Debug,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        let mut entry_buffer = W::record_entries();
        let buffer = entry_buffer.as_mut().as_flattened_mut();
        let mut entry_len = 0;
        for (index, moved) in engine.pending_slots() {
            engine.safe_point()?;
            let (bytes, length) = engine.recorded_entry(index).to_record(index, moved);
            // As long as the pending list, so it fits.
            let Some(to) = buffer.get_mut(entry_len..entry_len + length) else { return Ok(false) };
            to.copy_from_slice(bytes.get(..length).unwrap_or_default());
            entry_len += length;
        }
        let mut root_buffer = W::record_roots();
        let mut root_count = 0;
        for (to, root) in root_buffer.as_mut().iter_mut().zip(roots.recorded(false).filter(|_| !fault!(ForgetRoots))) {
            *to = *root;
            root_count += 1;
        }
        let mut deltas = [0; DELTA_BYTES as usize];
        let mut delta_len = 0;
        for index in engine.changed() {
            engine.safe_point()?;
            if engine.is_dirty(index) {
                let Some(room) = deltas.get_mut(delta_len..) else { return Ok(false) };
                let Some(bytes) = engine.encode_delta(index, room)? else { return Ok(false) };
                delta_len += bytes;
            }
        }
        let entry_bytes = buffer.get(..entry_len).unwrap_or_default();
        let root_bytes = root_buffer.as_mut().get(..root_count).unwrap_or_default().as_flattened();
        let delta_bytes = deltas.get(..delta_len).unwrap_or_default();
        let length = RECORD_HEADER + (entry_bytes.len() + root_bytes.len() + delta_len) as u32;
        let padded = self.layout.padded(length);
        if self.is_closed || self.end + padded > self.layout.half(self.half) + self.layout.log_half {
            return Ok(false);
        }
        // An old delta must not look like the last one of its object: no tag twice in a half.
        if self.last + 1 - self.base_sequence >= u64::from(TAG_MASK) {
            return Ok(false);
        }
        let header = RecordHeader {
            kind: Kind::Commit,
            roots: root_count as u8,
            deaths: false,
            sequence: self.last + 1,
            length,
            entry_words: (entry_len / 4) as u16,
            tag: engine.tag(),
        };
        let mut seal = header.seal(self.layout.seed(self.end, Some(self.base_sequence)));
        seal.update(entry_bytes);
        seal.update(root_bytes);
        seal.update(delta_bytes);
        let head = seal.finish();
        let slices = [&head[..], entry_bytes, root_bytes, delta_bytes, padding(&self.layout, length)];
        // From here on the record may be there, whatever the device says: the places that it names may not be reused.
        engine.retain_places();
        let written = engine.write(self.end, &slices).and_then(|()| engine.device().sync().map_err(Error::Device));
        if written.is_err() {
            engine.doubt(self.end);
        }
        written?;
        self.end += padded;
        self.sequence = header.sequence;
        self.last = header.sequence;
        Ok(true)
    }

    /// Writes the whole table as a base into the other half: a commit and a compaction in one.
    pub fn write_base<W: Workspace, D, P, R, S>(
        &mut self,
        engine: &mut Engine<'_, D, P, R, S>,
        roots: &Roots<'_>,
        sequence: u64,
    ) -> Result<(), Error<D::Error>>
    where
        D: Device,
        D::Error: Debug,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        if fault!(RetireFirst) {
            engine.erase(self.layout.half(self.half))?;
        }
        let root_count = roots.recorded(true).count();
        let header = RecordHeader {
            kind: Kind::Base,
            roots: root_count as u8,
            deaths: false,
            sequence,
            length: RECORD_HEADER + 8 * u32::from(engine.used()) + 16 * root_count as u32,
            entry_words: 2 * engine.used(),
            tag: engine.tag(),
        };
        let other = 1 - self.half;
        let at = self.layout.half(other);
        let mut seal = header.seal(self.layout.seed(at, None));
        for index in 0..engine.used() {
            engine.safe_point()?;
            seal.update(&base_entry(engine, index));
        }
        roots.recorded(true).for_each(|root| seal.update(root));
        let head = seal.finish();
        engine.retain_places();
        let written = self.write_table::<W, _, _, _, _>(engine, roots, at, (&head, &header));
        if written.is_err() {
            engine.doubt(at);
        }
        written?;
        self.half = other;
        self.is_closed = false;
        self.end = at + self.layout.padded(header.length);
        self.base_sequence = sequence;
        self.sequence = sequence;
        self.last = sequence;
        self.retire = true;
        self.compactions = self.compactions.saturating_add(1);
        // The new base is valid: from here on the commit has happened. A failure to retire is made up for later.
        if engine.safe_point().is_ok() {
            let _ = self.settle(engine);
        }
        Ok(())
    }

    /// Writes a base at `at`: its header, the table, roots.
    fn write_table<W: Workspace, D, P, R, S>(
        &self,
        engine: &mut Engine<'_, D, P, R, S>,
        roots: &Roots<'_>,
        at: u32,
        (head, header): (&[u8], &RecordHeader),
    ) -> Result<(), Error<D::Error>>
    where
        D: Device,
        D::Error: Debug,
        P: Policy,
        R: OffsetAllocator,
        S: OffsetAllocator,
    {
        // The table is encoded in pieces as long as the pending list, each one write.
        let mut buffer = W::record_entries();
        let root_count = usize::from(header.roots);
        let (mut index, mut position) = (0, at);
        let mut first = head;
        let mut stream_roots = false;
        while !stream_roots {
            let mut filled = 0;
            for to in buffer.as_mut() {
                if index == engine.used() {
                    break;
                }
                engine.safe_point()?;
                *to = base_entry(engine, index);
                index += 1;
                filled += 1;
            }
            let bytes = buffer.as_mut().get(..filled).unwrap_or_default().as_flattened();
            stream_roots = index == engine.used();
            let tail = if stream_roots && root_count == 0 { padding(&self.layout, header.length) } else { &[] };
            engine.write(position, &[first, bytes, tail])?;
            position += (first.len() + bytes.len()) as u32;
            first = &[];
        }
        if root_count != 0 {
            let mut buffer = W::record_roots();
            buffer.as_mut().iter_mut().zip(roots.recorded(true)).for_each(|(to, root)| *to = *root);
            let bytes = buffer.as_mut().get(..root_count).unwrap_or_default().as_flattened();
            engine.write(position, &[bytes, padding(&self.layout, header.length)])?;
        }
        engine.device().sync().map_err(Error::Device)
    }
}

/// An entry of the table in a base: the entry, and its tag.
fn base_entry<D, P, R, S>(engine: &Engine<'_, D, P, R, S>, index: u16) -> [u8; 8]
where
    D: Device,
    D::Error: Debug,
    P: Policy,
    R: OffsetAllocator,
    S: OffsetAllocator,
{
    let [a, b, c, d, e, f] = engine.recorded_entry(index).to_bytes();
    let [t0, t1] = engine.recorded_tag(index).to_le_bytes();
    [a, b, c, d, e, f, t0, t1]
}
