//! What a registry would get of each library.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::process::Command;

const LICENCES: [&str; 2] = ["LICENSE-APACHE", "LICENSE-MIT"];

#[test]
fn every_package_holds_its_readme_and_both_licences() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap();
    let mut packages = 0;
    for entry in fs::read_dir(root.join("crates")).unwrap() {
        let directory = entry.unwrap().path();
        let manifest: toml::Table = fs::read_to_string(directory.join("Cargo.toml")).unwrap().parse().unwrap();
        let package = &manifest["package"];
        if package.get("publish").and_then(toml::Value::as_bool) == Some(false) {
            continue;
        }
        let name = package["name"].as_str().unwrap();
        let arguments = ["package", "--list", "--allow-dirty", "--offline", "-p", name];
        let output = Command::new(env!("CARGO")).args(arguments).current_dir(root).output().unwrap();
        assert!(output.status.success(), "{name}: {}", String::from_utf8_lossy(&output.stderr));
        let files = String::from_utf8(output.stdout).unwrap();
        for file in ["README.md"].iter().chain(&LICENCES) {
            assert!(files.lines().any(|line| line == *file), "{name} is packaged without {file}");
        }
        for licence in LICENCES {
            let (packaged, ours) = (fs::read(directory.join(licence)).unwrap(), fs::read(root.join(licence)).unwrap());
            assert!(packaged == ours, "{name} has another text in {licence}");
        }
        packages += 1;
    }
    assert!(packages >= 7, "only {packages} packages were looked at");
}
