//! A storage in memory that counts. What it costs on a wire is computed, not simulated.

use super::cost::Traffic;
use super::medium::{Medium, Meter, Tally, address_bytes};
use std::cell::Cell;
use std::ops::ControlFlow;
use std::rc::Rc;
use vnv_storage::embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, Pieces, RamError};

/// Bytes between two questions whether a transfer may go on.
const CHUNK: usize = 64;

/// Counts transactions and bytes as a driver that owns its bus makes them: a gathered write is one, and so is a stream.
#[derive(Debug)]
pub struct Counting {
    memory: Vec<u8>,
    traffic: Tally,
    unstoppable: Rc<Cell<u64>>,
}

impl Counting {
    fn range(&self, offset: u32, length: usize) -> Result<std::ops::Range<usize>, RamError> {
        let start = offset as usize;
        let end = start.checked_add(length).filter(|end| *end <= self.memory.len());
        end.map(|end| start..end).ok_or(RamError::OutOfBounds)
    }

    fn count(&self, traffic: Traffic) {
        self.traffic.set(self.traffic.get() + traffic);
    }

    /// A transfer during which nobody asked whether it may go on for so many bytes.
    fn unstoppable(&self, bytes: usize) {
        self.unstoppable.set(self.unstoppable.get().max(bytes as u64));
    }

    /// Tells the most bytes of a transfer between two questions whether it may go on.
    #[must_use]
    pub fn longest_wait(&self) -> Rc<Cell<u64>> {
        Rc::clone(&self.unstoppable)
    }
}

impl Medium for Counting {
    fn new(capacity: u32) -> Self {
        Self { memory: vec![0; capacity as usize], traffic: Tally::default(), unstoppable: Rc::default() }
    }

    fn meter(&self) -> Meter {
        let traffic = Rc::clone(&self.traffic);
        Meter::new(move || traffic.get())
    }
}

impl ReadStorage for Counting {
    type Error = RamError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), RamError> {
        let range = self.range(offset, bytes.len())?;
        bytes.copy_from_slice(&self.memory[range]);
        self.unstoppable(bytes.len());
        self.count(Traffic::read(bytes.len() as u64, address_bytes(self.memory.len())));
        Ok(())
    }

    fn capacity(&self) -> usize {
        self.memory.len()
    }
}

impl Storage for Counting {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), RamError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for Counting {
    fn row_size(&self) -> u32 {
        8
    }

    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), RamError> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        self.unstoppable(length);
        self.write_abortable(offset, slices, &mut || false).map(|_| ())
    }

    fn write_abortable(
        &mut self,
        offset: u32,
        slices: &[&[u8]],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, RamError> {
        let length = slices.iter().map(|slice| slice.len()).sum();
        let range = self.range(offset, length)?;
        let mut written = 0;
        for (to, byte) in self.memory[range].iter_mut().zip(slices.iter().copied().flatten()) {
            if written != 0 && written % CHUNK == 0 && stop() {
                break;
            }
            *to = *byte;
            written += 1;
        }
        self.unstoppable(written.min(CHUNK));
        self.count(Traffic::write(written as u64, address_bytes(self.memory.len())));
        Ok(written as u32)
    }

    fn write_stream(&mut self, offset: u32, length: u32, pieces: Pieces<'_>) -> Result<(), RamError> {
        let range = self.range(offset, length as usize)?;
        let mut written = 0;
        let target = &mut self.memory[range];
        let _ = pieces(&mut |bytes| {
            let take = bytes.len().min(target.len() - written);
            target[written..written + take].copy_from_slice(&bytes[..take]);
            written += take;
            if written == target.len() { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        });
        self.count(Traffic::write(written as u64, address_bytes(self.memory.len())));
        Ok(())
    }

    fn read_abortable(
        &mut self,
        offset: u32,
        bytes: &mut [u8],
        stop: &mut dyn FnMut() -> bool,
    ) -> Result<u32, RamError> {
        let from = self.range(offset, bytes.len())?.start;
        let mut read = 0;
        for chunk in bytes.chunks_mut(CHUNK) {
            if read != 0 && stop() {
                break;
            }
            chunk.copy_from_slice(&self.memory[from + read..from + read + chunk.len()]);
            read += chunk.len();
        }
        self.unstoppable(read.min(CHUNK));
        self.count(Traffic::read(read as u64, address_bytes(self.memory.len())));
        Ok(read as u32)
    }

    fn sync(&mut self) -> Result<(), RamError> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_call_is_one_transaction() {
        let mut storage = Counting::new(1024);
        let meter = storage.meter();
        storage.write(0, &[1; 10]).unwrap();
        storage.write_gather(10, &[&[2; 100], &[3; 100]]).unwrap();
        assert_eq!(storage.longest_wait().get(), 200);
        storage.write_stream(210, 20, &mut |sink| (0..20).try_for_each(|_| sink(&[4; 3]))).unwrap();
        let mut back = [0; 230];
        storage.read(0, &mut back).unwrap();
        assert_eq!((back[9], back[10], back[209], back[210], back[229]), (1, 2, 3, 4, 4));
        let counted = Traffic { writes: 3, bytes_written: 230, reads: 1, bytes_read: 230, wire_bytes: 460 + 3 * 4 + 3 };
        assert_eq!(meter.traffic(), counted);
        assert_eq!(storage.write(1020, &[0; 5]), Err(RamError::OutOfBounds));
        assert_eq!(meter.traffic(), counted, "nothing is counted that did not happen");
    }
}
