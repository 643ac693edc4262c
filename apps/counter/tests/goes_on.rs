//! The count goes on over runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

fn run(file: &std::path::Path) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_counter")).arg(file).arg("3").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_count_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("counter.fram");
    assert!(run(&file).contains("counted to 3 "));
    let second = run(&file);
    assert!(second.contains("start number 2, the count is 3") && second.contains("counted to 6 "), "{second}");
}
