//! Images put together of valid ones: a thinned set, all of it if `VNV_FULL` is set.

#![allow(clippy::expect_used)]

#[test]
fn a_spliced_image_is_refused_or_holds_a_state_of_the_life_that_its_superblock_names() {
    let count = if std::env::var_os("VNV_FULL").is_some() { 100_000 } else { 10_000 };
    let report = vnv_lab::splice::splices(count).expect("the valid images can be made");
    println!("{} images, {} opened, {} noticed", report.images, report.opened, report.noticed);
    assert!(report.violations.is_empty(), "{:#?}", report.violations.iter().take(5).collect::<Vec<_>>());
    assert!(report.opened > count / 20 && report.noticed > count / 20, "{report:?}");
}
