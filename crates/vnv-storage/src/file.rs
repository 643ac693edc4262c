//! A device in a file of the host.

use core::fmt;
use std::fs::{File, OpenOptions};
use std::io;
use std::path::Path;

use embedded_storage::{ReadStorage, Storage};
use fs4::fs_std::FileExt as _;

use crate::{Device, StorageFault, bounds};

/// A file of fixed size as a [`Device`], held under an exclusive lock while it is open.
///
/// The content survives the death of the process at any point, as a prefix of the running write at the granularity of
/// the operating system. It survives a power cut of the host only up to the last [`sync`](Device::sync): between two
/// of them the operating system may write pages back in any order.
///
/// A file that shrinks behind our back is noticed: a read beyond its new end, every write and every `sync` fail with
/// [`FileError::WrongSize`] from then on, and no write extends it again (one that races with the shrinking may; the
/// next access tells).
///
/// **Cost.** A read is one positioned system call; a write is one `fstat` and one positioned system call for each
/// non-empty slice; [`sync`](Device::sync) is one `fdatasync` and one `fstat`.
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
    /// The zeros are written, 64 KiB at a time, rather than left out as a hole: a full disk is an error here, not of a
    /// later write. (A file system that copies on write, or compresses, may run out of space all the same; so may one
    /// on which a file with holes is [opened](FileStorage::open). That is an [`FileError::Io`] of the write.)
    ///
    /// # Errors
    ///
    /// [`FileError::Io`] with [`io::ErrorKind::AlreadyExists`] if there is such a file: it is not touched.
    /// [`FileError::WrongSize`] if `capacity` is 0: no file is made. [`FileError::Locked`] if somebody opened the new
    /// file in between. [`FileError::Io`] for everything else, a full disk among it; what was made of the file is
    /// removed.
    pub fn create(path: impl AsRef<Path>, capacity: u32) -> Result<Self, FileError> {
        Self::create_with(path.as_ref(), capacity, |mut file| reserve(&mut file, capacity))
    }

    fn create_with(
        path: &Path,
        capacity: u32,
        reserve: impl FnOnce(&File) -> io::Result<()>,
    ) -> Result<Self, FileError> {
        if capacity == 0 {
            return Err(FileError::WrongSize { expected: None, found: 0 });
        }
        let file = OpenOptions::new().read(true).write(true).create_new(true).open(path)?;
        lock(&file)?;
        if let Err(error) = reserve(&file).and_then(|()| file.sync_all()) {
            // The first error is the one to tell.
            let _ = std::fs::remove_file(path);
            return Err(error.into());
        }
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

    /// Whether the file is still as long as it was when it was opened; longer does no harm.
    fn check_length(&self) -> Result<(), FileError> {
        let found = self.file.metadata()?.len();
        if found < u64::from(self.capacity) {
            return Err(FileError::WrongSize { expected: Some(self.capacity), found });
        }
        Ok(())
    }
}

/// Writes `capacity` zeros.
fn reserve(file: &mut impl io::Write, capacity: u32) -> io::Result<()> {
    let zeros = vec![0; (capacity as usize).min(64 * 1024)];
    let mut left = capacity as usize;
    while left > 0 {
        let part = zeros.get(..left.min(zeros.len())).unwrap_or_default();
        file.write_all(part)?;
        left = left.saturating_sub(part.len());
    }
    Ok(())
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
    /// The file has a length that cannot be, or is not, the capacity: it is another file, or somebody has changed it.
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
            Self::Locked => formatter.write_str("the file is open elsewhere: close it there first"),
            Self::WrongSize { expected: Some(expected), found } => {
                write!(
                    formatter,
                    "the file holds {found} bytes instead of {expected}: restore it, or open the right one"
                )
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
        read_at(&self.file, bytes, offset).or_else(|error| {
            if error.kind() == io::ErrorKind::UnexpectedEof {
                self.check_length()?;
            }
            Err(error.into())
        })
    }

    fn capacity(&self) -> usize {
        self.capacity as usize
    }
}

impl Storage for FileStorage {
    fn write(&mut self, offset: u32, bytes: &[u8]) -> Result<(), FileError> {
        self.write_gather(offset, &[bytes])
    }
}

impl Device for FileStorage {
    fn row_size(&self) -> u32 {
        self.row_size
    }

    /// One system call for each non-empty slice, and one before them.
    fn write_gather(&mut self, offset: u32, slices: &[&[u8]]) -> Result<(), FileError> {
        self.check(offset, bounds::total(slices))?;
        self.check_length()?;
        let mut position = offset;
        for slice in slices.iter().filter(|slice| !slice.is_empty()) {
            write_at(&self.file, slice, position)?;
            position = position.saturating_add(slice.len() as u32);
        }
        Ok(())
    }

    /// Asks whether the file is still as long as it was; one system call.
    fn diagnose(&mut self) -> Result<Option<StorageFault>, FileError> {
        self.check_length()?;
        Ok(None)
    }

    /// Fails too if the file has shrunk: bytes written before may be gone with its end.
    fn sync(&mut self) -> Result<(), FileError> {
        self.file.sync_data()?;
        // What was cut off behind our back is not durable.
        self.check_length()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A path that no other test uses.
    fn path(name: &str) -> std::path::PathBuf {
        let path = std::env::temp_dir().join(format!("vnv-storage-unit-{}-{name}", std::process::id()));
        let _ = std::fs::remove_file(&path);
        path
    }

    #[test]
    fn reserving_writes_each_byte_and_fails_when_there_is_no_room() {
        for capacity in [1u32, 65_535, 65_536, 200_000] {
            let mut room = vec![0xFF; capacity as usize + 1];
            reserve(&mut &mut room[..], capacity).unwrap();
            assert_eq!(room.iter().filter(|byte| **byte == 0).count(), capacity as usize);
            assert!(reserve(&mut &mut room[2..], capacity).is_err(), "a byte short");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_full_disk_is_an_error_of_create() {
        // The device that is always full.
        let Ok(mut full) = OpenOptions::new().write(true).open("/dev/full") else { return };
        assert_eq!(reserve(&mut full, 8192).map_err(|error| error.kind()), Err(io::ErrorKind::StorageFull));
    }

    #[test]
    fn a_file_that_could_not_be_reserved_does_not_stand_in_the_way() {
        let path = path("full");
        let full = FileStorage::create_with(&path, 8192, |mut file| {
            reserve(&mut file, 4096)?;
            Err(io::ErrorKind::StorageFull.into())
        });
        assert!(matches!(full, Err(FileError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
        assert!(!path.exists(), "half a file is left");
        drop(FileStorage::create(&path, 8192).unwrap());
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_disk_that_is_full_later_is_an_error_of_the_write() {
        // /dev/full has no length, so that the check before a write must be passed by.
        let Ok(file) = OpenOptions::new().write(true).open("/dev/full") else { return };
        let written = write_at(&file, &[1], 0).map_err(FileError::from);
        assert!(matches!(written, Err(FileError::Io(error)) if error.kind() == io::ErrorKind::StorageFull));
    }
}
