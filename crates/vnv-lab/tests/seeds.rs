//! The seeds of the fuzz targets, run as tests: what was found once stays found.

#![allow(clippy::expect_used)]

fn each(target: &str, run: fn(&[u8])) {
    let directory = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/seeds").join(target);
    let mut count = 0;
    for entry in std::fs::read_dir(directory).expect("there are seeds") {
        run(&std::fs::read(entry.expect("a directory can be listed").path()).expect("a seed can be read"));
        count += 1;
    }
    assert!(count > 0);
}

#[test]
fn images() {
    each("image", vnv_lab::fuzz::image);
}

#[test]
fn operations() {
    each("operations", vnv_lab::fuzz::operations);
}

#[test]
fn conversations() {
    each("conversation", vnv_lab::fuzz::conversation);
}
