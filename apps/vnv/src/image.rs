//! An image: a dump of a part, or the memory file of an emulator.

use crate::workspace::Tables;
use anyhow::{Context, Result, anyhow, bail};
use std::fs::File;
use std::io::Read;
use std::path::Path;
use vnv_persist::{Heap, Layout, OpenError};
use vnv_sim::TearStorage;

/// Where both copies of a superblock are, whatever the unit.
const SUPERBLOCKS: u64 = 0x1_0040;

/// The bytes that a heap was formatted for, and their layout.
pub struct Image {
    /// What the superblock says.
    pub layout: Layout,
    /// As many bytes as the layout's capacity.
    pub bytes: Vec<u8>,
    /// Bytes of the file.
    pub file_bytes: usize,
}

pub type Opened<'m> = Heap<'m, TearStorage, Tables>;

impl Image {
    /// Reads a file; what lies behind the formatted capacity is left out.
    ///
    /// # Errors
    ///
    /// The file cannot be read, or holds no image.
    pub fn read(path: &Path) -> Result<Self> {
        let read = |limit: u64| {
            let mut bytes = Vec::new();
            let mut file = File::open(path)?;
            let length = file.metadata()?.len();
            file.by_ref().take(limit).read_to_end(&mut bytes)?;
            Ok::<_, std::io::Error>((bytes, length as usize))
        };
        let no_image = || format!("{} holds no image of a heap", path.display());
        let cannot = || format!("cannot read {}", path.display());
        let (beginning, length) = read(SUPERBLOCKS).with_context(cannot)?;
        let is_all = beginning.len() == length;
        let layout = match Self::layout(beginning) {
            // What is blank only at its beginning is something else.
            Err(_) if !is_all => Self::layout(read(u32::MAX.into()).with_context(cannot)?.0),
            layout => layout,
        };
        let layout = layout.with_context(no_image)?;
        let (bytes, length) = read(layout.capacity().into()).with_context(cannot)?;
        let image = Self::from_bytes(bytes).with_context(no_image)?;
        Ok(Self { file_bytes: length, ..image })
    }

    fn layout(beginning: Vec<u8>) -> Result<Layout> {
        if beginning.len() < 64 {
            bail!("{} bytes are less than a superblock", beginning.len());
        }
        // The row does not matter to reading.
        Layout::read(&mut TearStorage::from_image(beginning, 8)).map_err(told)
    }

    /// As [`read`](Self::read), from bytes.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn from_bytes(mut bytes: Vec<u8>) -> Result<Self> {
        let file_bytes = bytes.len();
        let layout = Self::layout(bytes.clone())?;
        let capacity = layout.capacity() as usize;
        if file_bytes < capacity {
            bail!("the heap was formatted for {capacity} bytes, the file has only {file_bytes}");
        }
        bytes.truncate(capacity);
        Ok(Self { layout, bytes, file_bytes })
    }

    /// Tables for this image.
    #[must_use]
    pub fn tables(&self) -> Tables {
        Tables::new(&self.layout)
    }

    /// The bytes as storage; what is written to it does not reach the file.
    #[must_use]
    pub fn storage(&self) -> TearStorage {
        TearStorage::from_image(self.bytes.clone(), self.layout.row())
    }

    /// The heap, recovered in memory as the program would recover it.
    ///
    /// # Errors
    ///
    /// What `open` finds.
    pub fn open<'m>(&self, tables: &'m mut Tables) -> Result<Opened<'m>> {
        Heap::open(self.storage(), tables, self.layout.options()).map_err(told)
    }
}

/// An error of the heap as one of ours.
pub fn told<E: std::fmt::Debug + Send + Sync + 'static>(error: OpenError<E>) -> anyhow::Error {
    anyhow!("{error}")
}
