//! Alarms by signals at any instruction, on the desktop.

#![allow(clippy::unwrap_used)]

use std::process::Command;

fn run(arguments: &[&str]) -> String {
    let output = Command::new(env!("CARGO_BIN_EXE_persist")).args(arguments).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments:?}: {text}{}", String::from_utf8_lossy(&output.stderr));
    print!("{text}");
    text
}

#[test]
fn ten_thousand_alarms_are_resumed_from() {
    assert!(run(&["resume", "--alarms", "10000"]).contains("every check passed"));
}

#[test]
fn two_hundred_kills_are_rebooted_from() {
    assert!(run(&["reboot", "--kills", "200"]).contains("every check passed"));
}
