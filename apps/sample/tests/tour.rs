//! The tour goes on over runs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;

#[test]
fn the_tour_goes_on() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("sample.fram");
    for run in 1..=12 {
        let output = Command::new(env!("CARGO_BIN_EXE_sample")).arg(&file).arg("7").output().unwrap();
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success(), "{text}{}", String::from_utf8_lossy(&output.stderr));
        assert!(text.contains(&format!("round {}:", 7 * run)), "{text}");
        assert!(run == 1 || text.contains(&format!("a station of {} rounds", 7 * (run - 1))), "{text}");
    }
}
