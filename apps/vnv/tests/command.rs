//! The command: what it prints, and how it ends.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::path::Path;
use std::process::Command;
use vnv_persist::{Durable, Heap, Link, Memory, Options};
use vnv_sim::TearStorage;

#[derive(Durable)]
#[durable(version = 2)]
#[repr(C)]
struct Sensor {
    count: u32,
    low: i16,
    valid: bool,
    next: Link<Sensor>,
}

fn image(count: u32) -> Vec<u8> {
    let mut memory = Memory::<16, 8, 4, 2, 64>::new();
    let storage = TearStorage::from_image(vec![0; 8192], 8);
    let heap: Heap<'_, _, _> = Heap::format(storage, &mut memory, Options::new(256)).unwrap();
    let next = heap.allocate(Sensor { count, low: -5, valid: true, next: Link::NULL }).unwrap().into_link();
    let sensor = heap.allocate(Sensor { count: 7, low: 0, valid: false, next }).unwrap().into_link();
    heap.set_root("sensor", Some(sensor)).unwrap();
    heap.commit().unwrap();
    heap.into_device().image().to_vec()
}

fn vnv(arguments: &[&str], files: &[&Path]) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_vnv")).args(arguments).args(files).output().unwrap();
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().unwrap(), String::from_utf8(text).unwrap())
}

#[test]
fn a_file_longer_than_the_heap_is_read_and_damage_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let (old, new) = (folder.path().join("old.bin"), folder.path().join("new.bin"));
    let mut bytes = image(1);
    bytes.resize(131_072, 0xAB);
    std::fs::write(&old, &bytes).unwrap();
    std::fs::write(&new, image(2)).unwrap();

    let (code, text) = vnv(&["dump"], &[&old]);
    assert_eq!(code, 0, "{text}");
    for line in
        ["root sensor: 6.0 Sensor v2", "  count = 7", "  valid = false", "  next: 5.0 Sensor v2", "    low = -5"]
    {
        assert!(text.contains(line), "`{line}` is not in:\n{text}");
    }
    let (code, text) = vnv(&["dump", "--json", "--root", "sensor"], &[&old]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &json["objects"]["6.0"]["value"]["count"]), (0, &7.into()));
    let (code, text) = vnv(&["stat"], &[&old]);
    assert!(code == 0 && text.contains("capacity: 8192") && text.contains("type Sensor v2: 2 objects"), "{text}");
    let (code, text) = vnv(&["diff"], &[&old, &new]);
    assert!(code == 1 && text.contains("object 5.0 Sensor v2: count: 1 -> 2"), "{text}");
    assert_eq!(vnv(&["diff"], &[&old, &old]).0, 0);
    assert_eq!(vnv(&["verify"], &[&old]).0, 0);

    // The second copy of the superblock.
    bytes[70] ^= 4;
    std::fs::write(&old, &bytes).unwrap();
    let (code, text) = vnv(&["verify"], &[&old]);
    assert!(code == 1 && text.contains("superblock"), "{text}");
    for arguments in [&["stat"][..], &["dump"]] {
        let (code, text) = vnv(arguments, &[&old]);
        assert!(code == 1 && text.contains("damaged: ") && text.contains("superblock"), "{text}");
        assert!(text.contains("Sensor v2"), "{arguments:?} shows the rest as well: {text}");
    }
    let (code, text) = vnv(&["stat", "--json"], &[&old]);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    assert!(code == 1 && json["damage"][0].as_str().is_some_and(|line| line.contains("superblock")), "{text}");
}

#[cfg(target_os = "linux")]
#[test]
fn output_that_cannot_be_written_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, image(1)).unwrap();
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    let status = Command::new(env!("CARGO_BIN_EXE_vnv")).arg("stat").arg(file).stdout(full).output().unwrap();
    assert_eq!(status.status.code(), Some(2));
    assert!(String::from_utf8(status.stderr).unwrap().contains("cannot write"));
}

#[test]
fn what_is_no_image_is_told_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    std::fs::write(&file, vec![0; 8192]).unwrap();
    let (code, text) = vnv(&["verify"], &[&file]);
    assert!(code == 2 && text.contains("blank"), "{text}");
    // A heap that has lost its superblocks; data far behind a blank beginning.
    for (bytes, data) in [(8192, 160), (1 << 20, 70_000)] {
        let mut image = image(1);
        image.resize(bytes, 0);
        image[..data.min(8192)].fill(0);
        image[data] = 1;
        std::fs::write(&file, &image).unwrap();
        let (code, text) = vnv(&["stat"], &[&file]);
        assert!(code == 2 && text.contains("something else") && !text.contains("is blank"), "{text}");
    }
    std::fs::write(&file, b"nothing of ours".repeat(100)).unwrap();
    let (code, text) = vnv(&["dump"], &[&file]);
    assert!(code == 2 && text.contains("something else"), "{text}");
    std::fs::write(&file, &image(1)[..4096]).unwrap();
    let (code, text) = vnv(&["stat"], &[&file]);
    assert!(code == 2 && text.contains("8192"), "{text}");
    assert_eq!(vnv(&["verify"], &[Path::new("/no/such/file")]).0, 2);
}
