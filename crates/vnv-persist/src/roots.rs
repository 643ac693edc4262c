//! Named roots: where a program finds its objects after a reboot.

use vnv_core::{Error, ObjectId, ROOT_BYTES};

/// Longest name of a root in bytes.
pub const ROOT_NAME: usize = 11;

/// The roots, each as the 16 bytes it has in a record.
#[derive(Debug)]
pub(crate) struct Roots<'m> {
    pub slots: &'m mut [[u8; ROOT_BYTES]],
    /// Slots changed since the last commit.
    pub changed: u32,
}

fn name_bytes<E>(name: &str) -> Result<[u8; ROOT_NAME], Error<E>> {
    let bytes = name.as_bytes();
    if bytes.is_empty() || bytes.len() > ROOT_NAME || bytes.contains(&0) {
        return Err(Error::BadName);
    }
    let mut padded = [0; ROOT_NAME];
    padded.iter_mut().zip(bytes).for_each(|(to, from)| *to = *from);
    Ok(padded)
}

fn target(slot: &[u8; ROOT_BYTES]) -> Option<ObjectId> {
    let [.., i0, i1, g0, g1] = *slot;
    let index = u16::from_le_bytes([i0, i1]);
    (index != 0).then(|| ObjectId { index, generation: u16::from_le_bytes([g0, g1]) })
}

impl Roots<'_> {
    fn find(&self, name: &[u8; ROOT_NAME]) -> Option<usize> {
        self.slots.iter().position(|slot| target(slot).is_some() && slot.get(1..12) == Some(name))
    }

    /// The object that a root leads to.
    pub fn get<E>(&self, name: &str) -> Result<Option<ObjectId>, Error<E>> {
        let name = name_bytes(name)?;
        Ok(self.find(&name).and_then(|at| self.slots.get(at)).and_then(target))
    }

    /// The slot that setting `name` would change, and whether it is not counted as changed yet.
    pub fn slot_for<E>(&self, name: &str) -> Result<(usize, bool), Error<E>> {
        let name = name_bytes(name)?;
        let free = || self.slots.iter().position(|slot| target(slot).is_none());
        let at = self.find(&name).or_else(free).ok_or(Error::RootsFull)?;
        Ok((at, self.changed & 1 << at == 0))
    }

    /// Sets the root in a slot that [`slot_for`](Self::slot_for) named.
    pub fn set<E>(&mut self, at: usize, name: &str, target: Option<ObjectId>) -> Result<(), Error<E>> {
        let name = name_bytes(name)?;
        let id = target.unwrap_or(ObjectId { index: 0, generation: 0 });
        if let Some(slot) = self.slots.get_mut(at) {
            let (front, back) = slot.split_at_mut(12);
            if let [number, to @ ..] = front {
                *number = at as u8;
                to.copy_from_slice(&name);
            }
            let ([i0, i1], [g0, g1]) = (id.index.to_le_bytes(), id.generation.to_le_bytes());
            back.copy_from_slice(&[i0, i1, g0, g1]);
            self.changed |= 1 << at;
        }
        Ok(())
    }

    /// Enters a root read from a record.
    pub fn restore(&mut self, bytes: [u8; ROOT_BYTES]) -> bool {
        match self.slots.get_mut(usize::from(bytes[0])) {
            Some(slot) => {
                *slot = bytes;
                true
            }
            None => false,
        }
    }

    /// The slots that the next record holds: changed ones, or all that are set.
    pub fn recorded(&self, all: bool) -> impl Iterator<Item = &[u8; ROOT_BYTES]> {
        let changed = self.changed;
        let takes = move |(at, slot): &(usize, &[u8; ROOT_BYTES])| {
            if all { target(slot).is_some() } else { changed & 1 << at != 0 }
        };
        self.slots.iter().enumerate().filter(takes).map(|(_, slot)| slot)
    }

    /// The roots that are set, and the objects they lead to.
    pub fn named(&self) -> impl Iterator<Item = (&str, ObjectId)> {
        self.slots.iter().filter_map(|slot| {
            let name = slot.get(1..12)?;
            let length = name.iter().position(|byte| *byte == 0).unwrap_or(name.len());
            Some((core::str::from_utf8(name.get(..length)?).unwrap_or("?"), target(slot)?))
        })
    }

    /// The objects that roots lead to.
    pub fn targets(&self) -> impl Iterator<Item = ObjectId> {
        self.slots.iter().filter_map(target)
    }
}
