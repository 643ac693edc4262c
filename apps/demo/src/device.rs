//! A file as FRAM, with counters, and a power cut at a given byte.

use vnv_storage::embedded_storage::{ReadStorage, Storage};
use vnv_storage::{Device, FileError, FileStorage};

/// The file, what went over the bus, and where power fails.
pub struct CutDevice {
    pub file: FileStorage,
    pub transactions: u64,
    pub bytes: u64,
    pub cut_after: Option<u64>,
}

impl CutDevice {
    pub fn new(file: FileStorage, cut_after: Option<u64>) -> Self {
        Self { file, transactions: 0, bytes: 0, cut_after }
    }
}

impl ReadStorage for CutDevice {
    type Error = FileError;
    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileError> {
        self.transactions += 1;
        self.bytes += bytes.len() as u64;
        self.file.read(offset, bytes)
    }
    fn capacity(&self) -> usize {
        self.file.capacity()
    }
}

impl Storage for CutDevice {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for CutDevice {
    fn row_size(&self) -> u32 {
        self.file.row_size()
    }

    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), FileError> {
        let bytes = slices.concat();
        self.transactions += 1;
        if let Some(left) = &mut self.cut_after {
            if *left < bytes.len() as u64 {
                // Power fails inside this burst: the row in flight becomes garbage, the rest stays old.
                let row = (offset + *left as u32) & !7;
                let before = row.saturating_sub(offset) as usize;
                self.file.write(offset, bytes.get(..before).unwrap_or_default())?;
                self.file.write(row, &[0xA5; 8])?;
                self.file.sync()?;
                std::process::abort();
            }
            *left -= bytes.len() as u64;
        }
        self.bytes += bytes.len() as u64;
        self.file.write_gather(offset, slices)
    }

    fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync()
    }
}
