//! A device in a file of the host.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use embedded_storage::{ReadStorage, Storage};
use fs4::fs_std::FileExt as _;

use crate::{Device, bounds};

/// A file of fixed size as a [`Device`], held under an exclusive lock while it is open.
///
/// The content survives the death of the process at any point, as a prefix of the running write at the granularity of
/// the operating system. It survives a power cut of the host only up to the last [`sync`](Device::sync): between two
/// of them the operating system may write pages back in any order.
///
/// **Cost.** One positioned system call for a read or a write, one for each non-empty slice of a gathered write;
/// [`sync`](Device::sync) is one `fdatasync`.
///
/// The row size is 8 bytes unless [`with_row_size`](FileStorage::with_row_size) says otherwise.
#[derive(Debug)]
pub struct FileStorage {
    file: File,
    capacity: u32,
    row_size: u32,
}

impl FileStorage {
    /// Creates the file with `capacity` zero bytes, and makes it and its directory entry durable.
    ///
    /// # Errors
    ///
    /// [`FileError::Io`] with [`io::ErrorKind::AlreadyExists`] if there is such a file: it is not touched.
    /// [`FileError::WrongSize`] if `capacity` is 0: no file is made. [`FileError::Locked`] if somebody opened the new
    /// file in between.
    pub fn create(path: impl AsRef<Path>, capacity: u32) -> Result<Self, FileError> {
        let path = path.as_ref();
        if capacity == 0 {
            return Err(FileError::WrongSize { expected: None, found: 0 });
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        lock(&file)?;
        file.set_len(u64::from(capacity))?;
        file.sync_all()?;
        #[cfg(unix)]
        {
            let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty());
            File::open(parent.unwrap_or(Path::new(".")))?.sync_all()?;
        }
        Ok(Self { file, capacity, row_size: 8 })
    }

    /// Opens an existing file; its length is the capacity. Never creates, truncates or extends a file.
    ///
    /// # Errors
    ///
    /// [`FileError::Locked`] if the file is open elsewhere, [`FileError::WrongSize`] if it is empty or longer than
    /// `u32::MAX` bytes, [`FileError::Io`] for everything else.
    pub fn open(path: impl AsRef<Path>) -> Result<Self, FileError> {
        let file = OpenOptions::new().read(true).write(true).open(path)?;
        lock(&file)?;
        let found = file.metadata()?.len();
        match u32::try_from(found) {
            Ok(capacity) if capacity > 0 => Ok(Self { file, capacity, row_size: 8 }),
            _ => Err(FileError::WrongSize { expected: None, found }),
        }
    }

    /// As [`open`](FileStorage::open), for a file that must be exactly `capacity` bytes long.
    ///
    /// # Errors
    ///
    /// As [`open`](FileStorage::open), and [`FileError::WrongSize`] if the length is another one.
    pub fn open_with_capacity(path: impl AsRef<Path>, capacity: u32) -> Result<Self, FileError> {
        let storage = Self::open(path)?;
        if storage.capacity == capacity {
            Ok(storage)
        } else {
            Err(FileError::WrongSize { expected: Some(capacity), found: u64::from(storage.capacity) })
        }
    }

    /// The same device with rows of `ROW` bytes. A `ROW` that is no power of two does not compile.
    #[must_use]
    pub const fn with_row_size<const ROW: u32>(mut self) -> Self {
        const { assert!(ROW.is_power_of_two(), "a row size is a power of two") };
        self.row_size = ROW;
        self
    }

    fn check(&self, offset: u32, length: Option<usize>) -> Result<(), FileError> {
        let inside = length.is_some_and(|length| bounds::inside(self.capacity(), offset, length));
        if inside { Ok(()) } else { Err(FileError::OutOfBounds) }
    }
}

fn lock(file: &File) -> Result<(), FileError> {
    if file.try_lock_exclusive()? { Ok(()) } else { Err(FileError::Locked) }
}

/// Why a [`FileStorage`] failed.
#[derive(Debug)]
#[cfg_attr(feature = "defmt", derive(defmt::Format))]
#[non_exhaustive]
pub enum FileError {
    /// The access ends beyond the last byte of the file.
    OutOfBounds,
    /// Another [`FileStorage`], in this process or another, has the file open.
    Locked,
    /// The file has a length that cannot be, or is not, the capacity.
    WrongSize {
        /// The capacity asked for in bytes, if one was.
        expected: Option<u32>,
        /// The length of the file in bytes.
        found: u64,
    },
    /// The operating system failed.
    Io(#[cfg_attr(feature = "defmt", defmt(Debug2Format))] io::Error),
}

impl From<io::Error> for FileError {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

impl fmt::Display for FileError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::OutOfBounds => formatter.write_str("access beyond the end of the device"),
            Self::Locked => formatter.write_str("the file is open elsewhere"),
            Self::WrongSize { expected: Some(expected), found } => {
                write!(formatter, "the file holds {found} bytes instead of {expected}")
            }
            Self::WrongSize { expected: None, found } => {
                write!(formatter, "{found} bytes cannot be the size of a device")
            }
            Self::Io(error) => write!(formatter, "the file failed: {error}"),
        }
    }
}

impl core::error::Error for FileError {
    fn source(&self) -> Option<&(dyn core::error::Error + 'static)> {
        match self {
            Self::Io(error) => Some(error),
            _ => None,
        }
    }
}

#[cfg(unix)]
fn read_at(file: &File, bytes: &mut [u8], offset: u32) -> io::Result<()> {
    std::os::unix::fs::FileExt::read_exact_at(file, bytes, u64::from(offset))
}

#[cfg(unix)]
fn write_at(file: &File, bytes: &[u8], offset: u32) -> io::Result<()> {
    std::os::unix::fs::FileExt::write_all_at(file, bytes, u64::from(offset))
}

#[cfg(not(unix))]
fn read_at(mut file: &File, bytes: &mut [u8], offset: u32) -> io::Result<()> {
    use std::io::{Read as _, Seek as _};
    file.seek(io::SeekFrom::Start(u64::from(offset)))?;
    file.read_exact(bytes)
}

#[cfg(not(unix))]
fn write_at(mut file: &File, bytes: &[u8], offset: u32) -> io::Result<()> {
    use std::io::{Seek as _, Write as _};
    file.seek(io::SeekFrom::Start(u64::from(offset)))?;
    file.write_all(bytes)
}

impl ReadStorage for FileStorage {
    type Error = FileError;

    fn read(&mut self, offset: u32, bytes: &mut [u8]) -> Result<(), FileError> {
        self.check(offset, Some(bytes.len()))?;
        Ok(read_at(&self.file, bytes, offset)?)
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl Storage for FileStorage {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        self.check(offset, Some(bytes.len()))?;
        Ok(write_at(&self.file, bytes, offset)?)
    }
}

impl Device for FileStorage {
    fn row_size(&self) -> u32 {
        self.row_size
    }

    /// One system call for each non-empty slice.
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), FileError> {
        self.check(offset, bounds::total(slices))?;
        let mut position = offset;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            write_at(&self.file, slice, position)?;
            position = position.saturating_add(slice.len() as u32);
        }
        Ok(())
    }

    fn sync(&mut self) -> Result<(), FileError> {
        Ok(self.file.sync_data()?)
    }
}
