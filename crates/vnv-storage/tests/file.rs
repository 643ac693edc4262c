//! The file device keeps its promises about the file.
#![cfg(feature = "std")]
#![allow(clippy::unwrap_used, reason = "helpers of tests may panic")]

use std::fs;
use std::path::PathBuf;

use vnv_storage::embedded_storage::{ReadStorage as _, Storage as _};
use vnv_storage::{Device as _, FileError, FileStorage};

/// A path that no other test uses, removed at the end.
struct Path(PathBuf);

impl Path {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("vnv-storage-{}-{name}", std::process::id()));
        let _ = fs::remove_file(&path);
        Self(path)
    }
}

impl Drop for Path {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

#[test]
fn content_survives_a_second_opening() {
    let path = Path::new("survives");
    let mut storage = FileStorage::create(&path.0, 64).unwrap();
    storage.write_gather(60, &[&[1, 2], &[], &[3, 4]]).unwrap();
    storage.sync().unwrap();
    drop(storage);
    let mut storage = FileStorage::open(&path.0).unwrap().with_row_size::<16>();
    assert_eq!((storage.capacity(), storage.row_size()), (64, 16));
    let mut bytes = [0; 5];
    storage.read(59, &mut bytes).unwrap();
    assert_eq!(bytes, [0, 1, 2, 3, 4]);
}

#[test]
fn create_does_not_touch_an_existing_file() {
    let path = Path::new("existing");
    fs::write(&path.0, [7; 10]).unwrap();
    assert!(matches!(FileStorage::create(&path.0, 64), Err(FileError::Io(_))));
    assert_eq!(fs::read(&path.0).unwrap(), [7; 10]);
}

#[test]
fn open_neither_creates_nor_resizes() {
    let path = Path::new("open");
    assert!(matches!(FileStorage::open(&path.0), Err(FileError::Io(_))));
    assert!(!path.0.exists());
    fs::write(&path.0, []).unwrap();
    assert!(matches!(FileStorage::open(&path.0), Err(FileError::WrongSize { expected: None, found: 0 })));
    fs::write(&path.0, [7; 10]).unwrap();
    let other = FileStorage::open_with_capacity(&path.0, 64);
    assert!(matches!(other, Err(FileError::WrongSize { expected: Some(64), found: 10 })));
    assert_eq!(FileStorage::open_with_capacity(&path.0, 10).unwrap().capacity(), 10);
    assert_eq!(fs::read(&path.0).unwrap(), [7; 10]);
}

#[test]
fn a_second_opener_is_locked_out_until_the_first_is_gone() {
    let path = Path::new("locked");
    let first = FileStorage::create(&path.0, 64).unwrap();
    assert!(matches!(FileStorage::open(&path.0), Err(FileError::Locked)));
    drop(first);
    let second = FileStorage::open(&path.0).unwrap();
    assert!(matches!(FileStorage::open(&path.0), Err(FileError::Locked)));
    drop(second);
    FileStorage::open(&path.0).unwrap();
}

#[test]
fn an_access_beyond_the_end_changes_nothing() {
    let path = Path::new("bounds");
    let mut storage = FileStorage::create(&path.0, 8).unwrap();
    assert!(matches!(storage.write(7, &[1, 2]), Err(FileError::OutOfBounds)));
    assert!(matches!(storage.write_gather(6, &[&[1], &[2, 3]]), Err(FileError::OutOfBounds)));
    assert!(matches!(storage.read(8, &mut [0]), Err(FileError::OutOfBounds)));
    assert_eq!(fs::read(&path.0).unwrap(), [0; 8]);
    assert!(matches!(FileStorage::create(&path.0, 0), Err(FileError::WrongSize { .. })));
}

/// Shortens a file behind the back of whoever has it open.
fn shrink(path: &std::path::Path, length: u64) {
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(length).unwrap();
}

#[test]
fn a_file_that_has_shrunk_is_neither_read_nor_written_nor_extended() {
    let path = Path::new("shrunk");
    let mut storage = FileStorage::create(&path.0, 64).unwrap();
    storage.write(0, &[7; 64]).unwrap();
    shrink(&path.0, 32);
    let is_told = |result: Result<(), FileError>| {
        assert!(matches!(result, Err(FileError::WrongSize { expected: Some(64), found: 32 })), "{result:?}");
        assert_eq!(fs::read(&path.0).unwrap(), [7; 32], "the file is as it was left");
    };
    is_told(storage.read(31, &mut [0; 2]));
    is_told(storage.read(60, &mut [0; 4]));
    is_told(storage.write(60, &[1; 4]));
    is_told(storage.write(0, &[1; 4]));
    is_told(storage.write_gather(8, &[&[1], &[2]]));
    is_told(storage.write_stream(16, 40, &mut |sink| sink(&[1; 40])));
    is_told(storage.sync());
    is_told(storage.diagnose().map(|_| ()));
    // What is left can be read, to save it.
    let mut bytes = [0; 32];
    storage.read(0, &mut bytes).unwrap();
    assert_eq!(bytes, [7; 32]);
    shrink(&path.0, 64);
    storage.write(60, &[1; 4]).unwrap();
    storage.sync().unwrap();
    assert!(matches!(storage.diagnose(), Ok(None)));
}

#[test]
#[cfg(unix)]
fn a_new_file_has_no_holes() {
    use std::os::unix::fs::MetadataExt as _;
    let path = Path::new("reserved");
    drop(FileStorage::create(&path.0, 1 << 20).unwrap());
    let metadata = fs::metadata(&path.0).unwrap();
    assert_eq!(metadata.len(), 1 << 20);
    // In units of 512 bytes; a file system that compresses zeros would need less.
    assert!(metadata.blocks() >= 2048, "{} blocks", metadata.blocks());
}
