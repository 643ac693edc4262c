//! A memory that does not store what it is told to: smaller than described, or protected.

use super::{Range, StorageFault, TearStorage};

/// What keeps a memory from storing what is written to it.
#[derive(Clone, Debug, Default)]
pub(super) struct Unfit {
    /// Bytes that it has; further addresses roll over.
    real_capacity: Option<usize>,
    /// Bytes that keep their content, as addresses of what it has.
    protected: Range<usize>,
    /// The answer of [`Device::diagnose`](vnv_storage::Device::diagnose).
    pub(super) diagnosis: Option<StorageFault>,
}

impl Unfit {
    /// The content before a write, if the write may come out otherwise.
    pub(super) fn before(&self, memory: &[u8]) -> Option<Vec<u8>> {
        (self.real_capacity.is_some() || !self.protected.is_empty()).then(|| memory.to_vec())
    }
}

impl TearStorage {
    /// The same memory, but with only `bytes` bytes behind its addresses: they roll over, and what is written behind
    /// the end changes the beginning. [`capacity`](embedded_storage::ReadStorage::capacity) stays what it was, and
    /// [`image`](TearStorage::image) is what a reader sees: the same bytes again and again. Of the content so far the
    /// first `bytes` bytes are kept.
    ///
    /// ```
    /// use vnv_sim::TearStorage;
    /// use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
    ///
    /// let mut memory = TearStorage::new(64, 8).with_real_capacity(32);
    /// memory.write(33, &[7]).unwrap();
    /// assert_eq!((memory.capacity(), memory.image()[1]), (64, 7));
    /// ```
    ///
    /// # Panics
    ///
    /// If `bytes` is no multiple of the row size, 0, or beyond the capacity.
    #[must_use]
    pub fn with_real_capacity(mut self, bytes: usize) -> Self {
        assert!((1..=self.memory.len()).contains(&bytes), "a smaller memory has 1 byte to {}", self.memory.len());
        assert!(bytes.is_multiple_of(self.row_size as usize), "a memory has whole rows");
        self.unfit.real_capacity = Some(bytes);
        let (real, behind) = self.memory.split_at_mut(bytes);
        for part in behind.chunks_mut(bytes) {
            part.copy_from_slice(&real[..part.len()]);
        }
        self
    }

    /// Protects the bytes of `range`: writes to them are dropped without an error, by [stray
    /// writes](TearStorage::stray_write) and cut ones too. They are counted as if they were stored. An empty range
    /// protects nothing. In a memory of another [real capacity](TearStorage::with_real_capacity) a range of that.
    ///
    /// The memory does not tell by itself: see [`set_diagnosis`](TearStorage::set_diagnosis).
    pub fn set_protected(&mut self, range: Range<u32>) {
        self.unfit.protected = range.start as usize..range.end as usize;
    }

    /// Sets the answer of [`Device::diagnose`](vnv_storage::Device::diagnose) (`None` without): a part that is
    /// protected says so in its status register, whereas one that is smaller, or wears out, does not know.
    pub fn set_diagnosis(&mut self, fault: Option<StorageFault>) {
        self.unfit.diagnosis = fault;
    }

    /// Makes of a write what comes of it: `before` is the content before, `written` what it has stored; what else has
    /// changed was torn.
    pub(super) fn settle(&mut self, before: Option<Vec<u8>>, written: Range<usize>) {
        let Some(before) = before else { return };
        let after = core::mem::replace(&mut self.memory, before);
        let changed = |address: &usize| !written.contains(address) && self.memory[*address] != after[*address];
        let torn: Vec<usize> = (0..after.len()).filter(changed).collect();
        let period = self.unfit.real_capacity.unwrap_or(after.len());
        for address in written.chain(torn) {
            let place = address % period;
            if !self.unfit.protected.contains(&place) {
                // A reader sees it at all of its addresses.
                (place..after.len()).step_by(period).for_each(|place| self.memory[place] = after[address]);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use embedded_storage::{ReadStorage as _, Storage as _};
    use vnv_storage::Device as _;

    use super::*;
    use crate::tear::{Garbage, Tear};
    use crate::tear_storage::TearError;

    fn numbered() -> TearStorage {
        TearStorage::from_image((0..64).collect(), 8)
    }

    #[test]
    fn a_smaller_memory_shows_the_same_bytes_again_and_again() {
        let mut memory = numbered().with_real_capacity(16);
        assert_eq!(memory.capacity(), 64);
        assert_eq!(memory.image(), (0..16).cycle().take(64).collect::<Vec<u8>>());
        memory.write(62, &[0xA0, 0xA1]).unwrap();
        memory.stray_write(33, &[0xB0]);
        let mut bytes = [0; 16];
        memory.read(16, &mut bytes).unwrap();
        assert_eq!(bytes, [0, 0xB0, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 0xA0, 0xA1]);
        assert_eq!(memory.write(64, &[0]), Err(TearError::OutOfBounds));
    }

    #[test]
    fn a_write_that_overtakes_itself_leaves_its_last_bytes() {
        let mut memory = numbered().with_real_capacity(8);
        memory.write(4, &(100..120).collect::<Vec<u8>>()).unwrap();
        // Addresses 16 to 23 came last.
        assert_eq!(memory.image()[..8], [112, 113, 114, 115, 116, 117, 118, 119]);
    }

    #[test]
    fn every_cut_of_a_write_that_rolls_over_is_that_of_a_ring() {
        for tear in Tear::of_writes() {
            for cut in 0..16 {
                let mut memory = numbered().with_real_capacity(32).with_tear(tear);
                memory.cut_after_bytes(cut);
                assert_eq!(memory.write(24, &[0xEE; 16]), Err(TearError::PowerLost));
                let image = memory.image();
                assert_eq!(image[..32], image[32..], "{tear:?} {cut}");
                assert_eq!(image[8..24], (8..24).collect::<Vec<u8>>()[..], "rows that it does not reach");
                if tear == Tear::T0 {
                    let wanted = |at: u8| if u64::from(at) < cut { 0xEE } else { (24 + at) % 32 };
                    let ring: Vec<u8> = (0..16).map(|at| image[(24 + at) % 32]).collect();
                    assert_eq!(ring, (0..16).map(wanted).collect::<Vec<u8>>(), "{cut}");
                }
            }
        }
        let mut memory = numbered().with_real_capacity(32).with_tear(Tear::T4(Garbage::Ones));
        memory.cut_after_bytes_read(3);
        assert_eq!(memory.read(40, &mut [0; 8]), Err(TearError::PowerLost));
        assert_eq!((memory.image()[8..16] == [0xFF; 8], memory.image()[40..48] == [0xFF; 8]), (true, true));
    }

    #[test]
    fn a_protected_byte_keeps_its_content_and_nobody_is_told() {
        for tear in Tear::of_writes() {
            let mut memory = numbered().with_tear(tear);
            memory.set_protected(48..64);
            memory.write(40, &[0xEE; 24]).unwrap();
            memory.stray_write(60, &[0xEE]);
            memory.cut_after_bytes(12);
            assert_eq!(memory.write(40, &[0x11; 24]), Err(TearError::PowerLost));
            assert_eq!(memory.image()[48..], (48..64).collect::<Vec<u8>>()[..], "{tear:?}");
            assert_ne!(memory.image()[40..48], (40..48).collect::<Vec<u8>>()[..]);
        }
        let mut memory = numbered();
        memory.set_protected(0..64);
        memory.set_protected(0..0);
        memory.write(0, &[0xEE]).unwrap();
        assert_eq!(memory.image()[0], 0xEE);
        let mut memory = numbered().with_real_capacity(32);
        memory.set_protected(24..32);
        memory.write(48, &[0xEE; 16]).unwrap();
        assert_eq!(memory.image()[16..32], [&[0xEE; 8][..], &[24, 25, 26, 27, 28, 29, 30, 31]].concat());
    }

    #[test]
    fn a_diagnosis_is_what_was_set_and_needs_power() {
        let mut memory = numbered();
        assert_eq!(memory.diagnose(), Ok(None));
        memory.set_diagnosis(Some(StorageFault::Protected { from: 48 }));
        assert_eq!(memory.diagnose(), Ok(Some(StorageFault::Protected { from: 48 })));
        memory.cut_now();
        assert_eq!(memory.diagnose(), Err(TearError::PowerLost));
    }
}
